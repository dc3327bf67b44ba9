"""Tells a full disk from other failures, and finds out what SQLite does not tell."""

import sqlite3
from pathlib import Path

from relay.store.files.room import NO_ROOM, refusal

FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""SQLite's codes for it; the second one is of a write-ahead log whose index finds no room."""
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
"""SQLite's codes for any error of the system but ENOSPC: a quota that is used up is among them."""
ASKED_BYTES = 65_536
"""Bytes that are written to find out."""


def is_unclear(error: BaseException) -> bool:
    """Return whether SQLite leaves open why it could not write."""
    return getattr(error, "sqlite_errorcode", None) in UNCLEAR_CODES


def find_cause(error: BaseException, folder: Path) -> None:
    """Give an error of SQLite the system's error as its cause, where the disk has no room. Then `is_full` knows.

    Args:
        error: what SQLite says.
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
