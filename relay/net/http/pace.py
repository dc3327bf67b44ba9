"""Speed limits for clients: maximum requests per second and address, minimum bytes per second of a body or response."""

from collections import OrderedDict
from collections.abc import Hashable

import trio

from relay.keys import Seconds

MAX_KNOWN_ADDRESSES = 4_096
"""Maximum addresses remembered; the least recently seen one is forgotten."""
TRANSFER_BYTES_PER_SECOND = 1_024
"""Bytes a second that a transfer must average once its grace period is over."""


class AddressPace:
    """A token bucket per address. Each is stored as the time at which it will be full again."""

    def __init__(self, per_second: float, burst: float) -> None:
        """Begin with full buckets.

        Args:
            per_second: requests a second of one address.
            burst: requests at once.
        """
        self._seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, address: Hashable, now: Seconds, longest: float) -> float | None:
        """Take a token, in advance if there is none yet.

        A request that would wait too long takes none. Otherwise others behind the same address would pay for a flood
        long after it has ended.

        Args:
            address: where the request comes from.
            now: seconds of any clock that does not jump.
            longest: the maximum seconds that a request may wait.

        Returns:
            Seconds after which the request may be answered; None if that is more than `longest`.
        """
        full_at = max(self._full_at.pop(address, now), now)
        wait = max(0.0, full_at + self._seconds - now - self._burst_seconds)
        self._full_at[address] = full_at if wait > longest else full_at + self._seconds
        if len(self._full_at) > MAX_KNOWN_ADDRESSES:
            self._full_at.popitem(last=False)
        return None if wait > longest else wait


class TransferPace:
    """Detects a body or response that trickles, and holds memory for next to nothing."""

    def __init__(self, grace: float) -> None:
        """Start the clock.

        Args:
            grace: seconds during which any speed is allowed.
        """
        self._grace = grace
        self._since = trio.current_time()
        self.count = 0
        """Bytes so far."""

    def too_slow(self) -> bool:
        """Return whether the grace period is over and the average is below `TRANSFER_BYTES_PER_SECOND`."""
        taken = trio.current_time() - self._since
        return taken > self._grace and self.count < taken * TRANSFER_BYTES_PER_SECOND
