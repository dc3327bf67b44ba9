"""Rates for single actions of one user: groups made, connections reached, bytes of chat lists."""

from relay.core.limits.request_weights import CONNECTIONS_PER_REQUEST
from relay.core.tuning import LimitsTuning
from relay.settings import LimitsSection

DAY_SECONDS = 86_400.0


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
    """The rate of connections that one user's actions are sent to, by the limit of requests.

    The burst is at most that of requests, because other users wait while it is sent.
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
    """The rate in bytes of chat lists sent to one user as events."""

    def __init__(self, tuning: LimitsTuning) -> None:
        self._tuning = tuning

    @property
    def requests_per_second(self) -> float:
        """See `Rate`."""
        return self._tuning.list_bytes_per_second

    @property
    def burst(self) -> float:
        """See `Rate`."""
        return self._tuning.list_burst_bytes
