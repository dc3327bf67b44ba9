"""The relay's time: which the log is stamped by, and whether the machine's clock may be believed.

The one module that is asked before anything is deleted or ended by time (PROTOCOL.md, section 3). Reads the machine's
clocks through functions that are handed in; the rules never ask what time it is.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

Clock = Callable[[], int]
"""Gives the time now, Unix milliseconds."""
Proof = Callable[[], str | None]
"""Tells what vouches for the machine's clock: NTP, a real-time clock; None where nothing does."""

HOUR = 3_600_000
DAY = 86_400_000
"""Milliseconds of a day."""
PLAUSIBLE_DAYS = 7
"""See `settings.Clock`."""
EARLIEST = 1_735_689_600_000
"""The start of 2025: a clock that shows an earlier time was never set."""
AGAIN = 60_000
"""Milliseconds that a clock that was found credible is taken at its word, and that a missing proof stays missing."""


def wall_clock() -> int:
    """Ask the machine. It may go backwards: the log does not follow (PROTOCOL.md, section 3)."""
    return time.time_ns() // 1_000_000


def boot_clock() -> int:
    """Milliseconds since the machine started, suspended or not: nobody sets it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class RelayClock:
    """The machine's clock while it is plausible or vouched for; else the log's last time and what went by since.

    Plausible is what is not more than some days away from where the last known time and the time since then lead to.
    """

    def __init__(
        self,
        proof: Proof,
        *,
        wall: Callable[[], int] = time.time_ns,
        elapsed: Clock = boot_clock,
        days: Callable[[], int] = lambda: PLAUSIBLE_DAYS,
    ) -> None:
        """Start without a known time: until `begin` the machine's clock is believed.

        Args:
            proof: tells what vouches for the machine's clock.
            wall: the machine's clock, Unix nanoseconds.
            elapsed: milliseconds that have gone by, from any start.
            days: how many days away from the known time are plausible.
        """
        self._proof = proof
        self._wall = wall
        self._elapsed = elapsed
        self._days = days
        self._known: tuple[int, int] | None = None
        """The latest time known to be right, and what had elapsed then."""
        self._believed_from, self._believed_until = 1, 0
        """Between these the machine's clock needs no second look, Unix milliseconds; nowhere while it is held."""
        self._proof_again = 0
        self._held = 0
        """1 while the machine's clock is too far ahead to be believed, -1 while it is too far behind, else 0."""

    def begin(self, last: int) -> None:
        """Start from the log's last time, Unix milliseconds; 0 for an empty log."""
        self._known = (last, self._elapsed()) if last else None
        self._believed_from, self._believed_until = 1, 0
        self._look(self._now())

    def __call__(self) -> int:
        """Give the relay's time, Unix milliseconds."""
        now = self._wall() // 1_000_000
        # One comparison for each request: within a minute after the last look nothing is looked at.
        return now if self._believed_from <= now <= self._believed_until else self._look(now)

    def _now(self) -> int:
        return self._wall() // 1_000_000

    def credible(self) -> bool:
        """Whether things may be deleted or ended by time now. The log says so once when they may not."""
        self._look(self._now())
        return not self._held

    def offset(self) -> int:
        """Milliseconds that the machine's clock is ahead of the relay's time while it is not believed, else 0."""
        now = self._now()
        time_now = self._look(now)
        return now - time_now if self._held else 0

    def behind(self, last: int) -> int:
        """Milliseconds that the machine's clock is behind the log's last time, where that is more than an hour."""
        behind = last - self._now()
        return behind if behind > HOUR else 0

    def earlier_time(self) -> int:
        """Give the earlier of the machine's and the relay's time: for what must not begin in the future."""
        now = self._now()
        return min(now, self._look(now))

    def trust(self) -> int:
        """Take an admin's word that the machine's clock is right; gives its time.

        Raises:
            RelayError: it cannot be: it was never set.
        """
        now = self._now()
        if now < EARLIEST:
            shown = f"{datetime.fromtimestamp(now / 1_000, UTC):%Y-%m-%d}"
            raise RelayError.conflict(f"the machine's clock shows {shown}: set it first (`timedatectl set-time`)")
        self._believe(now)
        return now

    def _look(self, now: int) -> int:
        if self._known is None:
            # An empty log begins with whatever the clock shows; one that was never set may still be set.
            if now >= EARLIEST:
                self._believe(now)
            return now
        expected = self._known[0] + self._elapsed() - self._known[1]
        off = now - expected
        if abs(off) <= self._days() * DAY or (off > 0 and self._proved(off)):
            self._believe(max(now, expected) if off < 0 else now)
            return now
        held = 1 if off > 0 else -1
        if held != self._held:
            self._held = held
            self._believed_from, self._believed_until = 1, 0
            self._say(off)
        return expected

    def _proved(self, off: int) -> bool:
        """Whether something vouches for a clock that is ahead. A clock that is behind would have the log step back."""
        elapsed = self._elapsed()
        if self._held and elapsed < self._proof_again:
            return False
        self._proof_again = elapsed + AGAIN // 10
        found = self._proof()
        if found is not None:
            logger.info("the clock is %.1f days past the log's last time, and %s vouches for it", off / DAY, found)
        return found is not None

    def _believe(self, now: int) -> None:
        if self._held:
            self._held = 0
            logger.info("the machine's clock is believed again")
        self._known = (now, self._elapsed())
        self._believed_from, self._believed_until = now, now + AGAIN

    def _say(self, off: int) -> None:
        if off > 0:
            logger.warning(
                "the machine's clock is %.1f days past the log's last time, and neither NTP nor a real-time clock"
                " vouches for it: messages go on from the log's last time, and nothing is deleted or ends by time."
                " Is it right? `relay clock trust`",
                off / DAY,
            )
        else:
            logger.warning(
                "the log's last time is %.1f days ahead of the machine's clock: messages go on from the log's time,"
                " and nothing is deleted or ends by time. Is the machine's clock right? `relay clock trust`",
                -off / DAY,
            )
