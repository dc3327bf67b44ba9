"""Distinguishes a full disk from other failures, also where SQLite's error does not."""

import sqlite3
from pathlib import Path

from relay.store.files.room import NO_ROOM, refusal

FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""SQLite's codes for a full disk; the second one means that the write-ahead log's index found no room."""
UNCLEAR_CODES = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR_FSYNC,
        sqlite3.SQLITE_IOERR_SHMMAP,
        sqlite3.SQLITE_IOERR_SHMOPEN,
        sqlite3.SQLITE_IOERR_TRUNCATE,
        sqlite3.SQLITE_IOERR_WRITE,
    }
)
"""SQLite's codes for all system errors but ENOSPC, including a used-up quota."""
ASKED_BYTES = 65_536
"""Bytes to write in order to find out."""


def is_unclear(error: BaseException) -> bool:
    """Return whether SQLite leaves open why it could not write."""
    return getattr(error, "sqlite_errorcode", None) in UNCLEAR_CODES


def find_cause(error: BaseException, folder: Path) -> None:
    """Attach the system's error to SQLite's error as its cause if the disk has no room, so that `is_full` sees it.

    Args:
        error: SQLite's error.
        folder: the folder of its file, where a small file is written.
    """
    if error.__cause__ is None and is_unclear(error):
        error.__cause__ = refusal(folder, ASKED_BYTES, sync=True)


def is_full(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, means that the disk is full."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) in FULL_CODES:
            return True
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        error = error.__cause__
    return False
