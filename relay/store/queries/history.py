"""What is read of a chat: a page of its messages, who has got and read them, what the chat list shows of it.

SQL in, rows out. Reads only.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from relay.store.entry import REPLY_PREVIEW
from relay.store.kinds import DLVRD, LAST_MESSAGE, NEW, READ
from relay.store.sqlite.database import Connection, PageBound, utf8
from relay.store.sqlite.statements import Statement, as_json

PAGE_BYTES = 1_000_000
"""What one answer may have, in bytes: with its envelope less than the MiB at which many clients end a connection."""
LIST_PREVIEW = 256
"""How much of the last message stands in the chat list, in characters."""
CHATS_AT_A_TIME = 500
"""Chats that one statement looks into: others have their turn in between."""
MEMBERS_AT_A_TIME = 2_000
"""Members that one statement looks for; likewise."""


class HistoryRow(NamedTuple):
    """One message of a chat's history as it is now."""

    seq: int
    chat: int
    kind: int
    message_id: int
    actor: int
    at: int
    target: int
    client_id: str
    message: str | None
    extra: str | None
    changed_at: int
    deleted: int
    reply_client_id: str | None
    reply_actor: int | None
    reply_at: int | None
    reply_message: str | None
    """Its beginning, as it is shown."""
    reply_length: int | None
    """How long the whole is, which was read for it."""


COLUMNS = f"""
    l.seq, l.chat, l.kind, l.message_id, l.actor, l.at, l.target, l.client_id, l.message, l.extra, l.changed_at,
           l.deleted, r.client_id, r.actor, ifnull(r.extra ->> '$.saidAt', r.at),
           substr(r.message, 1, {REPLY_PREVIEW}), length(r.message)
"""
REPLIED_TO = f"""
    LEFT JOIN log AS r
        ON l.kind = {NEW} AND l.target > 0 AND r.kind <= {LAST_MESSAGE} AND r.chat = l.chat AND r.message_id = l.target
"""
MESSAGES = f"{COLUMNS} FROM log AS l {REPLIED_TO}"
# What changes a message that was cleared is not shown either: there are at most as many as messages.
_SEEN = f"(l.kind = {NEW} OR l.target > ?5)"
_UPWARDS = Statement(
    f"SELECT {MESSAGES} WHERE l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id >= ?2 AND {_SEEN}"
    " ORDER BY l.message_id LIMIT ?4"
)
_DOWNWARDS = Statement(
    f"SELECT {MESSAGES} WHERE l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id < ?2 AND l.message_id > ?3"
    f" AND {_SEEN} ORDER BY l.message_id DESC LIMIT ?4"
)
# A member's marks on these messages, and of each kind the first on a later one, which covers these too.
_RECEIPTS = Statement(f"""
    SELECT l.actor, l.kind, l.message_id, l.at FROM json_each(?1) AS m CROSS JOIN log AS l INDEXED BY log_mark
        ON l.kind IN ({DLVRD}, {READ}) AND l.chat = ?2 AND l.actor = m.value AND l.message_id >= ?3
        AND l.message_id < ?4
    UNION ALL
    SELECT l.actor, l.kind, l.message_id, l.at
    FROM json_each(?1) AS m CROSS JOIN json_each('[{DLVRD}, {READ}]') AS k CROSS JOIN log AS l ON l.seq = (
        SELECT seq FROM log INDEXED BY log_mark WHERE kind IN ({DLVRD}, {READ}) AND chat = ?2 AND actor = m.value
        AND kind = k.value AND message_id >= ?4 ORDER BY message_id LIMIT 1)
""")
_CHAT_TEXTS = Statement(f"""
    SELECT c.value->>0, substr(l.message, 1, {LIST_PREVIEW}), CASE WHEN l.message > '' THEN NULL ELSE l.extra END,
        l.extra ->> '$.saidAt',
        CASE WHEN c.value->>2 < 0 THEN NULL ELSE (SELECT client_id FROM log
            WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = c.value->>0 AND message_id > c.value->>2
            AND actor <> ?1 AND NOT deleted ORDER BY message_id LIMIT 1) END
    FROM json_each(?2) AS c LEFT JOIN log AS l
        ON l.kind <= {LAST_MESSAGE} AND l.chat = c.value->>0 AND l.message_id = c.value->>1
""")


def weight(row: tuple[Any, ...]) -> int:
    """How much of the store a message takes to read; of what it answers all, though it shows the beginning only."""
    return utf8(row[8]) + utf8(row[9]) + (row[16] or 0)


async def messages(
    connection: Connection, chat: int, *, start: int | None, end: int | None, after: int, cleared: int = 0, count: int
) -> tuple[list[HistoryRow], bool]:
    """Read a page of a chat: from `start` on, ascending; or before `end`, or the latest, descending.

    Args:
        connection: one that reads.
        chat: its key.
        start: the first message id.
        end: the message id after the last.
        after: messages up to this id are not shown.
        cleared: nor what changes messages up to this id.
        count: how many at most.

    Returns:
        The messages, those nearest to where the page begins first, and whether there are more.
    """
    bound = PageBound(count, PAGE_BYTES, weight)
    if start is not None:
        rows, more = await connection.page(_UPWARDS, (chat, max(start, after + 1), after, count + 1, cleared), bound)
    else:
        below = end if end is not None else 2**62
        rows, more = await connection.page(_DOWNWARDS, (chat, below, after, count + 1, cleared), bound)
    return [HistoryRow(*row) for row in rows], more


async def receipts(
    connection: Connection, chat: int, members: Sequence[int], first: int, last: int
) -> list[tuple[int, int, int, int]]:
    """Read the marks that cover the messages from one to another: (user, kind, message id, timestamp), the last first.

    Of each member and kind the mark that covers a message is the one with the lowest message id not below it.
    """
    found: list[tuple[int, int, int, int]] = []
    for begin in range(0, len(members), MEMBERS_AT_A_TIME):
        some = as_json(members[begin : begin + MEMBERS_AT_A_TIME])
        found += await connection.execute(_RECEIPTS, (some, chat, first, last + 1))
    found.sort(key=lambda mark: -mark[2])
    return found


class ChatTexts(NamedTuple):
    """What the chat list shows of a chat and only the log knows."""

    message: str | None
    """Its beginning, as the list shows it."""
    extra: str | None
    """What it holds beside a text, where it has none."""
    said_at: int | None
    """When it was said, where it came from elsewhere and that is not when it came."""
    first_missed: str | None


async def chat_texts(connection: Connection, user: int, chats: Sequence[tuple[int, int, int]]) -> dict[int, ChatTexts]:
    """Read the newest message and the first unread one's client id of chats.

    Args:
        connection: one that reads.
        user: whose list it is.
        chats: of each chat its key, its newest message's id, and up to which id the user has read it, or -1
            where nothing is unread.
    """
    found: dict[int, ChatTexts] = {}
    for start in range(0, len(chats), CHATS_AT_A_TIME):
        rows = await connection.execute(_CHAT_TEXTS, (user, as_json(chats[start : start + CHATS_AT_A_TIME])))
        found.update((key, ChatTexts(*texts)) for key, *texts in rows)
    return found
