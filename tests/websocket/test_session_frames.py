"""Frames to a connection: requests, pings, malformed ones, and too many of them (PROTOCOL.md, section 2)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.events import BytesMessage, Request, TextMessage

from relay.core.delivery.catch_up import CatchUp
from relay.core.service.dispatch import Service
from relay.net.websocket.bad_frames import BAD_FRAMES
from tests.support.client_frames import client_frame
from tests.support.sessions import Client, House, Refused, go_by, house


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        yield opened


@pytest.fixture
async def client(relay: House) -> AsyncIterator[Client]:
    async with relay.device("User1") as opened:
        yield opened


# Handshakes.


@pytest.mark.parametrize("token", [None, "wrong", "wrong token"])
async def test_a_handshake_without_a_valid_token_is_refused(relay: House, token: str | None) -> None:
    with pytest.raises(Refused) as refused:
        await relay.enter(token)
    assert refused.value.status == 401
    assert json.loads(refused.value.body)["error"]["code"] == "unauthorized"


async def test_a_token_in_the_address_is_ignored(relay: House) -> None:
    with pytest.raises(Refused) as refused:
        await relay.enter(None, path=f"/ws?token={relay.tokens['User1']}")
    assert refused.value.status == 401


async def test_connections_beyond_the_limit_are_refused_with_503(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", connections=2) as relay, relay.device("User1"), relay.device("User1"):
        with pytest.raises(Refused) as refused:
            await relay.open("User1")
        assert refused.value.status == 503


async def test_half_a_request_does_not_delay_a_stop(relay: House, clock: MockClock) -> None:
    ours, theirs = memory_stream_pair()
    relay.nursery.start_soon(relay.serve_stream, theirs)
    await ours.send_all(b"GET /ws HTTP/1.1\r\nHost: rel")
    await trio.testing.wait_all_tasks_blocked()
    await go_by(clock, 10.1)
    with trio.fail_after(2):
        assert await ours.receive_some() == b""


async def test_frames_sent_with_the_handshake_are_answered_in_order(relay: House) -> None:
    ours, theirs = memory_stream_pair()
    relay.nursery.start_soon(relay.serve_stream, theirs)
    asked = [f'{{"type":"request","id":{n},"payloadType":"{what}"}}' for n, what in enumerate(("chats", "users") * 2)]
    protocol = WSConnection(ConnectionType.CLIENT)
    headers = [(b"Authorization", b"Bearer " + relay.tokens["User1"].encode())]
    handshake = protocol.send(Request(host="localhost", target="/ws", extra_headers=headers))
    await ours.send_all(handshake + b"".join(client_frame(1, text.encode()) for text in asked))
    answered: list[int] = []
    with trio.fail_after(5):
        while len(answered) < len(asked):
            protocol.receive_data(bytes(await ours.receive_some()))
            answered += [json.loads(one.data)["id"] for one in protocol.events() if isinstance(one, TextMessage)]
    assert answered == [0, 1, 2, 3]
    await ours.aclose()


# Requests.


async def test_every_request_is_answered_once_under_its_id(client: Client) -> None:
    ids = [await client.ask("chats") for _ in range(5)]
    ids.append(await client.ask("new", chatId="User2", clientMessageId="1", message="hello"))
    got = [frame["id"] for frame in await client.rest() if frame["type"] == "response"]
    assert sorted(got) == sorted(ids)


@pytest.mark.parametrize("request_id", ["req001", 7, "", "\u2764", 2**63])
async def test_request_id_is_only_echoed(client: Client, request_id: Any) -> None:
    await client.frame(type="request", id=request_id, payloadType="chats")
    answer = await client.receive()
    assert answer == {"type": "response", "id": request_id, "timestamp": answer["timestamp"], "payload": []}


async def test_an_unknown_request_is_answered_with_unknown_request(client: Client) -> None:
    assert (await client.refused("fly"))["code"] == "unknown_request"


@pytest.mark.parametrize(
    ("payload_type", "payload"),
    [
        ("new", {"clientMessageId": "1", "message": "x"}),
        ("edit", {"originalMessageId": 1, "message": "x"}),
        ("delete", {"originalMessageId": 1}),
        ("dlvrd", {}),
        ("read", {}),
        ("messages", {}),
        ("chat", {}),
        ("updateChat", {"name": "Mine"}),
        ("addParticipants", {"participants": ["User3"]}),
        ("removeParticipants", {"participants": ["User1"]}),
        ("leaveChat", {}),
        ("deleteChat", {}),
    ],
)
async def test_a_request_for_a_foreign_chat_is_answered_with_not_found(
    relay: House, client: Client, payload_type: str, payload: dict[str, Any]
) -> None:
    chat = await client.request("createChat", type="group", name="Crew", participants=["User2"])
    async with relay.device("User3") as stranger:
        real = await stranger.refused(payload_type, chatId=chat["chatId"], **payload)
        none = await stranger.refused(payload_type, chatId="g-none", **payload)
    assert real["code"] == none["code"] == "not_found"
    assert real["message"].replace(chat["chatId"], "g-none") == none["message"]


async def test_typing_in_a_foreign_chat_is_answered_with_not_found(relay: House, client: Client) -> None:
    chat = await client.request("createChat", type="group", name="Crew", participants=["User2"])
    async with relay.device("User3") as stranger:
        await stranger.frame(type="event", eventType="typing", payload={"chatId": chat["chatId"]})
        assert (await stranger.receive())["error"]["code"] == "not_found"


# Keepalives and bad frames.


@pytest.mark.parametrize("text", ["ping", "", "[]", "7"])
async def test_a_text_ping_is_answered(client: Client, text: str) -> None:
    await client.text(text)
    assert await client.receive() == {"event": "pong"}


async def test_a_websocket_ping_is_answered(client: Client) -> None:
    await client.ping()
    await client.quiet()
    assert client.pongs == [b"!"]


async def test_a_bad_frame_is_answered_with_its_field_and_the_connection_stays(client: Client) -> None:
    await client.text('{"type":"request","payloadType":"chats"}')
    frame = await client.receive()
    assert (frame["type"], frame["error"]["code"]) == ("error", "bad_request")
    assert frame["error"]["message"] == "id: this field is required"
    assert await client.request("chats") == []


async def test_a_bad_payload_does_not_count_as_a_bad_frame(client: Client) -> None:
    for _ in range(2 * BAD_FRAMES):
        assert (await client.refused("chat"))["code"] == "bad_request"
    assert await client.request("chats") == []


async def test_too_many_bad_frames_end_the_connection(client: Client, clock: MockClock) -> None:
    for n in range(BAD_FRAMES):
        await client.text("{}")
        assert (await client.receive())["type"] == "error"
        clock.jump(2 if n < BAD_FRAMES - 1 else 0)
    assert await client.closed() == 1008


async def test_occasional_bad_frames_do_not_end_the_connection(client: Client, clock: MockClock) -> None:
    for _ in range(2 * BAD_FRAMES):
        await client.text("{}")
        assert (await client.receive())["type"] == "error"
        clock.jump(3.5)


async def test_a_binary_frame_is_a_bad_frame(client: Client) -> None:
    await client.raw(client.protocol.send(BytesMessage(b"{}")))
    assert (await client.receive())["error"]["code"] == "bad_request"


async def test_a_frame_over_the_limit_ends_the_connection(client: Client, clock: MockClock) -> None:
    await client.text("x" * 262_145)
    assert await client.closed() == 1009
    clock.jump(2.1)


async def test_frame_at_the_limit_is_accepted(client: Client) -> None:
    await client.text("x" * 262_144)
    assert await client.receive() == {"event": "pong"}


async def test_invalid_utf_8_ends_the_connection(client: Client, clock: MockClock) -> None:
    frame = client.protocol.send(TextMessage("x"))
    await client.raw(frame[:-1] + bytes([frame[-1] ^ 0x80]))
    assert await client.closed() == 1007
    clock.jump(2.1)


async def test_close_is_echoed_with_its_code(client: Client) -> None:
    await client.close()
    assert await client.closed() == 1000


async def test_a_message_sent_before_close_is_on_disk(relay: House) -> None:
    client = await relay.open("User1")
    await client.ask("new", chatId="User2", clientMessageId="1", message="hello")
    await client.close()
    await client.closed()
    async with relay.device("User1") as again:
        assert (await again.request("new", chatId="User2", clientMessageId="1", message="hello"))["messageId"] == 1


# Failures.


async def test_a_client_that_disconnects_before_its_response_disturbs_no_other(relay: House, client: Client) -> None:
    for n in range(20):
        other = await relay.open("User2")
        await other.ask("new", chatId="User1", clientMessageId=str(n), message="hello")
        await trio.aclose_forcefully(other.stream)
    assert await client.request("profile") == {"id": "User1", "name": "User1"}
    assert (await client.request("messages", chatId="User2"))[-1]["messageId"] == 20


@pytest.mark.parametrize(("owner", "where"), [(Service, "take"), (CatchUp, "page")])
async def test_a_failing_connection_leaves_others_alone_and_is_logged_once(
    relay: House,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    where: str,
) -> None:
    victim = await relay.open("User2")
    failing = relay.relay.state.user_keys["User2"]
    real = getattr(owner, where)

    def broken(self: Any, subscriber: Any, *arguments: Any) -> Any:
        if subscriber.user == failing:
            raise ZeroDivisionError
        return real(self, subscriber, *arguments)

    monkeypatch.setattr(owner, where, broken)
    if where == "take":
        await victim.text("ping")
    else:
        await client.request("new", chatId="User2", clientMessageId="1", message="hello")
    assert await victim.closed() == 1011
    assert await client.request("profile") == {"id": "User1", "name": "User1"}
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.exc_info is not None
    assert "ZeroDivisionError" in caplog.text
    assert "hello" not in caplog.text


@pytest.mark.parametrize("payload_type", ["users", "chats"])
async def test_an_unexpected_failure_of_a_request_is_answered_with_internal(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, payload_type: str
) -> None:
    def broken(*_arguments: Any) -> Any:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("relay.core.delivery.chat_views.profile", broken)
        patch.setattr("relay.core.delivery.chat_views.listed", broken)
        assert (await client.refused(payload_type))["code"] == "internal"
    assert len([record for record in caplog.records if record.exc_info]) == 1
    assert await client.request("chats") == []


async def test_large_waiting_messages_pause_reading(relay: House, client: Client) -> None:
    relay.relay.tuning.log.queue_bytes = 100_000
    log, may_write = relay.relay.log, trio.Event()

    async def wait(_writing: object) -> None:
        await may_write.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.run_exclusive, wait)
        await client.ask("new", chatId="User2", clientMessageId="c0", message="x" * 60_000)
        # Its answer comes after the message was processed.
        await client.text("ping")
        assert await client.receive() == {"event": "pong"}
        assert not log.full
        await client.ask("new", chatId="User2", clientMessageId="c1", message="x" * 60_000)
        with trio.fail_after(10):
            while not log.full:
                await trio.sleep(0.01)
        may_write.set()
    assert (await client.answer("req002"))["payload"]["messageId"] == 2
    assert not log.full


async def test_a_device_that_signs_itself_out_is_answered_before_its_connection_closes(tmp_path: Path) -> None:
    async with house(tmp_path, "alice") as made:
        client = await made.open("alice")
        (own,) = [one for one in await client.request("devices") if one["current"]]
        assert await client.request("revokeDevice", deviceId=own["deviceId"]) == {}
        assert await client.closed() == 4401
