"""What is asked of the log: facts for the rules, snapshots, retention, exports, files.

SQL in, entries out. Reads only.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from relay.protocol.objects import Attachment
from relay.store import kinds
from relay.store.entry import (
    ClientKey,
    Covered,
    CoveredBy,
    Entry,
    Extra,
    Fact,
    Facts,
    FilesNamed,
    FirstMark,
    FirstReceipt,
    MessageAt,
    Prunable,
    StoredFile,
    StoredMessage,
    UnreadAfter,
)
from relay.store.idempotency import IdempotencyKeys
from relay.store.sqlite.database import Connection, PageBound, Rows, utf8
from relay.store.sqlite.statements import Statement

EXPORT_BYTES = 1_000_000
"""Text read at a time for an export, in bytes."""

COVERED = 10_000
"""Messages, the latest, whose authors are told of one mark: somebody's first mark of a long group covers all of it."""

_STORED = "chat, message_id, kind, actor, client_id, at, message, deleted, changed, changed_at, target, extra, device"
_CLIENT_KEYS = Statement(
    f"SELECT client_key, {_STORED} FROM log WHERE seq IN (SELECT value FROM json_each(?1)"
    " UNION ALL SELECT seq FROM client WHERE key IN (SELECT value FROM json_each(?2)))"
    " UNION ALL SELECT r.key, r.chat, r.message_id, r.kind, r.actor, '', r.at, NULL, 0, 0, 0, r.target, NULL, NULL"
    " FROM client AS c CROSS JOIN removed AS r ON r.place = c.seq % 65536 AND r.seq = c.seq"
    " WHERE c.key IN (SELECT value FROM json_each(?2))"
)
_REMOVED_BEFORE = Statement(
    "SELECT place FROM removed WHERE at < ? ORDER BY place", whole="once an hour, 65,536 short rows at most"
)
_MESSAGE = Statement(f"SELECT {_STORED} FROM log WHERE kind <= 3 AND chat = ? AND message_id = ?")
# `kind <= 3` beside `kind = 1`: SQLite takes a partial index only where its very term is said.
_UNREAD = Statement(
    "SELECT count(*) FROM log WHERE kind <= 3 AND kind = 1 AND chat = ? AND message_id > ? AND message_id <= ?"
    " AND actor <> ? AND NOT deleted"
)
_COVERED_BY = Statement(
    "SELECT actor, max(message_id), client_id FROM (SELECT actor, message_id, client_id FROM log WHERE kind <= 3"
    " AND kind = 1 AND chat = ? AND message_id > ? AND message_id <= ? AND actor <> ? AND NOT deleted"
    f" ORDER BY message_id DESC LIMIT {COVERED}) GROUP BY actor ORDER BY 2 DESC",
    sorts=f"{COVERED} messages at most",
)
_COVERED_IN_DIALOG = Statement(
    "SELECT actor, message_id, client_id FROM log WHERE kind <= 3 AND kind = 1 AND chat = ? AND message_id > ?"
    " AND message_id <= ? AND actor <> ? AND NOT deleted ORDER BY message_id DESC LIMIT 1"
)
_LAST_OF_OTHERS = Statement(
    "SELECT message_id, client_id FROM log WHERE kind <= 3 AND kind = 1 AND chat = ? AND message_id <= ?"
    " AND actor <> ? AND NOT deleted ORDER BY message_id DESC LIMIT 1"
)
_FIRST_MARK = Statement(
    "SELECT min((SELECT at FROM log WHERE kind IN (4, 5) AND chat = ?1 AND actor = ?2 AND kind = k.value"
    " AND message_id >= ?3 ORDER BY message_id LIMIT 1)) FROM json_each(?4) AS k"
)
_CURSORS = Statement("SELECT device, seq, seen FROM cursor", whole="once at the start, a row of each device")
_SNAPSHOT = Statement("SELECT seq, at, pruned FROM snapshot")
_SNAPSHOT_USERS = Statement("SELECT key, value FROM user ORDER BY key", whole="once at the start")
_SNAPSHOT_DEVICES = Statement("SELECT key, value FROM device ORDER BY key", whole="once at the start")
_SNAPSHOT_INVITES = Statement("SELECT key, value FROM invite ORDER BY key")
_SNAPSHOT_CHATS = Statement("SELECT key, value FROM chat ORDER BY key", whole="once at the start")
_SNAPSHOT_MEMBERS = Statement("SELECT chat, user, value FROM member ORDER BY chat, user", whole="once at the start")
_BARE_ENTRIES = Statement(
    "SELECT seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, NULL,"
    " CASE WHEN kind <= 2 THEN NULL ELSE extra END FROM log WHERE seq > ? ORDER BY seq LIMIT ?"
)
_ENDS = Statement("SELECT coalesce((SELECT max(seq) FROM log), 0), (SELECT seq FROM indexed)")
_INDEX_LEFT_OVER = Statement(
    "SELECT EXISTS (SELECT 1 FROM search_docsize) OR EXISTS (SELECT 1 FROM search_data WHERE id > 10)"
    # FTS5's list of segments: four bytes and three numbers where there is none.
    " OR coalesce((SELECT length(block) FROM search_data WHERE id = 10), 0) <> 7",
    whole="the first row is enough",
)
_IN_USE = (
    "(SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count),"
    " (SELECT page_size FROM pragma_page_size), (SELECT texts FROM unmerged)"
)
# Each in one statement, which reads a table: all of it is as of one moment, whatever is written meanwhile.
_SIZE = Statement(f"SELECT {_IN_USE}", whole="a number of the file's head each")
_INDEX_USE = Statement(
    f"SELECT {_IN_USE}, (SELECT block FROM search_data WHERE id = 10)", whole="a number of the file's head each"
)
_FILED = Statement("SELECT slice, seq FROM filed")
_UNFILED = Statement(
    "SELECT client_key, seq FROM log WHERE seq > ? AND client_key IS NOT NULL ORDER BY seq",
)
# Else timestamps never go backwards along the log, so the first that is not older ends the search.
_FIRST_NOT_OLDER = Statement(
    "SELECT coalesce((SELECT seq FROM log WHERE at BETWEEN ? AND ? ORDER BY seq LIMIT 1) - 1,"
    " (SELECT max(seq) FROM log), 0)",
    whole="it walks along what is older, which then goes",
)
_LAST_OLDER = Statement("SELECT coalesce((SELECT seq FROM log WHERE seq <= ? AND at < ? ORDER BY seq DESC LIMIT 1), 0)")
_FREE_PAGES = Statement("PRAGMA freelist_count")
_WITH_ENTRIES = Statement(
    "SELECT value FROM json_each(?) WHERE EXISTS (SELECT 1 FROM log WHERE kind <= 5 AND chat = value)"
)
_CHANGES = Statement(
    "SELECT seq, kind, chat, message_id, actor, device, at, target, NULL, NULL, NULL, extra FROM log"
    " INDEXED BY log_change WHERE kind >= 6 AND seq < ?1 AND (?2 IS NULL OR actor = ?2) ORDER BY seq DESC LIMIT ?3"
)
_DAMAGE = Statement("PRAGMA quick_check(1)")
_EXPORT = Statement(
    "SELECT l.seq, l.kind, l.chat, l.message_id, l.actor, l.at, l.client_id, l.message, l.extra, l.deleted,"
    " l.changed_at, l.target, r.client_id, r.actor FROM log AS l NOT INDEXED LEFT JOIN log AS r"
    " ON l.target > 0 AND r.kind <= 3 AND r.chat = l.chat AND r.message_id = l.target"
    " WHERE l.kind <= 3 AND l.seq > ? AND l.seq <= ? ORDER BY l.seq LIMIT ?"
)
_FILES = Statement(
    "SELECT id, digest, user, name, mimetype, size, width, height, loose,"
    " (SELECT json_group_array(json_array(chat, message_id)) FROM"
    " (SELECT chat, max(message_id) AS message_id FROM holding WHERE file = id GROUP BY chat))"
    " FROM file WHERE id IN (SELECT value FROM json_each(?))",
)
_LOOSE_FILES = Statement(
    "SELECT id FROM file WHERE loose > 0 AND loose <= ? AND id NOT IN (SELECT value FROM json_each(?)) LIMIT ?"
)
_KNOWN_DIGESTS = Statement("SELECT DISTINCT digest FROM file WHERE digest IN (SELECT value FROM json_each(?))")
_DIGESTS = Statement(
    "SELECT DISTINCT digest, size FROM file", whole="`relay check` looks at every file", sorts="likewise"
)

_extra = msgspec.json.Decoder(Extra).decode
_holders = msgspec.json.Decoder(tuple[tuple[int, int], ...]).decode
_json = msgspec.json.encode


def as_json(value: object) -> str:
    """Encode a parameter that SQLite takes apart."""
    return _json(value).decode()


async def look_up(connection: Connection, facts: Iterable[Fact], recent: IdempotencyKeys) -> Facts:
    """Find what the rules need to know."""
    found: Facts = {}
    # Many commands may ask for the same.
    for fact in dict.fromkeys(facts):
        match fact:
            case MessageAt():
                found[fact] = await _message(connection, fact)
            case ClientKey():
                found.update(await client_keys(connection, [fact.client_key], recent))
            case CoveredBy():
                found[fact] = await _covered_by(connection, fact)
            case UnreadAfter():
                ((found[fact],),) = await connection.execute(_UNREAD, (fact.chat, fact.after, fact.upto, fact.user))
            case Prunable():
                found[fact] = await _prunable(connection, fact)
            case FilesNamed():
                found[fact] = {file.id: file for file in await files(connection, fact.ids)}
            case FirstMark():
                found[fact] = await _first_mark(connection, fact)
    return found


async def index_left_over(connection: Connection) -> bool:
    """Tell whether the full-text index holds something, or its list of segments does."""
    ((left,),) = await connection.execute(_INDEX_LEFT_OVER)
    return bool(left)


async def client_keys(connection: Connection, keys: Sequence[int], recent: IdempotencyKeys) -> Facts:
    """Find which of these client keys are in the log, or were when retention removed their messages."""
    latest = [seq for key in keys if (seq := recent.seq(key)) is not None]
    rows = await connection.execute(_CLIENT_KEYS, (as_json(latest), as_json(keys)))
    found: Facts = {ClientKey(key): None for key in keys}
    found.update({ClientKey(key): StoredMessage(*columns) for key, *columns in rows})
    return found


async def removed_before(connection: Connection, at: int) -> list[int]:
    """Find the removed messages that are older and whose client keys are still known: their places."""
    return [place for (place,) in await connection.execute(_REMOVED_BEFORE, (at,))]


async def _message(connection: Connection, fact: MessageAt) -> StoredMessage | None:
    rows = await connection.execute(_MESSAGE, (fact.chat, fact.message_id))
    return StoredMessage(*rows[0]) if rows else None


async def _covered_by(connection: Connection, fact: CoveredBy) -> tuple[Covered, ...]:
    # Somebody's first mark of a long dialog covers all of it, and the writer waits: its last message is enough.
    statement = _COVERED_IN_DIALOG if fact.dialog else _COVERED_BY
    rows = await connection.execute(statement, (fact.chat, fact.after, fact.upto, fact.user))
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


async def _first_mark(connection: Connection, fact: FirstMark) -> FirstReceipt | None:
    rows = await connection.execute(_LAST_OF_OTHERS, (fact.chat, fact.upto, fact.user))
    if not rows:
        return None
    ((message_id, client_id),) = rows
    marked = [kinds.READ] if fact.read else [kinds.DLVRD, kinds.READ]
    ((at,),) = await connection.execute(_FIRST_MARK, (fact.chat, fact.user, message_id, as_json(marked)))
    return None if at is None else FirstReceipt(message_id, client_id, at)


async def cursors(connection: Connection) -> dict[int, tuple[int, int]]:
    """Read every device's cursor, and when it was last seen."""
    rows = await connection.execute(_CURSORS)
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
    rows = await connection.execute(_SNAPSHOT)
    seq, at, pruned = rows[0] if rows else (0, 0, 0)
    return Snapshot(
        seq,
        at,
        pruned,
        await connection.execute(_SNAPSHOT_USERS),
        await connection.execute(_SNAPSHOT_DEVICES),
        await connection.execute(_SNAPSHOT_INVITES),
        await connection.execute(_SNAPSHOT_CHATS),
        await connection.execute(_SNAPSHOT_MEMBERS),
    )


async def entries(connection: Connection, after: int, limit: int) -> list[Entry]:
    """Read entries as they were written, without their texts: all that applying them needs."""
    rows = await connection.execute(_BARE_ENTRIES, (after, limit))
    return [Entry(*row) for row in rows]


async def ends(connection: Connection) -> tuple[int, int]:
    """Where the log ends, and up to where the full-text index holds it."""
    ((last, indexed),) = await connection.execute(_ENDS)
    return last, indexed


async def unfiled(connection: Connection) -> tuple[Rows, dict[int, int]]:
    """Find client keys with their `seq`, all that are not in their table among them, and up to where each slice is."""
    filed: dict[int, int] = dict(await connection.execute(_FILED))
    rows = await connection.execute(_UNFILED, (min(filed.values()),))
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
    ((seq,),) = await connection.execute(_FIRST_NOT_OLDER, (at, now))
    ((seq,),) = await connection.execute(_LAST_OLDER, (seq, at))
    return seq  # type: ignore[no-any-return]


async def first_prunable(connection: Connection, after: int) -> int:
    """Find the oldest entry after one that retention may remove; 0 for none."""
    ((seq,),) = await connection.execute(
        "SELECT coalesce((SELECT seq FROM log WHERE seq > ? AND kind <= 5 ORDER BY seq LIMIT 1), 0)", (after,)
    )
    return seq  # type: ignore[no-any-return]


async def size(connection: Connection) -> int:
    """How many bytes of the file are in use."""
    ((pages, page, _left),) = await connection.execute(_SIZE)
    return pages * page  # type: ignore[no-any-return]


INDEX_PAGE = 1_024
"""Bytes of the file that a page of FTS5 takes: each is a row, and has one of the file's to itself (`pgsz` 980)."""


async def index_use(connection: Connection) -> tuple[int, int, int]:
    """Tell about how many bytes the full-text index takes, and how many texts left it since all of it was merged.

    And how many bytes of the file are in use at the same moment: what merges give back must not count twice.
    """
    ((pages, page, left, segments),) = await connection.execute(_INDEX_USE)
    # One that is damaged may claim anything.
    return min(index_pages(segments or b"") * INDEX_PAGE, pages * page), left, pages * page


def index_pages(segments: bytes) -> int:
    """Count the pages of the full-text index by FTS5's own list of its segments.

    Its other tables tell less: of what a merge has read already the pages are gone, and their keys are still there.

    Args:
        segments: the row with the id 10 of `search_data`, as fts5_index.c has it ("Structure Record").
    """
    numbers = _varints(segments[4:])
    levels, _segments, _written = next(numbers, 0), next(numbers, 0), next(numbers, 0)
    pages = 0
    for _ in range(min(levels, len(segments))):
        _merging, there = next(numbers, 0), next(numbers, 0)
        for _ in range(min(there, len(segments))):
            _id, first, last = next(numbers, 0), next(numbers, 0), next(numbers, 0)
            # A segment without a page has 0 for both.
            pages += max(0, last - first + 1) if first else 0
    return pages


def _varints(data: bytes) -> Iterator[int]:
    """Read SQLite's numbers of variable length, of less than nine bytes each."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0


async def free_pages(connection: Connection) -> int:
    """Count the pages of the file that nothing uses."""
    ((free,),) = await connection.execute(_FREE_PAGES)
    return free  # type: ignore[no-any-return]


async def chats_with_entries(connection: Connection, chats: Sequence[int]) -> list[int]:
    """Of these chats those of which messages or marks are left."""
    rows = await connection.execute(_WITH_ENTRIES, (as_json(chats),))
    return [chat for (chat,) in rows]


async def changes(connection: Connection, before: int, actor: int | None, count: int) -> list[Entry]:
    """Read changes to users, devices, chats and history, the newest first.

    Args:
        connection: one that reads.
        before: the `seq` that they come before.
        actor: only this one's; everybody's where None is given.
        count: how many at most.
    """
    rows = await connection.execute(_CHANGES, (before, actor, count))
    return [Entry(*row) for row in rows]


async def damage(connection: Connection) -> str:
    """Look quickly whether the file is whole; give the first thing that is not, nothing where all is well."""
    ((first,),) = await connection.execute(_DAMAGE)
    return "" if first == "ok" else str(first)


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
    more = _extra(extra) if extra and kind == kinds.NEW and not deleted else Extra()
    said_at = more.said_at or at
    return ExportRow(
        seq, kind, chat, message_id, actor, said_at, client_id, text, more.attachments, bool(deleted), *rest
    )


async def files(connection: Connection, ids: Sequence[str]) -> list[StoredFile]:
    """Read what is known of files, and which chats hold them; those that are unknown are left out."""
    rows = await connection.execute(_FILES, (as_json(ids),))
    return [StoredFile._make((*columns, _holders(held))) for *columns, held in rows]


async def loose_files(connection: Connection, now: int, but: Sequence[str], count: int) -> list[str]:
    """Find files that nothing holds and whose time has come.

    Args:
        connection: one that reads.
        now: Unix milliseconds.
        but: ids that are wanted still.
        count: how many at most.
    """
    rows = await connection.execute(_LOOSE_FILES, (now, as_json(but), count))
    return [file for (file,) in rows]


async def known_digests(connection: Connection, digests: Sequence[str]) -> set[str]:
    """Find which of these contents a file still has."""
    rows = await connection.execute(_KNOWN_DIGESTS, (as_json(digests),))
    return {digest for (digest,) in rows}


async def digests(connection: Connection) -> list[tuple[str, int]]:
    """Read the contents that files have, and their sizes in bytes."""
    return await connection.execute(_DIGESTS)
