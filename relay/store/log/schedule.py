"""What the writer has to write beside batches, and when: cursors, the snapshot, the full-text index.

None of it is hurried: each waits for its time. Cursors, and a few entries for the index, ride along with a batch that
comes by then; the rest is done between batches, see `background`. Pure: no SQL, and the time is handed in.
"""

from typing import NamedTuple

CURSOR_SECONDS = 5.0
"""Seconds between two writes of cursors; with a batch they ride after a fifth of it."""
SNAPSHOT_ENTRIES = 20_000
SNAPSHOT_SECONDS = 60.0
INDEX_SECONDS = 2.0
"""Seconds that a message may wait until it is in the full-text index."""
INDEX_RIDING = 64
"""Entries indexed along with a batch, which waits for it; only where these are all."""
RIDING_TEXT = 16_384
"""Characters of text that they may have together: a long text costs as much as many entries."""
QUIET = 0.1
"""Seconds without a batch that make it quiet: at a lively rate the index waits, since merging it takes its time."""
INDEX_LAG = 50_000
"""Entries that the index may be behind for that: so many can be looked through without it."""

Cursors = dict[int, tuple[int, int]]
"""Of each device the last `seq` that it has acknowledged, and when it was last there (Unix milliseconds)."""


class SideWrites(NamedTuple):
    """What rides along with a batch of entries."""

    cursors: Cursors
    indexed: int
    """Up to which `seq` the full-text index is to be brought, 0 for no further."""

    def __bool__(self) -> bool:
        return bool(self.cursors or self.indexed)


class WriteSchedule:
    """Which side writes there are, and when each is due."""

    def __init__(self, cursors: Cursors) -> None:
        self.cursors = cursors
        """The cursors as they are, on disk or not."""
        self._stale_cursors: set[int] = set()
        self._first_cursors: Cursors = {}
        self._cursors_since = 0.0
        self._entries_since_snapshot = 0
        self._snapshot_since = 0.0
        self.snapshot_begun = False
        """Whether a round of the snapshot is under way."""
        self._last_seq = 0
        self._indexed = 0
        self._text = 0
        """Characters of text that came since the full-text index had seen every entry."""
        self._index_since = 0.0
        self.index_left_over = False
        """Whether something of an index that was lost has to be removed before another is begun."""
        self._batch_since = 0.0

    def begin(self, last_seq: int, indexed: int, now: float, *, left_over: bool = False) -> None:
        """Start from what is on disk: the last entry, and the last that the full-text index has seen.

        With `left_over` there is an index beside that which is used for nothing.
        """
        self.index_left_over = left_over
        self._last_seq = last_seq
        self._indexed = indexed
        self._snapshot_since = now
        if not self.indexed:
            # How long their texts are is not known.
            self._text = RIDING_TEXT + 1

    # What is to be done.

    def keep_cursor(self, device: int, seq: int, seen: int, now: float) -> None:
        """Have a device's cursor written sometime soon. It never goes back."""
        if not self._stale_cursors:
            self._cursors_since = now
        self._stale_cursors.add(device)
        known = self.cursors.get(device)
        self.cursors[device] = (seq if known is None else max(seq, known[0]), seen)

    def keep_first_cursor(self, device: int, seq: int, seen: int) -> None:
        """Have a device's first cursor written at once."""
        self.cursors[device] = self._first_cursors[device] = (seq, seen)

    @property
    def left(self) -> bool:
        """Whether a stop has to wait for cursors: the index can be brought further after the next start."""
        return bool(self._stale_cursors or self._first_cursors)

    @property
    def indexed(self) -> bool:
        """Whether the full-text index has seen every entry."""
        return self._indexed >= self._last_seq

    @property
    def index_begins(self) -> bool:
        """Whether the full-text index has seen nothing: it is new, or was lost."""
        return not self._indexed

    @property
    def index_behind(self) -> int:
        """How many entries the full-text index has not seen."""
        return max(0, self._last_seq - self._indexed)

    def next_at(self, *, marks_held: bool) -> float:
        """When the next is due; infinity where none is. See `take` for `marks_held`."""
        if self._first_cursors:
            return 0.0
        if self._stale_cursors and not marks_held:
            return self._cursors_since + CURSOR_SECONDS
        return float("inf")

    @property
    def snapshot_at(self) -> float:
        """From when on rows of the snapshot are to be written; infinity where they are all true."""
        if self.snapshot_begun or self._entries_since_snapshot >= SNAPSHOT_ENTRIES:
            return 0.0
        return self._snapshot_since + SNAPSHOT_SECONDS if self._entries_since_snapshot else float("inf")

    @property
    def index_at(self) -> float:
        """From when on the index is to be brought further, between batches; infinity where it has seen every entry."""
        if self.indexed:
            return float("inf")
        due = self._index_since + INDEX_SECONDS
        return due if self._last_seq - self._indexed >= INDEX_LAG else max(due, self.quiet_at)

    def index_upto(self, count: int) -> int:
        """Up to which entry the next so many reach."""
        return min(self._last_seq, self._indexed + count)

    # What is done.

    def take(self, commands: int, now: float, *, marks_held: bool, last: bool) -> SideWrites:
        """Take what rides along with a batch. What is taken is `written` or `not_written` before the next.

        Args:
            commands: in the batch that is about to be written.
            now: the time.
            marks_held: whether marks wait that acknowledgements made: a cursor must not be on disk before them.
            last: whether a stop is to leave nothing over.
        """
        return SideWrites(
            self._take_cursors(commands, now, marks_held=marks_held, last=last), self._index_riding(commands, now)
        )

    @property
    def quiet_at(self) -> float:
        """From when on it is quiet, if no batch comes."""
        return self._batch_since + QUIET

    def started(self, now: float) -> None:
        """Note that a batch is about to be written: it is not quiet."""
        self._batch_since = now

    def written(self, side_writes: SideWrites, now: float) -> None:
        """Note that they are on disk."""
        if side_writes.indexed:
            self.index_written(side_writes.indexed, now)

    def index_written(self, upto: int, now: float) -> None:
        """Note that the index has seen all entries up to one."""
        self._indexed = upto
        if self.indexed:
            self._index_since = now
            self._text = 0

    def index_lost(self) -> None:
        """Note that the index has to be made from the beginning."""
        self._indexed = 0
        self.index_left_over = True

    def index_failed(self, now: float) -> None:
        """Note that the index could not be written: it gets its time again."""
        self._index_since = now

    def snapshot_begins(self) -> None:
        """Note that a round of the snapshot begins; entries from now on are for the next."""
        self.snapshot_begun = True
        self._entries_since_snapshot = 0

    def snapshot_ended(self, now: float, *, written: bool) -> None:
        """Note that a round of the snapshot is over, and whether all of it could be written."""
        self.snapshot_begun = False
        self._snapshot_since = now
        self._entries_since_snapshot += not written

    def not_written(self, side_writes: SideWrites, now: float) -> None:
        """Note that they could not be written: each gets its time again."""
        if side_writes.indexed:
            self._index_since = now
        self._stale_cursors.update(side_writes.cursors)
        if self._stale_cursors:
            self._cursors_since = now

    def entries_written(self, count: int, last_seq: int, text: int = 0) -> None:
        """Note entries that are on disk, with so many characters of text: snapshot and index do not know of them."""
        self._entries_since_snapshot += count
        self._text += text
        self._last_seq = last_seq

    def _take_cursors(self, commands: int, now: float, *, marks_held: bool, last: bool) -> Cursors:
        taken, self._first_cursors = self._first_cursors, {}
        patience = CURSOR_SECONDS / 5 if commands else CURSOR_SECONDS
        if self._stale_cursors and not marks_held and (last or now >= self._cursors_since + patience):
            stale, self._stale_cursors = self._stale_cursors, set()
            taken.update((device, self.cursors[device]) for device in stale)
        return taken

    def _index_riding(self, commands: int, now: float) -> int:
        behind = self._last_seq - self._indexed
        if (
            self.index_left_over
            or not commands
            or not 0 < behind <= INDEX_RIDING
            or self._text > RIDING_TEXT
            or now < self._index_since + INDEX_SECONDS
        ):
            return 0
        return self._last_seq
