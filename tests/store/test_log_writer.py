"""The writer: one transaction for all waiting commands, failures change nothing, repeats are recognised."""

import errno
import logging
import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.model import snapshot
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings, StoreSection
from relay.store.files import disk_full
from relay.store.log.tuning import LogTuning
from relay.store.sqlite.database import Connection
from relay.store.upkeep.full_text_index import merge
from relay.store.upkeep.snapshot_rows import add_base
from tests.support.disk import T0, answers, command, commits, failures, new, people, rows, say, settled, until
from tests.support.memory_log import facts_of


@pytest.fixture
def clock() -> MockClock:
    """Real time with jumps on demand."""
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path, clock=lambda: T0) as opened:
        await people(opened, "User1", "User2")
        await say(opened, "User1", "User2", "first")
        yield opened


async def test_waiting_commands_are_written_in_one_transaction(relay: Relay) -> None:
    before, batches = commits(relay.data), relay.log.figures.batches
    got = await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(100)))
    assert [answer.message_id for answer in got] == list(range(2, 102))
    assert relay.log.figures.batches == batches + 1
    assert commits(relay.data) == before + 1


async def test_writer_counters_match_the_writes(relay: Relay) -> None:
    figures = relay.log.figures
    batches, commands, entries, seconds = figures.batches, figures.commands, figures.entries, figures.commit_seconds
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(7)))
    assert (figures.batches - batches, figures.commands - commands, figures.last_batch) == (1, 7, 7)
    assert figures.entries - entries == 7
    assert 0 < figures.commit_seconds - seconds < 5


async def test_a_response_comes_after_its_message_is_on_disk(relay: Relay) -> None:
    seen: list[int] = []
    done = trio.Event()

    def take(_answer: object) -> None:
        ((count,),) = rows(relay.data, "SELECT count(*) FROM log WHERE client_id = 'c1'")
        seen.append(count)
        done.set()

    relay.log.append(new(relay, "User1", "User2", "c1"), take)
    await done.wait()
    assert seen == [1]


async def test_responses_come_in_the_order_of_the_log(relay: Relay) -> None:
    order: list[int] = []
    done = trio.Event()

    def taker(number: int) -> Any:
        def take(_answer: object) -> None:
            order.append(number)
            if len(order) == 30:
                done.set()

        return take

    for number in range(30):
        relay.log.append(new(relay, "User1", "User2", f"c{number}"), taker(number))
        if number % 7 == 0:
            await trio.lowlevel.checkpoint()
    await done.wait()
    assert order == list(range(30))


async def test_failed_transaction_changes_nothing_and_the_next_one_works(relay: Relay) -> None:
    writing = relay.connections.writing
    await writing.execute(
        "CREATE TEMP TRIGGER poison BEFORE INSERT ON log WHEN NEW.message = 'poison'"
        " BEGIN SELECT RAISE(ABORT, 'not this one'); END"
    )
    state, stored = facts_of(relay.state), rows(relay.data, "SELECT * FROM log")
    batch = [new(relay, "User1", "User2", f"c{n}", "poison" if n == 3 else "fine") for n in range(5)]
    assert failures(await answers(relay, *batch)) == ["unavailable"] * 5
    assert facts_of(relay.state) == state
    assert rows(relay.data, "SELECT * FROM log") == stored
    got = await answers(relay, *(one for n, one in enumerate(batch) if n != 3))
    assert [answer.message_id for answer in got] == [2, 3, 4, 5]


async def test_a_full_disk_is_reported_and_recovered_from(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "relay.store.refusals")
    writing = relay.connections.writing
    ((pages,),) = await writing.execute("PRAGMA page_count")
    ((most,),) = await writing.execute("PRAGMA max_page_count")
    await writing.execute(f"PRAGMA max_page_count = {pages}")
    large = "x" * 60_000
    for n in range(3):
        assert failures([await say(relay, "User1", "User2", f"c{n}", large)]) == ["storage_full"]
    assert relay.log.failing
    assert (await say(relay, "User1", "User2", "first")).message_id == 1, "what needs no room is still answered"
    assert relay.log.failing, "and says nothing about the room there is"
    await writing.execute(f"PRAGMA max_page_count = {most}")
    assert (await say(relay, "User1", "User2", "c0", large)).message_id == 2
    assert not relay.log.failing
    said = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert said == ["the store cannot be written", "the store can be written again"]


async def test_exceeded_quota_counts_as_a_full_disk_and_prune_uses_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = aiosqlite.Connection.execute_fetchall
    settings = Settings(store=StoreSection(reserve_bytes=1 << 20), limits=LimitsSection(requests_per_second=0))
    async with open_relay(tmp_path, clock=lambda: T0, settings=settings) as relay:
        await people(relay, "User1", "User2")
        relay.room.reserve.fill()
        assert relay.room.reserve.size == 1 << 20

        async def over_quota(connection: aiosqlite.Connection, sql: str, *arguments: Any) -> Any:
            # Only the writer's connection writes.
            if relay.room.reserve.size and not sql.lstrip().startswith(("SELECT", "PRAGMA", "WITH")):
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_IOERR_WRITE, "SQLITE_IOERR_WRITE"
                raise error
            return await real(connection, sql, *arguments)

        def refused(*_arguments: object, **_options: object) -> OSError | None:
            return OSError(errno.EDQUOT, "Disk quota exceeded") if relay.room.reserve.size else None

        monkeypatch.setattr(disk_full, "refusal", refused)
        monkeypatch.setattr(aiosqlite.Connection, "execute_fetchall", over_quota)
        for n in range(2):
            assert failures([await say(relay, "User1", "User2", f"c{n}")]) == ["storage_full"]
        assert relay.room.full
        async with relay.room.freeing():
            assert relay.room.reserve.size == 0
            await relay.log.run_exclusive(merge)
    assert "Disk quota exceeded" in caplog.text


async def test_undecidable_command_ends_neither_the_writer_nor_the_relay(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("relay.core.rules.decide", broken)
        assert failures([await say(relay, "User1", "User2", "c1")]) == ["internal"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert (await say(relay, "User1", "User2", "c1")).message_id == 2


async def test_a_deleted_text_is_nowhere_in_the_file(relay: Relay) -> None:
    await say(relay, "User1", "User2", "c1", "a-secret-to-be-deleted")
    delete = requests.Delete(chat_id="User2", original_message_id=2)
    await answers(relay, command(relay, "User1", delete))
    await relay.connections.writing.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"a-secret-to-be-deleted" not in (relay.data / "relay.db").read_bytes()


async def test_callers_wait_for_room_in_a_full_queue(relay: Relay) -> None:
    relay.tuning.log.queue_commands = 10
    for n in range(10):
        relay.log.append(new(relay, "User1", "User2", f"c{n}"))
    assert relay.log.full
    with trio.fail_after(5):
        await relay.log.room()
    assert not relay.log.full


async def test_the_queue_and_a_batch_are_bounded_in_bytes_too(relay: Relay) -> None:
    relay.tuning.log.queue_bytes, relay.tuning.log.batch_bytes = 10_000, 2_000
    batches, done = relay.log.figures.batches, trio.Event()
    for n in range(10):
        relay.log.note_read(1_100, trio.current_time())
        relay.log.append(new(relay, "User1", "User2", f"c{n}", "x" * 900), lambda _answer: None)
    assert relay.log.full
    relay.log.append(new(relay, "User1", "User2", "c10"), lambda _answer: done.set())
    with trio.fail_after(5):
        await relay.log.room()
        await done.wait()
    assert not relay.log.full
    assert 5 <= relay.log.figures.batches - batches <= 10, "two at a time, and not one"
    relay.log.note_read(9_999, trio.current_time())
    relay.log.note_read(9_999, trio.current_time())
    assert not relay.log.full, "what is read while nothing waits is no command that waits"


async def test_statements_release_the_texts_of_their_last_write(
    relay: Relay, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    run: list[tuple[str, object]] = []
    real = relay.connections.writing.execute

    async def execute(sql: str, parameters: Any = ()) -> Any:
        run.append((sql, parameters))
        return await real(sql, parameters)

    monkeypatch.setattr(relay.connections.writing, "execute", execute)
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(20)))
    edit = requests.Edit(chat_id="User2", original_message_id=1, message="y" * 900)
    await answers(relay, command(relay, "User1", edit, "e1"))
    await relay.log.run_exclusive(partial(add_base, number=1, rows=snapshot.whole(relay.state)))
    await settled(relay, clock)
    await until(lambda: not relay.log.bound_parameters)
    last = {sql: parameters for sql, parameters in run if sql.startswith("INSERT")}
    assert len(last) >= 4
    assert [parameters for parameters in last.values() if any(isinstance(value, str) for value in parameters)] == []  # type: ignore[attr-defined]


async def test_statements_with_many_bytes_are_released_at_once(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(quiet_seconds=3_600.0, held_bytes=1_000))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        relay.log.note_read(2_000, trio.current_time())
        await say(relay, "User1", "User2", "c1", "x" * 1_500)
        await relay.log.probe()
        assert not relay.log.bound_parameters.too_much


async def test_stopped_log_accepts_nothing_and_finishes_its_queue(tmp_path: Path, clock: MockClock) -> None:
    got: list[Any] = []
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        relay.log.append(new(relay, "User1", "User2", "c1"), got.append)
        relay.log.stop()
        await relay.log.stopped.wait()
        assert got[0].message_id == 1
        relay.log.append(new(relay, "User1", "User2", "c2"), got.append)
        assert failures(got[1:]) == ["unavailable"]


async def test_a_job_for_a_stopped_writer_fails_at_once(relay: Relay) -> None:
    relay.stop()
    await relay.log.stopped.wait()
    with trio.fail_after(1):
        with pytest.raises(sqlite3.OperationalError):
            await relay.log.run_exclusive(merge)
        with pytest.raises(RelayError):
            await relay.log.keep_snapshot()


async def test_a_stop_while_a_full_disk_is_freed_does_not_hang(relay: Relay) -> None:
    relay.room.reserve.short = True
    with trio.fail_after(5):
        async with relay.room.freeing():
            relay.stop()
            await relay.log.stopped.wait()


async def test_job_that_meets_a_full_disk_logs_no_bug(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    async def job(_writing: Connection) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await relay.log.run_exclusive(job)
    assert caplog.records == []
