"""Copies a damaged store into an empty one: the log row by row, and all that follows from it is made again.

Other tables are copied as far as they can be read. Touches the two files; SQL only.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from relay.store import kinds
from relay.store.data_dir.errors import is_damaged
from relay.store.sqlite.read_only import readable

PROGRESS_ROWS = 10_000
"""Entries copied between two reports of progress."""
CACHE_KIB = 32_000
"""KiB of the new file kept in memory: the log's indexes are written all over."""
_WITNESSES = (
    f"SELECT count(*) FROM log INDEXED BY log_message WHERE kind <= {kinds.LAST_MESSAGE}",
    f"SELECT count(*) FROM log INDEXED BY log_change WHERE kind >= {kinds.FIRST_CHANGE}",
)
"""Count entries by indexes alone. If one can be read and has more than were copied, the log has lost entries."""
_ATTACHED = (
    "FROM log AS l, json_each(CASE WHEN json_valid(l.extra) THEN l.extra END, '$.attachments') AS a"
    f" WHERE l.kind = {kinds.NEW} AND l.extra IS NOT NULL AND a.value->>'$.url' NOT LIKE 'http%'"
)
_FILE_CHANGES = (
    f"FROM log WHERE kind >= {kinds.FIRST_CHANGE} AND kind = {kinds.FILE} AND json_valid(extra)"
    " AND extra->>'$.change' ="
)
_BASE_OF_SNAPSHOT = (
    "SELECT 1, json_object('seq', seq, 'at', at, 'pruned', pruned,"
    " 'users', (SELECT json_group_array(json_array(key, value)) FROM user),"
    " 'devices', (SELECT json_group_array(json_array(key, value)) FROM device),"
    " 'invites', (SELECT json_group_array(json_array(key, value)) FROM invite),"
    " 'chats', (SELECT json_group_array(json_array(key, value)) FROM chat),"
    " 'members', (SELECT json_group_array(json_array(chat, user, value)) FROM member)) FROM snapshot"
)
_CLIENT_IDS = (
    # In the order of the keys, so that each page is written once.
    "INSERT OR IGNORE INTO client (key, seq) SELECT client_key, seq FROM log WHERE client_key NOT NULL ORDER BY 1, 2",
    "INSERT OR IGNORE INTO client (key, seq) SELECT key, seq FROM removed",
    "UPDATE filed SET seq = (SELECT coalesce(max(seq), 0) FROM log)",
)
# Who sent a file named it in the message; the log's own entry of an upload has no name.
_NAMED = (
    "CREATE TEMP TABLE named AS SELECT a.value->>'$.id' AS id, max(a.value->>'$.filename') AS name"
    f" {_ATTACHED} GROUP BY 1"
)
_ADDED = (
    "INSERT OR IGNORE INTO file (id, digest, user, name, mimetype, size, width, height, loose)"
    " SELECT extra->>'$.id', extra->>'$.digest', extra->>'$.user',"
    " coalesce((SELECT name FROM named WHERE named.id = extra->>'$.id'), 'file'), extra->>'$.mimetype',"
    " extra->>'$.size', extra->>'$.width', extra->>'$.height', max(1, extra->>'$.loose')"
    f" {_FILE_CHANGES} 'fileAdded'"
)
_FORGOTTEN = (
    "DELETE FROM file WHERE id IN (SELECT gone.value->>'$.id' FROM"
    f" (SELECT extra {_FILE_CHANGES} 'filesForgotten') AS f, json_each(f.extra, '$.files') AS gone)"
)
_FILES = (
    _NAMED,
    _ADDED,
    _FORGOTTEN,
)
_HOLDINGS = (
    f"INSERT OR IGNORE INTO holding (chat, message_id, file) SELECT l.chat, l.message_id, a.value->>'$.id' {_ATTACHED}",
    "UPDATE file SET loose = 0 WHERE loose > 0 AND id IN (SELECT file FROM holding)",
    "UPDATE file SET loose = 1 WHERE loose = 0 AND id NOT IN (SELECT file FROM holding)",
    # What was chosen as a picture does not wait to be sent.
    (
        "UPDATE file SET loose = 1 WHERE loose > 1 AND id IN"
        " (SELECT substr(extra->>'$.photoUrl', length('/files/') + 1) FROM log"
        f" WHERE kind >= {kinds.FIRST_CHANGE} AND kind IN ({kinds.CHATS}, {kinds.USER}) AND json_valid(extra))"
    ),
)
_READ_APART = {
    "cursor": ("device", "the places of some devices: these begin before the oldest message that was not delivered"),
    "removed": ("place", "client ids of messages that retention removed in the last week"),
    "file": ("id", "names of uploaded files that no message has"),
}
"""The tables that do not follow from the log, or not all: the column of their order, and what a lost page costs."""


class LogDamaged(Exception):
    """The log, or the state where it begins, cannot be read completely; a message for a person."""


class Salvaged(NamedTuple):
    """What a copy has."""

    entries: int
    """Entries of the log: all of them."""
    lost: list[str]
    """What could not be read and does not follow from the log, in words."""


def salvage(source: Path, target: Path, progress: Callable[[int], None]) -> Salvaged:
    """Copy a damaged store into a new one of the same version, which has no entries yet.

    The new store has no snapshot and no full-text index: a relay that opens it makes them from the log.

    Args:
        source: the damaged store, which nobody writes to.
        target: the new one. It need not survive a crash before it is closed.
        progress: called with the entries copied since the last call.

    Raises:
        LogDamaged: entries are missing or unreadable.
        sqlite3.Error: a disk is full, or fails.
    """
    with readable(source) as address, closing(sqlite3.connect(address, uri=True)) as old, closing(_new(target)) as new:
        # Bytes, so that a text that is not UTF-8 is copied as it is.
        old.text_factory = bytes
        new.execute("BEGIN")
        entries = _copy_log(old, new, progress)
        _copy_base(old, new)
        lost = [what for table, (order, what) in _READ_APART.items() if not _read_apart(old, new, table, order)]
        names = _READ_APART["file"][1]
        for statement in (*_CLIENT_IDS, *(_FILES if names in lost else ()), *_HOLDINGS):
            new.execute(statement)
        new.execute("COMMIT")
    return Salvaged(entries, lost)


def _new(target: Path) -> sqlite3.Connection:
    new = sqlite3.connect(target, isolation_level=None)
    new.execute("PRAGMA journal_mode = MEMORY")
    new.execute("PRAGMA synchronous = OFF")
    new.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    return new


def _insert(new: sqlite3.Connection, table: str) -> str:
    """Make the statement that inserts a row of all columns, unless it is there; its parameters have texts as bytes."""
    columns = new.execute(f"SELECT type FROM pragma_table_info('{table}') ORDER BY cid").fetchall()
    values = ", ".join("CAST(? AS TEXT)" if kind == "TEXT" else "?" for (kind,) in columns)
    return f"INSERT OR IGNORE INTO {table} VALUES ({values})"


def _copy_log(old: sqlite3.Connection, new: sqlite3.Connection, progress: Callable[[int], None]) -> int:
    """Copy all entries, and return how many."""
    copied = last = 0

    def rows() -> Iterator[tuple[object, ...]]:
        nonlocal copied, last
        # In the order of the rows themselves: no index is needed.
        for row in old.execute("SELECT * FROM log NOT INDEXED ORDER BY seq"):
            yield row
            copied, last = copied + 1, row[0]
            if not copied % PROGRESS_ROWS:
                progress(PROGRESS_ROWS)

    try:
        new.executemany(_insert(new, "log"), rows())
    except sqlite3.Error as error:
        if not is_damaged(error):
            raise
        raise LogDamaged(f"the log cannot be read after event {last} ({error})") from None
    ((written,),) = new.execute("SELECT count(*) FROM log")
    for there, here in [(copied, written), *((_count(old, one), _count(new, one)) for one in _WITNESSES)]:
        if there > here:
            raise LogDamaged(f"{there - here} entries of the log are missing, or have the places of others")
    return copied


def _count(old: sqlite3.Connection, witness: str) -> int:
    """Count entries by an index; 0 if it is damaged, for it is made again from the entries."""
    try:
        ((count,),) = old.execute(witness)
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        return 0
    return int(count)


def _copy_base(old: sqlite3.Connection, new: sqlite3.Connection) -> None:
    """Copy the state where the log begins; a snapshot of a later entry serves as well if that is damaged."""
    try:
        for table in ("base", "base_part"):
            new.executemany(_insert(new, table), old.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY 1"))
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
    else:
        return
    new.execute("DELETE FROM base")
    new.execute("DELETE FROM base_part")
    try:
        new.executemany(_insert(new, "base"), old.execute(_BASE_OF_SNAPSHOT))
    except sqlite3.DatabaseError as error:
        if not is_damaged(error):
            raise
        raise LogDamaged(f"neither the state where the log begins can be read nor a later one ({error})") from None


def _read_apart(old: sqlite3.Connection, new: sqlite3.Connection, table: str, order: str) -> bool:
    """Copy the rows of a table from both its ends, up to what cannot be read; return whether all could be."""
    for direction in ("ASC", "DESC"):
        try:
            new.executemany(
                _insert(new, table), old.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY {order} {direction}")
            )
        except sqlite3.DatabaseError as error:
            if not is_damaged(error):
                raise
        else:
            return True
    return False
