"""A damaged full-text index is rebuilt from the log: nothing is lost, searches and edits continue."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from relay.cli.status import warnings
from relay.core.maintenance.check import check
from relay.core.model import snapshot
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import ADMIN, NoteRestore
from relay.core.submit import submit
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.store.command import Command
from relay.store.log.schedule import INDEX_CHARACTERS_WITH_BATCH
from relay.store.queries import positions, search
from relay.store.queries.search import Sought
from relay.store.queries.trigrams import TRIGRAM_CHARACTERS
from relay.store.sqlite import database
from relay.store.upkeep import full_text_index
from tests.support.command_line import done, run
from tests.support.tunings import indexing

SAID = 300
INDEX = "full-text index"


def _new(relay: Relay, number: int, text: str) -> Command:
    request = requests.New(chat_id="b", client_message_id=f"c{number}", message=text)
    return Command(relay.clock(), UserKey(1), NO_DEVICE, request)


async def _say(relay: Relay, number: int, text: str) -> None:
    await submit(relay.log, _new(relay, number, text))


async def _indexed(relay: Relay) -> None:
    with trio.fail_after(20):
        while True:
            last, indexed = await positions.ends(relay.reading)
            if last == indexed:
                return
            await trio.sleep(0.01)


@asynccontextmanager
async def _with_messages(data: Path) -> AsyncIterator[Relay]:
    async with open_relay(data, tuning=indexing()) as relay:
        if len(relay.state.users) < 2:
            for user in ("a", "b"):
                await relay.admin.handle("user.add", control.AddUser(id=user))
            for number in range(SAID - 1):
                relay.log.append(_new(relay, number, f"message {number:04} of some length"))
            await _say(relay, SAID - 1, f"message {SAID - 1:04} of some length")
            await _indexed(relay)
        yield relay


async def _find(relay: Relay, text: str, count: int = 10) -> list[str | None]:
    rows, _ = await relay.service.searching.find(UserKey(1), Sought(text, {ChatKey(1): 0}, count=count))
    return [row.message for row in rows]


def _damage(data: Path, sql: str = "UPDATE search_data SET block = randomblob(length(block)) WHERE id > 10") -> None:
    with closing(sqlite3.connect(data / "relay.db")) as file, file:
        assert file.execute(sql).rowcount


def _whole(data: Path) -> None:
    with closing(sqlite3.connect(data / "relay.db")) as file, file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")


DAMAGES = {
    "blocks overwritten": "UPDATE search_data SET block = randomblob(length(block)) WHERE id > 10",
    "blocks of zeros": "UPDATE search_data SET block = zeroblob(length(block)) WHERE id > 10",
    "segments missing": "UPDATE search_data SET block = x'0000000000' WHERE id = 10 AND length(block) > 5",
    "blocks missing": "DELETE FROM search_data WHERE id > 10",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_check_finds_a_damaged_index(tmp_path: Path, damage: str) -> None:
    async with _with_messages(tmp_path):
        pass
    before = {finding.what: finding.wrong for finding in await check(tmp_path, lambda _what: None)}
    assert before[INDEX] == []
    _damage(tmp_path, damage)
    after = {finding.what: finding.wrong for finding in await check(tmp_path, lambda _what: None)}
    assert after[INDEX]


@pytest.mark.parametrize("query", ["message 0123", "23"])
async def test_search_that_meets_a_damaged_index_answers_and_starts_a_rebuild(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, query: str
) -> None:
    async with _with_messages(tmp_path):
        pass
    _damage(tmp_path)
    async with _with_messages(tmp_path) as relay:
        if len(query) < TRIGRAM_CHARACTERS:
            relay.service.searching.bounds.latest_entries = 0
        with caplog.at_level(logging.INFO):
            assert "message 0123 of some length" in await _find(relay, query, count=SAID)
            with trio.fail_after(5):
                while not relay.log.index_losses:
                    await trio.sleep(0.01)
            await _indexed(relay)
        assert await _find(relay, "message 0123") == ["message 0123 of some length"]
        assert len(await _find(relay, "message", count=SAID)) == SAID
    logged = [record.message for record in caplog.records if "full-text index" in record.message]
    assert len(logged) == 2
    assert logged[0].startswith("the full-text index is damaged")
    assert logged[1] == "the full-text index is whole again"
    assert "0123" not in caplog.text
    _whole(tmp_path)


@pytest.mark.parametrize("request_", ["edit", "delete"])
async def test_edit_or_deletion_that_meets_a_damaged_index_is_written(tmp_path: Path, request_: str) -> None:
    async with _with_messages(tmp_path):
        pass
    _damage(tmp_path)
    async with _with_messages(tmp_path) as relay:
        asked = (
            requests.Edit(chat_id="b", original_message_id=5, message="another text")
            if request_ == "edit"
            else requests.Delete(chat_id="b", message_id=5)
        )
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, asked, generated_id="x"))
        assert not relay.log.failing
        assert await _find(relay, "message 0004") == []
        await _indexed(relay)
        assert await _find(relay, "another") == (["another text"] if request_ == "edit" else [])
        assert await _find(relay, "message 0005") == ["message 0005 of some length"]
    _whole(tmp_path)


def test_check_names_the_command_that_rebuilds_the_index(tmp_path: Path) -> None:
    async def use(found: list[str | None]) -> None:
        async with _with_messages(tmp_path) as relay:
            await _indexed(relay)
            found += await _find(relay, "message 0123")

    trio.run(use, [])
    # No reader of this index would notice: it has no segments at all.
    _damage(tmp_path, DAMAGES["segments missing"])
    checked = run("check", data=tmp_path)
    assert checked.code == 1
    assert "WRONG  full-text index" in checked.out
    assert "relay reindex" in checked.out
    assert "restore" not in checked.out.lower()
    assert "being rebuilt" in done("reindex", data=tmp_path).out
    found: list[str | None] = []
    trio.run(use, found)
    assert found == ["message 0123 of some length"]
    assert done("check", data=tmp_path)


async def test_status_reports_the_rebuild_of_the_index(tmp_path: Path) -> None:
    async with _with_messages(tmp_path) as relay:
        await relay.admin.handle("reindex", control.Empty())
        shown = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(shown, control.Status)
        assert any(f"{shown.index_behind:,} entries are left" in one for one in warnings(shown))
        await _indexed(relay)
        # The file is ahead of what the writer has noted.
        with trio.fail_after(5):
            while relay.log.index_remaking:
                await trio.sleep(0.01)
        shown = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(shown, control.Status)
        assert not list(warnings(shown))


async def test_interrupted_rebuild_continues_after_the_next_start(tmp_path: Path) -> None:
    async with _with_messages(tmp_path):
        pass
    _damage(tmp_path)
    with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as file:
        # The state after a kill: the index is unused, and half emptied.
        file.execute("UPDATE indexed SET seq = 0")
        file.execute("DELETE FROM search_data WHERE id > 10")
        file.execute("DELETE FROM search_docsize WHERE id < 100")
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]
    async with _with_messages(tmp_path) as relay:
        await _say(relay, SAID, "one more")
        await _indexed(relay)
        assert len(await _find(relay, "message", count=SAID)) == SAID
    _whole(tmp_path)


async def test_damaged_log_is_not_mistaken_for_a_damaged_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = sqlite3.DatabaseError("database disk image is malformed")
    damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT

    async def fail(*_arguments: object, **_limits: object) -> None:
        raise damaged

    async with _with_messages(tmp_path) as relay:
        monkeypatch.setattr(search, "search", fail)
        with pytest.raises(sqlite3.DatabaseError):
            await _find(relay, "message")
        await wait_all_tasks_blocked()
        assert not relay.log.index_losses


async def test_an_index_is_emptied_in_portions(tmp_path: Path) -> None:
    async with _with_messages(tmp_path):
        pass
    async with database.connect(tmp_path / "relay.db", writing=True) as writing:
        await full_text_index.lose_index(writing)
        portions = 0
        while await positions.index_left_over(writing):
            before = await writing.execute("SELECT count(*) FROM search_docsize")
            await full_text_index.empty_index(writing, 50)
            portions += 1
            after = await writing.execute("SELECT count(*) FROM search_docsize")
            assert before[0][0] - after[0][0] <= 50
    assert portions > SAID / 50


# Other data derived from the log.


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE user SET value = '{'",
        "UPDATE chat SET value = substr(value, 1, 9)",
        "DELETE FROM user",
    ],
)
async def test_a_start_with_a_damaged_snapshot_takes_the_state_from_the_log(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with _with_messages(tmp_path) as relay:
        before = snapshot.plain_data(relay.state)
    _damage(tmp_path, damage)
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        assert snapshot.plain_data(relay.state) == before
        await _say(relay, SAID, "one more")
    assert "made again from the log" in caplog.text
    caplog.clear()
    assert not [finding for finding in await check(tmp_path, lambda _what: None) if finding.wrong]
    async with open_relay(tmp_path, tuning=indexing()):
        assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]


async def test_indexing_is_bounded_in_text_at_a_time(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing(index_seconds=float("inf"))) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        texts = ["é" * (full_text_index.INDEXED_BYTES // 4)] * 4 + [
            "я" * full_text_index.INDEXED_BYTES,
            "short",
            "words",
        ]
        for number, text in enumerate(texts):
            await _say(relay, number, text)
        last, _ = await positions.ends(relay.reading)
        before = last - len(texts)

        async def portions(writing: database.Connection) -> list[int]:
            reached = [0]
            while reached[-1] < last:
                reached.append(await full_text_index.index(writing, last))
            return reached

        reached = await relay.log.run_exclusive(portions)
        assert reached == [0, before + 2, before + 4, before + 5, last]
        assert await _find(relay, "words") == ["words"]
        assert len(await _find(relay, "éééé")) == 4


async def test_long_texts_are_not_indexed_along_with_a_batch(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing(quiet_seconds=float("inf"))) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        await _say(relay, 1, "a few words")
        await _say(relay, 2, "more")
        last, indexed = await positions.ends(relay.reading)
        assert indexed == last - 1
        await _say(relay, 3, "x" * (INDEX_CHARACTERS_WITH_BATCH + 1))
        await _say(relay, 4, "more")
        await _say(relay, 5, "more")
        last, indexed = await positions.ends(relay.reading)
        assert indexed == last - 3


async def test_entries_left_to_index_are_counted_without_the_gap_of_a_restore(tmp_path: Path) -> None:
    async with _with_messages(tmp_path) as relay:
        for _ in range(2):
            await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, NoteRestore(relay.state.seq + 1_000_000)))
            await _say(relay, relay.state.seq, "after a restore")
        ((entries,),) = await relay.reading.execute("SELECT count(*) FROM log")
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        await relay.admin.handle("reindex", control.Empty())
        assert relay.log.index_behind <= entries
        written = 0
        real = full_text_index.index

        async def counted(connection: database.Connection, upto: int) -> int:
            nonlocal written
            written += 1
            return await real(connection, upto)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(full_text_index, "index", counted)
            await _indexed(relay)
        assert written <= entries // 20
