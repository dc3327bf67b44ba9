"""Requests of the client, across reconnects."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import ConnectionClosed, WebSocketConnection

from relay.client import Client, Unanswered
from relay.protocol import codec, objects, requests
from relay.protocol.errors import RelayError
from tests.client.relay_double import Relay, client


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    relay = Relay()
    monkeypatch.setattr(Client, "open_stream", lambda _client, host, port, *, tls: relay.open(host, port, tls=tls))
    return relay


# Requests.


async def test_unanswered_requests_are_repeated_and_answered_ones_are_not(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        async with relay.comes() as link:
            nursery.start_soon(ours.send, "User2", "answered")
            await link.accept(await link.heard())
            nursery.start_soon(ours.send, "User2", "not answered")
            unanswered = await link.heard()
        nursery.start_soon(ours.send, "User2", "said while nobody was there")
        async with relay.comes() as link:
            assert await link.heard() == unanswered
            await link.accept(unanswered)
            later = await link.heard()
            assert later["payload"]["message"] == "said while nobody was there"
            assert later["payload"]["clientMessageId"] != unanswered["payload"]["clientMessageId"]
            await link.accept(later)
            await link.quiet()


async def test_non_idempotent_request_is_sent_once(relay: Relay, autojump_clock: MockClock) -> None:
    make = requests.CreateChat(type="group", name="Crew", participants=[])
    failed = 0

    async def ask() -> None:
        nonlocal failed
        with pytest.raises(Unanswered, match="createChat"):
            await ours.request(requests.CREATE_CHAT, make)
        failed += 1

    async with client() as ours, trio.open_nursery() as nursery:
        async with relay.comes() as link:
            nursery.start_soon(ask)
            assert (await link.heard())["payloadType"] == "createChat"
        nursery.start_soon(ours.request, requests.CREATE_CHAT, make)
        async with relay.comes() as link:
            later = await link.heard()
            assert (later["payloadType"], failed) == ("createChat", 1), "this one was not said before"
            answer = objects.ChatDetails(chat_id="g-1", type="group", name="Crew", missed=0, meta=objects.ChatMeta())
            await link.socket.send_message(codec.response(later["id"], 1, answer).decode())
            await link.quiet()


async def test_request_that_never_left_a_broken_connection_is_sent_on_the_next(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = requests.CreateChat(type="group", name="Crew", participants=[])
    async with client() as ours, trio.open_nursery() as nursery:
        nursery.start_soon(ours.request, requests.DEVICES, requests.Nothing())
        await wait_all_tasks_blocked()
        nursery.start_soon(ours.request, requests.CREATE_CHAT, make)
        await wait_all_tasks_blocked()

        async def break_off(_socket: WebSocketConnection, _frame: str) -> None:
            raise ConnectionClosed(None)

        with monkeypatch.context() as broken:
            broken.setattr(WebSocketConnection, "send_message", break_off)
            async with relay.comes():
                await wait_all_tasks_blocked()
        async with relay.comes() as link:
            assert [(await link.heard())["payloadType"] for _ in range(2)] == ["devices", "createChat"]
            nursery.cancel_scope.cancel()


async def test_an_edit_gets_an_idempotency_key(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        async with relay.comes() as link:
            nursery.start_soon(
                ours.request, requests.EDIT, requests.Edit(chat_id="b", original_message_id=1, message="x")
            )
            first = await link.heard()
        async with relay.comes() as link:
            again = await link.heard()
            assert again == first
            await link.accept(again)


async def test_a_response_goes_to_its_request_and_an_unknown_one_is_ignored(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours, relay.comes() as link:
        got: dict[str, str] = {}

        async def send(text: str) -> None:
            got[text] = (await ours.send("User2", text, client_message_id=f"id of {text}")).client_message_id

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, "one")
            nursery.start_soon(send, "two")
            said = [await link.heard(), await link.heard()]
            await link.accept({**said[0], "id": "nobody's"})
            await wait_all_tasks_blocked()
            assert got == {}
            for request in reversed(said):
                await link.accept(request)
        assert got == {"one": "id of one", "two": "id of two"}


async def test_an_error_is_raised_with_all_its_fields(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RelayError, match="wait") as refused:
                await ours.request(requests.CHATS, requests.ChatsRequest())
            assert refused.value.error.code == "rate_limited"
            assert refused.value.error.retry_after == 250

        nursery.start_soon(ask)
        refusal = RelayError("rate_limited", "wait", retry_after=250).error
        await link.socket.send_message(codec.refusal((await link.heard())["id"], 1, refusal).decode())


async def test_typing_and_background_are_sent(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link:
        await ours.connected()
        await ours.typing("User2")
        await ours.typing("User2", stop=True)
        await ours.background()
        said = [await link.heard() for _ in range(3)]
    assert [(one["eventType"], one.get("payload", {})) for one in said] == [
        ("typing", {"chatId": "User2"}),
        ("typing", {"chatId": "User2", "stop": True}),
        ("offline", {}),
    ]


async def test_typing_without_a_connection_is_not_an_error(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours:
        await ours.typing("User2")
        async with relay.comes() as link:
            await ours.connected()
            await link.socket.aclose()
            await ours.typing("User2")
