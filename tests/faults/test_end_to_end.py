"""End to end: a relay process, a real port, the command line, the Python client and another WebSocket client."""

import json
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.client import connect as connect_foreign

from relay.client import Client, Received, connect
from relay.core.maintenance.check import check
from relay.protocol import events, objects, requests
from tests.support.relay_process import RelayProcess, add_users, running

WAIT_SECONDS = 10.0
EVENTS_OF_VERSION_2 = {"chat", "chatGone", "chatsStale", "device"}
T = TypeVar("T")


async def command(relay: RelayProcess, *arguments: str) -> Any:
    """Run a command while the relay runs; return its JSON."""
    ran = await trio.run_process(
        [sys.executable, "-m", "relay", *arguments, "--data", str(relay.data), "--json"], capture_stdout=True
    )
    return json.loads(ran.stdout) if ran.stdout else None


async def made_user(relay: RelayProcess, user_id: str) -> str:
    """Add a user by the command line; return a token."""
    await command(relay, "user", "add", user_id, "--name", f"The {user_id}")
    return str((await command(relay, "device", "add", user_id))["token"])


@asynccontextmanager
async def relay_with(tmp_path: Path, *users: str) -> AsyncIterator[tuple[RelayProcess, dict[str, str]]]:
    tokens = await add_users(tmp_path / "data", *users)
    async with running(tmp_path / "data") as relay:
        yield relay, tokens


async def faults(relay: RelayProcess) -> list[str]:
    return [finding.what for finding in await check(relay.data, lambda _what: None) if finding.wrong]


class Listener:
    """A client and everything that it received."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard: list[Received] = []
        self._news = trio.Event()

    async def listen(self) -> None:
        async for event in self.client:
            self.heard.append(event)
            self._news.set()
            self._news = trio.Event()

    async def hears(self, name: str, **expected: Any) -> Received:
        """Wait for an event with this name and these fields."""
        with trio.fail_after(WAIT_SECONDS):
            while True:
                for event in self.heard:
                    fields = {field: getattr(event.payload, field) for field in expected if event.name == name}
                    if event.name == name and fields == expected:
                        return event
                await self._news.wait()


def of(event: Received, kind: type[T]) -> T:
    """Return the payload of an event of this kind."""
    assert isinstance(event.payload, kind)
    return event.payload


def chats(event: Received) -> list[objects.ChatListItem]:
    assert isinstance(event.payload, list)
    return event.payload


async def test_conversation_of_two_users_and_a_group_produces_all_events(tmp_path: Path) -> None:
    async with (
        relay_with(tmp_path, "User1", "User2", "User3") as (relay, tokens),
        connect(relay.url, tokens["User1"]) as first,
        connect(relay.url, tokens["User2"]) as second,
        trio.open_nursery() as nursery,
    ):
        one, two = Listener(first), Listener(second)
        nursery.start_soon(one.listen)
        nursery.start_soon(two.listen)

        sent = await first.send("User2", "hello")
        heard = await two.hears("new", chat_id="User1", message="hello", missed=1, status="unread")
        said = of(heard, events.NewEvent)
        assert (said.sender, said.sender_name) == ("User1", "User1")
        assert [item.id for item in chats(await two.hears("chats"))] == ["User1"]
        await one.hears("dlvrd", chat_id="User2", user_id="User2", message_id=sent.message_id)

        await second.typing("User1")
        await one.hears("typing", user_id="User2", chat_id="User2", stop=None)
        await second.send("User1", "hi", reply_to=1)
        await one.hears("typing", user_id="User2", stop=True)
        reply = await one.hears("new", message="hi")
        quoted = of(reply, events.NewEvent).reply_to
        assert quoted is not None
        assert quoted.message == "hello"

        await second.request(requests.READ, requests.Mark(chat_id="User1"))
        await one.hears("read", chat_id="User2", user_id="User2", message_id=1)
        await first.request(requests.EDIT, requests.Edit(chat_id="User2", original_message_id=1, message="hello!"))
        await two.hears("edit", chat_id="User1", original_message_id=1, message="hello!", message_id=3)
        await first.request(requests.DELETE, requests.Delete(chat_id="User2", original_message_id=1))
        await two.hears("delete", chat_id="User1", original_message_id=1, message_id=4)

        crew: objects.ChatDetails = await first.request(
            requests.CREATE_CHAT, requests.CreateChat(type="group", name="Crew", participants=["User2", "User3"])
        )
        assert "Crew" in [item.name for item in await _latest_chats(two, 2)]
        await first.send(crew.chat_id, "all hands")
        await two.hears("new", chat_id=crew.chat_id, message="all hands")
        async with connect(relay.url, tokens["User3"]) as third:
            await one.hears("online", user_id="User3")
            three = Listener(third)
            nursery.start_soon(three.listen)
            await three.hears("new", chat_id=crew.chat_id, message="all hands")
        await one.hears("offline", user_id="User3")
        await one.hears("dlvrd", chat_id=crew.chat_id, user_id="User3")
        nursery.cancel_scope.cancel()
    assert {event.name for event in one.heard + two.heard} == set(events.SERVER_EVENTS) - EVENTS_OF_VERSION_2
    for listener in (one, two):
        ids = [event.id for event in listener.heard if event.id is not None]
        assert ids == sorted(set(ids))
    assert await faults(relay) == []


async def _latest_chats(listener: Listener, count: int) -> list[objects.ChatListItem]:
    """Return the first chat list with this many chats."""
    with trio.fail_after(WAIT_SECONDS):
        while True:
            for event in listener.heard:
                if event.name == "chats" and len(chats(event)) == count:
                    return chats(event)
            await trio.sleep(0.01)


async def test_kill_during_sends_loses_no_answered_message(tmp_path: Path) -> None:
    answered: dict[str, int] = {}
    heard: dict[str, list[int]] = defaultdict(list)
    async with relay_with(tmp_path, "User1", "User2", "User3") as (relay, tokens):
        async with connect(relay.url, tokens["User1"]) as one:
            crew: objects.ChatDetails = await one.request(
                requests.CREATE_CHAT, requests.CreateChat(type="group", name="Crew", participants=["User2", "User3"])
            )

        async def listen(user: str) -> None:
            async with connect(relay.url, tokens[user]) as client:
                async for event in client:
                    if isinstance(event.payload, events.NewEvent):
                        heard[user].append(event.payload.message_id)

        async def send(lane: int) -> None:
            async with connect(relay.url, tokens["User1"]) as client, trio.open_nursery() as sends:
                for number in range(50):
                    sends.start_soon(say, client, f"{lane} {number}")
                    await trio.sleep(0.002)

        async def say(client: Client, text: str) -> None:
            answered[text] = (await client.send(crew.chat_id, text, client_message_id=text)).message_id

        async with trio.open_nursery() as listening:
            listening.start_soon(listen, "User2")
            listening.start_soon(listen, "User3")
            with trio.fail_after(60):
                async with trio.open_nursery() as sending:
                    for lane in range(6):
                        sending.start_soon(send, lane)
                    while len(answered) < 60:
                        await trio.sleep(0.001)
                    await relay.kill()
                    await relay.start()
                while not all(heard[user] and heard[user][-1] == 300 for user in ("User2", "User3")):
                    await trio.sleep(0.01)
            listening.cancel_scope.cancel()
        async with connect(relay.url, tokens["User1"]) as one:
            history: list[objects.Message] = await one.request(
                requests.MESSAGES, requests.Messages(chat_id=crew.chat_id, count=500)
            )
        await relay.stop()
    assert sorted(answered.values()) == list(range(1, 301)), "each once, without gaps"
    assert {message.client_message_id: message.message_id for message in history} == answered
    assert [message.message_id for message in history] == list(range(1, 301))
    for user in ("User2", "User3"):
        assert heard[user] == list(range(1, 301))
    assert await faults(relay) == []


# With another WebSocket client.


@asynccontextmanager
async def foreign(relay: RelayProcess, token: str) -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {token}"}
    async with connect_foreign(relay.url, proxy=None, additional_headers=headers) as socket:
        yield socket


async def heard_by(socket: Any, name: str) -> Any:
    with trio.fail_after(WAIT_SECONDS):
        while True:
            frame = json.loads(await socket.recv())
            if frame.get("eventType") == name:
                return frame
    raise AssertionError


async def test_readmes_example_works_with_another_client(tmp_path: Path) -> None:
    async with (
        relay_with(tmp_path, "User1") as (relay, tokens),
        foreign(relay, await made_user(relay, "anna")) as anna,
        foreign(relay, tokens["User1"]) as user,
    ):
        await command(relay, "send", "--as", "User1", "anna", "hello")
        assert (await heard_by(anna, "new"))["payload"]["message"] == "hello"
        await user.send(
            '{"type":"request","id":"1","payloadType":"new",'
            '"payload":{"chatId":"anna","clientMessageId":"a-uuid","message":"hello"}}'
        )
        event = await heard_by(anna, "new")
        assert event["payload"]["clientMessageId"] == "a-uuid"
        await anna.send(json.dumps({"type": "ack", "id": event["id"]}))
        assert (await heard_by(user, "dlvrd"))["payload"]["messageId"] == 2
        await anna.send("ping")
        with trio.fail_after(WAIT_SECONDS):
            assert await anna.recv() == '{"event":"pong"}'


async def test_a_stop_under_load_closes_with_1012_and_keeps_answered_messages(tmp_path: Path) -> None:
    answered: set[str] = set()
    codes: list[int | None] = []
    async with relay_with(tmp_path, "User1", "User2") as (relay, tokens):

        async def pour(lane: int) -> None:
            """Send without waiting for responses, so that there is always work."""
            async with foreign(relay, tokens["User1"]) as socket, trio.open_nursery() as nursery:
                nursery.start_soon(listen, socket, lane)
                try:
                    for number in range(1_000_000):
                        payload = {"chatId": "User2", "clientMessageId": f"{lane} {number}", "message": "x"}
                        frame = {"type": "request", "id": f"{lane} {number}", "payloadType": "new", "payload": payload}
                        await socket.send(json.dumps(frame))
                except ConnectionClosed:
                    return

        async def listen(socket: Any, lane: int) -> None:
            try:
                while True:
                    frame = json.loads(await socket.recv())
                    if frame["type"] == "response" and "payload" in frame:
                        answered.add(frame["id"])
            except ConnectionClosed as closed:
                codes.append(closed.rcvd.code if closed.rcvd else None)

        async with trio.open_nursery() as nursery:
            for lane in range(4):
                nursery.start_soon(pour, lane)
            with trio.fail_after(WAIT_SECONDS):
                while len(answered) < 500:
                    await trio.sleep(0.01)
            # The relay allows itself 5 s; other tests may slow the machine down.
            with trio.fail_after(8):
                assert await relay.stop(signal.SIGTERM) == 0
        assert "were cut" not in relay.log
        assert codes == [1012] * 4
        await relay.start()
        async with connect(relay.url, tokens["User1"]) as client:
            kept: set[str] = set()
            start: int | None = 1
            while start is not None:
                wanted = requests.Messages(chat_id="User2", start_id=start, count=500)
                page: list[objects.Message] = await client.request(requests.MESSAGES, wanted)
                kept.update(message.client_message_id for message in page)
                start = page[-1].message_id + 1 if page else None
        assert answered <= kept
        await relay.stop()
    assert await faults(relay) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_relay_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    async with relay_with(tmp_path, "User1") as (relay, tokens), foreign(relay, tokens["User1"]) as socket:
        with trio.fail_after(WAIT_SECONDS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.stop, number)
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert "were cut" not in relay.log
        assert relay.process is not None
        assert relay.process.returncode == 0


async def test_dropped_handshake_is_retried() -> None:
    asked, again = trio.Event(), trio.Event()

    async def hang_up(stream: trio.SocketStream) -> None:
        async with stream:
            assert await stream.receive_some()
            (again if asked.is_set() else asked).set()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, hang_up, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        url = f"ws://127.0.0.1:{port}/ws"
        nursery.start_soon(Client(url, "token", None, reconnect=True, tls=None, handshake_seconds=0.1).run)
        with trio.fail_after(10):
            await again.wait()
        nursery.cancel_scope.cancel()
