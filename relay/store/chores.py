"""What the writer does between two batches: removing history, giving its space back, filing client keys, a little each.

Each is one short transaction on the writing connection, so that a commit never waits long. Writes only what
is handed in or is gone already.
"""

from functools import cache
from itertools import chain
from typing import Any

from relay.store.client_keys import Filing
from relay.store.database import Connection
from relay.store.queries import as_json
from relay.store.statements import Statement
from relay.store.writing import forget, roomy

ROWS = 1_000
"""Entries removed in one go."""
PAGES = 256
"""Pages given back in one go."""
MERGED = 16
"""Pages of the full-text index merged in one go, of 4 KiB each."""
_KEEP_SNAPSHOT = Statement(
    "INSERT INTO batch SELECT * FROM (VALUES ('[]', '[]', '[]', ?, 0, '[]', '[]')) WHERE column4 IS NOT NULL",
)
_KEEP_BASE = Statement(
    "INSERT OR REPLACE INTO base (one, value) SELECT * FROM (VALUES (1, ?)) WHERE column2 IS NOT NULL"
)
_REMOVE_HISTORY = Statement(
    "DELETE FROM log WHERE seq IN (SELECT seq FROM log NOT INDEXED WHERE seq <= ? AND kind <= 5 ORDER BY seq LIMIT ?)"
    " RETURNING seq"
)
_ERASE_CHAT = Statement(
    "DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE kind <= 5 AND chat = ? LIMIT ?) RETURNING seq"
)
_FILED = Statement("UPDATE filed SET seq = ? WHERE slice = ?")
_UNMERGED = Statement("SELECT texts FROM unmerged")
_TOTAL_CHANGES = Statement("SELECT total_changes()")
_MERGE = Statement("INSERT INTO search (search, rank) VALUES ('merge', ?)")
_MERGED = Statement("UPDATE unmerged SET texts = texts - ?")
_VACUUM = Statement(f"PRAGMA incremental_vacuum({PAGES})")
_SHRINK_LOG = Statement("PRAGMA wal_checkpoint(TRUNCATE)")
_FREE = Statement("PRAGMA freelist_count")


async def keep_base(connection: Connection, state: dict[str, Any]) -> None:
    """Keep the whole state as where the log's history begins, and as the snapshot: neither may need what goes.

    Args:
        connection: the one that writes.
        state: all rows of the state, as the store's `snapshot` parameter.
    """
    rows = as_json(state)
    for statement in (_KEEP_SNAPSHOT, _KEEP_BASE):
        await connection.execute(statement, (rows,))
        # It is all that is known of everybody, and the next time is an hour away.
        await forget(connection, statement)


async def remove_history(connection: Connection, upto: int) -> int:
    """Remove messages and marks up to an entry, the oldest first. Gives how many were removed."""
    rows = await connection.execute(_REMOVE_HISTORY, (upto, ROWS))
    return len(rows)


async def erase_chat(connection: Connection, chat: int) -> int:
    """Remove messages and marks of a chat that is gone. Gives how many were removed."""
    rows = await connection.execute(_ERASE_CHAT, (chat, ROWS))
    return len(rows)


async def file_client_keys(connection: Connection, filing: Filing) -> None:
    """Bring a slice of the client keys into their table: of messages that are still in the log."""
    if filing.keys:
        size = roomy(len(filing.keys))
        nothing = (None, None) * (size - len(filing.keys))
        await connection.execute(_filing_statement(size), [*chain.from_iterable(filing.keys), *nothing])
    # Only now: a relay that dies in between finds at its start that they are in memory as well, and files them again.
    await connection.execute(_FILED, (filing.upto, filing.slice))


@cache
def _filing_statement(size: int) -> Statement:
    return Statement(
        f"INSERT OR IGNORE INTO client (key, seq) SELECT * FROM (VALUES {', '.join(['(?, ?)'] * size)})"
        " WHERE column2 IN (SELECT seq FROM log)"
    )


async def unmerged(connection: Connection) -> int:
    """How many texts left the full-text index since all of it was merged."""
    ((texts,),) = await connection.execute(_UNMERGED)
    return texts  # type: ignore[no-any-return]


async def merge(connection: Connection, *, begin: bool) -> bool:
    """Merge a little of the full-text index: at the end of it no text is there that left before it was begun.

    Args:
        connection: the one that writes.
        begin: whether everything that is there now is to be merged, or what is left of that.

    Returns:
        Whether there is more.
    """
    ((before,),) = await connection.execute(_TOTAL_CHANGES)
    # A negative number puts all segments together; a merge that is under way would be begun anew by it.
    pages = -MERGED if begin else MERGED
    await connection.execute(_MERGE, (pages,))
    ((after,),) = await connection.execute(_TOTAL_CHANGES)
    # The command itself counts as one.
    return bool(after - before > 1)


async def note_merged(connection: Connection, texts: int) -> None:
    """Note that of those that left the full-text index so many are in none of its segments any more."""
    await connection.execute(_MERGED, (texts,))


async def shrink_log(connection: Connection) -> None:
    """Bring the write-ahead log into the file and give its room back."""
    await connection.execute(_SHRINK_LOG)


async def give_back(connection: Connection) -> bool:
    """Give pages that nothing uses back to the file system. Tells whether there are more."""
    await connection.execute(_VACUUM)
    ((free,),) = await connection.execute(_FREE)
    return bool(free > PAGES)
