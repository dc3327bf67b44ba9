"""The full-text index is dropped for its own damage only: a damaged page elsewhere costs what needs that page."""

import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from relay.cli.status import warnings
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import MarkRead
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.queries import positions
from relay.store.queries.search import Sought
from tests.support.damaged_pages import garble
from tests.support.disk import answers, command, failures, new, people, say
from tests.support.tunings import indexing

SAID = 300


@asynccontextmanager
async def with_messages(data: Path, *, damaged: str, at: float = 0.0) -> AsyncIterator[Relay]:
    """Open a relay with messages, all indexed, and a damaged leaf of a table or an index."""
    async with open_relay(data, tuning=indexing()) as relay:
        await people(relay, "User1", "User2")
        texts = [new(relay, "User1", "User2", f"c{one}", f"message {one:04} of some length") for one in range(SAID)]
        await answers(relay, *texts)
        await whole(relay)
    with closing(sqlite3.connect(data / "relay.db")) as file, file:
        # Otherwise a start of so small a store reads all of the log.
        file.execute("INSERT OR IGNORE INTO client SELECT client_key, seq FROM log WHERE client_key IS NOT NULL")
        file.execute("UPDATE filed SET seq = (SELECT max(seq) FROM log)")
    garble(data / "relay.db", damaged, at)
    async with open_relay(data, tuning=indexing()) as relay:
        yield relay


async def whole(relay: Relay) -> None:
    with trio.fail_after(20):
        while True:
            last, indexed = await positions.ends(relay.reading)
            if last == indexed:
                return
            await trio.sleep(0.01)


async def find(relay: Relay, text: str) -> list[str | None]:
    rows, _ = await relay.service.searching.find(UserKey(1), Sought(text, {ChatKey(1): 0}))
    return [row.message for row in rows]


async def kept(relay: Relay) -> bool:
    """Return whether the index is used and was never dropped."""
    _, indexed = await positions.ends(relay.reading)
    return bool(indexed) and not relay.log.index_losses and not relay.log.index_remaking


async def test_writes_that_meet_damage_outside_the_index_are_refused_and_the_index_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_messages(tmp_path, damaged="log_mark") as relay:
        for _ in range(4):
            assert failures(await answers(relay, command(relay, "User2", MarkRead(ChatKey(1), None)))) == ["internal"]
            assert await kept(relay)
        assert await find(relay, "message 0123") == ["message 0123 of some length"]
    assert "full-text index" not in caplog.text
    assert "`relay repair`" in caplog.text


@pytest.mark.parametrize("damaged", ["holding", "unmerged"])
async def test_edit_that_meets_damage_outside_the_index_is_refused_and_the_index_stays(
    tmp_path: Path, damaged: str
) -> None:
    async with with_messages(tmp_path, damaged=damaged) as relay:
        edit = requests.Edit(chat_id="User2", original_message_id=5, message="another text")
        for number in range(3):
            asked = Command(relay.clock(), UserKey(1), NO_DEVICE, edit, generated_id=f"x{number}")
            assert failures(await answers(relay, asked)) == ["internal"]
            assert await kept(relay)


async def test_search_that_finds_an_entry_on_a_damaged_page_of_the_log_leaves_the_index(tmp_path: Path) -> None:
    async with with_messages(tmp_path, damaged="log", at=0.5) as relay:
        lost = 0
        for number in range(SAID):
            try:
                await find(relay, f"message {number:04}")
            except sqlite3.DatabaseError:
                lost += 1
            assert await kept(relay)
        assert 0 < lost < SAID / 2


async def test_indexing_that_meets_a_damaged_page_of_the_log_does_not_begin_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_messages(tmp_path, damaged="log", at=0.5) as relay:
        index = relay.log.background.index
        with caplog.at_level(logging.WARNING):
            await relay.log.begin_index()
            losses = index.losses
            with trio.fail_after(10):
                while "cannot be written" not in caplog.text:
                    await trio.sleep(0.01)
            for number in range(3):
                assert not failures([await say(relay, "User1", "User2", f"more {number}")])
                await trio.sleep(0.05)
        assert index.losses == losses
    assert "index is damaged" not in caplog.text


async def test_batch_that_indexes_earlier_entries_is_written_although_their_page_is_damaged(tmp_path: Path) -> None:
    async with with_messages(tmp_path, damaged="search_docsize", at=1.0) as relay:
        assert not failures([await say(relay, "User1", "User2", f"more {number}") for number in range(5)])
        assert not relay.log.failing


@pytest.mark.parametrize("content", [b"\0", b"\xff"])
async def test_index_on_a_damaged_page_is_given_up_and_the_log_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    async with with_messages(tmp_path, damaged="log_mark"):
        pass
    garble(tmp_path / "relay.db", "search_data", content=content)
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        index = relay.log.background.index
        await relay.log.begin_index()
        with trio.fail_after(10):
            await index.emptied.wait()
        assert index.beyond_rebuilding
        assert not relay.log.index_remaking
        assert await find(relay, "message 0123") == ["message 0123 of some length"]
        losses = index.losses
        assert not failures([await say(relay, "User1", "User2", f"more {number}") for number in range(3)])
        await trio.sleep(0.2)
        assert index.losses == losses
    assert caplog.text.count("cannot be rebuilt in this file") == 1
    assert "`relay repair`" in caplog.text


async def test_reindex_on_damaged_pages_says_that_it_cannot_and_what_does(tmp_path: Path) -> None:
    async with with_messages(tmp_path, damaged="search_data", at=0.5) as relay:
        with pytest.raises(RelayError, match="relay repair") as refused:
            await relay.admin.handle("reindex", control.Empty())
        assert "cannot be rebuilt" in refused.value.error.message
        shown = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(shown, control.Status)
        (said,) = warnings(shown)
        assert "the full-text index" in said
        assert "being rebuilt" not in said
        assert "`relay repair`" in said


async def test_snapshot_on_a_damaged_page_is_reported_with_what_helps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with with_messages(tmp_path, damaged="user") as relay:
        assert "Each start does so until you stop the relay and run `relay repair`" in caplog.text
        with pytest.raises(RelayError):
            await relay.log.keep_snapshot()
        shown = await relay.admin.handle("status.show", control.Empty())
        assert isinstance(shown, control.Status)
        assert any("the snapshot" in one and "`relay repair`" in one for one in warnings(shown))
