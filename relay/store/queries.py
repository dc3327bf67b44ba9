"""What is asked of the log: facts for the rules, pages for replay and history, texts for the chat list.

SQL in, entries out. Reads only.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from relay.protocol.objects import Attachment, ReplyTo
from relay.store import kinds
from relay.store.client_keys import ClientKeys
from relay.store.database import Connection, Rows
from relay.store.entry import (
    REPLY_PREVIEW,
    ClientKey,
    Covered,
    CoveredBy,
    Entry,
    Extra,
    Fact,
    Facts,
    FilesNamed,
    FirstMark,
    Marked,
    MessageAt,
    Prunable,
    Stored,
    StoredFile,
    UnreadAfter,
)

_STORED = "chat, message_id, kind, actor, client_id, at, message, deleted, changed, changed_at, target, extra"
_ENTRY = (
    "l.seq, l.kind, l.chat, l.message_id, l.actor, l.device, l.at, l.target, l.client_id,"
    " o.message, o.extra, o.deleted, r.client_id, r.actor, r.at, r.message, l.extra, o.client_id"
)
# An edit shows the text of the message that it edits; an answer shows what it answers as that is now.
_ENTRIES = f"""
    SELECT {_ENTRY} FROM log AS l
    LEFT JOIN log AS o ON o.kind <= 3 AND o.chat = l.chat
        AND o.message_id = CASE WHEN l.kind IN (2, 3) THEN l.target ELSE l.message_id END
    LEFT JOIN log AS r ON l.kind = 1 AND l.target > 0 AND r.kind <= 3 AND r.chat = l.chat AND r.message_id = l.target
"""

_extra = msgspec.json.Decoder(Extra).decode
_covered = msgspec.json.Decoder(list[tuple[int, int]]).decode
_json = msgspec.json.encode


def as_json(value: object) -> str:
    """Encode a parameter that SQLite takes apart."""
    return _json(value).decode()


class Page(NamedTuple):
    """Entries in order, and up to which `seq` the log was searched for them."""

    entries: list[Entry]
    upto: int


async def look_up(connection: Connection, facts: Iterable[Fact], recent: ClientKeys) -> Facts:
    """Find what the rules need to know."""
    found: Facts = {}
    for fact in facts:
        match fact:
            case MessageAt():
                found[fact] = await _message(connection, fact)
            case ClientKey():
                found.update(await client_keys(connection, [fact.client_key], recent))
            case CoveredBy():
                found[fact] = await _covered_by(connection, fact)
            case UnreadAfter():
                ((found[fact],),) = await connection.execute(
                    "SELECT count(*) FROM log WHERE kind = 1 AND chat = ? AND message_id > ?"
                    " AND actor <> ? AND NOT deleted",
                    (fact.chat, fact.after, fact.user),
                )
            case Prunable():
                found[fact] = await _prunable(connection, fact)
            case FilesNamed():
                found[fact] = {file.id: file for file in await files(connection, fact.ids)}
            case FirstMark():
                found[fact] = await _first_mark(connection, fact)
    return found


async def client_keys(connection: Connection, keys: Sequence[int], recent: ClientKeys) -> Facts:
    """Find which of these client keys are in the log."""
    latest = [seq for key in keys if (seq := recent.seq(key)) is not None]
    rows = await connection.execute(
        f"SELECT client_key, {_STORED} FROM log WHERE seq IN (SELECT value FROM json_each(?)"
        " UNION ALL SELECT seq FROM client WHERE key IN (SELECT value FROM json_each(?)))",
        (as_json(latest), as_json(keys)),
    )
    found: Facts = {ClientKey(key): None for key in keys}
    found.update({ClientKey(key): Stored(*columns) for key, *columns in rows})
    return found


async def _message(connection: Connection, fact: MessageAt) -> Stored | None:
    rows = await connection.execute(
        f"SELECT {_STORED} FROM log WHERE kind <= 3 AND chat = ? AND message_id = ?", (fact.chat, fact.message_id)
    )
    return Stored(*rows[0]) if rows else None


async def _covered_by(connection: Connection, fact: CoveredBy) -> tuple[Covered, ...]:
    rows = await connection.execute(
        "SELECT actor, max(message_id), client_id FROM log"
        " WHERE kind = 1 AND chat = ? AND message_id > ? AND message_id <= ? AND actor <> ? AND NOT deleted"
        " GROUP BY actor ORDER BY 2 DESC",
        (fact.chat, fact.after, fact.upto, fact.user),
    )
    return tuple(Covered(*row) for row in rows)


async def _prunable(connection: Connection, fact: Prunable) -> dict[int, dict[int, list[int]]]:
    rows = await connection.execute(
        "SELECT l.chat, l.message_id, l.actor FROM json_each(?) AS w CROSS JOIN log AS l ON l.kind <= 3"
        " AND l.chat = w.value->>0 AND l.message_id > w.value->>1 AND l.message_id <= w.value->>2"
        " WHERE l.kind = 1 AND NOT l.deleted ORDER BY w.key, l.message_id",
        (as_json(fact.chats),),
    )
    messages: dict[int, dict[int, list[int]]] = {chat: {} for chat, _, _ in fact.chats}
    for chat, message_id, author in rows:
        messages[chat].setdefault(author, []).append(message_id)
    return messages


async def last_messages(connection: Connection, after: int, upto: int) -> list[tuple[int, int]]:
    """Find of each chat the last message id among these entries: chat keys and message ids."""
    return await connection.execute(
        "SELECT chat, max(message_id) FROM log WHERE seq > ? AND seq <= ? AND kind <= 3 GROUP BY chat", (after, upto)
    )


async def _first_mark(connection: Connection, fact: FirstMark) -> Marked | None:
    rows = await connection.execute(
        "SELECT message_id, client_id FROM log WHERE kind = 1 AND chat = ? AND message_id <= ? AND actor <> ?"
        " AND NOT deleted ORDER BY message_id DESC LIMIT 1",
        (fact.chat, fact.upto, fact.user),
    )
    if not rows:
        return None
    ((message_id, client_id),) = rows
    ((at,),) = await connection.execute(
        "SELECT min(at) FROM log WHERE kind IN (4, 5) AND kind >= ? AND chat = ? AND actor = ? AND message_id >= ?",
        (kinds.READ if fact.read else kinds.DLVRD, fact.chat, fact.user, message_id),
    )
    return None if at is None else Marked(message_id, client_id, at)


def _entry(row: Sequence[Any], user_ids: Any) -> Entry:
    (
        seq, kind, chat, message_id, actor, device, at, target, client_id, message, extra, deleted,
        reply_client_id, reply_actor, reply_at, reply_message, own_extra, covered_client_id,
    ) = row  # fmt: skip
    entry = Entry(seq, kind, chat, message_id, actor, device, at, target, None, client_id)
    if kind <= kinds.DELETE:
        entry.deleted = bool(deleted)
        entry.message = message
        if extra is not None and kind != kinds.DELETE and not deleted:
            more = _extra(extra)
            entry.attachments, entry.forwarded = more.attachments, more.forwarded
        if reply_client_id is not None:
            entry.reply_to = ReplyTo(
                message_id=target,
                client_message_id=reply_client_id,
                message=reply_message[:REPLY_PREVIEW] if reply_message else None,
                sender=user_ids[reply_actor].id,
                created_at=reply_at,
            )
        if kind == kinds.DELETE:
            entry.extra = own_extra
    else:
        entry.extra = own_extra
        if kind in (kinds.DLVRD, kinds.READ):
            entry.client_id = covered_client_id
    return entry


async def replay(
    connection: Connection, after: int, upto: int, chats: Sequence[int], limit: int, user_ids: Any
) -> Page:
    """Read a page of what happened in these chats, and all changes to chats and users, in order.

    Args:
        connection: one that reads.
        after: the last `seq` that is known already.
        upto: the last `seq` of interest.
        chats: chat keys.
        limit: how many entries at most.
        user_ids: users by key, for the names in answers.
    """
    rows = await connection.execute(
        f"{_ENTRIES} WHERE l.seq > ? AND l.seq <= ? AND (l.kind IN (6, 7) OR"
        " l.chat IN (SELECT value FROM json_each(?))) ORDER BY l.seq LIMIT ?",
        (after, upto, as_json(chats), limit),
    )
    entries = [_entry(row, user_ids) for row in rows]
    await _fill_covered(connection, entries)
    return Page(entries, entries[-1].seq if len(entries) == limit else upto)


async def _fill_covered(connection: Connection, entries: list[Entry]) -> None:
    """Look up whose messages the marks among these entries cover."""
    wanted: dict[tuple[int, int], tuple[int, str] | None] = {}
    for entry in entries:
        if entry.kind in (kinds.DLVRD, kinds.READ):
            for _, message_id in _covered(entry.extra) if entry.extra else [(0, entry.message_id)]:
                wanted[entry.chat, message_id] = None
    if not wanted:
        return
    rows = await connection.execute(
        "SELECT chat, message_id, actor, client_id FROM json_each(?) AS w JOIN log ON kind <= 3"
        " AND chat = w.value->>0 AND message_id = w.value->>1",
        (as_json(list(wanted)),),
    )
    wanted.update({(chat, message_id): (actor, client_id) for chat, message_id, actor, client_id in rows})
    for entry in entries:
        if entry.kind in (kinds.DLVRD, kinds.READ):
            ids = [i for _, i in _covered(entry.extra)] if entry.extra else [entry.message_id]
            found = [(wanted[entry.chat, i], i) for i in ids]
            entry.covered = tuple(Covered(known[0], i, known[1]) for known, i in found if known is not None)


async def oldest_undelivered(connection: Connection, user: int, chats: Sequence[tuple[int, int]]) -> int | None:
    """Find where a device's first connection starts: the `seq` of the oldest message its user has not got.

    Args:
        connection: one that reads.
        user: the user's key.
        chats: of each chat its key and up to which message the user has everything.
    """
    ((seq,),) = await connection.execute(
        "SELECT min((SELECT seq FROM log WHERE kind = 1 AND chat = c.value->>0 AND message_id > c.value->>1"
        " AND actor <> ? AND NOT deleted ORDER BY message_id LIMIT 1)) FROM json_each(?) AS c",
        (user, as_json(chats)),
    )
    return seq  # type: ignore[no-any-return]


async def reached(
    connection: Connection, user: int, chats: Sequence[int], after: int, upto: int
) -> Sequence[tuple[int, int]]:
    """Find of each chat the highest message of others that was logged after one `seq` and up to another.

    Returns:
        Chat keys and message ids.
    """
    return await connection.execute(
        "SELECT chat, max(message_id) FROM log WHERE seq > ? AND seq <= ? AND kind = 1 AND actor <> ?"
        " AND chat IN (SELECT value FROM json_each(?)) GROUP BY chat",
        (after, upto, user, as_json(chats)),
    )


class HistoryRow(NamedTuple):
    """One message of a chat's history as it is now."""

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


_MESSAGES = """
    SELECT l.chat, l.kind, l.message_id, l.actor, l.at, l.target, l.client_id, l.message, l.extra, l.changed_at,
           l.deleted, r.client_id, r.actor, r.at, r.message
    FROM log AS l LEFT JOIN log AS r
        ON l.kind = 1 AND l.target > 0 AND r.kind <= 3 AND r.chat = l.chat AND r.message_id = l.target
"""
_HISTORY = f"{_MESSAGES} WHERE l.kind <= 3 AND l.chat = ?"


async def history(
    connection: Connection, chat: int, *, start: int | None, end: int | None, after: int, count: int
) -> list[HistoryRow]:
    """Read a page of a chat, ascending: from `start` on, or before `end`, or the latest.

    Args:
        connection: one that reads.
        chat: its key.
        start: the first message id.
        end: the message id after the last.
        after: messages up to this id are not shown.
        count: how many at most.
    """
    if start is not None:
        rows = await connection.execute(
            f"{_HISTORY} AND l.message_id >= ? ORDER BY l.message_id LIMIT ?",
            (chat, max(start, after + 1), count),
        )
    else:
        rows = await connection.execute(
            f"{_HISTORY} AND l.message_id < ? AND l.message_id > ? ORDER BY l.message_id DESC LIMIT ?",
            (chat, end if end is not None else 2**62, after, count),
        )
        rows.reverse()
    return [HistoryRow(*row) for row in rows]


TRIGRAM = 3
"""The shortest text, in characters, that the index can find."""
SEARCH_SECONDS = 1.0
"""How long a search may take; the cheaper way as long again."""
SCANNED = 200_000
"""Of how many entries at most, the latest, a shorter text is looked for."""


async def search(
    connection: Connection,
    text: str,
    chats: Sequence[int],
    *,
    before: int | None,
    count: int,
    seconds: float = SEARCH_SECONDS,
) -> list[HistoryRow]:
    """Find the latest messages that hold a text, whatever its script and case; the latest first.

    Args:
        connection: one that reads.
        text: what to find, one character at least.
        chats: in which chats.
        before: only messages older than this, Unix milliseconds.
        count: how many at most.
        seconds: after how many it is given up.

    Raises:
        TooLong: it took longer.
    """
    where = "l.kind = 1 AND NOT l.deleted AND l.chat IN (SELECT value FROM json_each(?)) AND l.at < ?"
    limits = (as_json(chats), 2**62 if before is None else before, count)
    if len(text) >= TRIGRAM:
        quoted = '"' + text.replace('"', '""') + '"'
        # The index lags a moment behind the log: what it does not hold yet is looked through. Both go backwards from
        # the latest and stop at the limit, so that a word that is in every text costs no more than any other.
        rows = await connection.execute_within(
            seconds,
            f"{_MESSAGES} WHERE l.seq IN ("
            " SELECT * FROM (SELECT l.seq FROM log AS l WHERE l.seq > (SELECT seq FROM indexed)"
            f" AND l.message LIKE ? ESCAPE '!' AND {where} ORDER BY l.seq DESC LIMIT ?)"
            " UNION ALL SELECT * FROM (SELECT l.seq FROM search CROSS JOIN log AS l ON l.seq = search.rowid"
            f" WHERE search MATCH ? AND {where} ORDER BY search.rowid DESC LIMIT ?)"
            ") ORDER BY l.seq DESC LIMIT ?",
            (_like(text), *limits, quoted, *limits, count),
        )
    else:
        rows = await connection.execute_within(
            seconds,
            f"{_MESSAGES} WHERE l.seq > (SELECT max(seq) FROM log) - {SCANNED}"
            f" AND l.message LIKE ? ESCAPE '!' AND {where} ORDER BY l.seq DESC LIMIT ?",
            (_like(text), *limits),
        )
    return [HistoryRow(*row) for row in rows]


async def search_through(
    connection: Connection,
    text: str,
    chats: Sequence[int],
    *,
    before: int | None,
    count: int,
    seconds: float = SEARCH_SECONDS,
) -> list[HistoryRow]:
    """Find what `search` does by looking through all that was said in these chats.

    A usual word is said so often elsewhere that this is the shorter way to find it in chats where little was said.
    """
    rows = await connection.execute_within(
        seconds,
        f"{_MESSAGES} WHERE l.seq IN (SELECT o.seq FROM json_each(?) AS c CROSS JOIN log AS o"
        " ON o.kind <= 3 AND o.chat = c.value WHERE o.kind = 1 AND NOT o.deleted AND o.at < ?"
        " AND o.message LIKE ? ESCAPE '!' ORDER BY o.seq DESC LIMIT ?) ORDER BY l.seq DESC",
        (as_json(chats), 2**62 if before is None else before, _like(text), count),
    )
    return [HistoryRow(*row) for row in rows]


def _like(text: str) -> str:
    escaped = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"


async def marks(connection: Connection, chat: int, since: int) -> list[tuple[int, int, int, int]]:
    """Read the marks on messages from `since` on: (user, kind, message id, timestamp), oldest first."""
    return await connection.execute(
        "SELECT actor, kind, message_id, at FROM log WHERE kind IN (4, 5) AND chat = ? AND message_id >= ?"
        " ORDER BY seq",
        (chat, since),
    )


class ChatTexts(NamedTuple):
    """What the chat list shows of a chat and only the log knows."""

    message: str | None
    extra: str | None
    first_missed: str | None


async def chat_texts(connection: Connection, user: int, chats: Sequence[tuple[int, int, int]]) -> dict[int, ChatTexts]:
    """Read the newest message and the first unread one's client id of chats.

    Args:
        connection: one that reads.
        user: whose list it is.
        chats: of each chat its key, its newest message's id, and up to which id the user has read it, or -1
            where nothing is unread.
    """
    rows = await connection.execute(
        "SELECT c.value->>0, l.message, l.extra, CASE WHEN c.value->>2 < 0 THEN NULL ELSE (SELECT client_id FROM log"
        "   WHERE kind = 1 AND chat = c.value->>0 AND message_id > c.value->>2 AND actor <> ? AND NOT deleted"
        "   ORDER BY message_id LIMIT 1) END"
        " FROM json_each(?) AS c LEFT JOIN log AS l ON l.kind <= 3 AND l.chat = c.value->>0"
        " AND l.message_id = c.value->>1",
        (user, as_json(chats)),
    )
    return {key: ChatTexts(*texts) for key, *texts in rows}


async def cursors(connection: Connection) -> dict[int, tuple[int, int]]:
    """Read every device's cursor, and when it was last seen."""
    rows = await connection.execute("SELECT device, seq, seen FROM cursor")
    return {device: (seq, seen) for device, seq, seen in rows}


class Snapshot(NamedTuple):
    """What the log amounted to at `seq`; each row a key and JSON, a member's with two keys."""

    seq: int
    at: int
    pruned: int
    users: list[tuple[int, str]]
    devices: list[tuple[int, str]]
    invites: list[tuple[str, str]]
    chats: list[tuple[int, str]]
    members: list[tuple[int, int, str]]


async def snapshot(connection: Connection) -> Snapshot:
    """Read the last snapshot."""
    rows = await connection.execute("SELECT seq, at, pruned FROM snapshot")
    seq, at, pruned = rows[0] if rows else (0, 0, 0)
    return Snapshot(
        seq,
        at,
        pruned,
        await connection.execute("SELECT key, value FROM user ORDER BY key"),
        await connection.execute("SELECT key, value FROM device ORDER BY key"),
        await connection.execute("SELECT key, value FROM invite ORDER BY key"),
        await connection.execute("SELECT key, value FROM chat ORDER BY key"),
        await connection.execute("SELECT chat, user, value FROM member ORDER BY chat, user"),
    )


async def entries(connection: Connection, after: int, limit: int) -> list[Entry]:
    """Read entries as they were written, without their texts: all that applying them needs."""
    rows = await connection.execute(
        "SELECT seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, NULL,"
        " CASE WHEN kind <= 2 THEN NULL ELSE extra END FROM log WHERE seq > ? ORDER BY seq LIMIT ?",
        (after, limit),
    )
    return [Entry(*row) for row in rows]


async def ends(connection: Connection) -> tuple[int, int]:
    """Where the log ends, and up to where the full-text index holds it."""
    ((last, indexed),) = await connection.execute(
        "SELECT coalesce((SELECT max(seq) FROM log), 0), (SELECT seq FROM indexed)"
    )
    return last, indexed


async def unfiled(connection: Connection) -> tuple[Rows, dict[int, int]]:
    """Find client keys with their `seq`, all that are not in their table among them, and up to where each slice is."""
    filed: dict[int, int] = dict(await connection.execute("SELECT slice, seq FROM filed"))
    rows = await connection.execute(
        "SELECT client_key, seq FROM log WHERE seq > ? AND client_key IS NOT NULL ORDER BY seq", (min(filed.values()),)
    )
    return rows, filed


class Base(msgspec.Struct, rename="camel"):
    """The whole state where the log's history begins, as `Snapshot` has it."""

    seq: int
    at: int
    pruned: int
    round: int = 0
    """Which parts it consists of; 0 where all rows are here."""
    users: list[tuple[int, str]] = []
    devices: list[tuple[int, str]] = []
    invites: list[tuple[str, str]] | None = None
    chats: list[tuple[int, str]] = []
    members: list[tuple[int, int, str]] = []


class _BasePart(msgspec.Struct):
    users: list[tuple[int, str]]
    devices: list[tuple[int, str]]
    invites: list[tuple[str, str]] | None
    chats: list[tuple[int, str]]
    members: list[tuple[int, int, str]]


async def base(connection: Connection) -> Snapshot | None:
    """Read where the log's history begins; None where it begins with its first entry."""
    # One statement, and so one view: a base that takes its place meanwhile removes these parts.
    rows = await connection.execute(
        "SELECT base.value, base_part.value FROM base LEFT JOIN base_part ON base_part.round = base.value->>'$.round'"
        " ORDER BY base_part.number"
    )
    if not rows:
        return None
    kept = msgspec.json.decode(rows[0][0], type=Base)
    invites = kept.invites or []
    for _, value in rows if kept.round else ():
        part = msgspec.json.decode(value, type=_BasePart)
        kept.users += part.users
        kept.devices += part.devices
        kept.chats += part.chats
        kept.members += part.members
        invites = part.invites or invites
    return Snapshot(kept.seq, kept.at, kept.pruned, kept.users, kept.devices, invites, kept.chats, kept.members)


async def base_round(connection: Connection) -> tuple[int, int] | None:
    """Tell which base holds: its round and its `seq`; None where there is none."""
    rows = await connection.execute("SELECT coalesce(value->>'$.round', 0), value->>'$.seq' FROM base")
    return (rows[0][0], rows[0][1]) if rows else None


async def last_before(connection: Connection, at: int, now: int) -> int:
    """Find the last entry that is older than a time (Unix milliseconds); 0 for none.

    Args:
        connection: one that reads.
        at: the time.
        now: the present time: what is dated later was, by a clock that was wrong once, and is as old as what follows.
    """
    ((seq,),) = await connection.execute(
        # Else timestamps never go backwards along the log, so the first that is not older ends the search.
        "SELECT coalesce((SELECT seq FROM log WHERE at BETWEEN ? AND ? ORDER BY seq LIMIT 1) - 1,"
        " (SELECT max(seq) FROM log), 0)",
        (at, now),
    )
    ((seq,),) = await connection.execute(
        "SELECT coalesce((SELECT seq FROM log WHERE seq <= ? AND at < ? ORDER BY seq DESC LIMIT 1), 0)", (seq, at)
    )
    return seq  # type: ignore[no-any-return]


async def first_prunable(connection: Connection, after: int) -> int:
    """Find the oldest entry after one that retention may remove; 0 for none."""
    ((seq,),) = await connection.execute(
        "SELECT coalesce((SELECT seq FROM log WHERE seq > ? AND kind <= 5 ORDER BY seq LIMIT 1), 0)", (after,)
    )
    return seq  # type: ignore[no-any-return]


async def size(connection: Connection) -> int:
    """How many bytes of the file are in use."""
    ((pages,),) = await connection.execute("PRAGMA page_count")
    ((free,),) = await connection.execute("PRAGMA freelist_count")
    ((page,),) = await connection.execute("PRAGMA page_size")
    return (pages - free) * page  # type: ignore[no-any-return]


async def chats_with_entries(connection: Connection, chats: Sequence[int]) -> list[int]:
    """Of these chats those of which messages or marks are left."""
    rows = await connection.execute(
        "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM log WHERE kind <= 3 AND chat = value)"
        " OR EXISTS (SELECT 1 FROM log WHERE kind IN (4, 5) AND chat = value)",
        (as_json(chats),),
    )
    return [chat for (chat,) in rows]


async def changes(connection: Connection, before: int, actor: int | None, count: int) -> list[Entry]:
    """Read changes to users, devices, chats and history, the newest first.

    Args:
        connection: one that reads.
        before: the `seq` that they come before.
        actor: only this one's; everybody's where None is given.
        count: how many at most.
    """
    rows = await connection.execute(
        "SELECT seq, kind, chat, message_id, actor, device, at, target, NULL, NULL, NULL, extra FROM log"
        " WHERE kind >= 6 AND seq < ?1 AND (?2 IS NULL OR actor = ?2) ORDER BY seq DESC LIMIT ?3",
        (before, actor, count),
    )
    return [Entry(*row) for row in rows]


async def damage(connection: Connection) -> str:
    """Look quickly whether the file is whole; give the first thing that is not, nothing where all is well."""
    ((first,),) = await connection.execute("PRAGMA quick_check(1)")
    return "" if first == "ok" else str(first)


class ExportRow(NamedTuple):
    """A message as it is now, for an export."""

    seq: int
    chat: int
    actor: int
    at: int
    client_id: str
    message: str | None
    attachments: list[Attachment] | None
    changed_at: int
    reply_client_id: str | None


async def export_page(connection: Connection, after: int, upto: int, count: int) -> list[ExportRow]:
    """Read messages that were not deleted, in the order they were sent.

    Args:
        connection: one that reads.
        after: the last `seq` that is known already.
        upto: the last `seq` of interest.
        count: how many at most.
    """
    rows = await connection.execute(
        "SELECT l.seq, l.chat, l.actor, l.at, l.client_id, l.message, l.extra, l.changed_at, r.client_id"
        " FROM log AS l LEFT JOIN log AS r"
        " ON l.target > 0 AND r.kind <= 3 AND r.chat = l.chat AND r.message_id = l.target"
        " WHERE l.kind = 1 AND NOT l.deleted AND l.seq > ? AND l.seq <= ? ORDER BY l.seq LIMIT ?",
        (after, upto, count),
    )
    return [
        ExportRow(seq, chat, actor, at, client_id, text, _extra(extra).attachments if extra else None, changed, reply)
        for seq, chat, actor, at, client_id, text, extra, changed, reply in rows
    ]


async def files(connection: Connection, ids: Sequence[str]) -> list[StoredFile]:
    """Read what is known of files, and which chats hold them; those that are unknown are left out."""
    rows = await connection.execute(
        "SELECT id, digest, user, name, mimetype, size, width, height, loose,"
        " (SELECT json_group_array(DISTINCT chat) FROM holding WHERE file = id)"
        " FROM file WHERE id IN (SELECT value FROM json_each(?))",
        (as_json(ids),),
    )
    return [StoredFile._make((*columns, tuple(msgspec.json.decode(chats, type=list[int])))) for *columns, chats in rows]


async def loose_files(connection: Connection, now: int, but: Sequence[str], count: int) -> list[str]:
    """Find files that nothing holds and whose time has come.

    Args:
        connection: one that reads.
        now: Unix milliseconds.
        but: ids that are wanted still.
        count: how many at most.
    """
    rows = await connection.execute(
        "SELECT id FROM file WHERE loose > 0 AND loose <= ? AND id NOT IN (SELECT value FROM json_each(?)) LIMIT ?",
        (now, as_json(but), count),
    )
    return [file for (file,) in rows]


async def known_digests(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Find which of these contents a file still has."""
    rows = await connection.execute(
        "SELECT DISTINCT digest FROM file WHERE digest IN (SELECT value FROM json_each(?))", (as_json(digests),)
    )
    return {digest for (digest,) in rows}


async def digests(connection: Connection) -> list[tuple[str, int]]:
    """Read the contents that files have, and their sizes in bytes."""
    return await connection.execute("SELECT DISTINCT digest, size FROM file")
