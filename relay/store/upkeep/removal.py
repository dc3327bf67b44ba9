"""Removes history: old messages and receipts, deleted chats, contents that nobody sees, and client keys."""

from collections.abc import Sequence

from relay.keys import ChatKey, MessageId
from relay.store.kinds import DLVRD, LAST_MESSAGE, LAST_RECEIPT, NEW, READ
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement, as_json

ERASED_BYTES = 65_536
"""Bytes of text removed in one portion; a longer message goes alone, because each of its trigrams leaves the index."""
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
_CLEARED = Statement(
    "WITH RECURSIVE gone (id, size) AS (SELECT ?2, 0 UNION ALL"
    " SELECT l.message_id, gone.size + ifnull(length(CAST(l.message AS BLOB)), 0) FROM gone CROSS JOIN log AS l"
    f" ON l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id = (SELECT n.message_id FROM log AS n"
    f" WHERE n.kind <= {LAST_MESSAGE} AND n.chat = ?1 AND n.message_id > gone.id AND n.message_id <= ?3"
    " ORDER BY n.message_id LIMIT 1) WHERE gone.size < ?5 LIMIT 1 + ?4) SELECT max(id) FROM gone"
)
# As a deletion does it, but no entry says so: for everybody who could read it, it is gone already.
_ERASE_CLEARED = Statement(
    "INSERT INTO batch SELECT '[]', json_group_array(json_array(chat, message_id, changed, changed_at, NULL, NULL,"
    f" deleted)), '[]', '{{}}', 0, '[]', '[]' FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = ?1"
    " AND message_id > ?2 AND message_id <= ?3 AND (message IS NOT NULL OR extra IS NOT NULL)"
)
_ERASE_RECEIPTS = Statement(
    f"DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE kind IN ({DLVRD}, {READ}) AND chat = ? LIMIT ?)"
    " RETURNING seq"
)


async def remove_history(after: int, upto: int, connection: Connection, count: int) -> list[int]:
    """Remove messages and receipts after an entry and up to another, the oldest first.

    Args:
        after: the entry before them.
        upto: the last one that may be removed.
        connection: the one that writes.
        count: the maximum number. Fewer are removed if their texts exceed `ERASED_BYTES`, but at least one.

    Returns:
        The `seq` of each, ascending; empty once none is left.
    """
    rows = await connection.execute(_REMOVE_HISTORY, (after, upto, count, ERASED_BYTES))
    return sorted(seq for (seq,) in rows)


async def forget_removed(connection: Connection, places: Sequence[int], before: int) -> None:
    """Forget the client keys of removed messages.

    Args:
        connection: the connection that writes.
        places: their rows in `removed` (`prunable.removed_before`).
        before: only rows older than this, Unix milliseconds.
    """
    await connection.execute(
        "DELETE FROM removed WHERE place IN (SELECT value FROM json_each(?)) AND at < ?", (as_json(places), before)
    )


async def erase_chat(connection: Connection, chat: ChatKey, count: int) -> int:
    """Remove some messages of a deleted chat, or some receipts once no message is left. Args: see `remove_history`.

    Returns:
        The number removed; 0 once nothing is left.
    """
    rows = await connection.execute(_ERASE_MESSAGES, (chat, count, ERASED_BYTES))
    return len(rows or await connection.execute(_ERASE_RECEIPTS, (chat, count)))


async def erase_cleared(chat: ChatKey, after: MessageId, upto: MessageId, connection: Connection, count: int) -> int:
    """Erase the text and the attachments of some messages that everybody in a chat has cleared; their rows stay.

    Args:
        chat: the chat.
        after: the message id before them.
        upto: the last message id that may be erased.
        connection: the one that writes.
        count: the maximum number of messages; see `remove_history`.

    Returns:
        The message id up to which they are erased now; 0 once nothing is left.
    """
    ((last,),) = await connection.execute(_CLEARED, (chat, after, upto, count, ERASED_BYTES))
    if last == after:
        return 0
    await connection.execute(_ERASE_CLEARED, (chat, after, last))
    return int(last)
