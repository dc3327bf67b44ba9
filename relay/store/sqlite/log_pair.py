"""Tells whether a store and the write-ahead log beside it belong together, before SQLite plays the log over the store.

SQLite goes by the names alone: after `relay.db` was copied back from elsewhere it plays the log that a killed relay
left over it, and damages both. Each start of a serving relay gives the store a new random number and notes it beside
the log. The number is SQLite's schema version in the header of the file: it changes only when tables do, and any value
is right. Touches the header and the note `relay.db-pair`.
"""

import logging
import os
import secrets
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from relay.store.files.directory import log_of
from relay.store.files.ownership import give_to
from relay.store.files.scratch import sync

if TYPE_CHECKING:
    from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

MAGIC = (0x377F0682, 0x377F0683)
"""How a log begins that SQLite plays (https://sqlite.org/fileformat2.html#walformat)."""
NOTE_BYTES = 9


class OtherLog(sqlite3.DatabaseError):
    """The log beside a store belongs to another state of it. Nothing has been written to either."""

    def __init__(self, log: Path, store: Path) -> None:
        """Name the files.

        Args:
            log: the write-ahead log.
            store: the store's file.
        """
        super().__init__(f"{log.name} in {log.parent} belongs to another {store.name} than the one beside it")
        self.what_helps = (
            f"put the {store.name} back that was there, or move {log.name} and {note_of(store).name} away to go on with"
            f" this one, or put a backup in its place with `relay restore FILE`. If the two were copied here together,"
            f" remove only {note_of(store).name}"
        )


def note_of(store: Path) -> Path:
    """Name the note of a store. It lies beside the log."""
    log = log_of(store)
    return log.with_name(f"{log.name.removesuffix('-wal')}-pair")


def refuse(store: Path) -> None:
    """Make sure that SQLite may open a store: there is no log beside it that belongs to another one.

    Args:
        store: its file, which this or another process may have open.

    Raises:
        OtherLog: there is.
    """
    noted = _noted(store)
    if noted is None or not _is_played(log_of(store)):
        return
    # A start may change both in between.
    if number(store) not in (noted, None) and _noted(store) == noted:
        raise OtherLog(log_of(store), log_of(store).with_name(note_of(store).name.removesuffix("-pair")))


def number(store: Path) -> int | None:
    """Read the number in a store's file itself, without its log; None if that is not possible."""
    try:
        # Through SQLite: closing a descriptor of its own would end the locks that this process has on the file.
        with closing(sqlite3.connect(f"file:{quote(bytes(store))}?mode=ro&immutable=1", uri=True)) as connection:
            ((found,),) = connection.execute("PRAGMA schema_version")
            return int(found)
    except sqlite3.Error:
        return None


def forget(store: Path) -> None:
    """Remove the note, durably, before the number changes.

    Raises:
        OSError: the disk fails.
    """
    note = note_of(store)
    if note.exists():
        note.unlink()
        sync(note.parent)


def end(store: Path) -> None:
    """Remove the note of a closed store that has no log.

    So a copy of a stopped relay's directory has none that would take the place of another one's.
    """
    with suppress(OSError):
        if not log_of(store).exists():
            note_of(store).unlink(missing_ok=True)


async def begin(connection: "Connection", store: Path) -> None:
    """Give a store a new number and note it, so that the log from now on is only played over this store.

    A kill in between leaves no note, and then any log is played. A full disk does not prevent a start.

    Args:
        connection: the one that writes, before others do.
        store: its file.
    """
    new = secrets.randbelow(0x7FFFFFFF) + 1
    try:
        forget(store)
        await connection.execute(f"PRAGMA schema_version = {new}")
        # Once all is copied back, the file itself has the number, synced.
        ((_, pages, copied),) = await connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        if pages == copied and number(store) == new:
            _note(store, new)
    except (OSError, sqlite3.OperationalError) as error:
        logger.warning("the store cannot note which log belongs to it: %s", error)


def _note(store: Path, number: int) -> None:
    # A torn note is none, so it needs no second name.
    note = note_of(store)
    descriptor = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        give_to(store, descriptor)
        os.write(descriptor, b"%08x\n" % number)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync(note.parent)


def _noted(store: Path) -> int | None:
    with suppress(OSError, ValueError):
        found = note_of(store).read_bytes()
        if len(found) == NOTE_BYTES:
            return int(found, 16)
    return None


def _is_played(log: Path) -> bool:
    with suppress(OSError, struct.error), log.open("rb") as file:
        (magic,) = struct.unpack(">I", file.read(4))
        return magic in MAGIC
    return False
