"""Entries that retention may remove: by age, by chat, and the rest of a deleted chat. Reads only."""

from collections.abc import Sequence

from relay.keys import ChatKey, MessageId, Seq, UnixMs
from relay.store.kinds import LAST_MESSAGE, LAST_RECEIPT
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement, as_json

_REMOVED_BEFORE = Statement(
    "SELECT place FROM removed WHERE at < ? ORDER BY place", whole="once an hour, 65,536 short rows at most"
)
# Timestamps never go backwards along the log, so the first entry that is not older ends the search.
_FIRST_NOT_OLDER = Statement(
    "SELECT coalesce((SELECT seq FROM log WHERE at BETWEEN ? AND ? ORDER BY seq LIMIT 1) - 1,"
    " (SELECT max(seq) FROM log), 0)",
    whole="it walks along what is older, which then goes",
)
_LAST_OLDER = Statement("SELECT coalesce((SELECT seq FROM log WHERE seq <= ? AND at < ? ORDER BY seq DESC LIMIT 1), 0)")
_WITH_ENTRIES = Statement(
    f"SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM log WHERE kind <= {LAST_RECEIPT} AND chat = value)"
)


async def removed_before(connection: Connection, at: UnixMs) -> list[int]:
    """Find the rows in `removed` of messages older than `at` (Unix milliseconds)."""
    return [place for (place,) in await connection.execute(_REMOVED_BEFORE, (at,))]


async def last_messages(connection: Connection, after: Seq, upto: Seq) -> list[tuple[ChatKey, MessageId]]:
    """Find the last message id of each chat in a span of entries.

    Args:
        connection: the connection to read with.
        after: the entry before the first.
        upto: the last entry.

    Returns:
        Chat key and message id; only chats with messages there.
    """
    return await connection.execute(
        f"SELECT chat, max(message_id) FROM log WHERE seq > ? AND seq <= ? AND kind <= {LAST_MESSAGE} GROUP BY chat",
        (after, upto),
    )


async def last_before(connection: Connection, at: UnixMs, now: UnixMs) -> Seq:
    """Find the last entry that is older than a time (Unix milliseconds); 0 for none.

    Args:
        connection: one that reads.
        at: the time.
        now: the present time. An entry dated later had a wrong clock, and counts as old as the following one.
    """
    ((seq,),) = await connection.execute(_FIRST_NOT_OLDER, (at, now))
    ((seq,),) = await connection.execute(_LAST_OLDER, (seq, at))
    return seq  # type: ignore[no-any-return]


async def first_prunable(connection: Connection, after: Seq) -> Seq:
    """Find the first entry after `after` that retention may remove; 0 for none."""
    ((seq,),) = await connection.execute(
        f"SELECT coalesce((SELECT seq FROM log WHERE seq > ? AND kind <= {LAST_RECEIPT} ORDER BY seq LIMIT 1), 0)",
        (after,),
    )
    return seq  # type: ignore[no-any-return]


async def chats_with_entries(connection: Connection, chats: Sequence[ChatKey]) -> list[ChatKey]:
    """Select the chats that have messages or receipts left."""
    rows = await connection.execute(_WITH_ENTRIES, (as_json(chats),))
    return [chat for (chat,) in rows]
