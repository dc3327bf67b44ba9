"""Messages for a person: why a store cannot be opened, and what to do."""

import errno
import sqlite3
from pathlib import Path

from relay import thread_limit
from relay.store.damage import LOG_HELPS, PAGE_HELPS, RESTORE_HELPS
from relay.store.data_dir.empty import EmptiedStore
from relay.store.files import descriptors, directory, replacing, reserve, room
from relay.store.files.directory import STORE, is_read_only, may_not_use, unwritable
from relay.store.files.disk_full import is_full
from relay.store.files.lock import Locked
from relay.store.sqlite import read_only
from relay.store.sqlite.database import NewerStore, NotAStore, OlderStore, Unmarked
from relay.store.sqlite.reading import is_undecodable

FAULTS = (Locked, NewerStore, NotAStore, OlderStore, sqlite3.Error)
"""The errors that keep a store from being opened or read."""
TEXT_HELPS = (
    "`relay check` lists all such places; edit or delete such a message, or put a backup from before in its place with"
    " `relay restore FILE`, or import what `relay export` writes into a new relay"
)


class UnreadableText(sqlite3.DatabaseError):
    """A text in a store cannot be read; the store is whole otherwise, and a relay runs with it."""


def is_damaged(error: sqlite3.Error) -> bool:
    """Return whether an error means that the file is damaged, not just unavailable for now."""
    if is_undecodable(error):
        return True
    if isinstance(error, sqlite3.OperationalError):
        # SQLite reports this if a statement does not fit the file, for example if a table is missing.
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, sqlite3.DatabaseError)


def tells_of_damage(error: Exception) -> bool:
    """Return whether a fault at opening means that the file is damaged."""
    return isinstance(error, sqlite3.Error) and is_damaged(error)


def reason(error: sqlite3.Error, path: Path, size: int) -> OSError:
    """Find out why SQLite could not write a file. It reports a size limit and other errors as a failing disk.

    Args:
        error: SQLite's error.
        path: the file. Its last byte is overwritten, so it must no longer be needed.
        size: the size in bytes that it should have had.
    """
    if isinstance(error.__cause__, OSError):
        return error.__cause__
    if is_full(error):
        return OSError(errno.ENOSPC, str(error))
    try:
        with path.open("r+b", buffering=0) as file:
            file.seek(size - 1)
            file.write(b"\0")
    except OSError as found:
        return OSError(found.errno, found.strerror)
    return OSError(errno.EIO, str(error))


def can_be_repaired(data: Path) -> bool:
    """Return whether `relay repair` can find the log of a damaged store: its head and its tables are there."""
    try:
        with read_only.read(data / STORE) as store:
            ((pages,),) = store.execute("PRAGMA page_count")
            ((size,),) = store.execute("PRAGMA page_size")
            whole = directory.log_of(data / STORE).exists() or (data / STORE).stat().st_size >= pages * size
            return whole and bool(store.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchall())
    except (sqlite3.Error, OSError):
        return False


def what_to_do(error: Exception, data: Path, *, repairing: bool = False) -> str:
    """Say in one line why a store cannot be opened, and what to do.

    Args:
        error: one of `FAULTS`.
        data: the data directory.
        repairing: whether the command that failed is the repair, which then does not help.
    """
    if isinstance(error, Locked):
        return f"{error}: stop it first, or name another directory with --data"
    if isinstance(error, EmptiedStore):
        return f"the store in {data} is damaged ({error}): {RESTORE_HELPS}, or {_otherwise(data)}"
    if isinstance(error, Unmarked):
        return (
            f"the store in {data} cannot be opened: {error}: bring back the file as it was before, or {RESTORE_HELPS}"
        )
    if isinstance(error, NotAStore):
        return f"the store in {data} cannot be opened: {error}. Move it away, or name another directory with --data"
    if isinstance(error, OlderStore):
        return f"the store in {data} is not read: {error}: start the relay once, which upgrades it, and try again"
    if isinstance(error, UnreadableText):
        return f"the store in {data} is damaged ({error}): {TEXT_HELPS}"
    if isinstance(error, sqlite3.Error) and is_damaged(error):
        why = f"the store in {data} is damaged ({' '.join(str(error).split())})"
        if not can_be_repaired(data):
            return f"{why} at its head, where no repair helps: {RESTORE_HELPS}{_kept(data)}"
        return f"{why}: {LOG_HELPS if repairing else PAGE_HELPS}"
    if isinstance(error, sqlite3.Error):
        return f"the store in {data} cannot be opened ({error}): {what_helps(error, data)}"
    return f"the store in {data} cannot be opened: {error}"


def _kept(data: Path) -> str:
    """Name the folders beside a store that keep an earlier one."""
    names = [path.name for path in sorted(data.glob("before-re*-*")) if (path / STORE).exists()]
    return f", or stop the relay and bring back the store that is kept in {' or '.join(names)}" if names else ""


def _otherwise(data: Path) -> str:
    """Say what else to do than restore a backup if the store is gone."""
    if replacing.kept(data, replacing.STORE_WITH_FILES) or (data / "relay.db.before-restore").exists():
        return "bring back the one that is kept there with `relay restore --undo`"
    return "move all of it away to start with an empty store"


def what_helps(error: Exception, data: Path) -> str:
    """Say what to do if a store is unavailable for now but may be intact.

    Args:
        error: the error of SQLite or the system.
        data: the data directory.
    """
    if descriptors.exhausted(error):
        return descriptors.what_helps()
    if thread_limit.lacks_threads(error):
        return thread_limit.WHAT_HELPS
    try:
        if is_read_only(data):
            return "mount its disk for writing"
        found = room.of(data)
        if not found.names:
            return "no file can be made on its disk, which has no free inodes (`df -i`): move files away from there"
        # A command that failed has removed what it wrote, so a little may be free again.
        if is_full(error) or found.free < reserve.START_AND_STOP_BYTES:
            return "its disk is full, and the reserve is used up: make room there by moving other files away"
    except OSError:
        return "check that its disk is mounted"
    closed = unwritable(data)
    if closed is not None:
        return may_not_use(data / "relay.db" if closed == data else closed)
    return "see whether its disk is full or read-only, make room there, and try again"
