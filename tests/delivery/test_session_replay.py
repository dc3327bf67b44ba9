"""Acknowledgement and replay: nothing missing, nothing twice, all in order, for each device (PROTOCOL.md, 7)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery.subscriber import MAX_OWN_ENTRIES
from relay.core.tuning import DeliveryTuning, Tuning
from relay.keys import ChatKey, UserKey
from relay.store.log import deferred
from relay.store.queries import replay
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


async def say(client: Client, chat_id: str, *texts: str) -> None:
    for text in texts:
        await client.request("new", chatId=chat_id, clientMessageId=text, message=text)


def durable(frames: list[dict[str, Any]]) -> list[Any]:
    """Of durable events what tells them apart."""
    return [
        (frame["eventType"], frame["payload"]["messageId"]) if frame["eventType"] != "chats" else "chats"
        for frame in frames
        if "id" in frame and frame["type"] == "event"
    ]


async def acknowledged(client: Client) -> list[dict[str, Any]]:
    """Take and acknowledge all that comes."""
    frames = await client.rest()
    for frame in frames:
        if "id" in frame and frame["type"] == "event":
            await client.ack(frame)
    # Its answer says that all before it has been taken in.
    await client.text("ping")
    while (frame := await client.receive()) != {"event": "pong"}:
        frames.append(frame)
    return frames


async def test_a_first_connection_starts_at_the_oldest_undelivered_message(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b")
    async with relay.device("User2") as two:
        assert durable(await two.rest()) == [("new", 1), ("new", 2)]


async def test_a_first_connection_with_nothing_undelivered_starts_at_the_end(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b")
    async with relay.device("User2") as two:
        await two.request("dlvrd", chatId="User1")
    await relay.add_device("User2", "laptop")
    async with relay.device("User2laptop") as laptop:
        assert durable(await laptop.rest()) == []
        await say(one, "User2", "c")
        assert durable(await laptop.rest()) == [("new", 3)]


async def test_a_replay_holds_all_that_was_not_acknowledged(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    async with relay.device("User2") as two:
        frames = [await two.until("new") for _ in range(3)]
        await two.ack(frames[0])
        await two.ack(frames[2])
        await two.rest()
    async with relay.device("User2") as two:
        assert durable(await two.rest()) == [("new", 2), ("new", 3)]


async def test_event_ids_grow_for_a_device(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    async with relay.device("User2") as two:
        frames = await two.rest()
        await say(one, "User2", "d", "e")
        frames += await two.rest()
    ids = [frame["id"] for frame in frames if "id" in frame]
    assert ids == sorted(set(ids))
    assert len(ids) == 5


async def test_an_acknowledgement_may_come_as_a_string_and_twice(relay: House, one: Client) -> None:
    await say(one, "User2", "a")
    async with relay.device("User2") as two:
        frame = await two.until("new")
        for event_id in (str(frame["id"]), frame["id"], "9" * 30, 10**30, -1, 0):
            await two.frame(type="ack", id=event_id)
        await two.rest()
        await two.frame(type="ack", id="x")
        assert (await two.receive())["error"]["message"].startswith("id: ")
    async with relay.device("User2") as two:
        assert durable(await two.rest()) == []


async def test_an_acknowledgement_of_a_message_delivers_it(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b")
    await one.rest()
    async with relay.device("User2") as two:
        await acknowledged(two)
        frame = await one.until("dlvrd")
        assert frame["payload"] == {
            "chatId": "User2",
            "userId": "User2",
            "messageId": 2,
            "clientMessageId": "b",
            "timestamp": frame["payload"]["timestamp"],
        }
        await one.quiet()


async def test_an_earlier_acknowledgement_that_comes_later_takes_nothing_back(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    await one.rest()
    async with relay.device("User2") as two:
        frames = [await two.until("new") for _ in range(3)]
        for frame in reversed(frames):
            await two.ack(frame)
        assert (await one.until("dlvrd"))["payload"]["messageId"] == 3


async def test_acknowledging_ones_own_message_from_another_device_marks_nothing(
    relay: House, one: Client, clock: MockClock
) -> None:
    await relay.add_device("User1", "laptop")
    async with relay.device("User1laptop") as laptop:
        await say(one, "User2", "a")
        await acknowledged(laptop)
        seq, batches = relay.relay.state.seq, relay.relay.log.figures.batches
        clock.jump(4 * deferred.DEFER_SECONDS)
        assert await relay.relay.log.probe(), "the writer has had its turn"
        assert (relay.relay.state.seq, relay.relay.log.figures.batches) == (seq, batches)


async def test_a_device_gets_no_events_of_its_own(relay: House, one: Client) -> None:
    await say(one, "User2", "a")
    await one.request("edit", chatId="User2", originalMessageId=1, message="b")
    await one.request("delete", chatId="User2", originalMessageId=1)
    assert durable(await one.rest()) in ([], ["chats"])
    async with relay.device("User1") as again:
        assert durable(await again.rest()) in ([], ["chats"])


async def test_the_chat_list_comes_before_the_first_message_of_a_dialog(relay: House, one: Client) -> None:
    async with relay.device("User2") as two:
        request_id = await one.ask("new", chatId="User2", clientMessageId="a", message="a")
        frames = [await two.until("chats"), await two.event("new")]
        assert [item["id"] for item in frames[0]["payload"]] == ["User1"]
        assert frames[0]["id"] < frames[1]["id"]
        chats = await one.until("chats")
        assert [item["id"] for item in chats["payload"]] == ["User2"]
        assert (await one.refused("fly"))["code"] == "unknown_request", request_id
        await one.quiet()


async def test_replayed_events_are_up_to_date(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    await one.request("edit", chatId="User2", originalMessageId=1, message="better")
    await one.request("delete", chatId="User2", originalMessageId=2)
    await relay.add_device("User2", "laptop")
    async with relay.device("User2laptop") as laptop:
        await laptop.request("read", chatId="User1", messageId=3)
    async with relay.device("User2") as two:
        pass
    async with relay.open_from("User2", 0) as two:
        frames = [frame["payload"] for frame in await two.rest() if frame.get("eventType") in ("new", "edit", "delete")]
    shown = [(one.get("message"), one.get("status"), one.get("missed")) for one in frames]
    assert shown == [
        ("better", "read", 0),
        (None, "deleted", 0),
        ("c", "read", 0),
        ("better", None, None),
        (None, None, None),
    ]


async def test_events_replayed_from_memory_are_up_to_date(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    start = relay.relay.state.seq
    await say(one, "User2", "a", "b")
    for message_id in (2, 3):
        answer = {"chatId": "User2", "clientMessageId": f"answer {message_id}", "message": "x", "replyTo": message_id}
        await one.request("new", **answer)
    await one.request("edit", chatId="User2", originalMessageId=2, message="better" * 400)
    await one.request("delete", chatId="User2", originalMessageId=3)
    assert relay.relay.hub.recent.entries[0].seq <= start

    def shown(frames: list[dict[str, Any]]) -> list[Any]:
        payloads = [frame["payload"] for frame in frames if "id" in frame]
        return [(one["messageId"], one.get("message"), one.get("status"), one.get("replyTo")) for one in payloads]

    async with relay.open_from("User2", start) as two:
        remembered = shown(await two.rest())
    relay.relay.hub.recent.entries.clear()
    async with relay.open_from("User2", start) as two:
        assert shown(await two.rest()) == remembered
    assert [one[:3] for one in remembered] == [
        (2, "better" * 400, "unread"),
        (3, None, "deleted"),
        (4, "x", "unread"),
        (5, "x", "unread"),
        (6, "better" * 400, None),
        (7, None, None),
    ]
    assert remembered[2][3]["message"] == ("better" * 400)[:1_000]
    assert "message" not in remembered[3][3]


@pytest.mark.parametrize(("request_type", "text"), [("edit", "better"), ("delete", None)])
async def test_a_message_edited_by_its_reader_during_the_replay_is_replayed_as_edited(
    relay: House, one: Client, monkeypatch: pytest.MonkeyPatch, request_type: str, text: str | None
) -> None:
    """They have the answer and are told no more: the replay must not bring the old text back."""
    await relay.add_device("User1", "laptop")
    await say(one, "User2", "a")
    read, go_on = trio.Event(), trio.Event()
    real = replay.entries

    async def slow(*arguments: Any) -> Any:
        page = await real(*arguments)
        read.set()
        await go_on.wait()
        return page

    monkeypatch.setattr(replay, "entries", slow)
    async with relay.open_from("User1laptop", 0) as laptop:
        await read.wait()
        await laptop.request(request_type, chatId="User2", originalMessageId=1, message="better")
        go_on.set()
        assert (await laptop.until("new"))["payload"].get("message") == text


async def test_a_new_member_gets_no_events_from_before_they_joined(relay: House, one: Client) -> None:
    chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
    await say(one, chat, "before")
    await one.request("addParticipants", chatId=chat, participants=["User3"])
    await say(one, chat, "after")
    for after in (0, relay.relay.state.seq - 1):
        async with relay.open_from("User3", after) as three:
            assert [event for event in durable(await three.rest()) if event != "chats"] == [("new", 2)]


async def test_the_position_that_a_device_names_counts_as_acknowledged(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    async with relay.device("User2") as two:
        await acknowledged(two)
        await one.until("dlvrd")
    async with relay.device("User2") as two:
        await say(one, "User2", "its", "acknowledgement", "is lost")
        last = [await two.until("new") for _ in range(2)][-1]
    async with relay.open_from("User2", last["id"]) as two:
        assert (await one.until("dlvrd"))["payload"]["messageId"] == 3
        assert (await two.until("new"))["payload"]["messageId"] == 4
    async with relay.device("User2") as two:
        assert (await two.until("new"))["payload"]["messageId"] == 4


async def test_a_position_that_was_never_sent_is_ignored(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    async with relay.device("User2") as two:
        await acknowledged(two)
    await say(one, "User2", "waits")
    for _ in range(2):
        async with relay.open_from("User2", 2**40) as two:
            assert durable(await two.rest()) == [("new", 2)]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_device_that_reconnects_gets_no_events_of_its_own(tmp_path: Path, restarted: bool) -> None:
    async with house(tmp_path, "User1", "User2") as relay:
        await relay.add_device("User1", "laptop")
        tokens = relay.tokens
        async with relay.device("User1") as one, relay.device("User1laptop") as laptop:
            await say(one, "User2", "open")
            await acknowledged(one)
            await acknowledged(laptop)
            await say(one, "User2", "a")
            await one.request("edit", chatId="User2", originalMessageId=1, message="b")
        if not restarted:
            async with relay.device("User1") as one, relay.device("User1laptop") as laptop:
                assert durable(await one.rest()) == []
                assert durable(await laptop.rest()) == [("new", 2), ("edit", 3)]
            return
    async with house(tmp_path) as relay:
        relay.tokens = tokens
        async with relay.device("User1") as one, relay.device("User1laptop") as laptop:
            assert durable(await one.rest()) == []
            assert durable(await laptop.rest()) == [("new", 2), ("edit", 3)]


async def test_a_page_that_fell_behind_gets_what_another_page_of_its_device_did(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    async with relay.device("User1") as other:
        await acknowledged(other)
        for subscriber in relay.relay.hub.presence.subscribers[UserKey(1)]:
            subscriber.fall_behind(relay.relay.state.seq)
        await say(one, "User2", "news")
        assert durable(await other.rest()) == [("new", 2)]
        assert durable(await one.rest()) == []


@pytest.mark.parametrize("known", [MAX_OWN_ENTRIES, 1])
async def test_a_page_that_replays_gets_what_another_page_of_its_device_did(tmp_path: Path, known: int) -> None:
    # Cod-e-Codes/marchat#118: of two hundred messages that many sockets sent at once each device got fewer.
    tuning = Tuning(delivery=DeliveryTuning(recent_entries=0, own_entries=known))
    async with (
        house(tmp_path, "User1", "User2", "User3", tuning=tuning) as relay,
        relay.device("User1") as one,
        relay.device("User1") as other,
    ):
        await say(one, "User2", "open")
        await acknowledged(other)
        for connection in relay.relay.hub.presence.subscribers[UserKey(1)]:
            connection.live = False
        await say(one, "User2", "a")
        await say(other, "User2", "b", "c")
        await one.request("read", chatId="User2")
        await say(one, "User2", "d")
        for connection in relay.relay.hub.presence.subscribers[UserKey(1)]:
            connection.connection.start_catch_up()
        # Beyond what it knows for its own it is told nothing twice, as a device that comes back.
        assert durable(await other.rest()) == ([("new", 2), ("new", 5)] if known > 1 else [("new", 5)])
        assert durable(await one.rest()) == ([("new", 3), ("new", 4)] if known > 1 else [])


async def test_live_and_replayed_events_are_the_same(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    await relay.add_device("User2", "laptop")
    async with relay.device("User2") as two:
        await acknowledged(two)
        start = relay.relay.state.seq
        await say(one, "User2", "a", "b")
        await one.request("new", chatId="User2", clientMessageId="c", message="c", replyTo=2)
        await two.ask("new", chatId="User1", clientMessageId="d", message="d")
        await one.until("new")
        await one.request("read", chatId="User2")
        await one.request("edit", chatId="User2", originalMessageId=4, message="e")
        live = [frame for frame in await two.rest() if frame["type"] == "event"]
    async with relay.open_from("User2laptop", start) as laptop:
        replayed = [frame for frame in await laptop.rest() if "id" in frame]
    for frame in live + replayed:
        # The unread count, the status and the text are those of the moment.
        for field in ("missed", "status", "message"):
            frame["payload"].pop(field, None)
        frame["payload"].get("replyTo", {}).pop("message", None)
    # The laptop also hears of what the other device said.
    own = [frame for frame in replayed if frame["payload"].get("clientMessageId") == "d" and frame not in live]
    assert [frame for frame in replayed if frame not in own] == live
    assert [frame["eventType"] for frame in own] == ["new"]


# From replay to live.


@pytest.mark.parametrize("kept", [4_096, 16])
async def test_messages_that_pour_in_while_a_device_catches_up_come_once_and_in_order(
    relay: House, one: Client, kept: int
) -> None:
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


async def test_a_page_that_waited_for_its_turn_gets_all_that_happened_meanwhile(
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
    # None was read in vain.
    assert pages == 1


async def test_many_devices_come_while_messages_pour_in(relay: House, one: Client) -> None:
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
        assert durable([*first, *more, *await two.rest()])[-1] == ("new", 100)


async def test_a_peer_that_reads_nothing_for_30_s_is_cut_off(
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


async def test_readers_that_read_nothing_do_not_hold_up_the_others(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    for n in range(20):
        await relay.add_device("User2", f"dead {n}")
        await relay.open(f"User2dead {n}", lockstep=True)
    async with relay.device("User2") as two:
        for n in range(50):
            await one.ask("new", chatId="User2", clientMessageId=f"{n}", message="x" * 1000)
        got = [(await two.until("new"))["payload"]["messageId"] for _ in range(51)]
    assert got == list(range(1, 52))


# What must survive a crash.


async def test_a_first_connections_start_is_on_disk_before_it_hears_anything(tmp_path: Path, clock: MockClock) -> None:
    """Else a crash would move it to the end of the log, past what it has not acknowledged."""
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


async def test_a_stop_answers_what_was_taken_up_and_closes(relay: House) -> None:
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
