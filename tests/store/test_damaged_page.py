"""A page of a served store that is damaged: the log says so once, and the senders that it stops are told."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from relay.core.relay import open_relay
from tests.support.disk import failures, people, say

PAGE = 1_024


async def test_a_sender_stopped_by_a_damaged_page_gets_internal_and_the_log_says_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c0")
    store = tmp_path / "relay.db"
    with closing(sqlite3.connect(store)) as file:
        ((root,),) = file.execute("SELECT rootpage FROM sqlite_master WHERE name = 'client'")
    with store.open("r+b") as raw:
        raw.seek((root - 1) * PAGE)
        raw.write(b"\xff" * PAGE)
    async with open_relay(tmp_path) as relay:
        answers = [await say(relay, "User1", "User2", f"c{number}") for number in range(1, 4)]
    assert failures(answers) == ["internal"] * 3
    told = [record.getMessage() for record in caplog.records if "cannot be written" in record.getMessage()]
    assert len(told) == 1
    assert "the file is damaged" in told[0]
    assert "`relay check`" in told[0]
    assert "`relay restore FILE`" in told[0]
