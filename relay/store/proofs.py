"""What must hold of the file whatever was said in it: each a question whose right answer is that nothing is wrong."""

from collections.abc import Awaitable, Callable

from relay.store import kinds
from relay.store.database import Connection

SHOWN = 10
"""How many of many faults are named."""

Proof = Callable[[Connection], Awaitable[list[str]]]


async def _integrity(connection: Connection) -> list[str]:
    rows = await connection.execute(f"PRAGMA integrity_check({SHOWN})")
    return [row[0] for row in rows if row[0] != "ok"]


async def _foreign_keys(connection: Connection) -> list[str]:
    rows = await connection.execute("PRAGMA foreign_key_check")
    return [f"table {row[0]}, row {row[1]}" for row in rows[:SHOWN]]


async def _message_ids(connection: Connection) -> list[str]:
    rows = await connection.execute(
        "SELECT chat, count(*), min(message_id), max(message_id) FROM log WHERE kind <= 3 GROUP BY chat"
        " HAVING count(*) <> max(message_id) - min(message_id) + 1"
    )
    return [f"chat {chat} has {count} messages between {first} and {last}" for chat, count, first, last in rows[:SHOWN]]


async def _order(connection: Connection) -> list[str]:
    rows = await connection.execute(
        # Only an admin's word that the clock is right lets time step back (PROTOCOL.md, section 3).
        "SELECT seq FROM (SELECT seq, kind, extra, at, lag(at, 1, 0) OVER (ORDER BY seq) AS before FROM log)"
        " WHERE at < before AND NOT (kind = ? AND extra ->> '$.change' IS 'clockTrusted') LIMIT ?",
        (kinds.NOTE, SHOWN),
    )
    return [f"entry {seq} is older than the one before it" for (seq,) in rows]


async def _erased(connection: Connection) -> list[str]:
    rows = await connection.execute(
        "SELECT seq FROM log WHERE deleted AND (message IS NOT NULL OR extra IS NOT NULL) LIMIT ?", (SHOWN,)
    )
    return [f"entry {seq} was deleted and still has its text" for (seq,) in rows]


async def _changed(connection: Connection) -> list[str]:
    rows = await connection.execute(
        "SELECT o.seq FROM log AS o LEFT JOIN log AS c"
        " ON c.kind <= 3 AND c.chat = o.chat AND c.message_id = o.changed"
        " WHERE o.kind = 1 AND o.changed > 0 AND (c.seq IS NULL OR c.target <> o.message_id) LIMIT ?",
        (SHOWN,),
    )
    return [f"entry {seq} was changed by no edit or deletion" for (seq,) in rows]


async def _client_ids(connection: Connection) -> list[str]:
    missing = await connection.execute(
        "SELECT log.seq FROM log JOIN filed ON filed.slice = log.client_key >> 60 LEFT JOIN client"
        " ON client.key = log.client_key WHERE log.seq <= filed.seq AND client.seq IS NOT log.seq LIMIT ?",
        (SHOWN,),
    )
    left = await connection.execute(
        "SELECT client.seq FROM client LEFT JOIN log ON log.seq = client.seq WHERE log.client_key IS NOT client.key"
        " LIMIT ?",
        (SHOWN,),
    )
    twice = await connection.execute(
        "SELECT max(seq) FROM log WHERE client_key IS NOT NULL GROUP BY client_key HAVING count(*) > 1 LIMIT ?",
        (SHOWN,),
    )
    return [
        *(f"entry {seq} cannot be found by its client id" for (seq,) in missing),
        *(f"a client id is known that entry {seq} does not have" for (seq,) in left),
        *(f"entry {seq} has the client id of an earlier one" for (seq,) in twice),
    ]


async def _indexed(connection: Connection) -> list[str]:
    left = await connection.execute(
        "SELECT id FROM search_docsize WHERE id NOT IN (SELECT seq FROM log WHERE message IS NOT NULL) LIMIT ?",
        (SHOWN,),
    )
    missing = await connection.execute(
        "SELECT seq FROM log WHERE kind = 1 AND message IS NOT NULL AND seq <= (SELECT seq FROM indexed)"
        " AND seq NOT IN (SELECT id FROM search_docsize) LIMIT ?",
        (SHOWN,),
    )
    return [f"entry {seq} is in the full-text index and has no text" for (seq,) in left] + [
        f"entry {seq} is missing from the full-text index" for (seq,) in missing
    ]


async def _holdings(connection: Connection) -> list[str]:
    missing = await connection.execute(
        "SELECT l.seq FROM log AS l, json_each(l.extra, '$.attachments') AS a"
        " WHERE l.kind = 1 AND l.extra IS NOT NULL AND NOT EXISTS (SELECT 1 FROM holding AS h"
        " WHERE h.chat = l.chat AND h.message_id = l.message_id AND h.file = a.value->>'$.id') LIMIT ?",
        (SHOWN,),
    )
    left = await connection.execute(
        "SELECT h.file FROM holding AS h WHERE NOT EXISTS (SELECT 1 FROM log AS l, json_each(l.extra, '$.attachments')"
        " AS a WHERE l.kind = 1 AND l.chat = h.chat AND l.message_id = h.message_id AND l.extra IS NOT NULL"
        " AND a.value->>'$.id' = h.file) LIMIT ?",
        (SHOWN,),
    )
    loose = await connection.execute(
        "SELECT id FROM file WHERE (loose = 0) <> EXISTS (SELECT 1 FROM holding WHERE file = id) LIMIT ?", (SHOWN,)
    )
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
