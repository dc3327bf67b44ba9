"""Schedules merges of the whole full-text index: deleted texts stay in its segments until then.

Such a merge rewrites the whole index, so the larger it is, the longer the next one waits. Pure: no SQL, and the
time is an argument.
"""

from relay.keys import Seconds
from relay.store.log.tuning import LogTuning

MERGE_RETRY_SECONDS = 60.0
"""Seconds until a failed merge continues."""


class IndexMerge:
    """Whether the index contains deleted texts, and the progress of the merge that erases them."""

    def __init__(self, tuning: LogTuning) -> None:
        self._tuning = tuning
        self.texts = 0
        """How many texts the running merge erases; 0 while none runs."""
        self.steps = 0
        """How many steps it has taken."""
        self._dirty = True
        self._from = 0.0

    @property
    def due_at(self) -> float:
        """When the next step is due, if the relay is quiet; infinity if there is nothing to do."""
        return self._from if self.texts or self._dirty else float("inf")

    def mark_dirty(self) -> None:
        """Note that a text may have been deleted from the index."""
        self._dirty = True

    def start(self, texts: int) -> None:
        """Start a merge for the texts deleted since the last one began, unless there are none."""
        self._dirty = False
        self.texts = texts
        self.steps = 0

    def stepped(self) -> None:
        """Note a step of the merge that was not the last."""
        self.steps += 1

    def done(self, now: Seconds) -> None:
        """Note that everything is merged. More texts may have been deleted meanwhile."""
        self.texts = 0
        self._dirty = True
        self._from = now + self.steps * self._tuning.merge_pause_seconds

    def failed(self, now: Seconds) -> None:
        """Note a step that failed."""
        self._from = now + MERGE_RETRY_SECONDS
