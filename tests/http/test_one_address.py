"""One address that opens connections all the time: its use is bounded, and others still get in."""

import contextlib
import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import trio
import trio.testing
from trio.socket import SocketType

from relay.net.http.connection import HEAD_BYTES
from relay.net.http.idle import IDLE_CONNECTIONS, IdleConnections
from tests.support.http_relay import HttpRelay, http_relay

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
CONNECTION_BYTES = 65_536
"""Maximum memory of the relay for a connection before its first request is complete."""


async def connect(relay: HttpRelay, address: str, data: bytes) -> SocketType:
    """Connect from an address of this machine and send something; ignore a relay that hangs up."""
    one = trio.socket.socket()
    await one.bind((address, 0))
    await one.connect(("127.0.0.1", relay.port))
    with contextlib.suppress(OSError):
        await one.send(data)
    return one


@contextlib.contextmanager
def closing(sockets: list[SocketType]) -> Iterator[list[SocketType]]:
    try:
        yield sockets
    finally:
        for one in sockets:
            one.close()


async def test_address_at_its_maximum_delays_no_other_address(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        with closing([await connect(relay, "127.0.0.2", REQUEST[:20])]) as sockets:
            slow = sockets[0]
            for _ in range(IDLE_CONNECTIONS + 200):
                sockets.append(await connect(relay, "127.0.0.1", b"GET / HT"))
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(relay.server.router.idle_connections) == IDLE_CONNECTIONS
            for _ in range(10):
                with trio.fail_after(1):
                    other = await connect(relay, "127.0.0.3", REQUEST)
                    assert (await other.recv(100)).startswith(b"HTTP/1.1 200")
                sockets += [other, *[await connect(relay, "127.0.0.1", b"GET / HT") for _ in range(20)]]
            with trio.fail_after(1):
                await slow.send(REQUEST[20:])
                assert (await slow.recv(100)).startswith(b"HTTP/1.1 200"), (
                    "it waited longest, and belongs to another address"
                )


async def test_connections_before_sign_in_hold_at_most_64_kib_each(tmp_path: Path) -> None:
    many = 100
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".ljust(HEAD_BYTES - 1, b"x")
    async with http_relay(tmp_path) as relay:
        with closing([await connect(relay, "127.0.0.1", head)]) as held:
            await trio.testing.wait_all_tasks_blocked(0.05)
            gc.collect()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                held += [await connect(relay, "127.0.0.1", head) for _ in range(many)]
                await trio.testing.wait_all_tasks_blocked(0.1)
                assert len(relay.server.router.idle_connections) == many + 1
                gc.collect()
                after, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    each = (after - before) // many
    assert each <= CONNECTION_BYTES
    assert IDLE_CONNECTIONS * CONNECTION_BYTES <= 64 * 2**20


async def test_the_address_with_the_most_connections_loses_its_longest_waiting_one() -> None:
    idle_connections = IdleConnections(room=3)
    ended: list[str] = []

    async def wait(name: str, address: str) -> None:
        with idle_connections.wait(60, address) as scope:
            await trio.sleep_forever()
        if scope.cancelled_caught:
            ended.append(name)

    async with trio.open_nursery() as nursery:
        for name, address in (("a", "first"), ("b", "many"), ("c", "many"), ("d", "many"), ("e", "other")):
            nursery.start_soon(wait, name, address)
            await trio.testing.wait_all_tasks_blocked()
        assert ended == ["b", "c"]
        assert len(idle_connections) == 3
        nursery.cancel_scope.cancel()
