"""How often somebody may guess: each failure makes the next attempt wait longer. In memory, bounded.

Plain counting; what an attempt is for and who makes it is the caller's business.
"""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

FREE_FAILURES = 5
"""Failures that cost nothing: people mistype."""
FIRST_WAIT_SECONDS = 1.0
"""Seconds to wait after the first failure that counts; doubled with each further one."""
FORGET_SECONDS = 3_600.0
"""Seconds without a failure after which all is forgotten."""
MAX_TRACKED = 8_192
"""Whose failures are kept; of more, those are forgotten whose last failure is longest ago."""


class _Failures(NamedTuple):
    times: int
    last: float


class Throttle:
    """Failures of one kind of attempt, by whom they are counted against."""

    def __init__(self, longest: float, kept: int = MAX_TRACKED, free: int = FREE_FAILURES) -> None:
        """Make a counter with nothing in it.

        Args:
            longest: the longest wait, in seconds.
            kept: whose failures are kept at a time.
            free: how many failures cost nothing.
        """
        self._longest = longest
        self._free = free
        self._kept = kept
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failures)

    def wait(self, who: str, now: float) -> float:
        """How many seconds are left until the next attempt is looked at; `now` in seconds."""
        failures = self._failures.get(who)
        if failures is None:
            return 0.0
        return max(0.0, failures.last + self._delay(failures.times) - now)

    def _delay(self, count: int) -> float:
        over = count - self._free
        return 0.0 if over < 0 else min(self._longest, FIRST_WAIT_SECONDS * 2.0 ** min(over, 32))

    def failed(self, who: str, now: float) -> None:
        """Count a failure."""
        known = self._failures.pop(who, None)
        count = 0 if known is None or now - known.last > FORGET_SECONDS else known.times
        self._failures[who] = _Failures(count + 1, now)
        if len(self._failures) > self._kept:
            self._failures.popitem(last=False)

    def forgive(self, who: str) -> None:
        """Take one failure back: it was counted before it was known to be none."""
        failures = self._failures.get(who)
        if failures is not None:
            self._failures[who] = failures._replace(times=failures.times - 1)

    def succeeded(self, who: str) -> None:
        """Forget the failures of one who has shown that they may."""
        self._failures.pop(who, None)


def rate_limit_key(address: str) -> str:
    """Whom failures from an address count against: a household has 2^64 addresses of IPv6 to guess from."""
    try:
        known = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(known, IPv6Address):
        return str(IPv6Address(int(known) >> 64 << 64))
    return address
