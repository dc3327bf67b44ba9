"""Messages, edits and deletions in the order they were sent, for an export. Reads only."""

from typing import Any, NamedTuple

import msgspec

from relay.protocol.objects import Attachment
from relay.store.entry import (
    Extra,
)
from relay.store.kinds import LAST_MESSAGE, NEW
from relay.store.sqlite.database import Connection, PageBound, utf8
from relay.store.sqlite.statements import Statement

EXPORT_BYTES = 1_000_000
"""Text read at a time for an export, in bytes."""
_EXPORT = Statement(
    "SELECT l.seq, l.kind, l.chat, l.message_id, l.actor, l.at, l.client_id, l.message, l.extra, l.deleted,"
    " l.changed_at, l.target, r.client_id, r.actor FROM log AS l NOT INDEXED LEFT JOIN log AS r"
    f" ON l.target > 0 AND r.kind <= {LAST_MESSAGE} AND r.chat = l.chat AND r.message_id = l.target"
    f" WHERE l.kind <= {LAST_MESSAGE} AND l.seq > ? AND l.seq <= ? ORDER BY l.seq LIMIT ?"
)
_extra = msgspec.json.Decoder(Extra).decode


class ExportRow(NamedTuple):
    """A message as it is now, or an edit or a deletion, for an export."""

    seq: int
    kind: int
    chat: int
    message_id: int
    actor: int
    at: int
    """When it was said: an imported one says it itself."""
    client_id: str
    message: str | None
    attachments: list[Attachment] | None
    deleted: bool
    changed_at: int
    target: int
    target_client_id: str | None
    """Of what it answers or changes; None where that is not there any more."""
    target_author: int | None


async def export_page(connection: Connection, after: int, upto: int, count: int) -> list[ExportRow]:
    """Read messages, edits and deletions in the order they were sent: one at least, while there are any.

    Args:
        connection: one that reads.
        after: the last `seq` that is known already.
        upto: the last `seq` of interest.
        count: how many at most.
    """
    bound = PageBound(count, EXPORT_BYTES, lambda row: utf8(row[7]) + utf8(row[8]))
    rows, _ = await connection.page(_EXPORT, (after, upto, count), bound)
    return [_export_row(*row) for row in rows]


def _export_row(
    seq: int,
    kind: int,
    chat: int,
    message_id: int,
    actor: int,
    at: int,
    client_id: str,
    text: str | None,
    extra: str | None,
    deleted: int,
    *rest: Any,
) -> ExportRow:
    # A deletion's `extra` is no message's.
    more = _extra(extra) if extra and kind == NEW and not deleted else Extra()
    said_at = more.said_at or at
    return ExportRow(
        seq, kind, chat, message_id, actor, said_at, client_id, text, more.attachments, bool(deleted), *rest
    )
