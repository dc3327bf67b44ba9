"""The checks of `relay check`: rules that every valid file follows. Each lists the violations.

Each check reads a part of the file at a time, in a view of its own, so it may only check what is true in every view.
"""

import sqlite3
from collections.abc import Awaitable, Callable

from relay.store import texts
from relay.store.damage import is_damage
from relay.store.kinds import LAST_MESSAGE, NEW, NOTE
from relay.store.queries.trigrams import TRIGRAM_CHARACTERS
from relay.store.sqlite.folding import KNOWN
from relay.store.sqlite.read_views import Views
from relay.store.sqlite.reading import is_undecodable
from relay.store.sqlite.statements import as_json
from relay.text import FOLDING, fold

SHOWN_FAULTS = 10
"""Maximum faults to list."""
SMALL_FILE_BYTES = 32 << 20
"""A file up to this many bytes is read in one view."""
CHATS_PER_VIEW = 64
"""Chats read in one view."""
ROWS_PER_VIEW = 20_000
"""Rows of other tables read in one view."""
TRIGRAMS_PER_VIEW = 64
"""Trigrams whose lists are read in one view."""
PROBED_MESSAGES = 256
"""Messages that are looked for in the full-text index."""
PAGES = "pages and indexes"
CLIENT_IDS = "client ids"
HOLDINGS = "files and the messages that use them"
INDEX = "full-text index"
TEXTS = "texts and what is kept as JSON"
REINDEX_HELPS = "`relay reindex` rebuilds it from the messages"

Check = Callable[[Views], Awaitable[list[str]]]


async def _integrity(views: Views) -> list[str]:
    ((pages,),) = await views.execute("PRAGMA page_count")
    ((size,),) = await views.execute("PRAGMA page_size")
    whole = [f"PRAGMA integrity_check({SHOWN_FAULTS})"]
    if pages * size > SMALL_FILE_BYTES:
        # Pages that belong to no table are checked only where all tables are.
        tables = await views.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        whole = [f"PRAGMA integrity_check({name})" for (name,) in tables]
    try:
        found = [row[0] for sql in whole for row in await views.long(sql)]
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = await _damaged_pages(views) or [str(error)]
    lines = [line for text in found for line in text.splitlines() if line != "ok" and not line.startswith("***")]
    return lines[:SHOWN_FAULTS]


async def _damaged_pages(views: Views) -> list[str]:
    """Name the damaged pages. SQLite fails without a word if it is asked for more faults than it finds at first."""
    found: list[str] = []
    for count in range(1, SHOWN_FAULTS + 1):
        try:
            found = [row[0] for row in await views.long(f"PRAGMA integrity_check({count})")]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            break
    return found


async def _texts(views: Views) -> list[str]:
    return await texts.flaws_beside(views.page, views.execute, SHOWN_FAULTS)


async def _foreign_keys(views: Views) -> list[str]:
    rows = await views.execute("PRAGMA foreign_key_check")
    return [f"table {row[0]}, row {row[1]}" for row in rows[:SHOWN_FAULTS]]


async def _message_ids(views: Views) -> list[str]:
    ((last,),) = await views.execute(f"SELECT coalesce((SELECT max(chat) FROM log WHERE kind <= {LAST_MESSAGE}), 0)")
    wrong = []
    for first in range(0, last + 1, CHATS_PER_VIEW):
        wrong += await views.execute(
            "SELECT chat, count(*), min(message_id), max(message_id) FROM log"
            f" WHERE kind <= {LAST_MESSAGE} AND chat >= ? AND chat < ?"
            " GROUP BY chat HAVING count(*) <> max(message_id) - min(message_id) + 1",
            (first, first + CHATS_PER_VIEW),
        )
    return [
        f"chat {chat} has {count} messages between {one} and {other}"
        for chat, count, one, other in wrong[:SHOWN_FAULTS]
    ]


async def _order(views: Views) -> list[str]:
    wrong: list[int] = []
    before = 0
    async for after, upto in views.spans(await views.last()):
        rows = await views.execute(
            # Time steps back only when an admin confirms the clock (PROTOCOL.md, section 3).
            "SELECT seq FROM (SELECT seq, kind, extra, at, lag(at, 1, ?) OVER (ORDER BY seq) AS before FROM log"
            " WHERE seq > ? AND seq <= ?)"
            " WHERE at < before AND NOT (kind = ? AND extra ->> '$.change' IS 'clockTrusted') LIMIT ?",
            (before, after, upto, NOTE, SHOWN_FAULTS),
        )
        wrong += [seq for (seq,) in rows]
        for (at,) in await views.execute("SELECT at FROM log WHERE seq <= ? ORDER BY seq DESC LIMIT 1", (upto,)):
            before = at
    return [f"entry {seq} is older than the one before it" for seq in wrong[:SHOWN_FAULTS]]


async def _in_spans(views: Views, sql: str) -> list[int]:
    """Run a statement that finds wrong entries on each part of the log."""
    wrong: list[int] = []
    async for span in views.spans(await views.last()):
        wrong += [seq for (seq,) in await views.execute(sql, (*span, SHOWN_FAULTS))]
    return wrong[:SHOWN_FAULTS]


async def _erased(views: Views) -> list[str]:
    wrong = await _in_spans(
        views,
        "SELECT seq FROM log WHERE seq > ? AND seq <= ? AND deleted AND (message IS NOT NULL OR extra IS NOT NULL)"
        " LIMIT ?",
    )
    return [f"entry {seq} was deleted and still has its text" for seq in wrong]


async def _changed(views: Views) -> list[str]:
    wrong = await _in_spans(
        views,
        "SELECT o.seq FROM log AS o LEFT JOIN log AS c"
        f" ON c.kind <= {LAST_MESSAGE} AND c.chat = o.chat AND c.message_id = o.changed"
        f" WHERE o.seq > ? AND o.seq <= ? AND o.kind = {NEW} AND o.changed > 0"
        " AND (c.seq IS NULL OR c.target <> o.message_id) LIMIT ?",
    )
    return [f"entry {seq} was changed by no edit or deletion" for seq in wrong]


async def _client_ids(views: Views) -> list[str]:
    missing = await _in_spans(
        views,
        "SELECT log.seq FROM log JOIN filed ON filed.slice = log.client_key >> 60 LEFT JOIN client"
        " ON client.key = log.client_key WHERE log.seq > ? AND log.seq <= ? AND log.seq <= filed.seq"
        " AND client.seq IS NOT log.seq LIMIT ?",
    )
    left: list[int] = []
    key = -(2**63)
    while rows := await views.execute(
        "SELECT client.key, client.seq, coalesce(log.client_key, removed.key) IS NOT client.key"
        " FROM client LEFT JOIN log ON log.seq = client.seq"
        " LEFT JOIN removed ON removed.place = client.seq % 65536 AND removed.seq = client.seq"
        " WHERE client.key > ? ORDER BY client.key LIMIT ?",
        (key, ROWS_PER_VIEW),
    ):
        left += [seq for _, seq, wrong in rows if wrong]
        key = rows[-1][0]
    gone = await views.execute(
        "SELECT removed.seq FROM removed LEFT JOIN client ON client.key = removed.key"
        " WHERE client.seq IS NOT removed.seq OR EXISTS (SELECT 1 FROM log WHERE log.seq = removed.seq) LIMIT ?",
        (SHOWN_FAULTS,),
    )
    return [
        *(f"entry {seq} cannot be found by its client id" for seq in missing),
        *(f"the client id of entry {seq}, which was removed, is missing" for (seq,) in gone),
        *(f"a client id is recorded for entry {seq}, which does not have it" for seq in left[:SHOWN_FAULTS]),
        *(f"entry {seq} has the client id of an earlier one" for seq in await _twice(views)),
    ]


async def _twice(views: Views) -> list[int]:
    """Find client ids of the latest messages that were used before. In the table each is unique."""
    wrong: list[int] = []
    seen: dict[int, int] = {}
    ((first,),) = await views.execute("SELECT min(seq) FROM filed")
    async for after, upto in views.spans(await views.last()):
        if upto <= first:
            continue
        for key, seq, known in await views.execute(
            "SELECT log.client_key, log.seq, client.seq FROM log JOIN filed ON filed.slice = log.client_key >> 60"
            " LEFT JOIN client ON client.key = log.client_key"
            " WHERE log.seq > max(?, ?) AND log.seq <= ? AND log.seq > filed.seq",
            (after, first, upto),
        ):
            if seen.setdefault(key, seq) != seq or known not in (None, seq):
                wrong.append(seq)
    return wrong[:SHOWN_FAULTS]


async def _indexed(views: Views) -> list[str]:
    """Check that the full-text index can be read, and has all its messages.

    FTS5's own check would lock the store against writing for its whole duration. An index without entries is not in
    use: it is being removed.
    """
    ((upto,),) = await views.execute("SELECT seq FROM indexed")
    if not upto:
        return []
    try:
        term = ""
        while rows := await views.long(
            "SELECT term FROM vocab WHERE term > ? ORDER BY term LIMIT ?", (term, TRIGRAMS_PER_VIEW), exact=True
        ):
            term = rows[-1][0]
        return await _indexed_messages(views) or await _unfound(views)
    except sqlite3.DatabaseError as error:
        if not (is_damage(error) or is_undecodable(error)):
            raise
        return [f"it cannot be read ({error}); {REINDEX_HELPS}"]


async def _unfound(views: Views) -> list[str]:
    """Search for some messages, spread over the log, in the index."""
    ((folding, upto),) = await views.execute(KNOWN)
    if folding != FOLDING:
        # A relay with another Python filled the index, and its Unicode tables may find them.
        return []
    spread = sorted({upto * number // PROBED_MESSAGES for number in range(1, PROBED_MESSAGES + 1)})
    rows = await views.execute(
        f"SELECT seq, message FROM log WHERE seq IN (SELECT value FROM json_each(?)) AND kind = {NEW}"
        " AND message IS NOT NULL",
        (as_json(spread),),
    )
    wrong = []
    for seq, message in rows:
        folded = fold(message)
        if len(folded) < TRIGRAM_CHARACTERS:
            continue
        middle = (len(folded) - TRIGRAM_CHARACTERS) // 2
        quoted = folded[middle : middle + TRIGRAM_CHARACTERS].replace('"', '""')
        if not await views.execute(
            "SELECT rowid FROM search WHERE search MATCH ? AND rowid = ?", (f'"{quoted}"', seq)
        ) and await views.execute("SELECT seq FROM log WHERE seq = ? AND message = ?", (seq, message)):
            wrong.append(seq)
    return [f"entry {seq} cannot be found by its text; {REINDEX_HELPS}" for seq in wrong[:SHOWN_FAULTS]]


async def _indexed_messages(views: Views) -> list[str]:
    left: list[int] = []
    last = -1
    while rows := await views.execute(
        "SELECT d.id, l.message IS NULL FROM search_docsize AS d LEFT JOIN log AS l ON l.seq = d.id"
        " WHERE d.id > ? ORDER BY d.id LIMIT ?",
        (last, ROWS_PER_VIEW),
    ):
        left += [seq for seq, wrong in rows if wrong]
        last = rows[-1][0]
    missing = await _in_spans(
        views,
        f"SELECT seq FROM log WHERE seq > ? AND seq <= ? AND kind = {NEW} AND message IS NOT NULL"
        " AND seq <= (SELECT seq FROM indexed) AND NOT EXISTS (SELECT 1 FROM search_docsize WHERE id = seq) LIMIT ?",
    )
    return [f"entry {seq} is in the full-text index and has no text" for seq in left[:SHOWN_FAULTS]] + [
        f"entry {seq} is missing from the full-text index" for seq in missing
    ]


async def _holdings(views: Views) -> list[str]:
    # SQLite fails at invalid JSON, which `TEXTS` finds.
    missing = await _in_spans(
        views,
        "SELECT l.seq FROM log AS l, json_each(CASE WHEN json_valid(l.extra) THEN l.extra END, '$.attachments') AS a"
        f" WHERE l.seq > ? AND l.seq <= ? AND l.kind = {NEW} AND l.extra IS NOT NULL"
        " AND a.value->>'$.url' NOT LIKE 'http%' AND NOT EXISTS (SELECT 1 FROM holding AS h"
        " WHERE h.chat = l.chat AND h.message_id = l.message_id AND h.file = a.value->>'$.id') LIMIT ?",
    )
    left: list[str] = []
    place = (-1, 0, "")
    while rows := await views.execute(
        "SELECT h.chat, h.message_id, h.file, EXISTS (SELECT 1"
        " FROM log AS l, json_each(CASE WHEN json_valid(l.extra) THEN l.extra END, '$.attachments') AS a"
        f" WHERE l.kind <= {LAST_MESSAGE} AND l.kind = {NEW} AND l.chat = h.chat"
        " AND l.message_id = h.message_id AND l.extra IS NOT NULL AND a.value->>'$.id' = h.file) FROM holding AS h"
        " WHERE (h.chat, h.message_id, h.file) > (?, ?, ?) ORDER BY h.chat, h.message_id, h.file LIMIT ?",
        (*place, ROWS_PER_VIEW // 10),
        exact=True,
    ):
        left += [file for *_, file, held in rows if not held]
        place = rows[-1][:3]
    loose: list[str] = []
    last = ""
    while rows := await views.execute(
        "SELECT id, (loose = 0) <> EXISTS (SELECT 1 FROM holding WHERE file = id) FROM file WHERE id > ?"
        " ORDER BY id LIMIT ?",
        (last, ROWS_PER_VIEW // 10),
        exact=True,
    ):
        loose += [file for file, wrong in rows if wrong]
        last = rows[-1][0]
    return [
        *(f"entry {seq} has a file that is not recorded as held by it" for seq in missing),
        *(f"file {file} is recorded as held by a message that does not have it" for file in left[:SHOWN_FAULTS]),
        *(
            f"file {file}: reference count and expiry disagree (it is unreferenced and not scheduled for deletion,"
            " or referenced and scheduled)"
            for file in loose[:SHOWN_FAULTS]
        ),
    ]


CHECKS: dict[str, Check] = {
    PAGES: _integrity,
    TEXTS: _texts,
    "foreign keys": _foreign_keys,
    "message ids without gaps": _message_ids,
    "timestamps in order": _order,
    "edits and deletions": _changed,
    "deleted texts are gone": _erased,
    CLIENT_IDS: _client_ids,
    INDEX: _indexed,
    HOLDINGS: _holdings,
}
"""By their names in the report."""
