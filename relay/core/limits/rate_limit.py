"""Token buckets by user, so that nobody starves the others (PROTOCOL.md, `rate_limited`). Pure: takes the time."""

from typing import Protocol

from relay.keys import Seconds
from relay.settings import LimitsSection

_ROUNDING = 1e-6
"""Seconds by which sums of floating point numbers may miss."""

FRAMES_PER_REQUEST = 4
"""Frames of any kind, as acknowledgements and pings, that a client may send for each request that it may make."""

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
"""Requests that one counts as, by its cost before its size is known; those not named count as one."""
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
"""Requests that are a commit of their own, for which everybody waits: one user has one of them under way at a time."""
ANSWER_BYTES = 2_048
"""Bytes of an answer that count as one request more."""
REQUEST_BYTES = 2_048
"""Bytes of a request that count as one more, in whole steps: smaller ones count as one, so `burst` means it."""
CONNECTIONS_PER_REQUEST = 8
"""Connections that a message is sent to which count as one request more."""
DAY_SECONDS = 86_400.0
"""Seconds."""
LIST_BYTES_PER_SECOND = 512 * 2**10
"""Bytes of chat lists and their changes that one user is sent as events each second, over all connections."""
LIST_BURST_BYTES = 8 * 2**20
"""The same, at once. Beyond it lists wait and are not refused: others change them."""


class Rate(Protocol):
    """The rate at which a bucket fills, and its size."""

    @property
    def requests_per_second(self) -> float:
        """Tokens that come each second; 0 for no limit."""

    @property
    def burst(self) -> float:
        """Tokens of a full bucket."""


class GroupsPerDay:
    """The rate at which one user may make groups."""

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
    """The rate of connections that what one user did is sent to, by the limit of requests.

    At once it is only as many as there may be requests: others wait meanwhile.
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
    """The rate of bytes of chat lists that are sent to one user as events."""

    requests_per_second = float(LIST_BYTES_PER_SECOND)
    """See `Rate`."""
    burst = float(LIST_BURST_BYTES)
    """See `Rate`."""


class RateLimit:
    """Token buckets, each of a user, a chat or a hook by its key.

    `requests_per_second` refill them, `burst` is their size, both as they are set now.

    One number is stored for each: the time at which the bucket will be full again.
    """

    def __init__(self, limits: Rate, times: float = 1.0) -> None:
        """Begin with full buckets.

        Args:
            limits: the rate, read anew with each request.
            times: tokens for each request that the rate allows.
        """
        self._limits = limits
        self._times = times
        self._full_at: dict[int, Seconds] = {}

    def take(self, key: int, now: Seconds, weight: float = 1.0) -> int:
        """Take tokens out of a bucket.

        A full bucket grants any weight, also more than it holds; the rest is paid off before anything else is granted.

        Args:
            key: whose bucket it is.
            now: seconds of any clock that does not jump.
            weight: how many tokens.

        Returns:
            0, or the milliseconds to wait if there are too few tokens. A rate of 0 means no limit.
        """
        limits = self._limits
        rate = limits.requests_per_second * self._times
        if not rate:
            return 0
        full_at = self._full_at.get(key, now)
        if full_at <= now:
            self._full_at[key] = now + weight / rate
            return 0
        room = limits.burst * self._times / rate
        then = full_at + weight / rate
        wait = then - now - room
        if wait > _ROUNDING and full_at > now + _ROUNDING:
            return max(1, round((wait if weight / rate < room else full_at - now) * 1000))
        self._full_at[key] = then
        return 0

    def refund(self, key: int, weight: float = 1.0) -> None:
        """Give tokens back that were taken for what was not done."""
        rate = self._limits.requests_per_second * self._times
        if rate and key in self._full_at:
            self._full_at[key] -= weight / rate

    def charge(self, key: int, now: Seconds, weight: float) -> float:
        """Take tokens for what was done already, however few there are.

        Returns:
            The seconds for which nothing more would be granted.
        """
        rate = self._limits.requests_per_second * self._times
        if not rate:
            return 0.0
        full_at = self._full_at[key] = max(self._full_at.get(key, now), now) + weight / rate
        return max(0.0, full_at - now - self._limits.burst * self._times / rate)
