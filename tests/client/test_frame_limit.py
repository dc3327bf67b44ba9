"""Requests larger than a relay's frames: they fail, and do not end a second connection."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.client import Client, connect
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection, Settings
from tests.client.relay_double import LONG, Relay, client
from tests.support.http_relay import http_relay

LIMIT = (b"X-Relay-Frame-Bytes", b"4000")
TOO_BIG = "x" * 4_000
FRAME_BYTES = 262_144


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    relay = Relay()
    monkeypatch.setattr(Client, "open_stream", lambda _client, host, port, *, tls: relay.open(host, port, tls=tls))
    return relay


async def refused(ours: Client, text: str) -> str:
    """Send a request that is too large; return the error's message."""
    with trio.fail_after(LONG), pytest.raises(RelayError) as refusal:
        await ours.send("User2", text)
    assert refusal.value.error.code == "too_large"
    return str(refusal.value)


async def test_request_over_the_named_limit_fails_at_once_and_the_connection_stays(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours, relay.comes(LIMIT) as link:
        await ours.connected()
        assert "this relay takes 4000" in await refused(ours, TOO_BIG)
        await link.quiet()
    assert len(relay.asked) == 1


async def test_request_made_before_the_limit_is_known_fails_with_the_connection(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        nursery.start_soon(refused, ours, TOO_BIG)
        nursery.start_soon(ours.send, "User2", "short")
        await wait_all_tasks_blocked()
        async with relay.comes(LIMIT) as link:
            request = await link.heard()
            assert request["payload"]["message"] == "short"
            await link.accept(request)


async def test_request_that_closed_the_connection_of_an_older_relay_is_not_sent_again(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        async with relay.comes() as link:
            nursery.start_soon(ours.send, "User2", "short")
            nursery.start_soon(refused, ours, TOO_BIG)
            await wait_all_tasks_blocked()
            await link.socket.aclose(1009, "a message may have 4000 bytes")
        async with relay.comes() as link:
            request = await link.heard()
            assert request["payload"]["message"] == "short"
            await link.accept(request)
            assert "bytes" in await refused(ours, TOO_BIG), "it is known by now"
            await link.quiet()
    assert len(relay.asked) == 2


async def test_two_requests_that_are_too_large_both_fail(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        for extra in ("", "more"):
            nursery.start_soon(refused, ours, TOO_BIG + extra)
        for _ in range(2):
            async with relay.comes() as link:
                await link.heard()
                await link.socket.aclose(1009, "a message may have 4000 bytes")
        async with relay.comes() as link:
            await link.quiet()


async def test_abandoned_oversized_request_fails_no_other_request(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, trio.open_nursery() as nursery:
        async with relay.comes() as link:
            nursery.start_soon(ours.send, "User2", "y" * 2_000)
            with trio.move_on_after(1):
                await ours.send("User2", TOO_BIG)
            await link.socket.aclose(1009, "a message may have 4000 bytes")
        async with relay.comes() as link:
            request = await link.heard()
            assert request["payload"]["message"] == "y" * 2_000
            await link.accept(request)


@pytest.mark.parametrize("text", ["y" * 300_000, "\U0001f600" * 65_536])
async def test_oversized_request_fails_and_delays_no_other(tmp_path: Path, text: str) -> None:
    async with http_relay(tmp_path / "relay") as relay:
        anna, _ben = await relay.user("anna"), await relay.user("ben")
        async with connect(f"ws://{relay.host}/ws", anna) as ours:
            with trio.fail_after(5):
                with pytest.raises(RelayError, match=str(FRAME_BYTES)) as refusal:
                    await ours.send("ben", text)
                assert refusal.value.error.code == "too_large"
                assert (await ours.send("ben", "short")).message_id == 1
                with pytest.raises(RelayError, match=str(FRAME_BYTES)):
                    await ours.request(requests.SEARCH, requests.Search(query=text))


async def test_text_of_maximum_size_fits_if_the_limit_was_raised(tmp_path: Path) -> None:
    settings = Settings(limits=LimitsSection(frame_bytes=2 * FRAME_BYTES))
    async with http_relay(tmp_path / "relay", settings) as relay:
        anna, _ben = await relay.user("anna"), await relay.user("ben")
        async with connect(f"ws://{relay.host}/ws", anna) as ours:
            with trio.fail_after(5):
                assert (await ours.send("ben", "\U0001f600" * 65_536)).message_id == 1
