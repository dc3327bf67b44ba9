"""Receipts and cursors: written a moment later with a batch, in their own, or at a stop."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery.subscriber import AwaitedEvent, Subscriber
from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.keys import ChatKey, DeviceKey, UserKey
from relay.store.log import schedule, writer
from tests.support.disk import T0, answers, command, commits, failures, new, people, rows, say, settled, until


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


# Deferred receipts and cursors.


def cursors(data: Path) -> dict[int, int]:
    return dict(rows(data, "SELECT device, seq FROM cursor WHERE device > 0"))


def marks(data: Path) -> list[int]:
    return [message_id for (message_id,) in rows(data, "SELECT message_id FROM log WHERE kind = 4 ORDER BY seq")]


def acknowledge(relay: Relay, message_id: int) -> None:
    """Do what the service does for an acknowledgement of a `new` event by User2's device."""
    chat = relay.state.chat_key(UserKey(2), "User1")
    assert chat is not None
    mark = command(relay, "User2", commands.MarkDelivered(chat, message_id))
    relay.log.append_deferred((chat, 2), message_id, mark)
    relay.log.keep_cursor(DeviceKey(2), relay.state.seq, T0)


async def test_receipts_are_collected_for_a_moment(relay: Relay) -> None:
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(9)))
    before = commits(relay.data)
    for message_id in (2, 3, 7, 5, 4):
        acknowledge(relay, message_id)
        await trio.lowlevel.checkpoint()
    await until(lambda: marks(relay.data))
    assert marks(relay.data) == [7], "one mark for all, the one that reaches furthest"
    assert commits(relay.data) == before + 1


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


async def test_cursor_never_goes_back(relay: Relay) -> None:
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
    """User2's device, which got these events."""
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


async def test_stop_writes_an_acknowledgement_if_the_second_try_succeeds(tmp_path: Path, clock: MockClock) -> None:
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


async def test_failed_acknowledgement_ends_neither_the_writer_nor_the_others(
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
