"""From replay to live: nothing is lost or doubled while messages pour in, readers are slow, or the relay stops."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.keys import ChatKey
from tests.delivery.device_frames import acknowledged, durable, say
from tests.support.sessions import Client, House, go_by, house


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        yield opened


@pytest.fixture
async def one(relay: House) -> AsyncIterator[Client]:
    async with relay.device("User1") as opened:
        yield opened


# From replay to live.


@pytest.mark.parametrize("kept", [4_096, 16])
async def test_messages_arriving_during_a_replay_come_once_and_in_order(relay: House, one: Client, kept: int) -> None:
    relay.relay.tuning.delivery.recent_entries = kept
    await say(one, "User2", "open")
    for n in range(700):
        await one.ask("new", chatId="User2", clientMessageId=f"before {n}", message="x")
    got: list[int] = []

    async def pour() -> None:
        for n in range(300):
            await one.ask("new", chatId="User2", clientMessageId=f"meanwhile {n}", message="x")
            if n % 10 == 0:
                await trio.sleep(0.001)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour)
        async with relay.device("User2") as two:
            while len(got) < 1001:
                got.append((await two.until("new"))["payload"]["messageId"])
            await two.quiet()
    assert got == list(range(1, 1002))


async def test_device_that_waited_for_its_turn_gets_all_entries_of_the_wait(
    relay: House, one: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.relay.tuning.delivery.recent_entries = 16
    await say(one, "User2", *(f"before {n}" for n in range(20)))
    replaying = relay.relay.service.replaying
    pages = 0
    read = replaying.page

    async def counted(*arguments: Any) -> Any:
        nonlocal pages
        pages += 1
        return await read(*arguments)

    user = relay.relay.state.user_keys["User2"]
    await (await relay.open("User2")).until("new")
    monkeypatch.setattr(replaying, "page", counted)
    async with replaying.turn(user):
        two = await relay.open("User2")
        await trio.testing.wait_all_tasks_blocked(0.01)
        await say(one, "User2", *(f"meanwhile {n}" for n in range(40)))
    got = [(await two.until("new"))["payload"]["messageId"] for _ in range(60)]
    assert got == list(range(1, 61))
    # No page was read in vain.
    assert pages == 1


async def test_many_devices_connect_while_messages_pour_in(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    count = 150

    async def pour() -> None:
        for n in range(count):
            await one.ask("new", chatId="User2", clientMessageId=f"{n}", message="x")
            await trio.sleep(0.001)

    async def listen(label: str) -> None:
        async with relay.device("User2" + label) as device:
            got: list[int] = []
            while not got or got[-1] < count + 1:
                got.append((await device.until("new"))["payload"]["messageId"])
            assert got == list(range(got[0], count + 2))

    for n in range(10):
        await relay.add_device("User2", f"device {n}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour)
        for n in range(10):
            nursery.start_soon(listen, f"device {n}")
            await trio.sleep(0.01)


# Slow readers.


async def test_a_slow_reader_falls_behind_and_catches_up(relay: House, one: Client) -> None:
    relay.server.tuning.outbox_bytes = 4_096
    await say(one, "User2", "open")
    two = await relay.open("User2", lockstep=True)
    await two.until("new")
    for n in range(400):
        await one.ask("new", chatId="User2", clientMessageId=f"{n}", message="x" * 200)
    await one.request("profile")
    (subscriber,) = relay.relay.hub.presence.subscribers[relay.relay.state.user_keys["User2"]]
    with trio.fail_after(5):
        while relay.relay.state.chats[ChatKey(1)].last_message_id < 401:
            await trio.sleep(0.01)
    assert not subscriber.live
    assert subscriber.outlet.waiting[0] < 3 * 4_096 + 1_000
    got = [(await two.until("new"))["payload"]["messageId"] for _ in range(400)]
    assert got == list(range(2, 402))
    await say(one, "User2", "live again")
    assert (await two.until("new"))["payload"]["message"] == "live again"
    assert subscriber.live


async def test_a_replay_waits_only_for_a_client_that_acknowledges(relay: House, one: Client, clock: MockClock) -> None:
    relay.server.tuning.unacknowledged_events = 10
    tuning = relay.relay.tuning.delivery
    tuning.replay_page_entries = tuning.recent_entries = 10
    await say(one, "User2", *(f"text {number}" for number in range(100)))
    async with relay.device("User2") as two:
        first = [await two.receive() for _ in range(20)]
        await two.request("chats")
        assert await two.rest() == [], "the answer comes before the rest"
        for frame in [one for one in first if "id" in one]:
            await two.ack(frame)
        more = await two.rest()
        assert 0 < len(more) <= 30
        clock.jump(1.5)
        frames = [*first, *more]
        while durable(frames)[-1] != ("new", 100):
            frames.append(await two.receive())


async def test_peer_that_reads_nothing_for_30_s_is_disconnected(
    relay: House, one: Client, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    await say(one, "User2", "open")
    two = await relay.open("User2", lockstep=True)
    await two.until("new")
    await one.until("online")
    await say(one, "User2", "never read")
    for _ in range(2):
        await go_by(clock, 14)
        await one.text("ping")
        await two.ping()
        await trio.testing.wait_all_tasks_blocked(0.01)
    assert relay.relay.hub.presence.online(relay.relay.state.user_keys["User2"])
    await go_by(clock, 2.1)
    await one.text("ping")
    assert (await one.until("offline"))["payload"] == {"userId": "User2"}
    assert "4409" in caplog.text


async def test_readers_that_read_nothing_do_not_delay_the_others(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    for n in range(20):
        await relay.add_device("User2", f"dead {n}")
        await relay.open(f"User2dead {n}", lockstep=True)
    async with relay.device("User2") as two:
        for n in range(50):
            await one.ask("new", chatId="User2", clientMessageId=f"{n}", message="x" * 1000)
        got = [(await two.until("new"))["payload"]["messageId"] for _ in range(51)]
    assert got == list(range(1, 52))


# State that must survive a crash.


async def test_first_connections_cursor_is_on_disk_before_its_first_event(tmp_path: Path, clock: MockClock) -> None:
    """Otherwise a crash would move it to the end of the log, past unacknowledged events."""
    async with house(tmp_path, "User1", "User2") as relay:
        async with relay.device("User1") as one, relay.device("User2") as two:
            await say(one, "User2", "a")
            await acknowledged(two)
            await one.until("dlvrd")
            copy = tmp_path / "after the crash"
            copy.mkdir()
            # User1 has heard of the delivery and has not acknowledged it.
            for name in ("relay.db", "relay.db-wal"):
                (copy / name).write_bytes((tmp_path / name).read_bytes())
        tokens = relay.tokens
    async with house(copy) as relay:
        relay.tokens = tokens
        async with relay.device("User1") as one:
            assert ("dlvrd", 1) in durable(await one.rest())


async def test_stop_answers_accepted_requests_and_closes(relay: House) -> None:
    client = await relay.open("User1")
    await say(client, "User2", "open")
    ids = [await client.ask("new", chatId="User2", clientMessageId=f"{n}", message="x") for n in range(20)]
    await client.answer(ids[0])
    relay.relay.log.stop()
    for n in range(20):
        await client.ask("new", chatId="User2", clientMessageId=f"too late {n}", message="x")
    relay.nursery.start_soon(relay.server.farewell)
    answered = [(await client.answer(request_id))["payload"]["messageId"] for request_id in ids[1:]]
    assert answered == list(range(3, 22))
    assert await client.closed() == 1012
    assert relay.relay.state.chats[ChatKey(1)].last_message_id == 21
