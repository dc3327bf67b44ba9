"""A connection to the file: what takes too long is stopped, and only that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from relay.store import database
from relay.store.database import Connection, TooLong

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with database.connect(tmp_path / "relay.db", writing=False) as opened:
        yield opened


async def test_a_statement_that_takes_too_long_is_stopped_and_the_next_is_not(connection: Connection) -> None:
    with trio.fail_after(5):
        with pytest.raises(TooLong):
            await connection.execute(ENDLESS, seconds=0.05)
        assert await connection.execute("SELECT 1", seconds=5) == [(1,)]
        assert await connection.execute("SELECT 2") == [(2,)]


async def test_one_that_was_given_up_holds_up_no_other(connection: Connection) -> None:
    with trio.fail_after(5):
        with trio.move_on_after(0.01) as gone:
            await connection.execute(ENDLESS, seconds=60)
        assert gone.cancelled_caught
        assert await connection.execute("SELECT 1", seconds=5) == [(1,)]


async def test_those_that_wait_have_their_time_from_when_it_is_their_turn(connection: Connection) -> None:
    stopped: list[float] = []

    async def run() -> None:
        with pytest.raises(TooLong):
            await connection.execute(ENDLESS, seconds=0.1)
        stopped.append(trio.current_time())

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert [now - began >= 0.1 * turn for turn, now in enumerate(stopped, start=1)] == [True] * 3
