"""Positions of the log, the full-text index, client keys and devices' cursors: read at the start, and by searches."""

import sqlite3
from typing import NamedTuple

from relay.keys import DeviceKey, Seq, UnixMs
from relay.store.damage import is_damage
from relay.store.kinds import CLOCK, FIRST_CHANGE, LAST_RECEIPT, NOTE
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Rows, Statement

_CURSORS = Statement("SELECT device, seq, seen FROM cursor", whole="once at the start, a row of each device")
_ENDS = Statement("SELECT coalesce((SELECT max(seq) FROM log), 0), (SELECT seq FROM indexed)")
_INDEX_LEFT_OVER = Statement(
    "SELECT EXISTS (SELECT 1 FROM search_docsize) OR EXISTS (SELECT 1 FROM search_data WHERE id > 10)"
    # FTS5's list of segments: four bytes and three numbers if it is empty.
    " OR coalesce((SELECT length(block) FROM search_data WHERE id = 10), 0) <> 7",
    whole="the first row is enough",
)
_FIRST_IN_CHAT = Statement(f"SELECT seq FROM log WHERE seq > 0 AND kind <= {LAST_RECEIPT} ORDER BY seq LIMIT 1")
_NOTES = Statement(
    f"SELECT (SELECT max(seq) FROM log AS b WHERE b.seq < n.seq), n.seq FROM log AS n INDEXED BY log_change"
    f" WHERE n.kind >= {FIRST_CHANGE} AND n.kind = {NOTE} ORDER BY n.seq",
    whole="once at the start, numbers of changes to users, chats and files",
)
_CLOCK_STEPS = Statement(
    f"SELECT extra FROM log INDEXED BY log_change WHERE kind >= {FIRST_CHANGE} AND kind = {CLOCK} ORDER BY seq",
    whole="once at the start, numbers of changes to users, chats and files",
)
_FLUSHED = Statement("SELECT slice, seq FROM filed")
_UNFLUSHED = Statement(
    "SELECT client_key, seq FROM log WHERE seq > ? AND client_key IS NOT NULL ORDER BY seq",
)


async def index_left_over(connection: Connection) -> bool:
    """Return whether the full-text index has entries or segments, or damaged pages."""
    try:
        ((left,),) = await connection.execute(_INDEX_LEFT_OVER)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        return True
    return bool(left)


async def cursors(connection: Connection) -> dict[DeviceKey, tuple[Seq, UnixMs]]:
    """Read all cursors.

    Returns:
        By device key, the last acknowledged `seq`, and when the device was last connected (Unix milliseconds).
    """
    rows = await connection.execute(_CURSORS)
    return {device: (seq, seen) for device, seq, seen in rows}


async def clock_steps(connection: Connection) -> list[str]:
    """Read the steps of the clock: each entry's change, as JSON."""
    return [extra for (extra,) in await connection.execute(_CLOCK_STEPS)]


class LogEnds(NamedTuple):
    """The last entries of the log and its full-text index."""

    last: Seq
    """The last entry; 0 for none."""
    indexed: Seq
    """The last entry that the index has."""


async def ends(connection: Connection, *, seconds: float | None = None) -> LogEnds:
    """Read the last entries of the log and its full-text index.

    Args:
        connection: the connection to read with.
        seconds: the time limit of the statement; None for the connection's own limit.

    Raises:
        TooLong: it was interrupted.
    """
    ((last, indexed),) = await connection.execute(_ENDS, seconds=seconds)
    return LogEnds(last, indexed)


async def gaps(connection: Connection) -> list[tuple[Seq, Seq]]:
    """Find the gaps in the log's numbers: removed history, and the gap before each restore of a backup.

    Returns:
        For each gap the entry before it (0 for none) and the one after it, ascending. The first gap may still have
        entries without a chat, which have no text.
    """
    first = await connection.execute(_FIRST_IN_CHAT)
    begin = first[0][0] if first else 0
    found = [(0, begin)] if begin > 1 else []
    for before, after in await connection.execute(_NOTES):
        if after - (before or 0) > 1 and after > begin:
            found.append((before or 0, after))
    return found


async def unflushed_keys(connection: Connection) -> tuple[Rows, dict[int, int]]:
    """Read the client keys that may be missing in their table, and the table's position.

    Returns:
        Client keys with their `seq`: all that the table lacks, and some that it has. Then by slice, the `seq` up to
        which the table has its keys.
    """
    flushed: dict[int, int] = dict(await connection.execute(_FLUSHED))
    rows = await connection.execute(_UNFLUSHED, (min(flushed.values()),))
    return rows, flushed
