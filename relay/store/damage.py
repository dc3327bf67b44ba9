"""Damaged pages of the store: how SQLite reports them, whose they are, and what helps. Touches nothing."""

import sqlite3

RESTORE_HELPS = "put a backup in its place with `relay restore FILE` (it is kept beside it)"
"""The advice where the head of the file, or much of it, is damaged: nothing in it can be found."""
REPAIR_HELPS = (
    "stop the relay and run `relay repair`, which makes again what follows from the log and keeps every message"
)
"""The advice where pages of anything but the log are damaged."""
LOG_HELPS = (
    f"{RESTORE_HELPS}; or take what can be read, which is all but a few messages: `relay export FILE` writes it, and"
    " `relay import FILE` brings it into a new relay"
)
"""The advice where pages of the log are damaged: their messages are nowhere else."""
PAGE_HELPS = f"{REPAIR_HELPS}; if the log itself is damaged it says so and changes nothing: then {LOG_HELPS}"
"""The advice where a page is damaged and may be one of the log."""
DAMAGE_HELPS = f"the file is damaged, and what needs this part of it fails: `relay check` says where; {PAGE_HELPS}"


class DamagedIndex(sqlite3.DatabaseError):
    """A page of the full-text index's own tables is damaged, and no other page can be the cause."""


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether a page of the store is damaged, so that trying again does not help."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_index_damage(error: sqlite3.Error) -> bool:
    """Return whether FTS5 itself found the damage. Where SQLite found it, the error does not say in which table."""
    return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_CORRUPT_VTAB
