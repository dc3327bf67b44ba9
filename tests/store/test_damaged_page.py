"""A page of a served store that is damaged: the log says so once, and the senders that it stops are told."""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.relay import open_relay
from relay.core.rules.commands import MarkRead
from relay.keys import ChatKey
from tests.support.disk import answers, command, failures, people, say

PAGE = 1_024


def damage(store: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(store)) as file:
        ((root,),) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
    with store.open("r+b") as raw:
        raw.seek((root - 1) * PAGE)
        raw.write(b"\xff" * PAGE)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the writer's records say of the store."""
    said = [record.getMessage() for record in caplog.records if record.name == "relay.store.refusals"]
    return [one for one in said if one.startswith(("the store cannot be written", "the store can be written"))]


async def test_a_sender_stopped_by_a_damaged_page_gets_internal_and_the_log_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c0")
    damage(tmp_path / "relay.db", "client")
    async with open_relay(tmp_path) as relay:
        got = [await say(relay, "User1", "User2", f"c{number}") for number in range(1, 4)]
    assert failures(got) == ["internal"] * 3
    (said,) = told(caplog)
    assert "the file is damaged" in said
    assert "`relay check`" in said
    assert "`relay restore FILE`" in said


async def test_damage_first_met_on_a_full_disk_is_logged_and_so_is_the_return_of_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "relay.store.refusals")
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c0")
    damage(tmp_path / "relay.db", "log_mark")
    async with open_relay(tmp_path) as relay:
        writing = relay.connections.writing
        ((pages,),) = await writing.execute("PRAGMA page_count")
        ((most,),) = await writing.execute("PRAGMA max_page_count")
        await writing.execute(f"PRAGMA max_page_count = {pages}")
        assert failures([await say(relay, "User1", "User2", "large", "x" * 60_000)]) == ["storage_full"]
        read = command(relay, "User2", MarkRead(ChatKey(1), None))
        for _ in range(2):
            assert failures(await answers(relay, read)) == ["internal"]
        await writing.execute(f"PRAGMA max_page_count = {most}")
        assert not failures([await say(relay, "User1", "User2", "large", "x" * 60_000)])
        assert failures(await answers(relay, read)) == ["internal"]
        assert not failures([await say(relay, "User1", "User2", "c1")])
    full, damaged, again = told(caplog)
    assert "full" in full
    assert "the file is damaged" in damaged
    assert again == "the store can be written again"
