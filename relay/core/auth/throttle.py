"""How often a client may guess: each failure makes the next attempt wait longer. In memory, bounded.

Plain counting; the caller chooses the keys under which failures are counted.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from relay.keys import Seconds

FREE_FAILURES = 5
"""Failures that cost nothing: people mistype."""
FIRST_WAIT_SECONDS = 1.0
"""Seconds to wait after the first failure that counts; doubled with each further one."""
FORGET_SECONDS = 3_600.0
"""Seconds without a failure after which a key is forgotten."""
FORGIVE_SECONDS = 600.0
"""Seconds without a failure after which one failure is forgiven; after the same time again, another one."""
MAX_TRACKED = 8_192
"""Maximum number of keys tracked. Beyond it the key that failed least recently is dropped."""

HOUSEHOLD_BITS = 64
"""Prefix length, in bits, of the IPv6 network that a household has to itself."""
SITE_BITS = 48
"""Prefix length, in bits, of the largest IPv6 network that a site has (RFC 6177): it contains 65,536 networks of
/64."""


class _Failures(NamedTuple):
    times: int
    last: float


class Throttle:
    """Failures of one kind of attempt, by key: an address, a user, or both."""

    def __init__(self, longest: float, kept: int = MAX_TRACKED, free: int = FREE_FAILURES) -> None:
        """Begin without failures.

        Args:
            longest: the longest wait, in seconds.
            kept: keys tracked at a time.
            free: failures that cost nothing.
        """
        self._longest = longest
        self._free = free
        self._kept = kept
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def failures(self, who: str, now: Seconds) -> int:
        """Return how many failures of a key neither time nor a success has forgiven."""
        known = self._failures.get(who)
        if known is None or now - known.last > FORGET_SECONDS:
            return 0
        return max(0, known.times - int((now - known.last) / FORGIVE_SECONDS))

    def wait(self, who: str, now: Seconds) -> float:
        """Return the seconds until the next attempt is allowed; `now` in seconds of any clock that does not jump."""
        failures = self._failures.get(who)
        if failures is None:
            return 0.0
        return max(0.0, failures.last + self._delay(failures.times) - now)

    def _delay(self, count: int) -> float:
        over = count - self._free
        return 0.0 if over < 0 else min(self._longest, FIRST_WAIT_SECONDS * 2.0 ** min(over, 32))

    def failed(self, who: str, now: Seconds) -> None:
        """Count a failure."""
        count = self.failures(who, now)
        self._failures[who] = _Failures(count + 1, now)
        self._failures.move_to_end(who)
        if len(self._failures) > self._kept:
            self._failures.popitem(last=False)

    def forgive(self, who: str) -> None:
        """Take back one failure that was counted before the attempt succeeded."""
        failures = self._failures.get(who)
        if failures is not None:
            self._failures[who] = failures._replace(times=failures.times - 1)

    def succeeded(self, who: str) -> None:
        """Forget all failures of a key."""
        self._failures.pop(who, None)


class Slots:
    """Slots in time, one for each attempt: a fixed interval apart, some of them at once."""

    def __init__(self, every: float, at_once: int) -> None:
        """Begin with all `at_once` slots free.

        Args:
            every: seconds between two slots.
            at_once: slots that may be taken at once after a pause.
        """
        self.every = every
        self._ahead = (at_once - 1) * every
        self._full_at = float("-inf")

    def next(self, now: Seconds) -> float:
        """Return the time of the next slot: `now` if one is free."""
        return max(now, self._full_at - self._ahead)

    def take(self, now: Seconds) -> float:
        """Take the next slot, which may lie ahead, and return its time."""
        slot = self.next(now)
        self._full_at = max(self._full_at, now) + self.every
        return slot

    def full(self, now: Seconds) -> bool:
        """Return whether all slots are free."""
        return self._full_at <= now


def rate_limit_key(address: str, bits: int = HOUSEHOLD_BITS) -> str:
    """Return the key for counting an address's failures: for IPv6 its network, since a household has a whole one.

    Args:
        address: an IP address, or another name for the client's origin.
        bits: the length of the network's prefix.
    """
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        rest = 128 - bits
        return str(IPv6Address(int(known) >> rest << rest))
    return address
