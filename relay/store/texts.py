"""Whether what a store keeps as text can be read: UTF-8 everywhere, and JSON where it is JSON.

SQLite looks at neither, so a byte that a failing disk changed within a text is not damage to it. Names the place of
each flaw. Reads only, forwards, and keeps no more than the flaws.
"""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from itertools import islice
from typing import NamedTuple

import msgspec

from relay.keys import NO_CHAT, ChatKey
from relay.store import kinds
from relay.store.entry import Extra
from relay.store.sqlite.reading import PageBound
from relay.store.sqlite.statements import Row, Rows, Statement

PAGE_ROWS = 5_000
"""Rows read at a time beside a running relay."""
PAGE_BYTES = 1 << 20
"""Bytes of text in them at most, or one row."""

_any_json: Callable[[str], object] = msgspec.json.Decoder().decode
_EXTRA: dict[int, Callable[[str], object]] = {kinds.NEW: msgspec.json.Decoder(Extra).decode}


class Flaw(NamedTuple):
    """Something that cannot be read."""

    chat: ChatKey
    """The chat that it is in; `NO_CHAT` for none."""
    what: str


class _TextTable(NamedTuple):
    """A table, and what is read of it: first its key, from which reading goes on; then texts as bytes."""

    table: str
    sql: str
    start: Row
    """A key before the first."""
    flaw: Callable[[Row], Flaw | None]
    """Looks at one row."""
    column: str
    """The column that is read and came last to the schema: a store of an earlier version may lack it."""


def _reads(text: bytes | None) -> bool:
    if text is not None:
        try:
            text.decode()
        except UnicodeDecodeError:
            return False
    return True


def _is_json(text: bytes | None, decode: Callable[[str], object] = _any_json) -> bool:
    if text is not None:
        try:
            decode(text.decode())
        except (UnicodeDecodeError, msgspec.DecodeError):
            return False
    return True


def _log_flaw(row: Row) -> Flaw | None:
    seq, kind, chat, message_id, client_id, message, extra = row
    what = ""
    if not _reads(message):
        what = "its text is not UTF-8"
    elif not _reads(client_id):
        what = "its client id is not UTF-8"
    elif extra is not None and not _is_json(extra, _EXTRA.get(kind, _any_json)):
        what = "its attachments cannot be read" if kind == kinds.NEW else "what it records cannot be read"
    if not what:
        return None
    of = f"message {message_id}, " if kind <= kinds.LAST_MESSAGE else ""
    return Flaw(chat, f"{of}event {seq} ({kinds.KIND_NAMES.get(kind, kind)}): {what}")


def _row_flaw(table: str, key: Row) -> Flaw:
    name = ", ".join(one.decode(errors="replace") if isinstance(one, bytes) else str(one) for one in key)
    return Flaw(NO_CHAT, f"row {name} of the table {table} cannot be read")


def _values(table: str, sql: Statement, start: Row) -> _TextTable:
    """Describe a table of JSON values."""
    columns = len(start)

    def flaw(row: Row) -> Flaw | None:
        if all(_reads(one) for one in row if isinstance(one, bytes)) and _is_json(row[columns]):
            return None
        return _row_flaw(table, row[:columns])

    return _TextTable(table, sql, start, flaw, "value")


def _texts(table: str, column: str, sql: Statement, start: Row, helps: str = "") -> _TextTable:
    """Describe a table of texts.

    Args:
        table: its name.
        column: see `_TextTable`.
        sql: see `_TextTable`.
        start: see `_TextTable`.
        helps: added to a flaw.
    """

    def flaw(row: Row) -> Flaw | None:
        if all(_reads(one) for one in row if isinstance(one, bytes)):
            return None
        found = _row_flaw(table, row[: len(start)])
        return found._replace(what=found.what + helps)

    return _TextTable(table, sql, start, flaw, column)


# A text goes in and out as bytes, also in a key: SQLite compares texts by their bytes.
_FIRST = -(2**63)
_WRITTEN_AT_START = ": the relay's next start writes it again"
_PARTS = (
    _TextTable(
        "log",
        Statement(
            "SELECT seq, kind, chat, message_id, CAST(client_id AS BLOB), CAST(message AS BLOB), CAST(extra AS BLOB)"
            " FROM log WHERE seq > ? ORDER BY seq"
        ),
        (_FIRST,),
        _log_flaw,
        "extra",
    ),
    _values("user", Statement("SELECT key, CAST(value AS BLOB) FROM user WHERE key > ? ORDER BY key"), (_FIRST,)),
    _values("device", Statement("SELECT key, CAST(value AS BLOB) FROM device WHERE key > ? ORDER BY key"), (_FIRST,)),
    _values(
        "invite",
        Statement(
            "SELECT CAST(key AS BLOB), CAST(value AS BLOB) FROM invite WHERE key > CAST(? AS TEXT) ORDER BY invite.key"
        ),
        (b"",),
    ),
    _values("chat", Statement("SELECT key, CAST(value AS BLOB) FROM chat WHERE key > ? ORDER BY key"), (_FIRST,)),
    _values(
        "member",
        Statement("SELECT chat, user, CAST(value AS BLOB) FROM member WHERE (chat, user) > (?, ?) ORDER BY chat, user"),
        (_FIRST, 0),
    ),
    _values("base", Statement("SELECT one, CAST(value AS BLOB) FROM base WHERE one > ? ORDER BY one"), (_FIRST,)),
    _values(
        "base_part",
        Statement("SELECT number, CAST(value AS BLOB) FROM base_part WHERE number > ? ORDER BY number"),
        (_FIRST,),
    ),
    _texts(
        "file",
        "id",
        Statement(
            "SELECT CAST(id AS BLOB), CAST(digest AS BLOB), CAST(name AS BLOB), CAST(mimetype AS BLOB) FROM file"
            " WHERE id > CAST(? AS TEXT) ORDER BY file.id"
        ),
        (b"",),
    ),
    _texts(
        "holding",
        "file",
        Statement(
            "SELECT chat, message_id, CAST(file AS BLOB) FROM holding WHERE (chat, message_id, file) >"
            " (?, ?, CAST(? AS TEXT)) ORDER BY chat, message_id, holding.file"
        ),
        (_FIRST, 0, b""),
    ),
    _texts(
        "writer",
        "version",
        Statement("SELECT one, CAST(version AS BLOB) FROM writer WHERE one > ? ORDER BY one"),
        (_FIRST,),
        _WRITTEN_AT_START,
    ),
    _texts(
        "indexed",
        "folding",
        Statement("SELECT one, CAST(folding AS BLOB) FROM indexed WHERE one > ? ORDER BY one"),
        (_FIRST,),
        _WRITTEN_AT_START,
    ),
)
"""All columns of text in the schema."""
_CHAT_NAME = Statement(
    "SELECT coalesce(CASE WHEN json_valid(value) THEN value ->> '$.id' END, (SELECT group_concat(id, '~') FROM ("
    " SELECT CASE WHEN json_valid(u.value) THEN u.value ->> '$.id' END AS id FROM member AS m JOIN user AS u"
    " ON u.key = m.user WHERE m.chat = chat.key ORDER BY m.user LIMIT 2))) FROM chat WHERE key = ?"
)


def flaws(store: sqlite3.Connection, limit: int) -> list[str]:
    """Find what cannot be read in a store that nobody writes to, reading it once.

    Args:
        store: the store, of this relay's version or an earlier one.
        limit: how many are found at most.

    Raises:
        sqlite3.Error: it is damaged otherwise, or cannot be read.
    """
    every = (flaw for part in _PARTS if _is_there(store, part) for flaw in _flaws_of(store, part))
    found = list(islice(every, limit))
    names = {key: store.execute(_CHAT_NAME, (key,)).fetchall() for key in {one.chat for one in found} - {NO_CHAT}}
    return [_said(one, names) for one in found]


def _is_there(store: sqlite3.Connection, part: _TextTable) -> bool:
    """Return whether a store has a table already, with its latest column; without the table there are no columns."""
    return part.column in {name for _, name, *_ in store.execute(f"PRAGMA table_info({part.table})")}


def _flaws_of(store: sqlite3.Connection, part: _TextTable) -> Iterator[Flaw]:
    look = part.flaw
    with closing(store.execute(part.sql, part.start)) as rows:
        for row in rows:
            flaw = look(row)
            if flaw is not None:
                yield flaw


async def flaws_beside(
    page: Callable[[str, Row, PageBound], Awaitable[tuple[Rows, bool]]],
    execute: Callable[[str, Row], Awaitable[Rows]],
    limit: int,
) -> list[str]:
    """Find what cannot be read in a store that a relay may be writing to, in short views.

    Args:
        page: reads a page of rows.
        execute: runs a statement.
        limit: how many are found at most.

    Raises:
        sqlite3.Error: it is damaged otherwise, or cannot be read.
    """
    found: list[Flaw] = []
    for part in _PARTS:
        key, more = part.start, True
        while more and len(found) < limit:
            rows, more = await page(part.sql, key, PageBound(PAGE_ROWS, PAGE_BYTES, _weight))
            found += filter(None, map(part.flaw, rows))
            key = rows[-1][: len(key)] if rows else key
    names = {key: await execute(_CHAT_NAME, (key,)) for key in {one.chat for one in found} - {NO_CHAT}}
    return [_said(one, names) for one in found[:limit]]


def _weight(row: Row) -> int:
    return sum(len(one) for one in row if isinstance(one, bytes))


def _said(flaw: Flaw, names: dict[ChatKey, Rows]) -> str:
    if flaw.chat == NO_CHAT:
        return flaw.what
    ((name,),) = names[flaw.chat] or [(None,)]
    return f"chat {name or f'with the key {flaw.chat}'}, {flaw.what}"
