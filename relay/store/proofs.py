"""What must hold of the file whatever was said in it: each a question whose right answer is that nothing is wrong."""

from collections.abc import Awaitable, Callable

from relay.store import kinds
from relay.store.database import Connection
from relay.store.statements import Statement

SHOWN = 10
"""How many of many faults are named."""

_CHECK = "`relay check` reads all there is"
_INTEGRITY = Statement(
    f"PRAGMA integrity_check({SHOWN})",
    whole=_CHECK,
)
_FOREIGN_KEYS = Statement(
    "PRAGMA foreign_key_check",
    whole=_CHECK,
)
_MESSAGE_IDS = Statement(
    "SELECT chat, count(*), min(message_id), max(message_id) FROM log WHERE kind <= 3 GROUP BY chat"
    " HAVING count(*) <> max(message_id) - min(message_id) + 1",
    whole=_CHECK,
)
# Only an admin's word that the clock is right lets time step back (PROTOCOL.md, section 3).
_ORDER = Statement(
    "SELECT seq FROM (SELECT seq, kind, extra, at, lag(at, 1, 0) OVER (ORDER BY seq) AS before FROM log)"
    " WHERE at < before AND NOT (kind = ? AND extra ->> '$.change' IS 'clockTrusted') LIMIT ?",
    whole=_CHECK,
)
_ERASED = Statement(
    "SELECT seq FROM log WHERE deleted AND (message IS NOT NULL OR extra IS NOT NULL) LIMIT ?",
    whole=_CHECK,
)
_CHANGED = Statement(
    "SELECT o.seq FROM log AS o LEFT JOIN log AS c"
    " ON c.kind <= 3 AND c.chat = o.chat AND c.message_id = o.changed"
    " WHERE o.kind = 1 AND o.changed > 0 AND (c.seq IS NULL OR c.target <> o.message_id) LIMIT ?",
    whole=_CHECK,
)
_CLIENT_IDS_MISSING = Statement(
    "SELECT log.seq FROM log JOIN filed ON filed.slice = log.client_key >> 60 LEFT JOIN client"
    " ON client.key = log.client_key WHERE log.seq <= filed.seq AND client.seq IS NOT log.seq LIMIT ?",
    whole=_CHECK,
)
_CLIENT_IDS_LEFT = Statement(
    "SELECT client.seq FROM client LEFT JOIN log ON log.seq = client.seq WHERE log.client_key IS NOT client.key"
    " LIMIT ?",
    whole=_CHECK,
)
_CLIENT_IDS_TWICE = Statement(
    "SELECT max(seq) FROM log WHERE client_key IS NOT NULL GROUP BY client_key HAVING count(*) > 1 LIMIT ?",
    whole=_CHECK,
    sorts=_CHECK,
)
_INDEXED_LEFT = Statement(
    "SELECT id FROM search_docsize WHERE id NOT IN (SELECT seq FROM log WHERE message IS NOT NULL) LIMIT ?",
    whole=_CHECK,
)
_INDEXED_MISSING = Statement(
    "SELECT seq FROM log WHERE kind = 1 AND message IS NOT NULL AND seq <= (SELECT seq FROM indexed)"
    " AND seq NOT IN (SELECT id FROM search_docsize) LIMIT ?",
    whole=_CHECK,
)
_HOLDINGS_MISSING = Statement(
    "SELECT l.seq FROM log AS l, json_each(l.extra, '$.attachments') AS a"
    " WHERE l.kind = 1 AND l.extra IS NOT NULL AND NOT EXISTS (SELECT 1 FROM holding AS h"
    " WHERE h.chat = l.chat AND h.message_id = l.message_id AND h.file = a.value->>'$.id') LIMIT ?",
    whole=_CHECK,
)
_HOLDINGS_LEFT = Statement(
    "SELECT h.file FROM holding AS h WHERE NOT EXISTS (SELECT 1 FROM log AS l, json_each(l.extra, '$.attachments')"
    " AS a WHERE l.kind <= 3 AND l.kind = 1 AND l.chat = h.chat AND l.message_id = h.message_id AND l.extra IS NOT NULL"
    " AND a.value->>'$.id' = h.file) LIMIT ?",
    whole=_CHECK,
)
_HOLDINGS_LOOSE = Statement(
    "SELECT id FROM file WHERE (loose = 0) <> EXISTS (SELECT 1 FROM holding WHERE file = id) LIMIT ?",
    whole=_CHECK,
)

Proof = Callable[[Connection], Awaitable[list[str]]]


async def _integrity(connection: Connection) -> list[str]:
    rows = await connection.execute(_INTEGRITY)
    return [row[0] for row in rows if row[0] != "ok"]


async def _foreign_keys(connection: Connection) -> list[str]:
    rows = await connection.execute(_FOREIGN_KEYS)
    return [f"table {row[0]}, row {row[1]}" for row in rows[:SHOWN]]


async def _message_ids(connection: Connection) -> list[str]:
    rows = await connection.execute(_MESSAGE_IDS)
    return [f"chat {chat} has {count} messages between {first} and {last}" for chat, count, first, last in rows[:SHOWN]]


async def _order(connection: Connection) -> list[str]:
    rows = await connection.execute(_ORDER, (kinds.NOTE, SHOWN))
    return [f"entry {seq} is older than the one before it" for (seq,) in rows]


async def _erased(connection: Connection) -> list[str]:
    rows = await connection.execute(_ERASED, (SHOWN,))
    return [f"entry {seq} was deleted and still has its text" for (seq,) in rows]


async def _changed(connection: Connection) -> list[str]:
    rows = await connection.execute(_CHANGED, (SHOWN,))
    return [f"entry {seq} was changed by no edit or deletion" for (seq,) in rows]


async def _client_ids(connection: Connection) -> list[str]:
    missing = await connection.execute(_CLIENT_IDS_MISSING, (SHOWN,))
    left = await connection.execute(_CLIENT_IDS_LEFT, (SHOWN,))
    twice = await connection.execute(_CLIENT_IDS_TWICE, (SHOWN,))
    return [
        *(f"entry {seq} cannot be found by its client id" for (seq,) in missing),
        *(f"a client id is known that entry {seq} does not have" for (seq,) in left),
        *(f"entry {seq} has the client id of an earlier one" for (seq,) in twice),
    ]


async def _indexed(connection: Connection) -> list[str]:
    left = await connection.execute(_INDEXED_LEFT, (SHOWN,))
    missing = await connection.execute(_INDEXED_MISSING, (SHOWN,))
    return [f"entry {seq} is in the full-text index and has no text" for (seq,) in left] + [
        f"entry {seq} is missing from the full-text index" for (seq,) in missing
    ]


async def _holdings(connection: Connection) -> list[str]:
    missing = await connection.execute(_HOLDINGS_MISSING, (SHOWN,))
    left = await connection.execute(_HOLDINGS_LEFT, (SHOWN,))
    loose = await connection.execute(_HOLDINGS_LOOSE, (SHOWN,))
    return [
        *(f"entry {seq} has a file that is not known to be held" for (seq,) in missing),
        *(f"file {file} is known to be held by a message that does not" for (file,) in left),
        *(f"file {file} is held by none and may not go, or the other way round" for (file,) in loose),
    ]


PROOFS: dict[str, Proof] = {
    "pages and indexes": _integrity,
    "foreign keys": _foreign_keys,
    "message ids without gaps": _message_ids,
    "timestamps in order": _order,
    "edits and deletions": _changed,
    "deleted texts are gone": _erased,
    "client ids": _client_ids,
    "full-text index": _indexed,
    "files and who holds them": _holdings,
}
"""Each with the name it has in the report."""
