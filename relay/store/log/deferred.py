"""Commands that may be written a moment later: one of each key, a few at a time. Pure: the time is handed in.

What devices acknowledge comes here. A mark for each message would cost as much as the message; one for all that came
within a moment, written along with the messages that follow, costs next to nothing.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

MOMENT = 0.15
"""Seconds that they wait, before they go along with a batch; after as much again without one they go alone."""
RIDING = 16
"""How many go along with a batch that is smaller itself: those who wait for it should not wait long."""
ALONE = 256
"""How many make a batch of their own."""


Collect = Callable[[], None]


def _nothing() -> None:
    """Have nothing to add."""


class DeferredCommand(NamedTuple):
    """One of them."""

    key: object
    """What it is about; of each only one waits."""
    reach: int
    """How far it reaches: acknowledgements come in any order."""
    command: Any


class DeferredCommands:
    """Those that wait, and when it is time for them."""

    def __init__(self) -> None:
        self.collect: Collect = _nothing
        """Called when it is time, to `add` those that were announced by `expect`."""
        self._waiting: dict[object, DeferredCommand] = {}
        self._expected = False
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._expected or bool(self._waiting)

    @property
    def held(self) -> bool:
        """Whether some are here that were not taken out yet, those that are only expected aside."""
        return bool(self._waiting)

    def add(self, deferred: DeferredCommand, now: float) -> None:
        """Take one in, unless there is one of the same key that reaches as far. `now` is when its moment begins."""
        if not self:
            self._since = now
        known = self._waiting.get(deferred.key)
        if known is None or known.reach < deferred.reach:
            self._waiting[deferred.key] = deferred

    def expect(self, now: float) -> None:
        """Have `collect` called when the moment is over that begins now, or has begun."""
        if not self:
            self._since = now
        self._expected = True

    @property
    def alone_at(self) -> float:
        """When the first that wait make a batch of their own; infinity where none do."""
        return self._since + 2 * MOMENT if self else float("inf")

    def take(self, count: int, now: float, *, flush: bool = False) -> list[DeferredCommand]:
        """Take out those that go along with a batch of `count` commands, or alone where that is 0.

        Args:
            count: how large the batch is without them.
            now: the time.
            flush: whether nothing may wait any longer.
        """
        if not self or not (flush or now >= self._since + MOMENT):
            return []
        if self._expected and not self._waiting:
            self._expected = False
            self.collect()
        most = max(RIDING, count) if count else ALONE
        taken = list(islice(self._waiting.values(), most))
        for deferred in taken:
            del self._waiting[deferred.key]
        # Those that are left may go along with the next batch; those that are expected have their moment from now.
        self._since = now - MOMENT if self._waiting else now
        return taken
