"""Sessions over streams in memory: a whole relay with its file, and clients on the other end of a fake link.

The clients use wsproto, which is not the relay's codec. Time passes as usual, and jumps on demand.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from relay.core.clock.clock import Clock
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.net.server import Server
from relay.net.sockets.transport import StreamTransport
from relay.net.tuning import NetTuning
from relay.net.websocket import frames
from relay.protocol import control
from relay.settings import LimitsSection, Settings

T0 = 1_767_225_600_000
WAIT_SECONDS = 5.0
"""Seconds that a client waits for an expected frame."""
QUIET_SECONDS = 0.1
"""Seconds without a frame that count as the end."""


async def go_by(clock: MockClock, seconds: float) -> None:
    """Advance time in steps: a larger jump would count as a stall of the relay itself."""
    while seconds > 0:
        clock.jump(min(1.0, seconds))
        seconds -= 1.0
        await trio.sleep(0.002)


class Closed(Exception):
    """The relay closed the connection."""

    def __init__(self, code: int | None, reason: str = "") -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


class Refused(Exception):
    """The relay answered the handshake with an HTTP error."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Client:
    """One device's end of a connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.pongs: list[bytes] = []
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self._heard: list[Any] = []
        self._text = ""
        self._requests = 0

    # Out.

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def text(self, text: str) -> None:
        """Send a text frame."""
        await self.raw(self.protocol.send(TextMessage(text)))

    async def frame(self, **fields: Any) -> None:
        """Send a JSON object."""
        await self.text(json.dumps(fields))

    async def ping(self) -> None:
        """Send a WebSocket ping."""
        await self.raw(self.protocol.send(Ping(b"!")))

    async def close(self) -> None:
        """Close the connection cleanly, unless it is closed already."""
        if self.protocol.state is ConnectionState.OPEN:
            await self.raw(self.protocol.send(CloseConnection(1000)))

    async def ask(self, payload_type: str, **payload: Any) -> str:
        """Send a request without waiting; return its id."""
        self._requests += 1
        request_id = f"req{self._requests:03}"
        await self.frame(type="request", id=request_id, payloadType=payload_type, payload=payload)
        return request_id

    async def ack(self, event: dict[str, Any]) -> None:
        """Acknowledge an event."""
        await self.frame(type="ack", id=event["id"])

    # In.

    async def handshake(self, token: str | None, path: str) -> None:
        """Do the handshake.

        Raises:
            Refused: with the status and the message.
        """
        headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode())]
        await self.raw(self.protocol.send(Request(host="localhost", target=path, extra_headers=headers)))
        event = await self._next()
        if isinstance(event, RejectConnection):
            body, finished = b"", False
            while not finished:
                data = await self._next()
                assert isinstance(data, RejectData)
                body, finished = body + data.data, data.body_finished
            raise Refused(event.status_code, body)
        assert isinstance(event, AcceptConnection)

    async def receive(self, *, patience: float = WAIT_SECONDS) -> dict[str, Any]:
        """Return the next frame within this many seconds.

        Raises:
            Closed: the relay closed the connection in its place.
        """
        while True:
            event = await self._next(patience)
            match event:
                case TextMessage():
                    self._text += event.data
                    if event.message_finished:
                        text, self._text = self._text, ""
                        return json.loads(text)  # type: ignore[no-any-return]
                case Pong():
                    self.pongs.append(bytes(event.payload))
                case CloseConnection():
                    if self.protocol.state is ConnectionState.REMOTE_CLOSING:
                        await self.raw(self.protocol.send(event.response()))
                    raise Closed(event.code, event.reason or "")
                case Ping() | BytesMessage():
                    raise AssertionError(event)

    async def _next(self, patience: float = WAIT_SECONDS) -> Any:
        while True:
            if self._heard:
                return self._heard.pop(0)
            with trio.fail_after(patience):
                data = await self.stream.receive_some(65_536)
            self.protocol.receive_data(bytes(data) or None)
            self._heard += self.protocol.events()
            if not data and not self._heard:
                raise Closed(None, "the connection broke")

    async def event(self, name: str) -> dict[str, Any]:
        """Return the next frame, which must be an event of this name."""
        frame = await self.receive()
        assert frame.get("eventType") == name, frame
        return frame

    async def until(self, name: str) -> dict[str, Any]:
        """Return the next event of a name, skipping others."""
        while True:
            frame = await self.receive()
            if frame.get("eventType") == name:
                return frame

    async def answer(self, request_id: str) -> dict[str, Any]:
        """Return the response to a request, skipping other frames."""
        while True:
            frame = await self.receive()
            if frame["type"] == "response" and frame["id"] == request_id:
                return frame

    async def request(self, payload_type: str, **payload: Any) -> Any:
        """Make a request and return the response's payload."""
        answer = await self.answer(await self.ask(payload_type, **payload))
        assert "payload" in answer, answer
        return answer["payload"]

    async def refused(self, payload_type: str, **payload: Any) -> Any:
        """Make a request and return the response's error."""
        answer = await self.answer(await self.ask(payload_type, **payload))
        assert "error" in answer, answer
        return answer["error"]

    async def closed(self) -> int | None:
        """Wait until the relay closes, skipping other frames; return the code."""
        try:
            while True:
                await self.receive()
        except Closed as closed:
            return closed.code

    async def rest(self) -> list[dict[str, Any]]:
        """Return all frames until it is quiet."""
        found: list[dict[str, Any]] = []
        while True:
            with trio.move_on_after(QUIET_SECONDS) as patience:
                found.append(await self.receive())
            if patience.cancelled_caught:
                return found

    async def quiet(self) -> None:
        """Make sure that nothing comes."""
        assert await self.rest() == []


class House:
    """A relay, and its connected devices."""

    def __init__(self, relay: Relay, server: Server, nursery: trio.Nursery) -> None:
        self.relay = relay
        self.server = server
        self.tokens: dict[str, str] = {}
        self.nursery = nursery

    async def add_user(self, user_id: str) -> None:
        """Make a user with one device."""
        await self.relay.admin.handle("user.add", control.AddUser(id=user_id))
        await self.add_device(user_id)

    async def add_device(self, user_id: str, label: str = "") -> None:
        """Make a device; its token is kept under the user's id and the label."""
        made = await self.relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user_id, label=label))
        assert isinstance(made, control.Token)
        self.tokens[user_id + label] = made.token

    async def open(self, who: str | None, *, path: str = "/ws", lockstep: bool = False) -> Client:
        """Connect a device; with `lockstep` bytes pass only when the other end reads them."""
        return await self.enter(None if who is None else self.tokens.get(who, who), path=path, lockstep=lockstep)

    async def enter(self, token: str | None, *, path: str = "/ws", lockstep: bool = False) -> Client:
        """Connect with a token."""
        ours, theirs = lockstep_stream_pair() if lockstep else memory_stream_pair()
        self.nursery.start_soon(self.serve_stream, theirs)
        client = Client(ours)
        await client.handshake(token, path)
        return client

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        try:
            await self.server.serve(StreamTransport(stream))
        finally:
            await trio.aclose_forcefully(stream)

    def open_from(self, who: str, after: int) -> AbstractAsyncContextManager[Client]:
        """Connect a device that names its last event."""
        return self.device(who, path=f"/ws?after={after}")

    @asynccontextmanager
    async def device(self, who: str, **how: Any) -> AsyncIterator[Client]:
        """Connect a device, and close it in order."""
        client = await self.open(who, **how)
        try:
            yield client
        finally:
            try:
                await client.close()
                await client.closed()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass


@asynccontextmanager
async def house(
    data: Path,
    *users: str,
    tuning: Tuning | None = None,
    net: NetTuning | None = None,
    clock: Clock = lambda: T0,
    **limits: Any,
) -> AsyncIterator[House]:
    """Open a relay, run the parts of its server that need no sockets, and make users."""
    settings = Settings(limits=LimitsSection(**{"requests_per_second": 0, **limits}))
    async with open_relay(data, clock=clock, frame=frames.encode_text, settings=settings, tuning=tuning) as relay:
        async with trio.open_nursery() as nursery:
            server = Server(relay, tuning=net)
            nursery.start_soon(server.keepalive.run)
            nursery.start_soon(server.announce_later)
            opened = House(relay, server, nursery)
            for user in users:
                await opened.add_user(user)
            yield opened
            nursery.cancel_scope.cancel()
