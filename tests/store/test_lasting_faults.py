"""A fault that lasts is logged once when it begins, and once when it is over."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.store.sqlite.database import Connection
from tests.support.disk import people, say


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        yield relay


async def test_an_index_that_cannot_be_written_for_long_is_told_once_and_once_when_it_can(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    writing, index = relay.connections.writing, relay.log.background.index
    for number in range(8):
        await say(relay, "User1", "User2", f"c{number}", " ".join(f"word{number}{n}" for n in range(400)))
    ((pages,),) = await writing.execute("PRAGMA page_count")
    ((most,),) = await writing.execute("PRAGMA max_page_count")

    async def attempt(_writing: Connection) -> None:
        await index.index(trio.current_time())

    await writing.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(3):
        await relay.log.run_exclusive(attempt, hurried=True)
    await writing.execute(f"PRAGMA max_page_count = {most}")
    await relay.log.run_exclusive(attempt, hurried=True)
    said = [record.getMessage().partition(":")[0] for record in caplog.records if "index" in record.getMessage()]
    assert said == ["the full-text index cannot be written", "the full-text index can be written again"]
