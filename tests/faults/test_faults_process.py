"""The process is killed or out of descriptors; a thousand clients reconnect at once, or never read."""

import os
import random
import resource
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from relay.client import connect
from relay.core.maintenance.check import check
from relay.protocol import codec, objects, requests
from relay.protocol.envelopes import Request
from relay.protocol.errors import RelayError
from relay.protocol.events import NewEvent
from tests.support.relay_process import RelayProcess, add_users, resident, running

MEGABYTE = 1_000_000


async def _faults(data: Path) -> list[str]:
    return [finding.what for finding in await check(data, lambda _what: None) if finding.wrong]


@asynccontextmanager
async def _talking(
    data: Path, *users: str, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[RelayProcess, dict[str, str]]]:
    tokens = await add_users(data, *users)
    async with running(data, prefix=prefix, environment=environment) as relay:
        yield relay, tokens


async def test_a_kill_at_any_moment_loses_no_answered_message(tmp_path: Path, kill_rounds: int) -> None:
    """After each kill every answered message is stored once and in order, and the receiver gets each exactly once."""
    data = tmp_path / "data"
    answered: dict[str, int] = {}
    received: list[tuple[int, str]] = []
    dice = random.Random(kill_rounds)
    async with _talking(data, "User1", "User2") as (relay, tokens):

        async def receive() -> None:
            async with connect(relay.url, tokens["User2"]) as client:
                async for event in client:
                    if isinstance(event.payload, NewEvent):
                        received.append((event.payload.message_id, event.payload.message or ""))

        sending = trio.CancelScope()

        async def send_all() -> None:
            with sending:
                async with trio.open_nursery() as lanes:
                    for lane in range(4):
                        lanes.start_soon(send, lane)

        async def send(lane: int) -> None:
            async with connect(relay.url, tokens["User1"]) as client:
                for number in range(1_000_000):
                    text = f"{lane}-{number}"
                    answered[text] = (await client.send("User2", text)).message_id

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(send_all)
            for _ in range(kill_rounds):
                before = len(answered)
                with trio.fail_after(60):
                    while len(answered) == before:
                        await trio.sleep(0.005)
                await trio.sleep(dice.uniform(0, 0.06))
                await relay.kill()
                await relay.start()
            sending.cancel()
            with trio.fail_after(120):
                while not {text for _, text in received} >= set(answered):
                    await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        await relay.stop(signal.SIGTERM)
    assert len(answered) >= kill_rounds
    ids = [message_id for message_id, _ in received]
    assert ids == sorted(set(ids)), "each once, and in order"
    texts = {text: message_id for message_id, text in received}
    assert {text: texts[text] for text in answered} == answered
    assert await _faults(data) == []


async def test_stop_under_load_is_orderly_and_in_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    answered: list[int] = []
    async with _talking(data, "User1", "User2") as (relay, tokens):

        async def send() -> None:
            async with connect(relay.url, tokens["User1"]) as client:
                while True:
                    try:
                        answered.append((await client.send("User2", "x")).message_id)
                    except RelayError as refused:
                        assert refused.error.code == "unavailable"
                        await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(send)
            while len(answered) < 100:
                await trio.sleep(0.01)
            with trio.fail_after(5):
                assert await relay.stop(signal.SIGTERM) == 0
            nursery.cancel_scope.cancel()
        await relay.start()
        async with connect(relay.url, tokens["User1"]) as client:
            messages: list[objects.Message] = await client.request(
                requests.MESSAGES, requests.Messages(chat_id="User2", count=1)
            )
        assert messages[-1].message_id >= max(answered)
    assert await _faults(data) == []


async def _handshake(url: str, token: str) -> trio.SocketStream:
    """Open a WebSocket that sends nothing after its handshake."""
    host, port = url.removeprefix("ws://").removesuffix("/ws").split(":")
    stream = await trio.open_tcp_stream(host, int(port))
    await stream.send_all(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Authorization: Bearer {token}\r\n\r\n".encode()
    )
    answer = await stream.receive_some(4096)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return stream


async def test_clients_that_read_nothing_cost_bounded_memory_and_delay_no_other(tmp_path: Path) -> None:
    data = tmp_path / "data"
    limits = {"RELAY_LIMITS_CONNECTIONS_PER_USER": "50", "RELAY_LIMITS_REQUESTS_PER_SECOND": "0"}
    async with _talking(data, "User1", "User2", "Dead", environment=limits) as (relay, tokens):
        dead = [await _handshake(relay.url, tokens["Dead"]) for _ in range(50)]
        async with connect(relay.url, tokens["User1"]) as sender:
            group: objects.ChatDetails = await sender.request(
                requests.CREATE_CHAT, requests.CreateChat(type="group", name="All", participants=["User2", "Dead"])
            )
            before = resident(relay.pid)
            text = "x" * 4_000
            # Sixteen megabytes for each of fifty idle readers would be 800 if the relay kept them.
            for _ in range(4_000 // 40):
                async with trio.open_nursery() as nursery:
                    for _ in range(40):
                        nursery.start_soon(sender.send, group.chat_id, text)
            assert resident(relay.pid) - before < 120 * MEGABYTE
            with trio.fail_after(5):
                await sender.send("User2", "nobody is held up")
        for stream in dead:
            await stream.aclose()


async def test_a_slow_reader_gets_everything_in_order(tmp_path: Path) -> None:
    data = tmp_path / "data"
    # The number sent per second depends on the machine.
    unlimited = {"RELAY_LIMITS_REQUESTS_PER_SECOND": "0"}
    async with _talking(data, "User1", "User2", environment=unlimited) as (relay, tokens):
        async with connect(relay.url, tokens["User1"]) as sender, connect(relay.url, tokens["User2"]) as reader:
            await sender.send("User2", "first")
            text = "x" * 2_000

            async def send() -> None:
                for _ in range(30):
                    async with trio.open_nursery() as nursery:
                        for _ in range(40):
                            nursery.start_soon(sender.send, "User2", text)

            seen: list[int] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send)
                async for event in reader:
                    if isinstance(event.payload, NewEvent):
                        seen.append(event.payload.message_id)
                        if len(seen) % 100 == 0:
                            await trio.sleep(0.05)
                        if len(seen) == 1_201:
                            break
            assert seen == list(range(1, 1_202))


async def test_a_flooding_client_does_not_starve_others(tmp_path: Path) -> None:
    """The rate limit refuses the flood with a time to wait, and other clients are answered quickly."""
    data = tmp_path / "data"
    tokens = await add_users(data, "Flood", "Calm", "Peer")
    environment = {"RELAY_LIMITS_REQUESTS_PER_SECOND": "50", "RELAY_LIMITS_BURST": "100"}
    refused = 0
    async with running(data, environment=environment) as relay:
        async with connect(relay.url, tokens["Flood"]) as flood, connect(relay.url, tokens["Calm"]) as calm:

            async def pour() -> None:
                nonlocal refused
                while True:
                    try:
                        await flood.send("Peer", "x")
                    except RelayError as error:
                        assert error.error.code == "rate_limited"
                        assert error.error.retry_after
                        refused += 1

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(pour)
                while refused < 100:
                    await trio.sleep(0.01)
                for _ in range(20):
                    with trio.fail_after(2):
                        await calm.send("Peer", "in between")
                nursery.cancel_scope.cancel()


async def test_a_thousand_clients_reconnect_within_a_second(tmp_path: Path) -> None:
    data = tmp_path / "data"
    tokens = await add_users(data, *(f"User{number}" for number in range(50)))
    _raise_limit()
    async with running(data) as relay:
        streams: list[trio.SocketStream] = []

        async def come(token: str) -> None:
            streams.append(await _handshake(relay.url, token))

        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number in range(1_000):
                    nursery.start_soon(come, tokens[f"User{number % 50}"])
        assert len(streams) == 1_000
        async with connect(relay.url, tokens["User0"]) as client:
            with trio.fail_after(10):
                assert (await client.send("User1", "still here")).message_id == 1
        for stream in streams:
            await stream.aclose()


async def test_relay_without_descriptors_pauses_and_recovers(tmp_path: Path) -> None:
    data = tmp_path / "data"
    prefix = ["prlimit", "--nofile=40:40"]
    async with _talking(data, "User1", prefix=prefix) as (relay, tokens):
        host, port = relay.url.removeprefix("ws://").removesuffix("/ws").split(":")
        waiting = []
        for _ in range(60):
            connection = socket.create_connection((host, int(port)))
            waiting.append(connection)
        with trio.fail_after(10):
            while "no more connections can be accepted" not in relay.log:
                await trio.sleep(0.05)
        for connection in waiting:
            connection.close()
        with trio.fail_after(10):
            async with connect(relay.url, tokens["User1"]) as client:
                assert (await client.send("User1", "a note")).message_id == 1
        assert relay.process is not None
        assert relay.process.poll() is None


def _raise_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8_192)), hard))


async def test_half_a_frame_disturbs_no_other_client(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with _talking(data, "User1", "User2") as (relay, tokens):
        half = await _handshake(relay.url, tokens["User1"])
        frame = codec.encode(Request(id="1", payload_type="chats"))
        await half.send_all(bytes([0x81, 0x80 | len(frame)]) + b"\x00\x00\x00\x00" + frame[: len(frame) // 2])
        async with connect(relay.url, tokens["User2"]) as client:
            with trio.fail_after(5):
                await client.send("User1", "hello")
        await half.aclose()


@pytest.mark.parametrize("how", ["store removed", "store replaced", "store emptied", "log removed", "directory moved"])
async def test_nothing_is_acknowledged_after_the_store_was_removed(how: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    tokens = await add_users(data, "User1", "User2")
    async with running(data) as process, connect(process.url, tokens["User1"]) as relay:
        await relay.send("User2", "before")
        store = data / "relay.db"
        if how == "store removed":
            store.rename(tmp_path / "away")
        elif how == "store replaced":
            shutil.copy(store, tmp_path / "copy")
            (tmp_path / "copy").rename(store)
        elif how == "store emptied":
            os.truncate(store, 0)
        elif how == "log removed":
            (data / "relay.db-wal").unlink()
        else:
            data.rename(tmp_path / "moved")
        with pytest.raises(RelayError) as refused:
            await relay.send("User2", "lost if it were answered")
        assert refused.value.error.code == "unavailable"
        assert "was moved, removed or replaced while it was in use" in process.log
        if how in ("store removed", "directory moved"):
            (tmp_path / "away").rename(store) if how == "store removed" else (tmp_path / "moved").rename(data)
            with trio.fail_after(10):
                await relay.send("User2", "after")
