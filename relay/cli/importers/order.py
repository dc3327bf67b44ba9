"""Sorts more structs than fit in memory: sorted portions on disk, merged as they are read."""

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

PORTION = 20_000
"""Structs sorted in memory at a time."""
MOST = 64
"""Portions merged at a time; each is an open file."""


def in_order(items: Iterable[T], kind: type[T], key: Callable[[T], tuple[int, ...]]) -> Iterator[T]:
    """Yield structs in order. The sort is stable.

    Args:
        items: the structs, as many as there are.
        kind: their type.
        key: returns what a struct is sorted by.
    """
    portions: list[_Portion[T]] = []
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) >= PORTION:
            portions.append(_Portion(sorted(held, key=key), kind))
            held = []
            if len(portions) >= MOST:
                portions = [_Portion(heapq.merge(*portions, key=key), kind)]
    yield from heapq.merge(*portions, sorted(held, key=key), key=key)


class _Portion(Generic[T]):
    """Structs in a file without a name, which disappears with this object."""

    def __init__(self, items: Iterable[T], kind: type[T]) -> None:
        self._read = msgspec.json.Decoder(kind).decode
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - read once, and closed then
        for item in items:
            self._file.write(msgspec.json.encode(item) + b"\n")
        self._file.seek(0)

    def __iter__(self) -> Iterator[T]:
        with self._file as file:
            yield from map(self._read, file)
