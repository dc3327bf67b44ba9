"""The version 2 notice of a lost chat: the reason, the actor and the name, without later changes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from trio.testing import MockClock

from relay.core.delivery import chat_views, list_readers
from relay.core.delivery.subscriber import LIST_SECONDS
from relay.core.model import changes
from relay.core.rules import commands
from relay.protocol import control
from tests.support.memory_log import MemoryLog
from tests.support.sessions import Client, House, house

VERSION_2 = "/ws?v=2"


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
        await opened.request("profile", name="Anna")
        yield opened


async def crew(client: Client, *people: str, name: str = "Lab") -> str:
    made = await client.request("createChat", type="group", name=name, participants=[*people])
    chat_id: str = made["chatId"]
    return chat_id


async def remove(client: Client, chat_id: str, user: str) -> None:
    await client.request("removeParticipants", chatId=chat_id, participants=[user])


async def losses(client: Client) -> list[Any]:
    """Receive everything; return the payloads of `chatGone`."""
    return [frame["payload"] for frame in await client.rest() if frame.get("eventType") == "chatGone"]


async def visit(relay: House, user: str) -> list[dict[str, Any]]:
    """Connect a device, acknowledge everything that it missed, and disconnect."""
    async with relay.device(user, path=VERSION_2) as device:
        frames = await device.rest()
        for frame in frames:
            if "id" in frame:
                await device.ack(frame)
        await device.text("ping")
        await device.rest()
        return frames


def told(frames: list[dict[str, Any]], event: str = "chatGone") -> list[Any]:
    return [frame["payload"] for frame in frames if frame.get("eventType") == event]


async def test_removed_user_learns_the_chat_and_the_remover(relay: House, one: Client, clock: MockClock) -> None:
    async with relay.device("User2", path=VERSION_2) as two:
        chat = await crew(one, "User2")
        await two.until("chat")
        clock.jump(LIST_SECONDS)
        await remove(one, chat, "User2")
        assert (await two.until("chatGone"))["payload"] == {
            "chatId": chat,
            "title": "Lab",
            "by": "User1",
            "byName": "Anna",
            "reason": "removed",
        }


async def test_absent_user_learns_the_name_at_the_removal_and_no_later_one(relay: House, one: Client) -> None:
    chat = await crew(one, "User2", "User3")
    await visit(relay, "User2")
    await one.request("updateChat", chatId=chat, name="Laboratory")
    await remove(one, chat, "User2")
    await one.request("updateChat", chatId=chat, name="Secret plans")
    await one.request("new", chatId=chat, clientMessageId="1", message="they are gone")
    frames = await visit(relay, "User2")
    assert told(frames) == [
        {"chatId": chat, "title": "Laboratory", "by": "User1", "byName": "Anna", "reason": "removed"}
    ]
    assert b"Secret" not in msgspec.json.encode(frames)
    assert b"they are gone" not in msgspec.json.encode(frames)
    assert told(await visit(relay, "User2")) == []


async def test_other_device_of_a_leaving_user_learns_that_they_left(relay: House, one: Client) -> None:
    chat = await crew(one, "User2")
    await visit(relay, "User2")
    await relay.add_device("User2", "phone")
    async with relay.device("User2phone", path=VERSION_2) as phone:
        await phone.request("leaveChat", chatId=chat)
    (payload,) = told(await visit(relay, "User2"))
    assert (payload["reason"], payload["title"], payload["by"]) == ("left", "Lab", "User2")


async def test_members_of_a_deleted_chat_learn_who_deleted_it(relay: House, one: Client) -> None:
    chat = await crew(one, "User2")
    await visit(relay, "User2")
    await one.request("deleteChat", chatId=chat)
    assert told(await visit(relay, "User2")) == [
        {"chatId": chat, "title": "Lab", "by": "User1", "byName": "Anna", "reason": "deleted"}
    ]


async def test_other_device_of_a_user_who_clears_a_dialog_learns_of_it(relay: House, one: Client) -> None:
    await one.request("new", chatId="User2", clientMessageId="1", message="hello")
    await visit(relay, "User2")
    await relay.add_device("User2", "phone")
    async with relay.device("User2phone", path=VERSION_2) as phone:
        await phone.request("deleteChat", chatId="User1")
    (payload,) = told(await visit(relay, "User2"))
    assert payload == {"chatId": "User1", "by": "User2", "byName": "User2", "reason": "deleted"}


async def test_user_removed_by_the_machines_admin_gets_no_name(relay: House, one: Client) -> None:
    chat = await crew(one, "User2")
    await visit(relay, "User2")
    await relay.relay.admin.handle("chat.remove", control.ChatUsers(id=chat, participants=["User2"]))
    assert told(await visit(relay, "User2")) == [{"chatId": chat, "title": "Lab", "reason": "removed"}]


async def test_user_removed_and_added_again_while_away_has_lost_nothing(relay: House, one: Client) -> None:
    chat = await crew(one, "User2")
    await visit(relay, "User2")
    await remove(one, chat, "User2")
    await one.request("addParticipants", chatId=chat, participants=["User2"])
    frames = await visit(relay, "User2")
    assert told(frames) == []
    assert {payload["item"]["id"] for payload in told(frames, "chat")} == {chat}


async def test_user_removed_twice_while_away_learns_of_the_last_time(
    relay: House, one: Client, clock: MockClock
) -> None:
    chat = await crew(one, "User2", "User3")
    await visit(relay, "User2")
    await remove(one, chat, "User2")
    await one.request("updateChat", chatId=chat, name="Second", admins=["User3"])
    await one.request("addParticipants", chatId=chat, participants=["User2"])
    async with relay.device("User3") as three:
        await remove(three, chat, "User2")
    async with relay.device("User2", path=VERSION_2) as two:
        gone = [await two.until("chatGone")]
        clock.jump(LIST_SECONDS)
        gone += [frame for frame in await two.rest() if frame.get("eventType") == "chatGone"]
    assert [(frame["payload"]["title"], frame["payload"]["by"]) for frame in gone][-1] == ("Second", "User3")


async def test_losses_sent_together_have_their_own_reasons(relay: House, one: Client, clock: MockClock) -> None:
    async with relay.device("User2", path=VERSION_2) as two:
        chats = [await crew(one, "User2", name=name) for name in ("First", "Second", "Third")]
        clock.jump(LIST_SECONDS)
        await two.rest()
        await remove(one, chats[0], "User2")
        await two.until("chatGone")
        await one.request("deleteChat", chatId=chats[1])
        await remove(one, chats[2], "User2")
        clock.jump(LIST_SECONDS)
        gone = {payload["title"]: payload["reason"] for payload in await losses(two)}
        assert gone == {"Second": "deleted", "Third": "removed"}


async def test_name_change_does_not_hide_a_waiting_reason(relay: House, one: Client, clock: MockClock) -> None:
    """The line of a dialog changes with the other user's name, although it was cleared a moment ago."""
    await relay.add_device("User2", "phone")
    async with relay.device("User2", path=VERSION_2) as two, relay.device("User2phone") as phone:
        await one.request("new", chatId="User2", clientMessageId="1", message="hello")
        await two.until("new")
        clock.jump(LIST_SECONDS)
        await crew(one, "User2")
        await two.until("chat")
        await phone.request("deleteChat", chatId="User1")
        await one.request("profile", name="Annabel")
        clock.jump(LIST_SECONDS)
        (payload,) = await losses(two)
        assert payload["reason"] == "deleted"


async def test_cleared_dialog_sends_no_line_when_the_other_user_is_renamed(
    relay: House, one: Client, clock: MockClock
) -> None:
    async with relay.device("User2", path=VERSION_2) as two:
        await one.request("new", chatId="User2", clientMessageId="1", message="hello")
        await two.until("new")
        clock.jump(LIST_SECONDS)
        await two.request("deleteChat", chatId="User1")
        await one.request("profile", name="Annabel")
        clock.jump(LIST_SECONDS)
        assert [payload["reason"] for payload in await losses(two)] == ["deleted"]
        await one.request("profile", name="Anne")
        clock.jump(LIST_SECONDS)
        assert await losses(two) == []


async def test_version_1_gets_only_its_list(relay: House, one: Client, clock: MockClock) -> None:
    async with relay.device("User2") as two:
        chat = await crew(one, "User2")
        await two.until("chats")
        clock.jump(LIST_SECONDS)
        await remove(one, chat, "User2")
        frame = await two.until("chats")
        assert frame["payload"] == []
        assert frame.keys() == {"type", "id", "timestamp", "eventType", "payload"}
        await two.quiet()


def test_entry_of_an_older_relay_gives_the_reason_without_the_name() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    log.group("User1", "User2")
    log.do("User1", commands.RemoveParticipants("g-1", ["User2"]))
    user = log.state.user_keys["User2"]
    older = changes.encode(changes.MembersRemoved(users=[user]))
    assert b"name" not in older.encode()
    entry = msgspec.structs.replace(log.entries[-1], extra=older)
    gone = chat_views.gone(log.state, user, log.state.chats[entry.chat], list_readers.list_change(entry).loss)
    assert (gone.reason, gone.by, gone.title) == ("removed", "User1", None)
