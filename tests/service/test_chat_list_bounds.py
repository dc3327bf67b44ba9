"""Bounds on the frequency and size of chat lists, whatever one user does."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.delivery import chat_lists
from relay.core.delivery.subscriber import LIST_SECONDS
from relay.keys import UserKey
from tests.support.sessions import House, house


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3", frame_bytes=262_144) as opened:
        yield opened


# The chat list.


async def rename(client: Any, chat: str, count: int) -> None:
    for number in range(count):
        await client.request("updateChat", chatId=chat, name=f"name {number}")


async def test_a_chat_list_that_changes_all_the_time_is_sent_once_a_second(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
        await two.until("chats")
        await rename(one, chat, 20)
        assert [frame for frame in await two.rest() if frame.get("eventType") == "chats"] == []
        clock.jump(LIST_SECONDS)
        event = await two.until("chats")
        assert event["payload"][0]["name"] == "name 19"
        await two.quiet()


async def test_messages_pass_a_chat_list_that_waits_and_ids_grow(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
        frames = [await two.until("chats")]
        await rename(one, chat, 3)
        await one.request("new", chatId=chat, clientMessageId="1", message="at once")
        frames.append(await two.event("new"))
        clock.jump(LIST_SECONDS)
        # Nothing else happened, so the list needs a new id after that of the message, and gets one.
        frames.append(await two.until("chats"))
        assert frames[-1]["payload"][0]["name"] == "name 2"
        ids = [frame["id"] for frame in frames]
        assert ids == sorted(set(ids))


async def test_delayed_chat_list_is_not_lost_with_the_connection(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one:
        async with relay.device("User2") as two:
            chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
            await two.ack(await two.until("chats"))
            await rename(one, chat, 3)
            await one.request("new", chatId=chat, clientMessageId="1", message="hello")
            await two.ack(await two.event("new"))
            await two.text("ping")
            while await two.receive() != {"event": "pong"}:
                pass
        async with relay.device("User2") as two:
            event = await two.until("chats")
            assert event["payload"][0]["name"] == "name 2"
            await two.ack(event)


async def test_the_first_message_of_a_new_chat_waits_for_the_list(relay: House) -> None:
    async with relay.device("User1") as one, relay.device("User3") as three, relay.device("User2") as two:
        await one.request("createChat", type="group", name="Crew", participants=["User2"])
        await two.until("chats")
        await three.request("new", chatId="User2", clientMessageId="1", message="hello")
        chats = await two.until("chats")
        assert "User3" in [item["id"] for item in chats["payload"]]
        assert (await two.event("new"))["id"] > chats["id"]


async def test_chat_that_comes_and_goes_causes_at_most_one_list_a_second(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
        await two.rest()
        for number in range(10):
            await one.request("removeParticipants", chatId=chat, participants=["User2"])
            await one.request("addParticipants", chatId=chat, participants=["User2"])
            await one.request("new", chatId=chat, clientMessageId=str(number), message="hello")
        names = [frame["eventType"] for frame in await two.rest() if "id" in frame]
        assert names.count("chats") <= 2, names
        assert names.count("new") == 10


@pytest.fixture
def lists(relay: House, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many of User1's chat lists were under way each time that one was begun."""
    begun: list[int] = []
    under_way = 0
    real = chat_lists.ChatLists.whole

    async def counted(self: chat_lists.ChatLists, user: UserKey) -> Any:
        nonlocal under_way
        if user != relay.relay.state.user_keys["User1"]:
            return await real(self, user)
        under_way += 1
        begun.append(under_way)
        try:
            # Other tasks that may make a list meanwhile do so.
            await trio.testing.wait_all_tasks_blocked()
            return await real(self, user)
        finally:
            under_way -= 1

    monkeypatch.setattr(chat_lists.ChatLists, "whole", counted)
    return begun


async def test_chat_lists_of_a_user_are_made_one_by_one_at_a_bounded_rate(
    relay: House, clock: MockClock, lists: list[int]
) -> None:
    limits = relay.relay.tuning.limits
    limits.list_burst_bytes, limits.list_bytes_per_second = 1.0, 10.0
    async with relay.device("User2") as other:
        devices = [await relay.open("User1") for _ in range(8)]
        await other.request("createChat", type="group", name="x" * 60, participants=["User1"])
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(lists) <= 2, "one is over the rate already, and it takes seconds until the next one is granted"
        clock.jump(500)
        for device in devices[:3]:
            await device.text("ping")
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert set(lists) == {1}


async def test_chat_lists_for_devices_that_read_nothing_wait_for_room(relay: House, lists: list[int]) -> None:
    relay.relay.tuning.limits.waiting_bytes = 2_500
    key = relay.relay.state.user_keys["User1"]
    async with relay.device("User1") as other:
        for _ in range(12):
            await relay.open("User1", lockstep=True)
        for number in range(3):
            await other.request("createChat", type="group", name=f"{number}" * 60, participants=[])
        await trio.testing.wait_all_tasks_blocked(0.05)
        waiting = sum(one.outlet.waiting[0] for one in relay.relay.hub.presence.subscribers[key])
        assert lists
        assert len(lists) < 12
        assert 2_500 <= waiting < 5_000


# Version 2.


async def test_version_2_gets_the_chats_that_changed(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2", path="/ws?v=2") as two:
        await one.request("new", chatId="User2", clientMessageId="1", message="hello")
        first = await two.until("chat")
        assert first["payload"]["item"]["id"] == "User1"
        assert (await two.event("new"))["id"] > first["id"]
        clock.jump(LIST_SECONDS)
        chat = (await one.request("createChat", type="group", name="Crew", participants=["User2"]))["chatId"]
        event = await two.until("chat")
        assert (event["payload"]["item"]["id"], event["payload"]["item"]["name"]) == (chat, "Crew")
        clock.jump(LIST_SECONDS)
        await one.request("deleteChat", chatId=chat)
        assert (await two.until("chatGone"))["payload"] == {
            "chatId": chat,
            "title": "Crew",
            "by": "User1",
            "byName": "User1",
            "reason": "deleted",
        }
        clock.jump(LIST_SECONDS)
        await one.request("profile", name="Anna")
        event = await two.until("chat")
        assert (event["payload"]["item"]["id"], event["payload"]["item"]["name"]) == ("User1", "Anna")
        await two.quiet()


async def test_changes_sent_together_in_version_2_have_one_id(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2", path="/ws?v=2") as two:
        await one.request("createChat", type="group", name="0", participants=["User2"])
        # This one is sent alone: the following ones wait for a second.
        await two.until("chat")
        for number in range(1, 4):
            await one.request("createChat", type="group", name=str(number), participants=["User2"])
        clock.jump(LIST_SECONDS)
        chat_events = [frame for frame in await two.rest() if frame.get("eventType") == "chat"]
        assert sorted(frame["payload"]["item"]["name"] for frame in chat_events) == ["1", "2", "3"]
        assert ["id" in frame for frame in chat_events] == [False, False, True]
    async with relay.device("User2", path="/ws?v=2") as two:
        again = [frame for frame in await two.rest() if frame.get("eventType") == "chat"]
        assert {frame["payload"]["item"]["name"] for frame in again} == {"0"} or len(again) >= 1


async def test_version_2_gets_the_chat_list_in_pages(relay: House) -> None:
    relay.relay.tuning.delivery.list_page_bytes = 1_000
    async with relay.device("User1") as one, relay.device("User1", path="/ws?v=2") as two:
        for number in range(12):
            await one.request("createChat", type="group", name=str(number), participants=[])
        whole = [item["id"] for item in await one.request("chats")]
        pages: list[list[str]] = []
        after: dict[str, str] = {}
        while True:
            answer = await two.answer(await two.ask("chats", **after))
            pages.append([item["id"] for item in answer["payload"]])
            if "more" not in answer:
                break
            assert answer["more"] is True
            after = {"after": answer["next"]}
        assert len(pages) > 2
        assert [chat for page in pages for chat in page] == whole
        assert (await two.refused("chats", after="x"))["code"] == "bad_request"
