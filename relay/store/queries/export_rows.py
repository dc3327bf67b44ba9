"""Messages, edits and deletions in the order they were sent, for an export. Reads only."""

import sqlite3
from typing import NamedTuple

from relay.keys import ChatKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import Attachment
from relay.store.damage import is_damage
from relay.store.entry import Extra, read_extra
from relay.store.kinds import LAST_MESSAGE, NEW
from relay.store.sqlite.database import Connection
from relay.store.sqlite.reading import PageBound, utf8
from relay.store.sqlite.statements import Row, Statement

EXPORT_BYTES = 1_000_000
"""Bytes of text in one page of an export."""
_COLUMNS = (
    "l.seq, l.kind, l.chat, l.message_id, l.actor, l.at, l.client_id, l.message, l.extra, l.deleted,"
    " l.changed_at, l.target,"
)
_ALL_COLUMNS = (
    f"{_COLUMNS} r.client_id, r.actor FROM log AS l NOT INDEXED LEFT JOIN log AS r"
    f" ON l.target > 0 AND r.kind <= {LAST_MESSAGE} AND r.chat = l.chat AND r.message_id = l.target"
    f" WHERE l.kind <= {LAST_MESSAGE} AND"
)
_EXPORT = Statement(f"SELECT {_ALL_COLUMNS} l.seq > ? AND l.seq <= ? ORDER BY l.seq LIMIT ?")
_ONE = Statement(f"SELECT {_ALL_COLUMNS} l.seq = ?")
_ONE_ALONE = Statement(f"SELECT {_COLUMNS} NULL, NULL FROM log AS l NOT INDEXED WHERE l.kind = {NEW} AND l.seq = ?")


class ExportRow(NamedTuple):
    """A message with its current text, or an edit or deletion."""

    seq: Seq
    kind: int
    chat: ChatKey
    message_id: MessageId
    actor: UserKey
    at: UnixMs
    """When it was sent, Unix milliseconds; an imported message has its own time."""
    client_id: str
    message: str | None
    attachments: list[Attachment] | None
    deleted: bool
    changed_at: UnixMs
    target: int
    """The message that it replies to or changes; 0 for none."""
    target_client_id: str | None
    """The client id of the message that it replies to or changes; None if that is gone."""
    target_author: UserKey | None


async def export_page(connection: Connection, after: Seq, upto: Seq, count: int) -> list[ExportRow]:
    """Read messages, edits and deletions in the order they were sent; at least one, while there are any.

    Args:
        connection: one that reads.
        after: the last `seq` that was read before.
        upto: the last `seq` of interest.
        count: the maximum number.
    """
    bound = PageBound(count, EXPORT_BYTES, lambda row: utf8(row[7]) + utf8(row[8]))
    rows, _ = await connection.page(_EXPORT, (after, upto, count), bound)
    return [_export_row(row) for row in rows]


async def export_row(connection: Connection, seq: int) -> list[ExportRow]:
    """Read the message, edit or deletion with a `seq`, if it is one.

    If the message that it replies to cannot be read, a message comes without it.

    Raises:
        sqlite3.DatabaseError: it cannot be read.
    """
    try:
        rows = await connection.execute(_ONE, (seq,))
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        rows = await connection.execute(_ONE_ALONE, (seq,))
        if not rows:
            # An edit or a deletion says nothing without its message.
            raise
    return [_export_row(row) for row in rows]


def _export_row(row: Row) -> ExportRow:
    seq, kind, chat, message_id, actor, at, client_id, text, extra, deleted, *rest = row
    # The `extra` of a deletion has another format.
    more = read_extra(extra) if extra and kind == NEW and not deleted else Extra()
    said_at = more.said_at or at
    return ExportRow(
        seq, kind, chat, message_id, actor, said_at, client_id, text, more.attachments, bool(deleted), *rest
    )
