"""Which client ids were used: of the latest messages in memory, of all others in a table, a slice at a time.

Keys are scattered over all of 64 bits. Written to its place at once each would cost a page of the file, and most of
what a message writes; many that lie close together share their pages. No SQL: `maintenance` files what is due here.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from relay.store.entry import Entry

SLICE_BITS = 4
"""The table is filled a sixteenth of the keys at a time."""
HELD = 8_192
"""Keys in memory from which on the slice that was filed longest ago is due; it holds an eighth of them by then."""


class KeyFlush(NamedTuple):
    """A slice of the keys that is to be written."""

    slice: int
    """Its number, from -8 to 7: what the upper bits of its keys say."""
    upto: int
    """The last `seq` whose key is in the table then, as far as it belongs there."""
    keys: list[tuple[int, int]]
    """Keys and the `seq` of their messages, ascending: each page is touched once."""


class IdempotencyKeys:
    """The keys that are not in the table yet."""

    def __init__(self) -> None:
        self._slices: list[dict[int, int]] = [{} for _ in range(1 << SLICE_BITS)]
        self._held = 0
        self._last = 0
        self._next = 0

    def note(self, entries: Iterable[Entry]) -> None:
        """Take in entries that are on disk."""
        for entry in entries:
            key = entry.client_key
            if key is not None:
                self.add(key, entry.seq)

    def among(self, entries: Iterable[Entry]) -> list[int]:
        """Give the client keys of entries that are those of the latest messages already."""
        slices = self._slices
        return [
            key
            for entry in entries
            if (key := entry.client_key) is not None and key in slices[key >> (64 - SLICE_BITS)]
        ]

    def add(self, key: int, seq: int) -> None:
        """Take in one key."""
        # Python counts a negative index from the end, so each number of a slice has a place of its own.
        place = self._slices[key >> (64 - SLICE_BITS)]
        # One is there already where its message was removed: it was used anew.
        self._held += key not in place
        place[key] = seq
        self._last = seq

    def load(self, keys: Iterable[tuple[int, ...]], filed: Mapping[int, int]) -> None:
        """Take in, at a start, what the log has and the table has not; the slice filed longest ago is next.

        Args:
            keys: of the log, with their `seq`, those that the table has among them.
            filed: of each slice up to which `seq` it is in the table.
        """
        for key, seq in keys:
            if seq > filed[key >> (64 - SLICE_BITS)]:
                self.add(key, seq)
        self._next = min(filed, key=lambda number: filed[number])

    def seq(self, key: int) -> int | None:
        """Find the message of a key, if it is one of the latest."""
        return self._slices[key >> (64 - SLICE_BITS)].get(key)

    @property
    def full(self) -> bool:
        """Whether it is time for the next slice."""
        return self._held >= HELD

    @property
    def overfull(self) -> bool:
        """Whether it is high time for it."""
        return self._held >= 2 * HELD

    @property
    def overflowing(self) -> bool:
        """Whether filing them goes before all rest, so that memory does not grow with what is said."""
        return self._held >= 8 * HELD

    def due(self) -> KeyFlush | None:
        """Give the next slice once it is time for it."""
        if not self.full:
            return None
        return KeyFlush(self._next, self._last, sorted(self._slices[self._next].items()))

    def filed(self, filing: KeyFlush) -> None:
        """Forget what is in the table now; what came meanwhile is not."""
        held = self._slices[filing.slice]
        for key, seq in filing.keys:
            if held.get(key) == seq:
                del held[key]
                self._held -= 1
        half = 1 << (SLICE_BITS - 1)
        self._next = (filing.slice + half + 1) % (2 * half) - half
