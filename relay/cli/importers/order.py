"""Sorts and remembers more items than fit in memory, in temporary files: sorted runs are merged as they are read."""

import heapq
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

RUN_ITEMS = 20_000
"""Items sorted in memory at a time."""
MAX_RUNS = 64
"""Runs merged at a time: each is an open file."""
MessageIdentity = tuple[str, list[str], str, str]
"""A message by the id of its chat or the people of its dialog, its author, and its client id."""


def in_order(
    items: Iterable[T],
    kind: type[T],
    key: Callable[[T], tuple[int, ...]],
    *,
    run_items: int = RUN_ITEMS,
    most_runs: int = MAX_RUNS,
) -> Iterator[T]:
    """Sort structs; equal ones keep their order.

    Args:
        items: the structs.
        kind: their type, for reading them back.
        key: returns the sort key.
        run_items: items sorted in memory at a time.
        most_runs: runs merged at a time: each is an open file.
    """
    runs: list[_Run[T]] = []
    held: list[T] = []
    for item in items:
        held.append(item)
        if len(held) >= run_items:
            runs.append(_Run(sorted(held, key=key), kind))
            held = []
            if len(runs) >= most_runs:
                runs = [_Run(heapq.merge(*runs, key=key), kind)]
    yield from heapq.merge(*runs, sorted(held, key=key), key=key)


class _Run(Generic[T]):
    """A sorted run in a file without a name, which is removed when it is closed."""

    def __init__(self, items: Iterable[T], kind: type[T]) -> None:
        self._read = msgspec.json.Decoder(kind).decode
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed once it has been read
        for item in items:
            self._file.write(msgspec.json.encode(item) + b"\n")
        self._file.seek(0)

    def __iter__(self) -> Iterator[T]:
        with self._file as file:
            yield from map(self._read, file)


class SeenMessages:
    """The messages of a dry run so far: their hashes, in a temporary file that is removed with it."""

    def __init__(self) -> None:
        # An empty name makes a temporary file; only SQLite's cache of it is in memory.
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._file.execute("BEGIN")

    def add(self, message: MessageIdentity) -> None:
        """Add a message."""
        self._file.execute("INSERT OR IGNORE INTO seen VALUES (?)", (_hash(message),))

    def __contains__(self, message: MessageIdentity) -> bool:
        """Return whether a message was added."""
        return self._file.execute("SELECT 1 FROM seen WHERE hash = ?", (_hash(message),)).fetchone() is not None

    def close(self) -> None:
        """Forget all messages and remove the file."""
        self._file.close()


class Ordinals:
    """Numbers different things that have the same key, in the order in which they come, in a temporary file."""

    def __init__(self) -> None:
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute("CREATE TABLE numbered (key BLOB PRIMARY KEY, content BLOB) WITHOUT ROWID")
        self._file.execute("CREATE TABLE later (key BLOB, content BLOB, number INTEGER, PRIMARY KEY (key, content))")
        self._file.execute("BEGIN")

    def number(self, key: bytes, content: bytes) -> int:
        """Return 1 for the first thing of a key, 2 for the next one; the same number for the same content."""
        known = self._file.execute("SELECT content FROM numbered WHERE key = ?", (key,)).fetchone()
        if known is None:
            self._file.execute("INSERT INTO numbered VALUES (?, ?)", (key, content))
            return 1
        if known[0] == content:
            return 1
        found = self._file.execute("SELECT number FROM later WHERE key = ? AND content = ?", (key, content)).fetchone()
        if found is not None:
            return int(found[0])
        (count,) = self._file.execute("SELECT count(*) FROM later WHERE key = ?", (key,)).fetchone()
        self._file.execute("INSERT INTO later VALUES (?, ?, ?)", (key, content, count + 2))
        return int(count) + 2

    def close(self) -> None:
        """Forget all numbers and remove the file."""
        self._file.close()


def _hash(message: MessageIdentity) -> bytes:
    return blake2b(msgspec.json.encode(message), digest_size=16).digest()
