"""Tells a full disk from other failures. Pure."""

import errno
import sqlite3

FULL_CODES = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""SQLite's codes for it; the second one is of a write-ahead log whose index finds no room."""


def is_full(error: BaseException | None) -> bool:
    """Tell whether an error, or its cause, means that the disk is full."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) in FULL_CODES:
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False
