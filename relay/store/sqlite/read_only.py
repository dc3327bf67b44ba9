"""Reads a store that may be closed, without changing it or leaving files beside it.

SQLite makes a write-ahead log and its index in order to read. If it cannot because the disk is mounted read-only, a
closed store is read without them. If the disk has no free inode, it gets those reserved for a start. Touches one store,
which a relay may have open.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from relay.store.files import room
from relay.store.files.directory import log_of
from relay.store.files.reserve import Reserve
from relay.store.sqlite.reading import replacing


@contextmanager
def read(store: Path) -> Iterator[sqlite3.Connection]:
    """Open a store for reading only.

    Args:
        store: its file.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    with readable(store) as address, closing(sqlite3.connect(address, uri=True)) as connection:
        connection.text_factory = replacing
        yield connection


@contextmanager
def readable(store: Path) -> Iterator[str]:
    """Provide what SQLite needs to read a store, and leave nothing beside it; yield the URI to open.

    Raises:
        sqlite3.Error: it changed on a read-only disk, so the rows read may be wrong.
    """
    if _is_frozen(store):
        before = _stamp(store)
        yield f"{_address(store, 'ro')}&immutable=1"
        if not _is_frozen(store) or _stamp(store) != before:
            raise sqlite3.OperationalError("another system wrote to the store while it was read")
        return
    reserve = _spend_names(store)
    try:
        yield _address(store, "ro")
    finally:
        _remove_empty_log(store)
        if reserve is not None:
            with suppress(OSError):
                reserve.keep_names()


def _is_frozen(store: Path) -> bool:
    """Return whether a store is closed and on a read-only disk: nothing here can open it for writing."""
    try:
        log = log_of(store)
        return room.of(log.parent).read_only and not (log.exists() and log.stat().st_size)
    except OSError:
        return False


def _stamp(store: Path) -> tuple[int, int, int]:
    found = store.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _spend_names(store: Path) -> Reserve | None:
    """Give up the inodes reserved for a start if SQLite needs them; return the reserve, if any."""
    with suppress(OSError):
        if not log_of(store).exists():
            reserve = Reserve(store.parent, 1)
            reserve.spend_names()
            return reserve if reserve.names_spent else None
    return None


def _address(store: Path, mode: str) -> str:
    return f"file:{quote(bytes(store))}?mode={mode}"


def _connect(store: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(_address(store, mode), uri=True)


def _remove_empty_log(store: Path) -> None:
    """Have SQLite remove the empty write-ahead log that a reading connection creates and may not remove.

    SQLite removes it when a writing connection closes, and only if no other process has the store open. A log with
    content stays: a killed relay left it.
    """
    # A store that this user may not write keeps the empty log, which does no harm.
    with suppress(OSError, sqlite3.Error):
        if log_of(store).stat().st_size == 0:
            with closing(_connect(store, "rw")) as connection:
                # A connection that has read nothing does not know of the log.
                connection.execute("PRAGMA schema_version").fetchone()
