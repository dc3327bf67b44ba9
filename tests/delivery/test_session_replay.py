"""Acknowledgement and replay: nothing lost, nothing twice, all in order, on each device (PROTOCOL.md, section 7)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery.subscriber import MAX_OWN_ENTRIES
from relay.core.tuning import DeliveryTuning, Tuning
from relay.keys import UserKey
from relay.store.log import deferred
from relay.store.queries import replay
from tests.delivery.device_frames import acknowledged, caught_up, durable, say
from tests.support.sessions import Client, House, house


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


async def test_replay_contains_everything_unacknowledged(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    async with relay.device("User2") as two:
        frames = [await two.until("new") for _ in range(3)]
        await two.ack(frames[0])
        await two.ack(frames[2])
        await two.rest()
    async with relay.device("User2") as two:
        assert durable(await two.rest()) == [("new", 2), ("new", 3)]


async def test_event_ids_grow_for_each_device(relay: House, one: Client) -> None:
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


async def test_late_acknowledgement_of_an_earlier_event_takes_nothing_back(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    await one.rest()
    async with relay.device("User2") as two:
        frames = [await two.until("new") for _ in range(3)]
        for frame in reversed(frames):
            await two.ack(frame)
        assert (await one.until("dlvrd"))["payload"]["messageId"] == 3


async def test_acknowledging_ones_own_message_on_another_device_marks_nothing(
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
    """They have the answer and get no further event: the replay must not bring the old text back."""
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


async def test_position_named_by_a_device_counts_as_acknowledged(relay: House, one: Client) -> None:
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


async def test_page_that_fell_behind_gets_the_changes_of_another_page_of_its_device(relay: House, one: Client) -> None:
    await say(one, "User2", "open")
    async with relay.device("User1") as other:
        await caught_up(relay, "User1")
        await acknowledged(other)
        for subscriber in relay.relay.hub.presence.subscribers[UserKey(1)]:
            subscriber.fall_behind(relay.relay.state.seq)
        await say(one, "User2", "news")
        assert durable(await other.rest()) == [("new", 2)]
        assert durable(await one.rest()) == []


@pytest.mark.parametrize("known", [MAX_OWN_ENTRIES, 1])
async def test_replay_includes_entries_of_the_devices_other_connection(tmp_path: Path, known: int) -> None:
    # Cod-e-Codes/marchat#118: devices missed some of two hundred messages that many sockets sent at once.
    tuning = Tuning(delivery=DeliveryTuning(recent_entries=0, own_entries=known))
    async with (
        house(tmp_path, "User1", "User2", "User3", tuning=tuning) as relay,
        relay.device("User1") as one,
        relay.device("User1") as other,
    ):
        await say(one, "User2", "open")
        await caught_up(relay, "User1")
        await acknowledged(other)
        for connection in relay.relay.hub.presence.subscribers[UserKey(1)]:
            connection.live = False
        await say(one, "User2", "a")
        await say(other, "User2", "b", "c")
        await one.request("read", chatId="User2")
        await say(one, "User2", "d")
        for connection in relay.relay.hub.presence.subscribers[UserKey(1)]:
            connection.connection.start_catch_up()
        # It is replayed only the entries that it no longer remembers as its own.
        assert durable(await other.rest()) == ([("new", 2), ("new", 5)] if known > 1 else [("new", 5)])
        assert durable(await one.rest()) == ([("new", 3), ("new", 4)] if known > 1 else [])


async def test_live_and_replayed_events_are_equal(relay: House, one: Client) -> None:
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
        # The unread count, the status and the text are current ones.
        for field in ("missed", "status", "message"):
            frame["payload"].pop(field, None)
        frame["payload"].get("replyTo", {}).pop("message", None)
    # The laptop also gets the other device's messages.
    own = [frame for frame in replayed if frame["payload"].get("clientMessageId") == "d" and frame not in live]
    assert [frame for frame in replayed if frame not in own] == live
    assert [frame["eventType"] for frame in own] == ["new"]
