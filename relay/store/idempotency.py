"""Idempotency keys: the client ids that were used. The latest are in memory, all others in a table.

The keys are hashes, scattered over 64 bits. Writing each one at once would cost a page of the file, more than the rest
of a message. So they are moved to the table a slice at a time, because neighbours share pages. No SQL:
`upkeep.client_keys` writes the slice that is due.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relay.keys import Seq
from relay.store.entry import Entry

SLICE_BITS = 4
"""A slice is a sixteenth of the keys: those with the same upper four bits."""


class KeyFlush(NamedTuple):
    """A slice of the keys to move to the table."""

    slice: int
    """Its number, from -8 to 7: the upper bits of its keys."""
    upto: int
    """The `seq` up to which the table then has all keys of this slice."""
    keys: list[tuple[int, Seq]]
    """Keys and the `seq` of their messages, sorted by key, so that each page is touched once."""


class IdempotencyKeys:
    """The idempotency keys that are not in the table yet."""

    def __init__(self, most: int) -> None:
        """Begin empty.

        Args:
            most: the number of keys in memory at which the least recently moved slice is due.
        """
        self._most = most
        self._slices: list[dict[int, int]] = [{} for _ in range(1 << SLICE_BITS)]
        self._held = 0
        self._last = 0
        self._next = 0

    def note(self, entries: Iterable[Entry]) -> None:
        """Add the keys of entries that are on disk."""
        for entry in entries:
            key = entry.client_key
            if key is not None:
                self.add(key, entry.seq)

    def among(self, entries: Iterable[Entry]) -> list[int]:
        """Find the keys of entries that are already in memory: those messages were sent before."""
        slices = self._slices
        return [
            key
            for entry in entries
            if (key := entry.client_key) is not None and key in slices[key >> (64 - SLICE_BITS)]
        ]

    def add(self, key: int, seq: Seq) -> None:
        """Add one key."""
        # Slices are numbered from -8 to 7, and Python counts a negative index from the end.
        place = self._slices[key >> (64 - SLICE_BITS)]
        # The key may be there: its message was removed, and the client id was used again.
        self._held += key not in place
        place[key] = seq
        self._last = seq

    def load(self, keys: Iterable[tuple[int, ...]], flushed: Mapping[int, int]) -> None:
        """Add the keys that the log has and the table lacks, at the start.

        Args:
            keys: the log's keys and their `seq`; the table may have some of them.
            flushed: by slice, the `seq` up to which the table has its keys. The slice furthest behind is next.
        """
        for key, seq in keys:
            if seq > flushed[key >> (64 - SLICE_BITS)]:
                self.add(key, seq)
        self._next = min(flushed, key=lambda number: flushed[number])

    def seq(self, key: int) -> int | None:
        """Return the `seq` of a key's message, if the key is in memory."""
        return self._slices[key >> (64 - SLICE_BITS)].get(key)

    @property
    def full(self) -> bool:
        """Whether the next slice is due."""
        return self._held >= self._most

    @property
    def overfull(self) -> bool:
        """Whether it is overdue and goes before jobs."""
        return self._held >= 2 * self._most

    @property
    def overflowing(self) -> bool:
        """Whether it goes before everything else, so that memory stays bounded."""
        return self._held >= 8 * self._most

    def due(self) -> KeyFlush | None:
        """Return the next slice, if it is due."""
        if not self.full:
            return None
        return KeyFlush(self._next, self._last, sorted(self._slices[self._next].items()))

    def flushed(self, flush: KeyFlush) -> None:
        """Drop the keys that are now in the table. Newer ones stay."""
        held = self._slices[flush.slice]
        for key, seq in flush.keys:
            if held.get(key) == seq:
                del held[key]
                self._held -= 1
        half = 1 << (SLICE_BITS - 1)
        self._next = (flush.slice + half + 1) % (2 * half) - half
