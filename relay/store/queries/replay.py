"""Replay: the entries that a device has missed, and the starting point of a new device.

SQL in, entries out. Reads only.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from relay.keys import NO_CHAT, ChatKey, MessageId, Seq, UserKey
from relay.protocol.objects import ReplyTo
from relay.store.entry import REPLY_PREVIEW_CHARACTERS, Covered, Entry, read_extra
from relay.store.kinds import DELETE, DLVRD, EDIT, FIRST_CHANGE, LAST_MESSAGE, LAST_RECEIPT, NEW, READ, USER
from relay.store.sqlite.database import Connection
from relay.store.sqlite.reading import PageBound, utf8
from relay.store.sqlite.statements import Row, Statement, as_json, said_at

PAGE_ENTRIES = 256
"""Maximum entries in a page."""
REPLAY_PAGE_BYTES = 256 * 1024
"""Maximum bytes of text in a page, which has at least one entry."""
CHANGES_CHAT = NO_CHAT
"""The key for changes to chats and users; real chat keys count from 1."""
CHATS_AT_A_TIME = 500
"""Chats that one statement reads, so that other requests get a turn in between."""

# Read each source by its index, in the order of the log and up to a limit, and nothing else of the log.
_AHEAD = Statement(f"""
    SELECT c.value->>0, (SELECT json_group_array(seq) FROM (
        SELECT seq FROM log WHERE kind <= {LAST_RECEIPT} AND chat = c.value->>0 AND seq > c.value->>1 AND seq <= ?2
        ORDER BY seq LIMIT ?3))
    FROM json_each(?1) AS c
""")
_CHANGES_AHEAD = Statement(f"""
    SELECT seq FROM log INDEXED BY log_change WHERE kind >= {FIRST_CHANGE} AND kind <= {USER} AND seq > ? AND seq <= ?
    ORDER BY seq LIMIT ?
""")
# An edit shows the current text of its message, and a reply the current text of the quoted message.
_ENTRIES = Statement(f"""
    SELECT l.seq, l.kind, l.chat, l.message_id, l.actor, l.device, l.at, l.target, l.client_id,
        CASE WHEN l.kind <= {LAST_MESSAGE} THEN o.message END, CASE WHEN l.kind <= {LAST_MESSAGE} THEN o.extra END,
        o.deleted,
        r.client_id, r.actor, ifnull({said_at("r")}, r.at), substr(r.message, 1, {REPLY_PREVIEW_CHARACTERS}),
        CASE WHEN l.kind > {EDIT} THEN l.extra END,
        o.client_id, length(r.message)
    FROM log AS l
    LEFT JOIN log AS o ON o.kind <= {LAST_MESSAGE} AND o.chat = l.chat
        AND o.message_id = CASE WHEN l.kind IN ({EDIT}, {DELETE}) THEN l.target ELSE l.message_id END
    LEFT JOIN log AS r ON l.kind = {NEW} AND l.target > 0 AND r.kind <= {LAST_MESSAGE} AND r.chat = l.chat
        AND r.message_id = l.target
    WHERE l.seq IN (SELECT value FROM json_each(?)) ORDER BY l.seq
""")
_COVERED = Statement(f"""
    SELECT chat, message_id, actor, client_id FROM json_each(?) AS w CROSS JOIN log
        ON kind <= {LAST_MESSAGE} AND chat = w.value->>0 AND message_id = w.value->>1
""")
_OLDEST_UNDELIVERED = Statement(f"""
    SELECT min((SELECT seq FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = c.value->>0
        AND message_id > c.value->>1 AND actor <> ?1 AND NOT deleted ORDER BY message_id LIMIT 1))
    FROM json_each(?2) AS c
""")
# Find the chat's last entry in this range, then go down from its message to the first one of another author.
_REACHED = Statement(f"""
    WITH top (chat, had, message_id) AS MATERIALIZED (
        SELECT c.value->>0, c.value->>1, (
            SELECT message_id FROM log WHERE seq = (
                SELECT max(seq) FROM log WHERE kind <= {LAST_RECEIPT} AND chat = c.value->>0
                AND seq > ?2 AND seq <= ?3))
        FROM json_each(?1) AS c)
    SELECT chat, (SELECT message_id FROM log WHERE kind <= {LAST_MESSAGE} AND kind = {NEW} AND chat = top.chat
        AND message_id <= top.message_id AND message_id > top.had AND actor <> ?4 AND seq > ?2 AND seq <= ?3
        ORDER BY message_id DESC LIMIT 1)
    FROM top
""")

_seqs = msgspec.json.Decoder(list[int]).decode


class Named(Protocol):
    """The part of a user that a reply shows."""

    id: str


async def ahead(
    connection: Connection, chats: Sequence[tuple[ChatKey, Seq]], upto: Seq, limit: int
) -> dict[ChatKey, list[Seq]]:
    """Find the next entries of chats, ascending.

    Args:
        connection: one that reads.
        chats: (chat key, `seq` after which to start); `CHANGES_CHAT` for the changes to chats and users.
        upto: the last `seq` of interest.
        limit: the maximum number per chat.

    Returns:
        The `seq`s by chat key.
    """
    found: dict[ChatKey, list[Seq]] = {}
    plain = [one for one in chats if one[0] != CHANGES_CHAT]
    for start in range(0, len(plain), CHATS_AT_A_TIME):
        rows = await connection.execute(_AHEAD, (as_json(plain[start : start + CHATS_AT_A_TIME]), upto, limit))
        found.update((chat, _seqs(seqs)) for chat, seqs in rows)
    for key, after in chats:
        if key == CHANGES_CHAT:
            rows = await connection.execute(_CHANGES_AHEAD, (after, upto, limit))
            found[key] = [seq for (seq,) in rows]
    return found


async def entries(
    connection: Connection, seqs: Sequence[Seq], users: Mapping[UserKey, Named]
) -> tuple[list[Entry], bool]:
    """Read entries with all fields of their events, up to `REPLAY_PAGE_BYTES`.

    Args:
        connection: one that reads.
        seqs: their `seq`s, ascending.
        users: users by key, for the names in replies.

    Returns:
        The entries, and whether some did not fit.
    """
    bound = PageBound(len(seqs), REPLAY_PAGE_BYTES, _weight)
    rows, more = await connection.page(_ENTRIES, (as_json(seqs),), bound)
    found = [_entry(row, users) for row in rows]
    await _fill_covered(connection, found)
    return found, more


def _weight(row: Row) -> int:
    """Return the bytes read for an entry, including the whole message that it replies to (only a part is shown)."""
    return utf8(row[9]) + utf8(row[10]) + utf8(row[16]) + (row[18] or 0)


def _entry(row: Row, users: Mapping[UserKey, Named]) -> Entry:
    (
        seq, kind, chat, message_id, actor, device, at, target, client_id, message, extra, deleted,
        reply_client_id, reply_actor, reply_at, reply_message, own_extra, covered_client_id, _,
    ) = row  # fmt: skip
    entry = Entry(seq, kind, chat, message_id, actor, device, at, target, None, client_id)
    if kind <= DELETE:
        entry.deleted = bool(deleted)
        entry.message = message
        if extra is not None and kind != DELETE and not deleted:
            more = read_extra(extra)
            entry.attachments, entry.forwarded = more.attachments, more.forwarded
            if kind == NEW:
                entry.said_at = more.said_at
        if reply_client_id is not None:
            entry.reply_to = ReplyTo(
                message_id=target,
                client_message_id=reply_client_id,
                message=reply_message or None,
                sender=users[reply_actor].id,
                created_at=reply_at,
            )
        if kind == DELETE:
            entry.extra = own_extra
    else:
        entry.extra = own_extra
        if kind in (DLVRD, READ):
            entry.client_id = covered_client_id
    return entry


async def _fill_covered(connection: Connection, entries: list[Entry]) -> None:
    """Look up the authors and client ids of the messages that the receipts among these entries cover."""
    wanted: dict[tuple[ChatKey, MessageId], tuple[UserKey, str] | None] = {}
    for entry in entries:
        if entry.kind in (DLVRD, READ):
            for message_id in entry.covered_ids:
                wanted[entry.chat, message_id] = None
    if not wanted:
        return
    rows = await connection.execute(_COVERED, (as_json(list(wanted)),))
    wanted.update({(chat, message_id): (actor, client_id) for chat, message_id, actor, client_id in rows})
    for entry in entries:
        if entry.kind in (DLVRD, READ):
            found = [(wanted[entry.chat, i], i) for i in entry.covered_ids]
            entry.covered = tuple(Covered(known[0], i, known[1]) for known, i in found if known is not None)


async def oldest_undelivered(
    connection: Connection, user: UserKey, chats: Sequence[tuple[ChatKey, MessageId]]
) -> Seq | None:
    """Find the starting point of a new device: the `seq` of the oldest message that its user has not received, or None.

    Args:
        connection: one that reads.
        user: the user's key.
        chats: (chat key, message id up to which the user has received all).
    """
    found = []
    for start in range(0, len(chats), CHATS_AT_A_TIME):
        parameters = (user, as_json(chats[start : start + CHATS_AT_A_TIME]))
        ((seq,),) = await connection.execute(_OLDEST_UNDELIVERED, parameters)
        if seq is not None:
            found.append(seq)
    return min(found, default=None)


async def reached(
    connection: Connection, user: UserKey, chats: Sequence[tuple[ChatKey, MessageId]], after: Seq, upto: Seq
) -> list[tuple[ChatKey, MessageId]]:
    """Find in each chat the highest message of others between two entries.

    Args:
        connection: one that reads.
        user: the user's key.
        chats: (chat key, message id up to which the user has received all); only higher ones are of interest.
        after: the `seq` before the first entry.
        upto: the `seq` of the last one.

    Returns:
        (chat key, message id) of the chats that have one.
    """
    found: list[tuple[ChatKey, MessageId]] = []
    for start in range(0, len(chats), CHATS_AT_A_TIME):
        parameters = (as_json(chats[start : start + CHATS_AT_A_TIME]), after, upto, user)
        rows = await connection.execute(_REACHED, parameters)
        found += [(chat, message_id) for chat, message_id in rows if message_id is not None]
    return found
