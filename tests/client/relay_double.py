"""A relay whose answers the test gives, and a client that connects to it."""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar

import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

from relay.client import Client
from relay.protocol import codec, events, requests

C = TypeVar("C", bound=Client)
URL = "ws://relay.test/ws"
LONG = 60.0
"""Seconds of virtual time, which pass at once when all tasks wait."""


class Link:
    """The relay's end of one connection."""

    def __init__(self, request: WebSocketRequest, socket: WebSocketConnection) -> None:
        self.path = request.path
        self.headers = dict(request.headers)
        self.socket = socket

    async def heard(self) -> Any:
        """Receive the next frame of the client, skipping keepalives."""
        with trio.fail_after(LONG):
            while (text := await self.socket.get_message()) == "ping":
                await self.socket.send_message(codec.PONG.decode())
        return json.loads(text)

    async def quiet(self) -> None:
        """Check that the client sends nothing."""
        with trio.move_on_after(LONG):
            raise AssertionError(await self.heard())

    async def parts(self) -> None:
        """Wait until the client closes the connection, ignoring its frames."""
        with suppress(ConnectionClosed):
            while True:
                await self.heard()

    async def tell(self, event_id: int | None, user_id: str = "User2") -> None:
        """Send an event to the client; durable if it has an id."""
        await self.socket.send_message(codec.event("online", 1, events.Online(user_id=user_id), event_id).decode())

    async def accept(self, request: Any) -> None:
        """Answer a request of the client."""
        answer = requests.Accepted(message_id=1, timestamp=1, client_message_id=request["payload"]["clientMessageId"])
        await self.socket.send_message(codec.response(request["id"], 1, answer).decode())


class Relay:
    """The server that the client connects to; a test decides how each connection is answered."""

    def __init__(self) -> None:
        self.down = False
        """Whether connections are refused."""
        self.asked: list[tuple[str, int, bool]] = []
        """Host, port and TLS of each connection attempt."""
        self.times: list[float] = []
        self._arrive, self._arrived = trio.open_memory_channel[trio.abc.Stream](10)

    async def open(self, host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        """Accept a connection in place of a socket."""
        self.asked.append((host, port, tls))
        self.times.append(trio.current_time())
        if self.down:
            raise ConnectionRefusedError
        theirs, ours = memory_stream_pair()
        self._arrive.send_nowait(ours)
        return theirs

    @asynccontextmanager
    async def asks(self) -> AsyncIterator[WebSocketRequest]:
        """Wait for a connection, and let the test answer its handshake."""
        with trio.fail_after(LONG):
            stream = await self._arrived.receive()
        try:
            async with trio.open_nursery() as nursery:
                yield await wrap_server_stream(nursery, stream)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def comes(self, *headers: tuple[bytes, bytes]) -> AsyncIterator[Link]:
        """Accept a connection with these headers, and break it at the end of the block."""
        async with self.asks() as request:
            yield Link(request, await request.accept(extra_headers=list(headers)))


@asynccontextmanager
async def running(made: C) -> AsyncIterator[C]:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()


def client(
    url: str = URL, after: int | None = None, *, reconnect: bool = True, **options: Any
) -> AbstractAsyncContextManager[Client]:
    """A running client, connected or not."""
    return running(Client(url, "token", after, reconnect=reconnect, tls=None, **options))
