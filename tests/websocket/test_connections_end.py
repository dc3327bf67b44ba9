"""The memory of an ended connection is freed at once, without the garbage collector."""

import base64
import gc
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from relay.core.delivery.subscriber import Subscriber
from relay.net.sockets.transport import SocketTransport
from relay.net.websocket.session import Session
from relay.protocol import control
from tests.support.http_relay import HttpRelay, http_relay

EACH = 8
PARTS = {"Session", "Subscriber", "SocketTransport"}
UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: {key}\r\nAuthorization: Bearer {token}\r\n\r\n"
)
PING = bytes((0x81, 0x84, 0, 0, 0, 0)) + b"ping"
GOODBYE = bytes((0x88, 0x82, 0, 0, 0, 0)) + struct.pack("!H", 1000)


def _upgraded(relay: HttpRelay, token: str) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", relay.port), timeout=5)
    key = base64.b64encode(bytes(16)).decode()
    client.sendall(UPGRADE.format(host=relay.host, key=key, token=token).encode())
    assert client.recv(65_536)
    return client


def closes(relay: HttpRelay, token: str) -> None:
    """Connect and close properly."""
    with _upgraded(relay, token) as client:
        client.sendall(PING + GOODBYE)
        while client.recv(65_536):
            pass


def ends(relay: HttpRelay, token: str) -> None:
    """Connect and disconnect."""
    with _upgraded(relay, token) as client:
        client.sendall(PING)
        client.recv(65_536)


def resets(relay: HttpRelay, token: str) -> None:
    """Connect and reset, like a phone that loses its network."""
    with _upgraded(relay, token) as client:
        client.sendall(PING)
        client.recv(65_536)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def is_refused(relay: HttpRelay, _token: str) -> None:
    """Connect with an unknown token."""
    with _upgraded(relay, "nobody's"):
        pass


def asks_for_a_page(relay: HttpRelay, _token: str) -> None:
    """Load the web client."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {relay.host}\r\nConnection: close\r\n\r\n".encode())
        while client.recv(65_536):
            pass


def gives_up_half_way(relay: HttpRelay, _token: str) -> None:
    """Begin a request, and reset."""
    with socket.create_connection(("127.0.0.1", relay.port), timeout=5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost:")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _gone(relay: HttpRelay, sockets: int) -> None:
    with trio.fail_after(10):
        while relay.server.sessions or len(relay.server.readiness) > sockets:
            await trio.sleep(0.01)
    await trio.testing.wait_all_tasks_blocked(0.05)


def _there() -> int:
    """Count the objects of connections, including those of other tests."""
    return sum(type(one) in (Session, Subscriber, SocketTransport) for one in gc.get_objects())


@pytest.mark.parametrize("comes", [closes, ends, resets, is_refused, asks_for_a_page, gives_up_half_way])
async def test_an_ended_connection_needs_no_garbage_collector(
    tmp_path: Path, comes: Callable[[HttpRelay, str], None]
) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        sockets = len(relay.server.readiness)
        await trio.to_thread.run_sync(comes, relay, token)
        await _gone(relay, sockets)
        gc.collect()
        before = _there()
        gc.disable()
        try:
            for _ in range(EACH):
                await trio.to_thread.run_sync(comes, relay, token)
            await _gone(relay, sockets)
            assert _there() < before + EACH, "something holds on to them"
            assert gc.collect() < EACH, "each leaves circles that only the garbage collector frees"
        finally:
            gc.enable()


async def test_a_revoked_connection_needs_no_garbage_collector(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await relay.user("anna")
        sockets = len(relay.server.readiness)
        gc.collect()
        before = _there()
        gc.disable()
        try:
            for _ in range(EACH):
                made = await relay.ask("device.add", control.AddDeviceRequest(user_id="anna"))
                client = await trio.to_thread.run_sync(_upgraded, relay, made.token)
                with client:
                    await relay.ask("device.revoke", control.RevokeDevice(device_id=made.device_id))
                    client.sendall(GOODBYE)
                    await _gone(relay, sockets)
            assert _there() < before + EACH
            assert gc.collect() < EACH
        finally:
            gc.enable()
