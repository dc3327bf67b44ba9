"""The full-text index: filling it, merging its segments, and emptying one that was dropped."""

import sqlite3

from relay.store.damage import DamagedIndex, is_damage
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Parameters, Statement

MERGED_PAGES = 64
"""Pages of the full-text index merged in one portion, of 1 KiB each."""
INDEXED_BYTES = 65_536
"""Bytes of text indexed in one portion; a longer message is indexed alone. The cost grows with the length and with the
number of different characters."""
# NULL if all of them fit.
_FITTING = Statement(
    "SELECT max(min(seq) - 1, (SELECT seq FROM indexed) + 1) FROM (SELECT seq, sum(length(CAST(message AS BLOB))) OVER"
    " (ORDER BY seq) AS size FROM log WHERE seq > (SELECT seq FROM indexed) AND seq <= ?) WHERE size > ?"
)
_MERGE = Statement("INSERT INTO search (search, rank) VALUES ('merge', ?)")
_EMPTY_INDEX = (
    # Rows 1 and 10 are FTS5's totals and list of segments. The list goes first, so that SQLite's own check finds no
    # damage in a half-empty index, and a backup made meanwhile is good.
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


async def _on_index(connection: Connection, sql: str, parameters: Parameters) -> None:
    """Run a statement that needs no pages but the index's, or other pages that were read just before.

    Raises:
        DamagedIndex: the index is damaged.
        sqlite3.Error: it failed for another reason.
    """
    try:
        await connection.execute(sql, parameters)
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise DamagedIndex(str(error)) from error
        raise


async def index(connection: Connection, upto: int) -> int:
    """Index entries up to `upto`, or up to `INDEXED_BYTES` of text, but at least one.

    Args:
        connection: the one that writes.
        upto: the `seq` of the last entry to index.

    Returns:
        The last entry that is indexed now.

    Raises:
        DamagedIndex: the index is damaged.
        sqlite3.Error: the entries cannot be read, or the store cannot be written.
    """
    ((reached,),) = await connection.execute(_FITTING, (upto, INDEXED_BYTES))
    reached = upto if reached is None else reached
    # That has read the entries and their texts.
    await _on_index(connection, "INSERT INTO batch VALUES ('[]', '[]', '[]', '{}', ?, '[]', '[]')", (reached,))
    return int(reached)


async def lose_index(connection: Connection) -> None:
    """Drop the full-text index: it is neither read nor updated from now on, and is rebuilt from the first entry.

    Triggers compare with `indexed` too, so edits and deletions do not touch the damaged index.
    """
    await connection.execute("UPDATE indexed SET seq = 0")


async def empty_index(connection: Connection, count: int) -> bool:
    """Remove a portion of a dropped full-text index; return whether there is more.

    This empties its tables directly: FTS5 would do it in one transaction, and may be unable to read them.

    Args:
        connection: the one that writes.
        count: the maximum number of blocks or rows.
    """
    for remove in _EMPTY_INDEX:
        if await connection.execute(remove, (count,)):
            return True
    await connection.execute("INSERT INTO search (search) VALUES ('delete-all')")
    return False


async def unmerged(connection: Connection) -> int:
    """Read how many texts were deleted from the full-text index since the last merge of the whole."""
    ((texts,),) = await connection.execute("SELECT texts FROM unmerged")
    return texts  # type: ignore[no-any-return]


async def merge(connection: Connection, *, begin: bool = False, pages: int = MERGED_PAGES) -> bool:
    """Do a step of a merge of the full-text index. Once it ends, texts deleted before it began are erased.

    Args:
        connection: the one that writes.
        begin: whether to begin a merge of everything, or to continue one.
        pages: about how many pages, of 1 KiB each.

    Returns:
        Whether there is more to do.

    Raises:
        DamagedIndex: the index is damaged.
    """
    ((before,),) = await connection.execute("SELECT total_changes()")
    # A negative number merges all segments; it would restart a merge that is under way.
    await _on_index(connection, _MERGE, (-pages if begin else pages,))
    ((after,),) = await connection.execute("SELECT total_changes()")
    # The command itself counts as one.
    return bool(after - before > 1)


async def note_merged(connection: Connection, texts: int) -> None:
    """Note that this many deleted texts are erased from all segments of the full-text index."""
    await connection.execute("UPDATE unmerged SET texts = texts - ?", (texts,))
