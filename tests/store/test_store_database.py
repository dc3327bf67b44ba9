"""A connection to the file: a statement that takes too long is stopped, and others are not."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from relay.store.sqlite import database
from relay.store.sqlite.database import Connection, TooLong
from relay.store.sqlite.reading import PageBound

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def connection(tmp_path: Path) -> AsyncIterator[Connection]:
    async with database.connect(tmp_path / "relay.db", writing=False) as opened:
        yield opened


async def test_only_the_statement_that_takes_too_long_is_stopped(connection: Connection) -> None:
    with trio.fail_after(5):
        with pytest.raises(TooLong):
            await connection.execute(ENDLESS, seconds=0.05)
        assert await connection.execute("SELECT 1", seconds=5) == [(1,)]
        assert await connection.execute("SELECT 2") == [(2,)]


async def test_cancelled_statement_delays_no_other(connection: Connection) -> None:
    with trio.fail_after(5):
        with trio.move_on_after(0.01) as gone:
            await connection.execute(ENDLESS, seconds=60)
        assert gone.cancelled_caught
        assert await connection.execute("SELECT 1", seconds=5) == [(1,)]


async def test_the_time_limit_of_a_waiting_statement_starts_with_its_turn(connection: Connection) -> None:
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


async def test_a_statement_cancelled_before_its_turn_does_not_run(connection: Connection) -> None:
    async def read() -> None:
        await connection.execute("SELECT 1")

    async def hold() -> None:
        with trio.move_on_after(0.1):
            await connection.execute(ENDLESS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.testing.wait_all_tasks_blocked()
        before = connection.started
        with trio.CancelScope() as gone:
            async with trio.open_nursery() as askers:
                for _ in range(50):
                    askers.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                gone.cancel()
    assert connection.started == before
    assert await connection.execute("SELECT 2") == [(2,)]


async def test_an_interrupt_never_stops_the_next_statement(connection: Connection) -> None:
    """Cancelled at any moment: before it begins, while it runs, after its end."""
    short = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT count(*) FROM n"
    for number in range(300):
        with trio.move_on_after(number % 30 / 10_000):
            await connection.execute(short)
        assert await connection.execute("SELECT ?", (number,)) == [(number,)]


NUMBERS = "SELECT value FROM json_each('[1, 2, 3, 4, 5]')"


@pytest.mark.parametrize(
    ("rows", "weight", "found", "more"),
    [
        (5, 100, [1, 2, 3, 4, 5], False),
        (4, 100, [1, 2, 3, 4], True),
        (9, 3, [1, 2], True),
        (9, 15, [1, 2, 3, 4, 5], False),
        (9, 14, [1, 2, 3, 4], True),
        (9, 0, [1], True),
        (1, 0, [1], True),
    ],
)
async def test_a_page_ends_before_the_row_that_does_not_fit(
    connection: Connection, rows: int, weight: int, found: list[int], more: bool
) -> None:
    page = await connection.page(NUMBERS, (), PageBound(rows, weight, lambda row: row[0]))
    assert page == ([(number,) for number in found], more)


async def test_page_reads_nothing_beyond_its_bound(connection: Connection) -> None:
    """The whole statement would never end."""
    endless = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    with trio.fail_after(5):
        rows, more = await connection.page(endless, (), PageBound(1_000, 100, lambda _: 10))
    assert (len(rows), more) == (10, True)
