"""The relay's time, which stamps the log, and whether the machine's clock is credible.

Code that deletes or expires something by time asks this module first (PROTOCOL.md, section 3). It reads the machine's
clocks through functions that are passed in; the rules never read a clock.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from relay.core.clock.steps import Step, Steps
from relay.keys import UnixMs
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

Clock = Callable[[], UnixMs]
"""Returns the current time."""
Proof = Callable[[], str | None]
"""Names the evidence that the machine's clock is right (NTP, a real-time clock); None if there is none."""

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
PLAUSIBLE_DAYS = 7
"""The default of `clock.plausible_days`."""
EARLIEST_MS = 1_735_689_600_000
"""The start of 2025. A clock that shows an earlier time was never set."""
RECHECK_MS = 60_000
"""Milliseconds for which a clock that was found credible is not checked again."""
PROOF_RETRY_MS = 6_000
"""Milliseconds before a missing proof is looked for again."""
STEP_MS = 60_000
"""A clock that goes ahead by more than this at once was behind before."""


def wall_clock() -> int:
    """Read the machine's clock. It may step back; the log does not follow (PROTOCOL.md, section 3)."""
    return time.time_ns() // 1_000_000


def boot_clock() -> int:
    """Read the milliseconds since the machine booted, time in suspend included. Nobody can set this clock."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class RelayClock:
    """The machine's clock while it is plausible or proven; else the log's last time plus the time since then.

    A clock is plausible within some days of the time expected: the last known time plus the time since then.
    """

    def __init__(
        self,
        proof: Proof,
        *,
        wall: Callable[[], int] = time.time_ns,
        elapsed: Clock = boot_clock,
        days: Callable[[], int] = lambda: PLAUSIBLE_DAYS,
    ) -> None:
        """Start without a known time: the machine's clock is believed until `begin`.

        Args:
            proof: names the evidence for the machine's clock.
            wall: the machine's clock, Unix nanoseconds.
            elapsed: a monotonic clock in milliseconds.
            days: how many days from the expected time are plausible.
        """
        self._proof = proof
        self._wall = wall
        self._elapsed = elapsed
        self._days = days
        self._known: tuple[int, int] | None = None
        """The latest time known to be right, and the monotonic clock's value then."""
        self._unset: tuple[int, int] | None = None
        """The same for a clock that was never set, by which an empty log begins."""
        self.steps = Steps()
        self.proved_until = 0
        """The last time at which something vouched for the clock: later stamps may be too early (Unix ms)."""
        self._unrecorded: list[Step] = []
        self._record: Callable[[Step], None] = self._unrecorded.append
        self._believed_from, self._believed_until = 1, 0
        """While the machine's clock is between these, it needs no check (Unix ms). Empty while it is not believed."""
        self._proof_again = 0
        self._note_again = 0
        self._held = 0
        """1 while the machine's clock is too far ahead to be believed, -1 while it is too far behind, else 0."""

    def begin(self, last: int, *, proved_until: int | None = None, steps: Steps | None = None) -> None:
        """Start from the log's last time; 0 for an empty log.

        Args:
            last: Unix milliseconds.
            proved_until: until when the clock that stamped the log was right; None for all of the log.
            steps: the steps that are in the log.
        """
        self.steps = steps or Steps()
        self.proved_until = last if proved_until is None else min(proved_until, last)
        self._known = (last, self._elapsed()) if last else None
        self._believed_from, self._believed_until = 1, 0
        # Even if the machine stands still here: no time has passed since `last` by which a stamp could be wrong.
        self._look(self._now(), last)

    def __call__(self) -> int:
        """Return the relay's time."""
        now = self._wall() // 1_000_000
        # One comparison for each request: after a check, nothing is checked for a minute.
        return now if self._believed_from <= now <= self._believed_until else self._look(now)

    def record_to(self, record: Callable[[Step], None]) -> None:
        """Have each step recorded before anything is stamped by the time after it, and those since `begin` now.

        Args:
            record: called for each step.
        """
        self._record = record
        while self._unrecorded:
            record(self._unrecorded.pop(0))

    def made_at(self, stamp: UnixMs) -> UnixMs:
        """Return when something was made: its stamp, or later if the clock that stamped it was behind."""
        self()
        return self.steps.made_at(stamp)

    def stamp_at(self, made: UnixMs) -> UnixMs:
        """Return a limit for stamps: only what was made before `made` has an earlier one."""
        self()
        return self.steps.stamp_at(made)

    def prove(self) -> int:
        """Look for a proof now, and return until when the clock is known to be right, Unix milliseconds."""
        now = self()
        if not self._held:
            self._note_proof(now, at_once=True)
        return self.proved_until

    def _now(self) -> int:
        return self._wall() // 1_000_000

    def credible(self) -> bool:
        """Return whether things may be deleted or expire by time now. Logs once when they may not."""
        self._look(self._now())
        return not self._held

    def offset(self) -> int:
        """Return how many milliseconds a disbelieved clock is ahead of the relay's time; else 0."""
        now = self._now()
        time_now = self._look(now)
        return now - time_now if self._held else 0

    def behind(self, last: int) -> int:
        """Return how many milliseconds the machine's clock is behind the log's last time; 0 if under an hour."""
        behind = last - self._now()
        return behind if behind > HOUR_MS else 0

    def earlier_time(self) -> int:
        """Return the earlier of the machine's and the relay's time, for periods that must not begin in the future."""
        now = self._now()
        return min(now, self._look(now))

    def trust(self) -> int:
        """Accept an admin's word that the machine's clock is right, and return its time.

        Raises:
            RelayError: the clock was never set.
        """
        now = self._now()
        if now < EARLIEST_MS:
            shown = f"{datetime.fromtimestamp(now / 1_000, UTC):%Y-%m-%d}"
            raise RelayError.conflict(f"the machine's clock shows {shown}: set it first (`timedatectl set-time`)")
        self._believe(now, self._expected())
        self.proved_until = now
        return now

    def _expected(self) -> int | None:
        """Return the time that passed since the last known one, added to it; None if there is none."""
        start = self._known or self._unset
        return None if start is None else start[0] + self._elapsed() - start[1]

    def _look(self, now: UnixMs, expected: UnixMs | None = None) -> int:
        if self._known is None:
            # An empty log starts at what the clock shows; a clock that was never set may still be set.
            if now >= EARLIEST_MS:
                self._believe(now, self._expected())
                self._note_proof(now, at_once=True)
            else:
                self._unset = (now, self._elapsed())
            return now
        if expected is None:
            expected = self._known[0] + self._elapsed() - self._known[1]
        off = now - expected
        if abs(off) <= self._days() * DAY_MS or (off > 0 and self._proved(off)):
            self._believe(max(now, expected) if off < 0 else now, expected)
            self._note_proof(now, at_once=abs(off) > STEP_MS)
            return now
        held = 1 if off > 0 else -1
        if held != self._held:
            self._held = held
            self._believed_from, self._believed_until = 1, 0
            self._say(off)
        return expected

    def _proved(self, off: int) -> bool:
        """Return whether there is evidence for a clock that is ahead."""
        elapsed = self._elapsed()
        if self._held and elapsed < self._proof_again:
            return False
        self._proof_again = elapsed + PROOF_RETRY_MS
        found = self._proof()
        if found is not None:
            logger.info("the clock is %.1f days past the log's last time, and %s vouches for it", off / DAY_MS, found)
        return found is not None

    def _note_proof(self, now: UnixMs, *, at_once: bool) -> None:
        """Note that stamps up to now are right, if something vouches for the clock.

        Args:
            now: the present time.
            at_once: whether to look for a proof even if that was done within the last minute.
        """
        elapsed = self._elapsed()
        if at_once or elapsed >= self._note_again:
            self._note_again = elapsed + RECHECK_MS
            if now >= EARLIEST_MS and self._proof() is not None:
                self.proved_until = max(self.proved_until, now)

    def _believe(self, now: UnixMs, expected: UnixMs | None) -> None:
        if self._held:
            self._held = 0
            logger.info("the machine's clock is believed again")
        self._known = (now, self._elapsed())
        self._believed_from, self._believed_until = now, now + RECHECK_MS
        if expected is not None and now - expected > STEP_MS and self.proved_until < expected:
            step = Step(self.proved_until, expected, now - expected)
            logger.info(
                "the clock went ahead by %.1f days: what was stamped since it was last right counts as made later",
                step.by / DAY_MS,
            )
            self.steps.add(step)
            self._record(step)

    def _say(self, off: int) -> None:
        if off > 0:
            logger.warning(
                "the machine's clock is %.1f days past the log's last time, and neither NTP nor a real-time clock"
                " vouches for it: messages go on from the log's last time, and nothing is deleted or ends by time."
                " Is it right? `relay clock trust`",
                off / DAY_MS,
            )
        else:
            logger.warning(
                "the log's last time is %.1f days ahead of the machine's clock: messages go on from the log's time,"
                " and nothing is deleted or ends by time. Is the machine's clock right? `relay clock trust`",
                -off / DAY_MS,
            )
