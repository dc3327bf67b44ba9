"""A client of the relay for bots, scripts and tests: trio on one side, trio-websocket on the other.

    async with connect("ws://relay.local:8765/ws", token) as relay:
        await relay.send("User2", "hello")
        async for event in relay:
            print(event.name, event.payload)

It acknowledges what it hands out, gives signs of life, connects again when the connection is lost, asks for
what it missed and sends again, under the same `clientMessageId`, what was not answered.
"""

import json
import random
import ssl
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import msgspec
import trio
import trio_websocket
from trio_websocket import ConnectionClosed, ConnectionRejected, HandshakeError, WebSocketConnection

from relay.protocol import codec, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Ack, ClientEvent, Event, Request, Response
from relay.protocol.errors import RelayError
from relay.protocol.events import ClientTyping
from relay.protocol.objects import Attachment

KEEPALIVE_SECONDS = 8.0
"""Seconds between two signs of life; the relay waits 20 (PROTOCOL.md, section 4), and answers each."""
SILENCE_SECONDS = 20.0
"""Seconds without a word of the relay's after which the connection counts as lost."""
SUSPENDED_SECONDS = 2.0
"""Seconds by which this client may wake late before it takes itself for what stood still."""
MAX_QUEUED_EVENTS = 4_096
"""Events that may wait to be taken; beyond them the relay is asked again later."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 15.0
"""Seconds between two attempts to connect: doubled each time that nothing came of it, and jittered."""
HANDSHAKE_SECONDS = 10.0
"""Seconds for a connection, and again for its handshake: trio-websocket waits for ever where the peer goes away."""
MESSAGE_BYTES = 64 * 2**20
CONNECTION_ERRORS = (
    OSError,
    HandshakeError,
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.TooSlowError,
)
"""What ends a connection, and is answered with a new one."""
NOT_IDEMPOTENT = frozenset({"createChat", "leaveChat", "deleteChat", "revokeDevice", "invite"})
"""Requests that are not the same when they are said again."""
REVOKED_CLOSE_CODE = 4401
NOT_YET_VALID = 9
"""OpenSSL's code of a certificate that begins later: a clock that is not set yet is set soon."""
RETRYABLE_STATUSES = frozenset({408, 425, 429})
"""Statuses below 500 with which the same request may be taken a moment later."""

T = TypeVar("T")


class SignedOut(Exception):
    """The relay does not take this token, or takes it no more."""


class CannotConnect(Exception):
    """What is at the address is no relay that can be talked to, and trying again does not help; it says why."""


class Unanswered(Exception):
    """The connection was lost before the answer: whether the relay did it is not known."""


class Received(NamedTuple):
    """One event: `id` is None for those that are never replayed; `payload` is of the type in `protocol.events`."""

    id: int | None
    timestamp: int
    name: str
    payload: Any


class AnswerPage(NamedTuple):
    """An answer, whether there is more, and what to ask with for the page after it."""

    payload: Any
    more: bool
    next: str | None
    """For `after` of `users` and `chat`, and for `before` of `search`."""


class _PendingRequest(msgspec.Struct):
    payload_type: str
    frame: bytes
    done: trio.Event
    sent: bool = False
    response: Response | None = None
    failure: Exception | None = None


class Client:
    """One connection to a relay, made again as often as needed. Use `connect`."""

    def __init__(self, url: str, token: str, after: int | None, *, reconnect: bool, tls: ssl.SSLContext | None) -> None:
        self._url = url
        # What was read from a file ends with a line break.
        self._token = token.strip()
        self._reconnect = reconnect
        self._tls = tls
        self._done = after
        """The last event id that was handled: where a replay goes on, so that those that wait can be acknowledged."""
        self._last = after
        """The last event id that was taken in: what comes again up to here is known."""
        self._socket: WebSocketConnection | None = None
        self._connected = trio.Event()
        self._waiting: dict[str, _PendingRequest] = {}
        self._events: deque[Received] = deque()
        self._news = trio.Event()
        self._behind = False
        self._handled: int | None = None
        self._ended: Exception | None = None
        self._heard = 0.0
        """When the relay last said something on this connection, trio's time."""
        self._served = False
        """Whether the relay has said anything on this connection."""
        self._known = False
        """Whether there was a relay at the address: what keeps it away passes."""
        self._over = False

    # What one says.

    async def send(
        self,
        chat_id: str,
        message: str | None = None,
        *,
        attachments: list[Attachment] | None = None,
        reply_to: int | None = None,
        client_message_id: str | None = None,
    ) -> requests.Accepted:
        """Send a message; returns once the relay has it on disk.

        Args:
            chat_id: a user's id or a group's.
            message: the text.
            attachments: what `POST /files` answered.
            reply_to: the id of the message that is answered.
            client_message_id: the message's own id; one is made up where none is given.

        Raises:
            RelayError: the relay refused it.
            SignedOut: the token is not good any more.
        """
        return await self.request(
            "new",
            requests.New(
                chat_id=chat_id,
                client_message_id=client_message_id or str(uuid.uuid4()),
                message=message,
                attachments=attachments,
                reply_to=reply_to,
            ),
            requests.Accepted,
        )

    async def request(self, payload_type: str, payload: Wire, answer: type[T] | Any = None) -> T:
        """Ask anything of PROTOCOL.md, section 5, and wait for the answer, over as many connections as it takes.

        Args:
            payload_type: the request's name.
            payload: its payload.
            answer: the type of the response's payload; that of the table where none is given.

        Raises:
            RelayError: the relay refused it.
            Unanswered: the connection was lost before the answer, and it is no request to make twice.
            SignedOut: the token is not good any more.
        """
        return (await self.page(payload_type, payload, answer)).payload  # type: ignore[no-any-return]

    async def page(self, payload_type: str, payload: Wire, answer: type[T] | Any = None) -> AnswerPage:
        """Ask as `request` does, and learn as well whether there is more than the relay gave.

        Args, Raises: as there.
        """
        if self._over:
            raise self._closed()
        if isinstance(payload, requests.Edit) and payload.client_message_id is None:
            # Said again it would be another edit.
            payload = msgspec.structs.replace(payload, client_message_id=str(uuid.uuid4()))
        request_id = str(uuid.uuid4())
        frame = codec.encode(
            Request(
                id=request_id,
                timestamp=time.time_ns() // 1_000_000,
                payload_type=payload_type,
                payload=msgspec.Raw(codec.encode(payload)),
            )
        )
        waiting = self._waiting[request_id] = _PendingRequest(payload_type, frame, trio.Event())
        try:
            waiting.sent = self._socket is not None
            await self._say(frame)
            await waiting.done.wait()
        finally:
            self._waiting.pop(request_id, None)
        if waiting.response is None:
            raise waiting.failure or self._closed()
        if waiting.response.error is not None:
            error = waiting.response.error
            raise RelayError(error.code, error.message, retry_after=error.retry_after)
        response = waiting.response
        decoded = msgspec.json.decode(response.payload, type=answer or requests.REQUESTS[payload_type].response)
        return AnswerPage(decoded, bool(response.more), response.next)

    async def typing(self, chat_id: str, *, stop: bool = False) -> None:
        """Say that one types, or has stopped."""
        payload = msgspec.Raw(codec.encode(ClientTyping(chat_id=chat_id, stop=stop or None)))
        await self._say(codec.encode(ClientEvent(event_type="typing", payload=payload)))

    async def background(self) -> None:
        """Say that this device goes to the background."""
        await self._say(codec.encode(ClientEvent(event_type="offline")))

    def _closed(self) -> Exception:
        return self._ended or SignedOut("the connection is closed")

    async def _say(self, frame: bytes) -> None:
        """Send if there is a connection; where there is none, a new one sends what still waits."""
        if self._socket is not None:
            try:
                await self._socket.send_message(frame.decode())
            except ConnectionClosed:
                return

    # What one hears.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        """The next event; the one before counts as handled and is acknowledged.

        Raises:
            SignedOut: the token is not good any more.
        """
        await self._acknowledge()
        while not self._events:
            if self._behind and self._socket is not None:
                self._behind = False
                await self._socket.aclose(1000, "asking again for what was missed")
            if self._over:
                if self._ended is not None:
                    raise self._ended
                raise StopAsyncIteration
            self._news = trio.Event()
            await self._news.wait()
        event = self._events.popleft()
        self._handled = event.id
        return event

    async def _acknowledge(self) -> None:
        if self._handled is not None:
            self._done = self._handled
            await self._say(codec.encode(Ack(id=self._handled)))
            # Only now: who gives up waiting for the next event acknowledges this one the next time.
            self._handled = None

    async def connected(self) -> None:
        """Wait until there is a connection.

        Raises:
            SignedOut: there will be none.
        """
        await self._connected.wait()
        if self._ended is not None:
            raise self._ended

    # The connection.

    async def run(self) -> None:
        """Stay connected until cancelled or signed out."""
        pause = FIRST_PAUSE
        try:
            while True:
                self._served = False
                await self._connect_once()
                if self._ended is not None or not self._reconnect:
                    return
                if self._served:
                    # A relay that works and was restarted is back soon; one that turns everybody away is left alone.
                    pause = FIRST_PAUSE
                await trio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
                pause = min(2 * pause, LONGEST_PAUSE)
        finally:
            self._over = True
            self._connected.set()
            self._news.set()
            for waiting in self._waiting.values():
                waiting.done.set()

    async def _connect_once(self) -> None:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "localhost", parts.port or (443 if parts.scheme == "wss" else 80)
        target = parts.path or "/ws"
        if self._done is not None:
            target += f"?after={self._done}"
        try:
            # The stream is ours, so that it is closed whatever the handshake ends in.
            with trio.fail_after(HANDSHAKE_SECONDS):
                stream = await self._open(host, port, tls=parts.scheme == "wss")
            async with stream, trio.open_nursery() as nursery:
                with trio.fail_after(HANDSHAKE_SECONDS):
                    socket = await trio_websocket.wrap_client_stream(
                        nursery,
                        stream,
                        parts.netloc,
                        target,
                        extra_headers=[(b"authorization", f"Bearer {self._token}".encode())],
                        max_message_size=MESSAGE_BYTES,
                        message_queue_size=64,
                    )
                await self._converse(socket, stream)
        except* CONNECTION_ERRORS as group:
            self._lost(group)

    def _lost(self, group: BaseExceptionGroup[Exception]) -> None:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        why = _lasting(error)
        if isinstance(error, ConnectionRejected) and error.status_code == 401:
            self._ended = SignedOut("the relay does not take this token")
        elif why and not self._known:
            self._ended = CannotConnect(f"{self._url}: {why}")
        elif not self._reconnect and isinstance(error, Exception):
            self._ended = error

    async def _open(self, host: str, port: int, *, tls: bool) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        if tls:
            stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=self._tls)
            try:
                # Here, since trio-websocket would wait for an answer where this fails.
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
        return await trio.open_tcp_stream(host, port)

    async def _converse(self, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            self._heard = trio.current_time()
            nursery.start_soon(self._live, socket, stream)
            self._socket = socket
            try:
                await self._say_again(socket)
                self._connected.set()
                while True:
                    self._take(await socket.get_message())
            except ConnectionClosed as closed:
                if closed.reason is not None and closed.reason.code == REVOKED_CLOSE_CODE:
                    self._ended = SignedOut("this device may not sign in any more")
            finally:
                self._socket = None
                nursery.cancel_scope.cancel()

    async def _say_again(self, socket: WebSocketConnection) -> None:
        """Send what waits for an answer: what was said before, too, where twice is as good as once."""
        for waiting in list(self._waiting.values()):
            if waiting.sent and waiting.payload_type in NOT_IDEMPOTENT:
                waiting.failure = Unanswered(f"the connection was lost before the answer to {waiting.payload_type}")
                waiting.done.set()
            else:
                waiting.sent = True
                await socket.send_message(waiting.frame.decode())

    async def _live(self, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        """Give signs of life, and give the connection up where none come back."""
        while True:
            before = trio.current_time()
            await trio.sleep(KEEPALIVE_SECONDS)
            if trio.current_time() - before > KEEPALIVE_SECONDS + SUSPENDED_SECONDS:
                # It is this program that stood still: what the relay said meanwhile is still to be read.
                self._heard = trio.current_time()
            with trio.move_on_after(KEEPALIVE_SECONDS) as patience, suppress(ConnectionClosed):
                await socket.send_message("ping")
            # What was sent in part can be followed by nothing else.
            if patience.cancelled_caught or trio.current_time() - self._heard > SILENCE_SECONDS:
                await trio.aclose_forcefully(stream)
                return

    def _take(self, message: str | bytes) -> None:
        self._served = self._known = True
        self._heard = trio.current_time()
        frame = message.encode() if isinstance(message, str) else message
        if frame == codec.PONG:
            return
        decoded = codec.decode_server_frame(frame)
        if isinstance(decoded, Response):
            waiting = self._waiting.get(str(decoded.id))
            if waiting is not None:
                waiting.response = decoded
                waiting.done.set()
        elif isinstance(decoded, Event):
            self._take_event(decoded)

    def _take_event(self, event: Event) -> None:
        if event.id is not None:
            if (self._last is not None and event.id <= self._last) or self._behind:
                return
            if len(self._events) >= MAX_QUEUED_EVENTS:
                self._behind = True
                return
            self._last = event.id
        elif len(self._events) >= MAX_QUEUED_EVENTS:
            return
        self._events.append(Received(event.id, event.timestamp, event.event_type, codec.decode_event(event)))
        self._news.set()


def _lasting(error: BaseException) -> str:
    """Say what keeps a connection from being made, where it does not pass by itself; empty where it may."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "verify_code", 0) == NOT_YET_VALID:
            return ""
        if isinstance(cause, ssl.SSLError):
            # No word of the certificate's: the peer speaks no TLS, or none that this program speaks.
            return f"TLS fails: {getattr(cause, 'verify_message', '') or cause.reason or cause}"
        cause = cause.__cause__
    if not isinstance(error, ConnectionRejected) or error.status_code >= 500 or error.status_code in RETRYABLE_STATUSES:
        return ""
    return f"no WebSocket of a relay's is here: HTTP {error.status_code}{_said(error.body or b'')}"


def _said(body: bytes) -> str:
    """What a refusal says in words, where it is a relay's."""
    try:
        return f", {json.loads(body)['error']['message']}"
    except (ValueError, TypeError, LookupError):
        return ""


@asynccontextmanager
async def connect(
    url: str,
    token: str,
    *,
    after: int | None = None,
    reconnect: bool = True,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Client]:
    """Connect to a relay and stay connected.

    Args:
        url: the WebSocket's address, `ws://HOST:PORT/ws` or `wss://…`.
        token: what `relay device add` printed.
        after: the last event id that was handled before; without it the relay goes by what was acknowledged.
        reconnect: whether a lost connection is made again.
        tls: what is trusted, for `wss`; the system's authorities where none is given.

    Raises:
        SignedOut: the relay does not take the token.
        CannotConnect: no relay is at the address, or its certificate is not trusted. Where nothing answers at all it
            is tried again.
    """
    client = Client(url, token, after, reconnect=reconnect, tls=tls)
    raised: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.run)
        try:
            await client.connected()
            yield client
        except Exception as error:  # noqa: BLE001 - handed on below, so that no group stands around it
            raised = error
        finally:
            nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised
