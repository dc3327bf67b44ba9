"""What is in the way of a store, as a person is told it, and what helps."""

import os
import shutil
import sqlite3
from pathlib import Path

from relay.store import replacing
from relay.store.database import NewerStore, NotAStore, OlderStore
from relay.store.directory import is_read_only, may_not_use
from relay.store.emptied import Emptied
from relay.store.lock import Locked

FAULTS = (Locked, NewerStore, NotAStore, OlderStore, sqlite3.Error)
"""What keeps a store from being opened or read."""
RESTORE = "put a backup in its place with `relay restore FILE` (it is kept beside it)"


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, and not that it cannot be had now."""
    if isinstance(error, sqlite3.OperationalError):
        # What SQLite says of a statement that does not fit the file: a table is missing.
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.DatabaseError)


def what_to_do(error: Exception, data: Path) -> str:
    """Say in one line what is in the way, and what helps.

    Args:
        error: one of `FAULTS`.
        data: the data directory.
    """
    if isinstance(error, Locked):
        return f"{error}: stop it first, or name another directory with --data"
    if isinstance(error, Emptied):
        return f"the store in {data} is damaged ({error}): {RESTORE}, or {_otherwise(data)}"
    if isinstance(error, NotAStore):
        return f"the store in {data} cannot be opened: {error}. Move it away, or name another directory with --data"
    if isinstance(error, OlderStore):
        return f"the store in {data} is not read: {error}: start the relay once, which upgrades it, and try again"
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        return f"the store in {data} is damaged ({' '.join(str(error).split())}): {RESTORE}"
    if isinstance(error, sqlite3.Error):
        return f"the store in {data} cannot be opened ({error}): {_what_helps(data)}"
    return f"the store in {data} cannot be opened: {error}"


def _otherwise(data: Path) -> str:
    """What helps beside a backup where the store is gone."""
    if replacing.kept(data, replacing.STORE) or (data / "relay.db.before-restore").exists():
        return "bring back the one that is kept there with `relay restore --undo`"
    return "move all of it away to begin with an empty one"


def _what_helps(data: Path) -> str:
    """What helps where a store that may be whole cannot be had now."""
    try:
        if is_read_only(data):
            return "mount its disk for writing"
        if not shutil.disk_usage(data).free:
            return "its disk is full, and what was set aside is spent: move other files away from it"
    except OSError:
        return "see whether its disk is there"
    if not os.access(data, os.W_OK | os.X_OK):
        return may_not_use(data / "relay.db")
    return "see whether its disk is full or read-only"
