"""Texts that left the full-text index are in its segments until all of these were merged: when that is done.

A merge of everything writes the whole index again, so the larger it is the longer the next one waits. Pure: no SQL,
and the time is handed in.
"""

PAUSE = 4.0
"""Seconds that the next merge waits for each step of the last: some 50 KB a second are written, whatever is erased."""
AGAIN = 60.0
"""Seconds until a merge that failed goes on."""


class IndexMerge:
    """How far it is: something may have left the index, or so many texts have and are being merged away."""

    def __init__(self) -> None:
        self.texts = 0
        """How many texts the merge that runs is for; 0 for none."""
        self.steps = 0
        """How many steps it has had."""
        self._dirty = True
        self._from = 0.0

    @property
    def due_at(self) -> float:
        """From when on the next step may be, if it is quiet; infinity where there is nothing to do."""
        return self._from if self.texts or self._dirty else float("inf")

    def mark_dirty(self) -> None:
        """Something may have left the index."""
        self._dirty = True

    def start(self, texts: int) -> None:
        """So many texts have left the index since the last merge of everything began."""
        self._dirty = False
        self.texts = texts
        self.steps = 0

    def stepped(self) -> None:
        """A step of the merge was done, and there are more."""
        self.steps += 1

    def done(self, now: float) -> None:
        """Everything is merged. More may have left the index meanwhile."""
        self.texts = 0
        self._dirty = True
        self._from = now + self.steps * PAUSE

    def failed(self, now: float) -> None:
        """A step could not be done."""
        self._from = now + AGAIN
