"""The writer: one transaction for all that waits, failures change nothing, repeats are recognised."""

import errno
import logging
import sqlite3
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery.subscriber import AwaitedEvent, Subscriber
from relay.core.maintenance.check import check
from relay.core.model import snapshot
from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.core.tuning import Tuning
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings, StoreSection
from relay.store.files import disk_full
from relay.store.log import schedule, writer
from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from relay.store.queries import fact_lookup
from relay.store.sqlite.database import Connection
from relay.store.upkeep.full_text_index import merge
from relay.store.upkeep.removal import remove_history
from relay.store.upkeep.snapshot_rows import add_base
from tests.support.disk import T0, answers, command, commits, new, people, rows, say
from tests.support.memory_log import facts_of


def failures(answers: list[Any]) -> list[str]:
    return [answer.error.code for answer in answers if isinstance(answer, RelayError)]


@pytest.fixture
def clock() -> MockClock:
    """Real time that can be made to jump."""
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


async def test_writer_figures_count_what_is_written(relay: Relay) -> None:
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


async def test_a_transaction_that_fails_changes_nothing_and_the_next_one_works(relay: Relay) -> None:
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
    caplog.set_level(logging.INFO, "relay.store.log.writer")
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


async def test_a_command_that_cannot_be_decided_ends_neither_the_writer_nor_the_relay(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("relay.core.rules.decide", broken)
        assert failures([await say(relay, "User1", "User2", "c1")]) == ["internal"]
    assert [record.exc_info is not None for record in caplog.records] == [True]
    assert (await say(relay, "User1", "User2", "c1")).message_id == 2


async def test_a_new_client_id_needs_no_lookup(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[object] = []
    real = fact_lookup.client_keys

    async def counting(connection: Any, keys: Any, recent: Any) -> Any:
        looked_up.extend(keys)
        return await real(connection, keys, recent)

    monkeypatch.setattr(fact_lookup, "client_keys", counting)
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(10)))
    assert looked_up == []
    got = await answers(relay, *(new(relay, "User1", "User2", f"c{n}", "again") for n in (3, 12, 5, 3, 12)))
    assert [answer.message_id for answer in got] == [5, 12, 7, 5, 12]
    assert len(looked_up) == 2, "only c3 and c5 were there"
    assert rows(relay.data, "SELECT count(*) FROM log WHERE kind = 1") == [(12,)]


async def test_a_repeated_message_is_recognised_from_memory_and_from_the_table(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(held_keys=20))

    async def repeat(relay: Relay, numbers: Sequence[int]) -> list[int]:
        got = await answers(relay, *(new(relay, "User1", "User2", f"c{n}", "again") for n in numbers))
        return [answer.message_id for answer in got]

    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        first = [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(200)]
        with trio.fail_after(30):
            # They are moved beside what is sent, when there is time.
            while (flushed := rows(tmp_path, "SELECT count(*) FROM client")[0][0]) < 100:
                await trio.sleep(0.01)
        assert flushed < 200, "most have left the memory, the latest have not"
        assert await repeat(relay, range(200)) == first
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert await repeat(relay, range(200)) == first, "and after a restart"
        assert [finding for finding in await check(tmp_path, lambda _: None) if finding.wrong] == []
        seqs = rows(tmp_path, "SELECT seq FROM log WHERE kind = 1 ORDER BY seq")
        for (upto,) in (seqs[49], seqs[-1]):
            await relay.log.run_exclusive(partial(remove_history, 0, upto, count=1_000))
            assert await repeat(relay, range(200)) == first, "and after retention removed the messages"
            found = {finding.what: finding.wrong for finding in await check(tmp_path, lambda _: None)}
            assert found["client ids"] == []
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert await repeat(relay, range(200)) == first
        assert rows(tmp_path, "SELECT count(*) FROM log WHERE kind = 1") == [(0,)], "none is written again"


async def test_a_key_flush_that_is_interrupted_loses_no_client_id_and_is_repeated(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(held_keys=20, key_retry_seconds=0.0))
    filed = "SELECT count(*) FROM filed WHERE seq > 0"
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        await relay.connections.writing.execute(
            "CREATE TEMP TRIGGER cut BEFORE UPDATE ON filed BEGIN SELECT RAISE(ABORT, 'as if killed here'); END"
        )
        first = [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(60)]
        assert first == list(range(1, 61)), "messages go on"
        await relay.log.probe()
        assert rows(tmp_path, filed) == [(0,)]
        assert rows(tmp_path, "SELECT count(*) > 0 FROM client") == [(1,)]
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(60)] == first
        for n in range(60, 80):
            await say(relay, "User1", "User2", f"c{n}")
        await relay.log.probe()
        assert rows(tmp_path, filed)[0][0] > 0
        assert [finding for finding in await check(tmp_path, lambda _: None) if finding.wrong] == []


async def test_client_ids_with_equal_hashes_are_distinguished(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.core.rules.messages.client_key", lambda *_: 7)
    assert (await say(relay, "User1", "User2", "c1")).message_id == 2
    assert failures([await say(relay, "User1", "User2", "c2")]) == ["conflict"]
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


async def test_statements_release_the_texts_that_they_wrote_last(
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


async def test_statements_that_hold_much_are_released_at_once(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(quiet_seconds=3_600.0, held_bytes=1_000))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        relay.log.note_read(2_000, trio.current_time())
        await say(relay, "User1", "User2", "c1", "x" * 1_500)
        await relay.log.probe()
        assert not relay.log.bound_parameters.too_much


async def test_a_stopped_log_accepts_nothing_and_finishes_what_it_has(tmp_path: Path, clock: MockClock) -> None:
    got: list[Any] = []
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        relay.log.append(new(relay, "User1", "User2", "c1"), got.append)
        relay.log.stop()
        await relay.log.stopped.wait()
        assert got[0].message_id == 1
        relay.log.append(new(relay, "User1", "User2", "c2"), got.append)
        assert failures(got[1:]) == ["unavailable"]


# Late marks and lazy cursors.


def cursors(data: Path) -> dict[int, int]:
    return dict(rows(data, "SELECT device, seq FROM cursor"))


def marks(data: Path) -> list[int]:
    return [message_id for (message_id,) in rows(data, "SELECT message_id FROM log WHERE kind = 4 ORDER BY seq")]


def acknowledge(relay: Relay, message_id: int) -> None:
    """What the service does with the acknowledgement of a `new` event by User2's device."""
    chat = relay.state.chat_key(UserKey(2), "User1")
    assert chat is not None
    mark = command(relay, "User2", commands.MarkDelivered(chat, message_id))
    relay.log.append_deferred((chat, 2), message_id, mark)
    relay.log.keep_cursor(DeviceKey(2), relay.state.seq, T0)


async def until(true: Any) -> None:
    """Wait until something is true, soon."""
    with trio.fail_after(5):
        while not true():
            await trio.sleep(0.005)


async def test_receipts_are_collected_for_a_moment(relay: Relay) -> None:
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(9)))
    before = commits(relay.data)
    for message_id in (2, 3, 7, 5, 4):
        acknowledge(relay, message_id)
        await trio.lowlevel.checkpoint()
    await until(lambda: marks(relay.data))
    assert marks(relay.data) == [7], "one mark for all, the one that reaches furthest"
    assert commits(relay.data) == before + 1


async def settled(relay: Relay, clock: MockClock) -> None:
    """Wait until all background work is done: snapshot, index."""
    clock.jump(120)
    log = relay.log
    await until(
        lambda: not (log.side_writes_due or log.index_behind) and log.background.next_at() > trio.current_time()
    )


async def test_a_cursor_is_written_with_a_batch(relay: Relay, clock: MockClock) -> None:
    await settled(relay, clock)
    before = commits(relay.data)
    for seq in range(1, 50):
        relay.log.keep_cursor(DeviceKey(2), seq, T0)
        await trio.lowlevel.checkpoint()
    clock.jump(schedule.CURSOR_SECONDS - 1)
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert commits(relay.data) == before
    clock.jump(1)
    await until(lambda: cursors(relay.data))
    assert cursors(relay.data) == {2: 49}
    assert commits(relay.data) == before + 1


async def test_a_cursor_never_goes_back(relay: Relay) -> None:
    relay.log.keep_cursor(DeviceKey(2), 9, T0)
    relay.log.keep_cursor(DeviceKey(2), 4, T0)
    assert relay.log.cursors[DeviceKey(2)][0] == 9


async def test_a_cursor_is_never_on_disk_before_the_receipts_of_its_acknowledgements(
    relay: Relay, clock: MockClock
) -> None:
    relay.tuning.log.deferred_retry_seconds = 100.0
    writing = relay.connections.writing
    await writing.execute(
        "CREATE TEMP TRIGGER no_marks BEFORE INSERT ON log WHEN NEW.kind = 4 BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    acknowledge(relay, 1)
    clock.jump(3)
    assert failures([await say(relay, "User1", "User2", "c0")]) == ["unavailable"], "the mark rode along"
    for n in range(10):
        clock.jump(6)
        assert (await say(relay, "User1", "User2", f"c{n}")).message_id == n + 2
        assert cursors(relay.data) == {}
    await writing.execute("DROP TRIGGER no_marks")
    clock.jump(101)
    await until(lambda: marks(relay.data))
    clock.jump(10)
    await until(lambda: cursors(relay.data))
    assert marks(relay.data)[0] >= 1


async def test_a_stop_writes_receipts_and_cursors(tmp_path: Path, clock: MockClock) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c1")
        acknowledge(relay, 1)
    assert marks(tmp_path) == [1]
    assert cursors(tmp_path) == {2: relay.state.seq - 1}


class Nowhere:
    """A connection whose frames nobody reads."""

    full = False
    waiting = (0, 0.0)

    def put(self, _frame: bytes) -> None:
        return

    def offer(self, _frame: bytes) -> bool:
        return True

    def flush(self) -> None:
        return

    def start_catch_up(self) -> None:
        return

    def close(self, _code: int, _reason: str) -> None:
        return


def reader(relay: Relay, *seqs: int) -> Subscriber:
    """User2's device, which was sent these events."""
    there = Nowhere()
    subscriber = Subscriber(relay.hub.next_number(), UserKey(2), DeviceKey(2), there, there, 0)
    for seq in seqs:
        subscriber.replayed(b"", AwaitedEvent(seq, ChatKey(1), 1))
    return subscriber


async def test_an_acknowledgement_just_before_a_stop_makes_a_receipt(tmp_path: Path, clock: MockClock) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c1")
        relay.service.acknowledgements.take(reader(relay, relay.state.seq), relay.state.seq)
        assert marks(tmp_path) == []
    assert marks(tmp_path) == [1]
    assert cursors(tmp_path) == {2: relay.state.seq - 1}


REFUSED = "CREATE TEMP TRIGGER refused BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'read-only'); END"


async def test_a_stop_ends_within_a_bound_if_no_acknowledgement_can_be_written(
    tmp_path: Path, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c1")
        await relay.connections.writing.execute(REFUSED)
        clock.rate = 50
        acknowledge(relay, 1)
        began, failed = trio.current_time(), relay.log.figures.failures
        relay.stop()
        with trio.fail_after(50):
            await relay.log.stopped.wait()
        assert trio.current_time() - began < writer.STOP_RETRY_SECONDS + 5
        assert 2 <= relay.log.figures.failures - failed <= 5, "tried again, with pauses"
        assert failures(await answers(relay, new(relay, "User1", "User2", "c2"))) == ["unavailable"]
    assert "1 acknowledgements are lost" in caplog.text
    assert marks(tmp_path) == []
    assert 2 not in cursors(tmp_path), "so the device is sent the message again"


async def test_a_stop_writes_an_acknowledgement_if_the_store_takes_it_at_a_second_try(
    tmp_path: Path, clock: MockClock
) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "c1")
        await relay.connections.writing.execute(REFUSED)
        failed = relay.log.figures.failures
        acknowledge(relay, 1)
        relay.stop()
        await until(lambda: relay.log.figures.failures > failed)
        await relay.connections.writing.execute("DROP TRIGGER refused")
    assert marks(tmp_path) == [1]


async def test_a_stop_refuses_commands_that_keep_coming_to_a_failing_store(tmp_path: Path, clock: MockClock) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        await relay.connections.writing.execute(REFUSED)
        clock.rate = 20

        def again(_answer: object) -> None:
            if not relay.log.stopped.is_set():
                relay.log.append(new(relay, "User1", "User2", "c1"), again)

        again(None)
        relay.stop()
        with trio.fail_after(50):
            await relay.log.stopped.wait()


async def test_an_acknowledgement_that_fails_ends_neither_the_writer_nor_the_others(
    relay: Relay, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seq = relay.state.seq
    good, bad = reader(relay, seq), reader(relay, seq)
    for one in (good, bad):
        relay.service.acknowledgements.take(one, seq)
    bad.acked_up_to = {ChatKey(999): 1}
    for n in range(3):
        clock.jump(1)
        assert (await say(relay, "User1", "User2", f"c{n}")).message_id == n + 2
    assert marks(relay.data) == [1]
    assert "acknowledgements could not be handled" in caplog.text


async def test_idle_relay_writes_nothing(relay: Relay, clock: MockClock) -> None:
    await settled(relay, clock)
    before = commits(relay.data)
    for _ in range(20):
        clock.jump(60)
        await trio.testing.wait_all_tasks_blocked(0.002)
    assert commits(relay.data) == before


async def test_many_client_keys_are_written_without_rest(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(quiet_seconds=3_600.0, rest_factor=1e6, held_keys=4))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        await answers(relay, *(new(relay, "User1", "User2", f"key {n}") for n in range(200)))
        await until(lambda: not relay.log.idempotency_keys.overflowing)


async def test_client_keys_in_memory_stay_bounded_under_a_flood(tmp_path: Path) -> None:
    # Each portion stays as small as in a busy loop, where it looks slow.
    tuning = Tuning(log=LogTuning(key_portion=PortionSize(64, least=64, most=64), held_keys=128))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        for batch in range(60):
            await answers(relay, *(new(relay, "User1", "User2", f"key {batch} {n}") for n in range(100)))
        ((unflushed_keys,),) = rows(
            tmp_path,
            "SELECT count(*) FROM log JOIN filed ON filed.slice = log.client_key >> 60 WHERE log.seq > filed.seq",
        )
    assert unflushed_keys <= 2 * 8 * 128


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


async def test_a_job_that_meets_a_full_disk_is_no_fault_in_the_log(
    relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    async def job(_writing: Connection) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        await relay.log.run_exclusive(job)
    assert caplog.records == []
