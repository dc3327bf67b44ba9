"""How much one user may ask: token buckets by user, so that nobody starves the others (PROTOCOL.md, `rate_limited`).

Pure: the time is handed in.
"""

from typing import Protocol

from relay.settings import LimitsSection

_ROUNDING = 1e-6
"""Seconds: sums of floating point numbers miss by less."""

FRAMES_PER_REQUEST = 4
"""Frames of any kind that a client may send for each request that it may make: acknowledgements, signs of life."""

WEIGHTS = {
    "messages": 4.0,
    "search": 16.0,
    "chat": 4.0,
    "chats": 8.0,
    "users": 4.0,
    "devices": 2.0,
    "edit": 16.0,
    "delete": 16.0,
    "createChat": 16.0,
    "updateChat": 16.0,
    "addParticipants": 16.0,
    "removeParticipants": 16.0,
    "leaveChat": 16.0,
    "deleteChat": 16.0,
    "profile": 16.0,
    "revokeDevice": 16.0,
    "invite": 16.0,
}
"""Requests that a request counts as, by what it costs before its size is known; any other counts as one."""
IN_TURN = frozenset(
    {
        "edit",
        "delete",
        "createChat",
        "updateChat",
        "addParticipants",
        "removeParticipants",
        "leaveChat",
        "deleteChat",
        "profile",
        "revokeDevice",
    }
)
"""Requests of which one user has one under way at a time: each is a commit of its own, and others wait for it."""
ANSWER_BYTES = 2_048
"""Bytes of an answer that count as one request more."""
REQUEST_BYTES = 2_048
"""Bytes of a request that count as one more, in whole steps: smaller ones count as one, so `burst` means it."""
CONNECTIONS_PER_REQUEST = 8
"""Connections that are told of a message which count as one request more."""
DAY_SECONDS = 86_400.0
"""Seconds."""
LIST_BYTES_PER_SECOND = 512 * 2**10
"""Bytes of chat lists, and of changes of them, that one user is sent each second as events, over all connections."""
LIST_BURST_BYTES = 8 * 2**20
"""The same at once. Nobody is refused for it, as others change these lists: the next ones wait."""


class Rate(Protocol):
    """How fast a bucket fills, and how much it holds."""

    @property
    def requests_per_second(self) -> float:
        """Tokens that come each second; 0 for no limit."""

    @property
    def burst(self) -> float:
        """Tokens of a full bucket."""


class GroupsPerDay:
    """As a rate, how many groups one user may make."""

    def __init__(self, limits: LimitsSection) -> None:
        self._limits = limits

    @property
    def requests_per_second(self) -> float:
        """See `Rate`."""
        return self._limits.groups_per_day / DAY_SECONDS

    @property
    def burst(self) -> float:
        """See `Rate`."""
        return self._limits.groups_per_day


class FanOut:
    """As a rate, how many connections may be told of what one user did: what the limit of requests comes to a second.

    At once it is fewer, since others wait for each telling: as many as there may be requests.
    """

    def __init__(self, limits: LimitsSection) -> None:
        self._limits = limits

    @property
    def requests_per_second(self) -> float:
        """See `Rate`."""
        return self._limits.requests_per_second * CONNECTIONS_PER_REQUEST

    @property
    def burst(self) -> float:
        """See `Rate`."""
        return self._limits.burst


class ListBytes:
    """As a rate, how many bytes of chat lists are sent to one user as events."""

    requests_per_second = float(LIST_BYTES_PER_SECOND)
    """See `Rate`."""
    burst = float(LIST_BURST_BYTES)
    """See `Rate`."""


class RateLimit:
    """Token buckets by user: `requests_per_second`, `burst` of them at once, both as they are set just now.

    Of a bucket only the time is kept at which it will be full again.
    """

    def __init__(self, limits: Rate, times: float = 1.0) -> None:
        """Make buckets that are all full.

        Args:
            limits: the settings, or what has the same two fields.
            times: how many tokens a bucket has for each request that the settings allow.
        """
        self._limits = limits
        self._times = times
        self._full_at: dict[int, float] = {}

    def take(self, user: int, now: float, weight: float = 1.0) -> int:
        """Take tokens out of a user's bucket.

        More than a bucket holds may be taken from a full one; it is then paid off before anything else is granted.

        Args:
            user: their key.
            now: seconds of any clock that does not jump.
            weight: how many tokens.

        Returns:
            0, or how many milliseconds to wait where there are too few. A rate of 0 means no limit.
        """
        limits = self._limits
        rate = limits.requests_per_second * self._times
        if not rate:
            return 0
        full_at = self._full_at.get(user, now)
        if full_at <= now:
            # From a full bucket more may be taken than it holds.
            self._full_at[user] = now + weight / rate
            return 0
        room = limits.burst * self._times / rate
        then = full_at + weight / rate
        wait = then - now - room
        if wait > _ROUNDING and full_at > now + _ROUNDING:
            return max(1, round((wait if weight / rate < room else full_at - now) * 1000))
        self._full_at[user] = then
        return 0

    def refund(self, user: int, weight: float = 1.0) -> None:
        """Give tokens back that were taken for what was not done."""
        rate = self._limits.requests_per_second * self._times
        if rate and user in self._full_at:
            self._full_at[user] -= weight / rate

    def charge(self, user: int, now: float, weight: float) -> float:
        """Take tokens for what was done already, however few are left.

        Returns:
            For how many seconds nothing more would be granted.
        """
        rate = self._limits.requests_per_second * self._times
        if not rate:
            return 0.0
        full_at = self._full_at[user] = max(self._full_at.get(user, now), now) + weight / rate
        return max(0.0, full_at - now - self._limits.burst * self._times / rate)
