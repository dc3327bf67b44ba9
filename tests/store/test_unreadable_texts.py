"""A byte of a stored text that a failing disk changed: it costs that text alone, and what proves a store finds it."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.maintenance.check import check
from relay.protocol import control
from relay.store import entry, texts
from relay.store.backup.archive import back_up
from relay.store.backup.restore import CannotRestore, unpacked
from relay.store.data_dir.errors import UnreadableText, is_damaged
from relay.store.integrity import TEXTS
from relay.store.sqlite import database
from relay.store.sqlite.reading import PageBound
from relay.store.sqlite.schema import MIGRATIONS
from tests.support.command_line import run, said
from tests.support.sessions import Client, House, house
from tests.support.tunings import indexing

TEXT, CLIENT_ID, GROUP, FILE = b"Zebrafish in the pond", b"client-of-the-zebrafish", b"Aquarium", b'"carp.txt"'
ATTACHMENT = {
    "type": "file",
    "id": "x1",
    "filename": "carp.txt",
    "url": "https://example.org/carp",
    "meta": {"extension": "txt", "size": 1},
}
BROKEN = "\ufffd"
FLAWS: dict[str, tuple[bytes, bytes, str]] = {
    "text": (TEXT, b"Zeb\xffafish in the pond", "chat anna~ben, message 4, event {}: its text is not UTF-8"),
    "client id": (CLIENT_ID, b"cli\xffnt-of-the-zebrafish", "chat anna~ben, message 4, event {}: its client id is"),
    "name in JSON": (GROUP, b"Aqu\xffrium", "chat {}, event {}: what it records cannot be read"),
    "JSON": (FILE, b'"carp\x01txt"', "chat anna~ben, message 5, event {}: its attachments cannot be read"),
}


@pytest.fixture(autouse=True)
def _unsaid() -> None:
    entry.note_unreadable.cache_clear()


async def _say(client: Client, chat_id: str, client_id: str, message: str, **more: Any) -> None:
    await client.request("new", chatId=chat_id, clientMessageId=client_id, message=message, **more)


@asynccontextmanager
async def _open(data: Path, tokens: dict[str, str] | None = None) -> AsyncIterator[House]:
    async with house(data, *(() if tokens else ("anna", "ben")), tuning=indexing()) as opened:
        opened.tokens.update(tokens or {})
        yield opened


async def _fill(data: Path) -> dict[str, str]:
    """Make a store with one message and one group that a flaw may hit, and others."""
    async with _open(data) as opened, opened.device("anna") as anna:
        for number in range(3):
            await _say(anna, "ben", f"before {number}", f"before {number}")
        await _say(anna, "ben", CLIENT_ID.decode(), TEXT.decode())
        await _say(anna, "ben", "file", "", attachments=[ATTACHMENT])
        await _say(anna, "ben", "answer", "after all", replyTo=4)
        group = control.MakeChat(name=GROUP.decode(), owner="anna", participants=["ben"])
        made = await opened.relay.admin.handle("chat.create", group)
        assert isinstance(made, control.ChatInfo)
        await _say(anna, made.id, "in group", "in the group")
        await opened.relay.log.keep_snapshot()
        return opened.tokens


def _spoil(data: Path, old: bytes, new: bytes) -> None:
    store = data / "relay.db"
    content = store.read_bytes()
    assert old in content
    store.write_bytes(content.replace(old, new))


@pytest.mark.parametrize("flaw", FLAWS)
async def test_a_flaw_ends_no_start_no_connection_no_answer_and_no_export(
    tmp_path: Path, flaw: str, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = await _fill(tmp_path)
    _spoil(tmp_path, *FLAWS[flaw][:2])
    exported: list[object] = []

    async def item(record: object) -> None:
        exported.append(record)

    with caplog.at_level(logging.INFO):
        async with _open(tmp_path, tokens) as opened:
            async with opened.device("ben") as ben:
                events = await ben.rest()
                assert [one["payload"].get("messageId") for one in events if one.get("eventType") == "new"] == [
                    1, 2, 3, 4, 5, 6, 1
                ]  # fmt: skip
                assert len(await ben.request("messages", chatId="anna", count=100)) == 6
                assert len(await ben.request("search", query="before")) == 3
                assert len(await ben.request("chats")) >= 2
            async with opened.device("anna") as anna:
                await anna.rest()
                for message_id in (4, 5):
                    await anna.request("edit", chatId="ben", originalMessageId=message_id, message="mended")
                    await anna.request("delete", chatId="ben", originalMessageId=message_id)
            await opened.relay.admin.handle("export", control.Export(), item)
            await opened.relay.admin.handle("audit.list", control.Audit())
            with trio.fail_after(10):
                while opened.relay.log.index_behind:
                    await trio.sleep(0.01)
    assert len([one for one in exported if isinstance(one, control.Record) and one.type == "message"]) == 7
    assert "Traceback" not in caplog.text
    assert "cannot be indexed" not in caplog.text
    assert "cannot be written" not in caplog.text
    assert "rafish" not in caplog.text
    assert caplog.text.count("cannot be read and is left out") == (flaw == "JSON")


async def test_a_text_that_is_not_utf8_is_shown_with_a_sign_for_what_is_lost(tmp_path: Path) -> None:
    tokens = await _fill(tmp_path)
    _spoil(tmp_path, *FLAWS["text"][:2])
    async with _open(tmp_path, tokens) as opened, opened.device("ben") as ben:
        await ben.rest()
        messages = await ben.request("messages", chatId="anna", count=100)
        (spoilt,) = [one for one in messages if one["messageId"] == 4]
        (answer,) = [one for one in messages if one["messageId"] == 6]
        assert spoilt["message"] == answer["replyTo"]["message"] == f"Zeb{BROKEN}afish in the pond"


async def test_a_spoilt_snapshot_is_made_again_from_the_log(tmp_path: Path) -> None:
    """The log has the right name still."""
    tokens = await _fill(tmp_path)
    with sqlite3.connect(tmp_path / "relay.db") as store:
        store.execute("UPDATE chat SET value = CAST(replace(CAST(value AS BLOB), x'41', x'FF') AS TEXT)")
    async with _open(tmp_path, tokens) as opened:
        assert GROUP.decode() in [chat.name for chat in opened.relay.state.chats.values()]


@pytest.mark.parametrize("flaw", FLAWS)
async def test_checks_of_a_store_name_the_place(tmp_path: Path, flaw: str) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup.tar"
    data.mkdir()
    await _fill(data)
    await trio.to_thread.run_sync(back_up, data, backup)
    good = backup.read_bytes()
    old, new, place = FLAWS[flaw]
    _spoil(data, old, new)
    before, _, after = place.partition("{}")
    (found,) = [one for one in await check(data, lambda _name: None) if one.what == TEXTS]
    assert [fault for fault in found.wrong if fault.startswith(before) and after.split(":")[-1] in fault], found
    with pytest.raises(UnreadableText) as refused:
        await trio.to_thread.run_sync(back_up, data, backup)
    assert str(refused.value) in found.wrong
    assert backup.read_bytes() == good
    backup.write_bytes(good.replace(old, new))
    with pytest.raises(CannotRestore, match="is damaged"), unpacked(backup, tmp_path / "other"):
        pass


async def test_commands_say_what_helps_against_a_flaw(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    await _fill(tmp_path / "data")
    _spoil(tmp_path / "data", *FLAWS["text"][:2])

    def ask() -> None:
        line = said(run("backup", tmp_path / "backup.tar", data=tmp_path / "data"))
        assert "is damaged (chat anna~ben, message 4, event" in line
        assert "edit or delete such a message" in line
        checked = run("check", data=tmp_path / "data")
        assert checked.code == 1
        assert "Edit or delete such a message" in checked.out

    await trio.to_thread.run_sync(ask)


async def test_only_a_text_that_is_not_utf8_is_read_twice(tmp_path: Path) -> None:
    """The usual way of sqlite3 is the fast one, and is in use again afterwards."""
    path = tmp_path / "store"
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE t (key INTEGER PRIMARY KEY, value TEXT)")
        store.execute("INSERT INTO t VALUES (1, 'a'), (2, CAST(x'61FF62' AS TEXT)), (3, 'c')")
        store.execute("CREATE VIRTUAL TABLE search USING fts5 (message)")
    store.close()
    async with database.connect(path, writing=False) as reading:
        raw = reading._connection  # noqa: SLF001
        for read in (_executed, _paged):
            assert await read(reading) == ["a", f"a{BROKEN}b", "c"]
            assert raw.text_factory is str
        with pytest.raises(sqlite3.OperationalError) as failed:
            await reading.execute("SELECT value FROM t", exact=True)
        assert is_damaged(failed.value)


async def _executed(reading: database.Connection) -> list[str]:
    return [value for (value,) in await reading.execute("SELECT value FROM t ORDER BY key")]


async def _paged(reading: database.Connection) -> list[str]:
    bound = PageBound(10, 1_000, lambda row: len(row[0]))
    rows, _ = await reading.page("SELECT value FROM t ORDER BY key", (), bound)
    return [value for (value,) in rows]


def _text_columns(store: sqlite3.Connection) -> list[tuple[str, str]]:
    return store.execute(
        "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c"
        " WHERE t.type = 'table' AND t.rootpage > 0 AND c.type = 'TEXT'"
    ).fetchall()


def _put_row(store: sqlite3.Connection, table: str, spoilt: str) -> None:
    """Put a row into a table, with numbers and empty JSON everywhere but in one column."""
    columns = store.execute("SELECT name, type FROM pragma_table_info(?)", (table,)).fetchall()
    values = [
        "CAST(x'7BFF7D' AS TEXT)" if name == spoilt else "'{}'" if type_ == "TEXT" else "1" for name, type_ in columns
    ]
    names = ", ".join(name for name, _ in columns)
    store.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({', '.join(values)})")


async def test_every_column_of_text_in_the_schema_is_read(tmp_path: Path) -> None:
    async with _open(tmp_path):
        pass
    with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as store:
        columns = _text_columns(store)
        assert {"log", "user", "file", "writer", "indexed"} <= {table for table, _ in columns}
        missed = []
        for table, column in columns:
            store.execute("BEGIN")
            _put_row(store, table, "")
            whole = texts.flaws(store, 2)
            _put_row(store, table, column)
            found = texts.flaws(store, 2)
            store.execute("ROLLBACK")
            assert not whole, (table, column)
            if len(found) != 1:
                missed.append((table, column))
        assert missed == []


def test_stores_of_earlier_versions_are_read_too() -> None:
    """A restore proves a backup before it is upgraded."""
    for version in range(1, len(MIGRATIONS) + 1):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
            for migration in MIGRATIONS[:version]:
                store.executescript(migration)
            assert texts.flaws(store, 2) == [], version
            for table in {table for table, _ in _text_columns(store)}:
                _put_row(store, table, "")
            assert texts.flaws(store, 2) == [], version
            _put_row(store, "chat", "value")
            assert texts.flaws(store, 2) == ["row 1 of the table chat cannot be read"], version


@pytest.mark.parametrize(("table", "column"), [("writer", "version"), ("indexed", "folding")])
async def test_a_flaw_in_what_a_start_writes_again_is_named_and_gone_after_a_start(
    tmp_path: Path, table: str, column: str
) -> None:
    tokens = await _fill(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as store, store:
        store.execute(f"UPDATE {table} SET {column} = CAST(x'FF' AS TEXT)")

    async def wrong() -> list[str]:
        return [fault for one in await check(tmp_path, lambda _name: None) if one.what == TEXTS for fault in one.wrong]

    assert await wrong() == [f"row 1 of the table {table} cannot be read: the relay's next start writes it again"]
    async with _open(tmp_path, tokens):
        pass
    assert await wrong() == []
