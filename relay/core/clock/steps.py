"""Steps of the relay's time: what was stamped by a clock that was behind counts as made that much later.

A step is recorded in the log (`changes.ClockStepped`). Everything that compares a stamp with the present asks here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from relay.keys import UnixMs

MAX_STEPS = 1_000
"""Steps that are remembered; of earlier ones stamps count as they are."""


class Step(NamedTuple):
    """The relay's time went forward by more than the time that had passed. All in Unix milliseconds."""

    since: UnixMs
    """The last time known to be right, as the clock showed it then: later stamps are too early."""
    before: UnixMs
    """The relay's time just before the step: earlier stamps are too early."""
    by: int
    """How much too early."""


class Steps:
    """All steps that are remembered, in their order."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._steps = [*steps][-MAX_STEPS:]

    def add(self, step: Step) -> None:
        """Remember a step."""
        self._steps = [*self._steps, step][-MAX_STEPS:]

    def made_at(self, stamp: UnixMs) -> UnixMs:
        """Return when something was made, from its stamp, by the clock of now."""
        # The next step's limits are by the clock of its time, so each is added before the next is compared.
        for since, before, by in self._steps:
            if since < stamp <= before:
                stamp += by
        return stamp

    def stamp_at(self, made: UnixMs) -> UnixMs:
        """Return a limit for stamps: only what was made before `made` (by the clock of now) has an earlier stamp."""
        for since, before, by in reversed(self._steps):
            if since + 1 < made <= before + by:
                made = max(since + 1, made - by)
        return made
