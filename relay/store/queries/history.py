"""A chat's history: pages of its messages, their receipts, and the texts of the chat list.

SQL in, rows out. Reads only.
"""

from collections.abc import Sequence
from typing import NamedTuple

from relay.keys import ChatKey, MessageId, Seq, UnixMs, UserKey
from relay.store.entry import REPLY_PREVIEW_CHARACTERS
from relay.store.kinds import DLVRD, LAST_MESSAGE, NEW, READ
from relay.store.sqlite.database import Connection
from relay.store.sqlite.reading import PageBound, utf8
from relay.store.sqlite.statements import Row, Statement, as_json, said_at

HISTORY_PAGE_BYTES = 1_000_000
"""Maximum bytes of one answer: with its envelope less than 1 MiB, at which many clients close the connection."""
LIST_PREVIEW_CHARACTERS = 256
"""Characters of the last message that the chat list shows."""
CHATS_AT_A_TIME = 500
"""Chats that one statement reads, so that other requests get a turn in between."""
MEMBERS_AT_A_TIME = 2_000
"""Members that one statement reads, for the same reason."""


class HistoryRow(NamedTuple):
    """One message of a chat's history with its current text."""

    seq: Seq
    chat: ChatKey
    kind: int
    message_id: MessageId
    actor: UserKey
    at: UnixMs
    target: int
    """The message that it replies to or changes; 0 for none."""
    client_id: str
    message: str | None
    extra: str | None
    """JSON of a message's `Extra`."""
    changed_at: UnixMs
    deleted: int
    reply_client_id: str | None
    reply_actor: UserKey | None
    reply_at: UnixMs | None
    reply_message: str | None
    """The beginning, which is shown."""
    reply_length: int | None
    """The length of the whole text, which SQLite had to read."""


COLUMNS = f"""
    l.seq, l.chat, l.kind, l.message_id, l.actor, l.at, l.target, l.client_id, l.message, l.extra, l.changed_at,
           l.deleted, r.client_id, r.actor, ifnull({said_at("r")}, r.at),
           substr(r.message, 1, {REPLY_PREVIEW_CHARACTERS}), length(r.message)
"""
REPLIED_TO = f"""
    LEFT JOIN log AS r
        ON l.kind = {NEW} AND l.target > 0 AND r.kind <= {LAST_MESSAGE} AND r.chat = l.chat AND r.message_id = l.target
"""
MESSAGES = f"{COLUMNS} FROM log AS l {REPLIED_TO}"
# Edits and deletions of messages that the reader has cleared are not shown either.
_SEEN = f"(l.kind = {NEW} OR l.target > ?5)"
_UPWARDS = Statement(
    f"SELECT {MESSAGES} WHERE l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id >= ?2 AND {_SEEN}"
    " ORDER BY l.message_id LIMIT ?4"
)
_DOWNWARDS = Statement(
    f"SELECT {MESSAGES} WHERE l.kind <= {LAST_MESSAGE} AND l.chat = ?1 AND l.message_id < ?2 AND l.message_id > ?3"
    f" AND {_SEEN} ORDER BY l.message_id DESC LIMIT ?4"
)
# A member's receipts on these messages, and for each kind the first one on a later message, which covers these too.
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
    SELECT c.value->>0, substr(l.message, 1, {LIST_PREVIEW_CHARACTERS}),
        CASE WHEN l.message > '' THEN NULL ELSE l.extra END,
        {said_at("l")},
        CASE WHEN c.value->>2 < 0 THEN NULL ELSE (SELECT client_id FROM log
            WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = c.value->>0 AND message_id > c.value->>2
            AND actor <> ?1 AND NOT deleted ORDER BY message_id LIMIT 1) END
    FROM json_each(?2) AS c LEFT JOIN log AS l
        ON l.kind <= {LAST_MESSAGE} AND l.chat = c.value->>0 AND l.message_id = c.value->>1
""")


def weight(row: Row) -> int:
    """Return the bytes read for a message, including the whole message that it replies to (only a part is shown)."""
    return utf8(row[8]) + utf8(row[9]) + (row[16] or 0)


async def messages(
    connection: Connection,
    chat: ChatKey,
    *,
    start: int | None,
    end: int | None,
    after: int,
    cleared: int = 0,
    count: int,
) -> tuple[list[HistoryRow], bool]:
    """Read a page of a chat: from `start` on, ascending; or before `end`, or the latest, descending.

    Args:
        connection: one that reads.
        chat: the chat's key.
        start: the first message id.
        end: the message id after the last one.
        after: messages up to this id are not shown.
        cleared: edits and deletions of messages up to this id are not shown.
        count: the maximum number.

    Returns:
        The messages, in the order of reading, and whether there are more.
    """
    bound = PageBound(count, HISTORY_PAGE_BYTES, weight)
    if start is not None:
        rows, more = await connection.page(_UPWARDS, (chat, max(start, after + 1), after, count + 1, cleared), bound)
    else:
        below = end if end is not None else 2**62
        rows, more = await connection.page(_DOWNWARDS, (chat, below, after, count + 1, cleared), bound)
    return [HistoryRow(*row) for row in rows], more


class CoveringReceipt(NamedTuple):
    """A receipt: it covers all messages of its chat before it, too."""

    user: UserKey
    kind: int
    """`kinds.DLVRD` or `kinds.READ`."""
    message_id: MessageId
    at: UnixMs


async def receipts(
    connection: Connection, chat: ChatKey, members: Sequence[UserKey], first: MessageId, last: MessageId
) -> list[CoveringReceipt]:
    """Read the receipts that cover the messages from `first` to `last`.

    For each member and kind, a message is covered by the receipt with the lowest message id that is not below it.

    Args:
        connection: the connection to read with.
        chat: the chat's key.
        members: the members whose receipts count.
        first: the first message.
        last: the last one.

    Returns:
        The receipts, the highest message id first.
    """
    found: list[CoveringReceipt] = []
    for begin in range(0, len(members), MEMBERS_AT_A_TIME):
        some = as_json(members[begin : begin + MEMBERS_AT_A_TIME])
        found += map(CoveringReceipt._make, await connection.execute(_RECEIPTS, (some, chat, first, last + 1)))
    found.sort(key=lambda receipt: -receipt.message_id)
    return found


class ChatTexts(NamedTuple):
    """The texts of a chat in the chat list, which the state in memory lacks."""

    message: str | None
    """The beginning of the last message."""
    extra: str | None
    """Its `extra` (JSON), if it has no text."""
    said_at: UnixMs | None
    """When an imported one was sent, Unix milliseconds, if that is not its time in the log."""
    first_missed: str | None
    """The client id of the first unread message."""


async def chat_texts(
    connection: Connection, user: UserKey, chats: Sequence[tuple[ChatKey, MessageId, MessageId]]
) -> dict[ChatKey, ChatTexts]:
    """Read the newest message of chats, and the client id of the first unread one.

    Args:
        connection: one that reads.
        user: the key of the list's owner.
        chats: (chat key, id of the newest message, id up to which the user has read or -1 if nothing is unread).

    Returns:
        The texts by chat key.
    """
    found: dict[ChatKey, ChatTexts] = {}
    for start in range(0, len(chats), CHATS_AT_A_TIME):
        rows = await connection.execute(_CHAT_TEXTS, (user, as_json(chats[start : start + CHATS_AT_A_TIME])))
        found.update((key, ChatTexts(*texts)) for key, *texts in rows)
    return found
