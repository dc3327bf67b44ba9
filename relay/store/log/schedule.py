"""Writes beside batches, and their timing: cursors, the snapshot, the full-text index.

None of them is urgent. Cursors, and a few entries for the index, are committed with a batch (side writes); the rest
follows between batches, see `background`. Pure: no SQL, and the time is an argument.
"""

from collections.abc import Sequence
from typing import NamedTuple

from relay.keys import DeviceKey, Seconds, Seq, UnixMs
from relay.store.log.tuning import LogTuning

CURSOR_SECONDS = 5.0
"""Seconds between two writes of cursors; a batch takes them along after a fifth of that."""
SNAPSHOT_SECONDS = 60.0
"""Seconds after which it is due for fewer."""
INDEX_ENTRIES_WITH_BATCH = 64
"""Entries that are indexed with a batch, whose senders wait for it; only if none are left from before."""
INDEX_CHARACTERS_WITH_BATCH = 16_384
"""Characters of text that they may have: a long text costs as much as many entries."""
INDEX_LAG_ENTRIES = 50_000
"""Entries that the index may lag behind until the relay is quiet: a search can read this many without it."""

Cursors = dict[DeviceKey, tuple[Seq, UnixMs]]
"""By device: the last `seq` that it acknowledged, and when it was last connected (Unix milliseconds)."""


class SideWrites(NamedTuple):
    """The writes committed together with a batch of entries."""

    cursors: Cursors
    indexed: Seq
    """The `seq` up to which to extend the full-text index; 0 if it stays unchanged."""

    def __bool__(self) -> bool:
        return bool(self.cursors or self.indexed)


class WriteSchedule:
    """The writes beside batches, and when each is due."""

    def __init__(self, cursors: Cursors, tuning: LogTuning) -> None:
        self._tuning = tuning
        self.cursors = cursors
        """All cursors, on disk or not."""
        self._stale_cursors: set[DeviceKey] = set()
        self._first_cursors: Cursors = {}
        self._cursors_since = 0.0
        self._entries_since_snapshot = 0
        self._snapshot_since = 0.0
        self.snapshot_begun = False
        """Whether a round of the snapshot has begun and is not over."""
        self._last_seq = 0
        self._indexed = 0
        self._gaps: Sequence[tuple[Seq, Seq]] = ()
        self._text = 0
        """Characters of text that the full-text index lacks."""
        self._index_since = 0.0
        self.index_left_over = False
        """Whether a dropped index has to be removed before a new one begins."""
        self.index_given_up = False
        """Whether the index cannot be written at all, so that no work on it is due."""
        self._batch_since = 0.0

    def begin(
        self,
        last_seq: Seq,
        indexed: Seq,
        now: Seconds,
        *,
        gaps: Sequence[tuple[Seq, Seq]] = (),
        left_over: bool = False,
    ) -> None:
        """Start from the state on disk.

        Args:
            last_seq: the last entry.
            indexed: the last entry that the full-text index has.
            now: the time.
            gaps: the gaps in the log: for each, the entry before it and the entry after it, ascending.
            left_over: whether there is a dropped index, which nothing uses.
        """
        self.index_left_over = left_over
        self._gaps = gaps
        self._last_seq = last_seq
        self._indexed = indexed
        self._snapshot_since = now
        if not self.indexed:
            # The length of their texts is not known.
            self._text = INDEX_CHARACTERS_WITH_BATCH + 1

    # Due work.

    def keep_cursor(self, device: DeviceKey, seq: Seq, seen: UnixMs, now: Seconds) -> None:
        """Schedule a device's cursor to be written within seconds. It never goes back.

        Args:
            device: the device's key.
            seq: the last entry that it acknowledged.
            seen: when it was last connected, Unix milliseconds.
            now: monotonic seconds.
        """
        if not self._stale_cursors:
            self._cursors_since = now
        self._stale_cursors.add(device)
        known = self.cursors.get(device)
        self.cursors[device] = (seq if known is None else max(seq, known[0]), seen)

    def keep_first_cursor(self, device: DeviceKey, seq: Seq, seen: UnixMs) -> None:
        """Schedule a device's first cursor for the next write.

        Args:
            device: the device's key.
            seq: the entry that it begins after.
            seen: when it was last connected, Unix milliseconds.
        """
        self.cursors[device] = self._first_cursors[device] = (seq, seen)

    @property
    def left(self) -> bool:
        """Whether a stop has to wait for cursors. It need not wait for the index, which continues at the next start."""
        return bool(self._stale_cursors or self._first_cursors)

    @property
    def indexed(self) -> bool:
        """Whether the full-text index has every entry."""
        return self._indexed >= self._last_seq

    @property
    def index_begins(self) -> bool:
        """Whether the full-text index has no entry: it is new, or was dropped."""
        return not self._indexed

    @property
    def index_behind(self) -> int:
        """How many entries the full-text index lacks."""
        behind = self._last_seq - self._indexed
        for before, after in self._gaps:
            behind -= max(0, after - 1 - max(before, self._indexed))
        return max(0, behind)

    def next_at(self, *, marks_held: bool) -> float:
        """Return when the next side write is due; infinity if none is. See `take` for `marks_held`."""
        if self._first_cursors:
            return 0.0
        if self._stale_cursors and not marks_held:
            return self._cursors_since + CURSOR_SECONDS
        return float("inf")

    @property
    def snapshot_at(self) -> float:
        """When rows of the snapshot are due; infinity if none is stale."""
        if self.snapshot_begun or self._entries_since_snapshot >= self._tuning.snapshot_entries:
            return 0.0
        return self._snapshot_since + SNAPSHOT_SECONDS if self._entries_since_snapshot else float("inf")

    @property
    def index_at(self) -> float:
        """When more entries are due for indexing between batches; infinity if all are indexed."""
        if self.indexed or self.index_given_up:
            return float("inf")
        due = self._index_since + self._tuning.index_seconds
        if self._last_seq - self._indexed >= INDEX_LAG_ENTRIES and self.index_behind >= INDEX_LAG_ENTRIES:
            return due
        return max(due, self.quiet_at)

    def index_upto(self, count: int) -> Seq:
        """Return the last `seq` of the next `count` entries to index."""
        upto = self._indexed
        for before, after in self._gaps:
            if after - 1 > upto:
                if before - upto > count:
                    break
                count -= max(0, before - upto)
                upto = after - 1
        return min(self._last_seq, upto + count)

    # Finished work.

    def take(self, commands: int, now: Seconds, *, marks_held: bool, last: bool) -> SideWrites:
        """Take the side writes of a batch; `written` or `not_written` is called with them before the next `take`.

        Args:
            commands: the number of commands in the batch.
            now: the time.
            marks_held: whether receipts are deferred. A cursor must not be on disk before the receipts from the same
                acknowledgements.
            last: whether the relay is stopping, so that nothing may be left.
        """
        return SideWrites(
            self._take_cursors(commands, now, marks_held=marks_held, last=last), self._index_with_batch(commands, now)
        )

    @property
    def quiet_at(self) -> float:
        """The start of the quiet period, if no batch comes before it."""
        return self._batch_since + self._tuning.quiet_seconds

    def started(self, now: Seconds) -> None:
        """Record that a batch is about to be written: the log is busy."""
        self._batch_since = now

    def written(self, side_writes: SideWrites, now: Seconds) -> None:
        """Note that side writes are on disk."""
        if side_writes.indexed:
            self.index_written(side_writes.indexed, now)

    def index_written(self, upto: Seq, now: Seconds) -> None:
        """Note that the index has all entries up to one."""
        self._indexed = upto
        if self.indexed:
            self._index_since = now
            self._text = 0

    def index_lost(self) -> None:
        """Note that the index was dropped and has to be built from the beginning."""
        self._indexed = 0
        self.index_left_over = True
        self.index_given_up = False

    def index_failed(self, now: Seconds) -> None:
        """Note that the index could not be written; it is due later."""
        self._index_since = now

    def without_index(self, side_writes: SideWrites, now: Seconds) -> SideWrites:
        """Take the index out of side writes that met a damaged page: its next portion finds out whose page it is."""
        if side_writes.indexed:
            self.index_failed(now)
        return side_writes._replace(indexed=0)

    def snapshot_begins(self) -> None:
        """Note that a round of the snapshot begins; later entries belong to the next."""
        self.snapshot_begun = True
        self._entries_since_snapshot = 0

    def snapshot_ended(self, now: Seconds, *, written: bool) -> None:
        """Note that a round of the snapshot is over, and whether all of it was written."""
        self.snapshot_begun = False
        self._snapshot_since = now
        self._entries_since_snapshot += not written

    def not_written(self, side_writes: SideWrites, now: Seconds) -> None:
        """Note that side writes could not be written; they are due later."""
        if side_writes.indexed:
            self._index_since = now
        self._stale_cursors.update(side_writes.cursors)
        if self._stale_cursors:
            self._cursors_since = now

    def entries_written(self, count: int, last_seq: Seq, text: int = 0) -> None:
        """Note new entries on disk that the snapshot and the index lack.

        Args:
            count: the number of entries.
            last_seq: the last one.
            text: characters of text in them.
        """
        self._entries_since_snapshot += count
        self._text += text
        self._last_seq = last_seq

    def _take_cursors(self, commands: int, now: Seconds, *, marks_held: bool, last: bool) -> Cursors:
        taken, self._first_cursors = self._first_cursors, {}
        wait = CURSOR_SECONDS / 5 if commands else CURSOR_SECONDS
        if self._stale_cursors and not marks_held and (last or now >= self._cursors_since + wait):
            stale, self._stale_cursors = self._stale_cursors, set()
            taken.update((device, self.cursors[device]) for device in stale)
        return taken

    def _index_with_batch(self, commands: int, now: Seconds) -> int:
        behind = self._last_seq - self._indexed
        if (
            self.index_left_over
            or not commands
            or not 0 < behind <= INDEX_ENTRIES_WITH_BATCH
            or self._text > INDEX_CHARACTERS_WITH_BATCH
            or now < self._index_since + self._tuning.index_seconds
        ):
            return 0
        return self._last_seq
