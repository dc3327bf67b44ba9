"""What is in the way of a store, as a person is told it, and what helps."""

import errno
import os
import shutil
import sqlite3
from pathlib import Path

from relay.store.data_dir.empty import EmptiedStore
from relay.store.files import descriptors, replacing, reserve
from relay.store.files.directory import is_read_only, may_not_use
from relay.store.files.lock import Locked
from relay.store.sqlite.database import NewerStore, NotAStore, OlderStore

FAULTS = (Locked, NewerStore, NotAStore, OlderStore, sqlite3.Error)
"""What keeps a store from being opened or read."""
RESTORE = "put a backup in its place with `relay restore FILE` (it is kept beside it)"


def is_damaged(error: sqlite3.Error) -> bool:
    """Whether an error says that the file is damaged, and not that it cannot be had now."""
    if isinstance(error, sqlite3.OperationalError):
        # What SQLite says of a statement that does not fit the file: a table is missing.
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.DatabaseError)


def is_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, says that the disk is full."""
    while error is not None:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def reason(error: sqlite3.Error, path: Path, size: int) -> OSError:
    """Find why SQLite could not write a file: of a limit and of other errors it only says that the disk fails.

    Args:
        error: what SQLite says.
        path: the file, which is of no more use: its last byte is written.
        size: bytes that it was to have.
    """
    if is_full(error):
        return OSError(errno.ENOSPC, str(error))
    try:
        with path.open("r+b", buffering=0) as file:
            file.seek(size - 1)
            file.write(b"\0")
    except OSError as found:
        return OSError(found.errno, found.strerror)
    return OSError(errno.EIO, str(error))


def what_to_do(error: Exception, data: Path) -> str:
    """Say in one line what is in the way, and what helps.

    Args:
        error: one of `FAULTS`.
        data: the data directory.
    """
    if isinstance(error, Locked):
        return f"{error}: stop it first, or name another directory with --data"
    if isinstance(error, EmptiedStore):
        return f"the store in {data} is damaged ({error}): {RESTORE}, or {_otherwise(data)}"
    if isinstance(error, NotAStore):
        return f"the store in {data} cannot be opened: {error}. Move it away, or name another directory with --data"
    if isinstance(error, OlderStore):
        return f"the store in {data} is not read: {error}: start the relay once, which upgrades it, and try again"
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        return f"the store in {data} is damaged ({' '.join(str(error).split())}): {RESTORE}"
    if isinstance(error, sqlite3.Error):
        return f"the store in {data} cannot be opened ({error}): {what_helps(error, data)}"
    return f"the store in {data} cannot be opened: {error}"


def _otherwise(data: Path) -> str:
    """What helps beside a backup where the store is gone."""
    if replacing.kept(data, replacing.STORE) or (data / "relay.db.before-restore").exists():
        return "bring back the one that is kept there with `relay restore --undo`"
    return "move all of it away to begin with an empty one"


def what_helps(error: Exception, data: Path) -> str:
    """What helps where a store that may be whole cannot be had now.

    Args:
        error: what SQLite or the system says.
        data: the data directory.
    """
    if descriptors.exhausted(error):
        return descriptors.what_helps()
    try:
        if is_read_only(data):
            return "mount its disk for writing"
        # What a command that failed had written is gone again: a little is free then.
        if is_full(error) or shutil.disk_usage(data).free < reserve.LITTLE:
            return "its disk is full, and what was set aside is spent: make room there by moving other files away"
    except OSError:
        return "see whether its disk is there"
    if not os.access(data, os.W_OK | os.X_OK):
        return may_not_use(data / "relay.db")
    return "see whether its disk is full or read-only, make room there, and try again"
