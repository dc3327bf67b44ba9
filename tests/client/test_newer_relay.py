"""A relay that is newer than the client: unknown content is left out, and everything else works."""

import json
import logging
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.client import Client
from relay.protocol import requests
from relay.protocol.errors import RelayError
from tests.client.relay_double import Link, Relay, client


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    relay = Relay()
    monkeypatch.setattr(Client, "open_stream", lambda _client, host, port, *, tls: relay.open(host, port, tls=tls))
    return relay


async def say(link: Link, **frame: Any) -> None:
    await link.socket.send_message(json.dumps(frame))


@pytest.mark.parametrize(
    ("frame", "level"),
    [
        ({"type": "event", "id": 7, "eventType": "reaction", "payload": {"x": 1}}, logging.DEBUG),
        ({"type": "event", "id": 7, "eventType": "read", "payload": {"chatId": 1}}, logging.WARNING),
        ({"type": "poll", "id": 7}, logging.DEBUG),
    ],
)
async def test_unknown_content_is_left_out_with_a_log_record(
    relay: Relay, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, frame: dict[str, Any], level: int
) -> None:
    caplog.set_level(logging.DEBUG, "relay.client")
    async with client() as ours, relay.comes() as link:
        await link.tell(6)
        await say(link, timestamp=1, **frame)
        await link.tell(8)
        assert [(await anext(ours)).id for _ in range(2)] == [6, 8]
        if frame["type"] == "event":
            assert [(await link.heard())["id"] for _ in range(2)] == [6, 7], "a replay would stop at what is not taken"
    assert [one.levelno for one in caplog.records if one.name.startswith("relay.client")] == [level]


async def test_unknown_last_event_is_acknowledged(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link, trio.open_nursery() as nursery:
        await say(link, type="event", id=7, timestamp=1, eventType="reaction", payload={})
        nursery.start_soon(anext, ours)
        assert await link.heard() == {"type": "ack", "id": 7}
        nursery.cancel_scope.cancel()


async def test_response_with_an_unknown_error_ends_only_its_request(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(RelayError, match="not on Sundays") as refused:
                await ours.request(requests.CHATS, requests.ChatsRequest())
            assert refused.value.error.code == "internal"

        nursery.start_soon(ask)
        request = await link.heard()
        nursery.start_soon(ours.send, "User2", "hello")
        other = await link.heard()
        await say(
            link, type="response", id=request["id"], timestamp=1, error={"code": "closed", "message": "not on Sundays"}
        )
        await link.accept(other)
