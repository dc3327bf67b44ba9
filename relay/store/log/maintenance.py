"""The SQL of background work: removing history, freeing pages, filing client keys, the snapshot, the full-text index.

Each function is one short transaction on the writing connection, so that a commit never waits long. The caller says
how much (`portion`).
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain

from relay.keys import ChatKey, Seq
from relay.store.idempotency import KeyFlush
from relay.store.kinds import DLVRD, LAST_MESSAGE, LAST_RECEIPT, READ
from relay.store.log.batch import release_parameters, round_up
from relay.store.queries.snapshots import SnapshotRows
from relay.store.sqlite import database
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement, as_json

MERGED = 64
"""Pages of the full-text index merged in one portion, of 1 KiB each."""
INDEXED_BYTES = 65_536
"""Bytes of text indexed in one portion, or one message that is longer. The cost is in the length, and in how many
different characters there are."""
# NULL if all of them fit.
_FITTING = Statement(
    "SELECT max(min(seq) - 1, (SELECT seq FROM indexed) + 1) FROM (SELECT seq, sum(length(CAST(message AS BLOB))) OVER"
    " (ORDER BY seq) AS size FROM log WHERE seq > (SELECT seq FROM indexed) AND seq <= ?) WHERE size > ?"
)
_KEEP = "INSERT INTO batch SELECT * FROM (VALUES ('[]', '[]', '[]', ?, 0, '[]', '[]')) WHERE column4 IS NOT NULL"
_EMPTY_INDEX = (
    # Rows 1 and 10 are FTS5's totals and list of segments. The list goes first, so that SQLite's own check finds no
    # damage in a half-empty index, and a backup that is made meanwhile is good.
    Statement(
        "UPDATE search_data SET block = x'00000000000000' WHERE id IN (SELECT id FROM search_data WHERE id = 10"
        " AND length(block) <> 7 LIMIT ?) RETURNING id"
    ),
    Statement("DELETE FROM search_data WHERE id IN (SELECT id FROM search_data WHERE id > 10 LIMIT ?) RETURNING id"),
    Statement(
        "DELETE FROM search_idx WHERE (segid, term) IN (SELECT segid, term FROM search_idx LIMIT ?) RETURNING segid",
        whole="up to its limit",
    ),
    Statement(
        "DELETE FROM search_docsize WHERE id IN (SELECT id FROM search_docsize LIMIT ?) RETURNING id",
        whole="up to its limit",
    ),
)
ERASED_BYTES = 65_536
"""Bytes of text removed in one portion, or one message that is longer: each of its trigrams leaves the index."""
# These walk from message to message and stop at the bound: a window function would read every text up to its limit.
_REMOVE_HISTORY = Statement(
    "WITH RECURSIVE gone (seq, size) AS (SELECT ?1, 0 UNION ALL"
    " SELECT l.seq, gone.size + ifnull(length(CAST(l.message AS BLOB)), 0) FROM gone CROSS JOIN log AS l ON l.seq ="
    f" (SELECT n.seq FROM log AS n WHERE n.seq > gone.seq AND n.seq <= ?2 AND n.kind <= {LAST_RECEIPT}"
    " ORDER BY n.seq LIMIT 1) WHERE gone.size < ?4 LIMIT 1 + ?3)"
    " DELETE FROM log WHERE seq IN (SELECT seq FROM gone WHERE seq > ?1) RETURNING seq"
)
_ERASE_MESSAGES = Statement(
    "WITH RECURSIVE gone (seq, id, size) AS (SELECT 0, 0, 0 UNION ALL"
    " SELECT l.seq, l.message_id, gone.size + ifnull(length(CAST(l.message AS BLOB)), 0) FROM gone CROSS JOIN log AS l"
    f" ON l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id = (SELECT n.message_id FROM log AS n"
    f" WHERE n.kind <= {LAST_MESSAGE} AND n.chat = ?1 AND n.message_id > gone.id ORDER BY n.message_id LIMIT 1)"
    " WHERE gone.size < ?3 LIMIT 1 + ?2)"
    " DELETE FROM log WHERE seq IN (SELECT seq FROM gone) RETURNING seq"
)
_ERASE_RECEIPTS = Statement(
    f"DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE kind IN ({DLVRD}, {READ}) AND chat = ? LIMIT ?)"
    " RETURNING seq"
)
_ADD_BASE = "INSERT INTO base_part (round, value) SELECT * FROM (VALUES (?, ?)) WHERE column2 IS NOT NULL"


async def keep_rows(connection: Connection, rows: SnapshotRows) -> None:
    """Write some rows of the snapshot. If `seq` is among them, the snapshot is as of that entry from now on."""
    await connection.execute(_KEEP, (as_json(rows),))
    await release_parameters(connection, _KEEP)


async def begin_base(connection: Connection) -> int:
    """Begin a new base beside the valid one, and return its number."""
    ((number,),) = await connection.execute(
        "SELECT 1 + max(coalesce((SELECT max(round) FROM base_part), 0),"
        " coalesce((SELECT value->>'$.round' FROM base), 0))"
    )
    return int(number)


async def add_base(connection: Connection, number: int, rows: SnapshotRows) -> None:
    """Add some rows to a new base."""
    await connection.execute(_ADD_BASE, (number, as_json(rows)))
    await release_parameters(connection, _ADD_BASE)


async def end_base(connection: Connection, number: int, start: dict[str, int]) -> None:
    """Make a new base, which is whole, the valid one."""
    await connection.execute(
        "INSERT OR REPLACE INTO base (one, value) VALUES (1, ?)", (as_json({**start, "round": number}),)
    )


async def clear_bases(connection: Connection, count: int) -> int:
    """Remove some parts of bases that are not valid; return how many."""
    rows = await connection.execute(
        "DELETE FROM base_part WHERE number IN (SELECT number FROM base_part"
        " WHERE round <> coalesce((SELECT value->>'$.round' FROM base), 0) LIMIT ?) RETURNING number",
        (count,),
    )
    return len(rows)


async def remove_history(after: int, upto: int, connection: Connection, count: int) -> list[int]:
    """Remove messages and receipts after an entry and up to another, the oldest first.

    Args:
        after: the entry before them.
        upto: the last one that may go.
        connection: the one that writes.
        count: how many at most. Fewer go where their texts are more than `ERASED_BYTES`, but one at least.

    Returns:
        The `seq` of each, ascending; empty once none is left.
    """
    rows = await connection.execute(_REMOVE_HISTORY, (after, upto, count, ERASED_BYTES))
    return sorted(seq for (seq,) in rows)


async def forget_removed(connection: Connection, places: Sequence[int], before: int) -> None:
    """Forget the client keys of removed messages at these places, if they are older than `before` (Unix ms)."""
    await connection.execute(
        "DELETE FROM removed WHERE place IN (SELECT value FROM json_each(?)) AND at < ?", (as_json(places), before)
    )


async def erase_chat(connection: Connection, chat: ChatKey, count: int) -> int:
    """Remove some messages of a deleted chat, and once none is left some receipts. Arguments as for `remove_history`.

    Returns:
        How many were removed; 0 once nothing is left.
    """
    rows = await connection.execute(_ERASE_MESSAGES, (chat, count, ERASED_BYTES))
    return len(rows or await connection.execute(_ERASE_RECEIPTS, (chat, count)))


async def index(connection: Connection, upto: int) -> int:
    """Index entries up to one, or as many before it as have `INDEXED_BYTES` of text, but at least one.

    Returns:
        The last entry that is indexed now.
    """
    ((reached,),) = await connection.execute(_FITTING, (upto, INDEXED_BYTES))
    reached = upto if reached is None else reached
    await connection.execute("INSERT INTO batch VALUES ('[]', '[]', '[]', '{}', ?, '[]', '[]')", (reached,))
    return int(reached)


def is_damage(error: sqlite3.Error) -> bool:
    """Return whether an error may come from a damaged full-text index. FTS5 and SQLite both report SQLITE_CORRUPT."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF == sqlite3.SQLITE_CORRUPT


async def lose_index(connection: Connection) -> None:
    """Drop the full-text index: it is neither read nor updated from now on, and is rebuilt from the first entry.

    Triggers compare with `indexed` too, so edits and deletions do not touch what is damaged.
    """
    await connection.execute("UPDATE indexed SET seq = 0")


async def empty_index(connection: Connection, count: int) -> bool:
    """Remove a portion of a dropped full-text index; return whether there is more.

    Its tables are emptied directly: FTS5 would do it in one transaction, and may not be able to read them.
    """
    for remove in _EMPTY_INDEX:
        if await connection.execute(remove, (count,)):
            return True
    await connection.execute("INSERT INTO search (search) VALUES ('delete-all')")
    return False


async def file_client_keys(connection: Connection, keys: Sequence[tuple[int, Seq]]) -> None:
    """Write some client keys to their table, if their messages are still in the log."""
    if keys:
        size = round_up(len(keys))
        nothing = (None, None) * (size - len(keys))
        await connection.execute(_filing_statement(size), [*chain.from_iterable(keys), *nothing])


async def note_filed(connection: Connection, filing: KeyFlush) -> None:
    """Note that all keys of a slice are in their table.

    Called only once they are: after a crash before this the keys are read into memory again, and written again.
    """
    await connection.execute("UPDATE filed SET seq = ? WHERE slice = ?", (filing.upto, filing.slice))


@cache
def _filing_statement(size: int) -> str:
    return (
        f"INSERT OR IGNORE INTO client (key, seq) SELECT * FROM (VALUES {', '.join(['(?, ?)'] * size)})"
        " WHERE column2 IN (SELECT seq FROM log)"
    )


async def unmerged(connection: Connection) -> int:
    """Read how many texts were deleted from the full-text index since it was merged as a whole."""
    ((texts,),) = await connection.execute("SELECT texts FROM unmerged")
    return texts  # type: ignore[no-any-return]


async def merge(connection: Connection, *, begin: bool = False, pages: int | None = None) -> bool:
    """Do a step of a merge of the full-text index. Once it ends, texts deleted before it began are erased.

    Args:
        connection: the one that writes.
        begin: whether to begin a merge of everything, or to go on with one.
        pages: about how many pages, of 1 KiB each; `MERGED` if None is given.

    Returns:
        Whether there is more to do.
    """
    ((before,),) = await connection.execute("SELECT total_changes()")
    pages = pages or MERGED
    # A negative number merges all segments; it would restart a merge that is under way.
    await connection.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (-pages if begin else pages,))
    ((after,),) = await connection.execute("SELECT total_changes()")
    # The command itself counts as one.
    return bool(after - before > 1)


async def note_merged(connection: Connection, texts: int) -> None:
    """Note that so many deleted texts are erased from all segments of the full-text index."""
    await connection.execute("UPDATE unmerged SET texts = texts - ?", (texts,))


async def shrink_log(connection: Connection, fits: Callable[[int], bool]) -> None:
    """Copy the write-ahead log back into the file and free its space.

    Args:
        connection: the one that writes.
        fits: returns whether the disk has room for a file of so many bytes; if not, nothing is done.
    """
    ((pages,),) = await connection.execute("PRAGMA page_count")
    ((page,),) = await connection.execute("PRAGMA page_size")
    if not fits(pages * page):
        return
    # Senders wait meanwhile, so a reader that is in the way is not waited for.
    await connection.execute(database.busy_after(0.02))
    await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await connection.execute(database.busy_after(database.BUSY_SECONDS))


async def copy_each(connection: Connection, pages: int) -> None:
    """Have SQLite copy its log back at each commit that makes it so many pages long; 0 for never."""
    await connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")


async def give_back(connection: Connection, pages: int, spare: int = 0) -> bool:
    """Return some free pages to the file system.

    Args:
        connection: the one that writes.
        pages: how many at most.
        spare: how many free pages stay in the file.

    Returns:
        Whether there are more to return.
    """
    free = await _free_pages(connection) - spare
    if free <= 0:
        return False
    # As a script: SQLite frees one page a step, and a statement without columns is stepped only once.
    await connection.script(f"PRAGMA incremental_vacuum({min(pages, free)})")
    return free > pages


async def _free_pages(connection: Connection) -> int:
    ((free,),) = await connection.execute("PRAGMA freelist_count")
    return int(free)
