"""Entries as they were written, for applying and auditing them. Reads only."""

from relay.keys import UserKey
from relay.store.entry import (
    Entry,
)
from relay.store.kinds import EDIT, FIRST_CHANGE
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

_BARE = (
    "SELECT seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, NULL,"
    f" CASE WHEN kind <= {EDIT} THEN NULL ELSE extra END FROM log WHERE"
)
_BARE_ENTRIES = Statement(f"{_BARE} seq > ? ORDER BY seq LIMIT ?")
_BARE_ENTRY = Statement(f"{_BARE} seq = ?")
_CHANGES = Statement(
    "SELECT seq, kind, chat, message_id, actor, device, at, target, NULL, NULL, NULL, extra FROM log"
    f" INDEXED BY log_change WHERE kind >= {FIRST_CHANGE} AND seq < ?1 AND (?2 IS NULL OR actor = ?2)"
    " ORDER BY seq DESC LIMIT ?3"
)


async def entries(connection: Connection, after: int, limit: int) -> list[Entry]:
    """Read entries without their texts, which applying them to the state does not need.

    Args:
        connection: one that reads.
        after: the `seq` of the last known entry.
        limit: the maximum number of entries.
    """
    rows = await connection.execute(_BARE_ENTRIES, (after, limit))
    return [Entry(*row) for row in rows]


async def entry(connection: Connection, seq: int) -> list[Entry]:
    """Read one entry like `entries`, if it is there."""
    return [Entry(*row) for row in await connection.execute(_BARE_ENTRY, (seq,))]


async def changes(connection: Connection, before: int, actor: UserKey | None, count: int) -> list[Entry]:
    """Read changes to users, devices, chats and history, the newest first.

    Args:
        connection: one that reads.
        before: only entries with a lower `seq`.
        actor: only entries of this user; None for everybody's.
        count: the maximum number.
    """
    rows = await connection.execute(_CHANGES, (before, actor, count))
    return [Entry(*row) for row in rows]
