"""The client's session with a relay: one connection at a time, renewed as often as needed."""

import random
import ssl
import uuid
from collections import deque
from contextlib import suppress
from typing import Self, TypeVar, overload
from urllib.parse import urlsplit

import msgspec
import trio
import trio_websocket
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from relay.client.failures import CONNECTION_ERRORS, CannotConnect, SignedOut, permanent_failure
from relay.client.pending import PendingRequests
from relay.client.received import AnswerPage, Received, UnknownEvent, UnreadableResponse, read_event, read_frame
from relay.exception_groups import first_error
from relay.protocol import codec, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Ack, ClientEvent, Event, Response
from relay.protocol.errors import RelayError
from relay.protocol.events import ClientTyping
from relay.protocol.objects import Attachment
from relay.protocol.request_type import PayloadT, RequestType, ResponseT

KEEPALIVE_SECONDS = 8.0
"""Seconds between two keepalives. The relay answers each, and waits 20 s for one (PROTOCOL.md, section 4)."""
SILENCE_SECONDS = 20.0
"""Seconds without a frame from the relay after which the connection counts as lost."""
SUSPENDED_SECONDS = 2.0
"""If a sleep ends this many seconds late, the client assumes that it was suspended."""
MAX_QUEUED_EVENTS = 4_096
"""Maximum events waiting to be handled; the client requests those beyond it again."""
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 15.0
"""Seconds between two attempts to connect: doubled after each failure, with jitter."""
HANDSHAKE_SECONDS = 10.0
"""Seconds for the connection, and again for its handshake: trio-websocket itself sets no limit."""
MESSAGE_BYTES = 64 * 2**20
TOO_BIG_CLOSE_CODE = 1009
REVOKED_CLOSE_CODE = 4401

T = TypeVar("T")


class Client:
    """One connection to a relay, renewed as often as needed. Use `connect`."""

    def __init__(
        self,
        url: str,
        token: str,
        after: int | None,
        *,
        reconnect: bool,
        tls: ssl.SSLContext | None,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        most_events: int = MAX_QUEUED_EVENTS,
    ) -> None:
        """Prepare to connect.

        Args:
            url: the address of the WebSocket.
            token: a device's token.
            after: the id of the last event that was handled.
            reconnect: whether to connect again after the connection is lost.
            tls: which authorities to trust for `wss`; None for the system's.
            handshake_seconds: how long a handshake may take.
            most_events: maximum events waiting to be taken; those beyond it are requested again.
        """
        self._handshake_seconds = handshake_seconds
        self._most_events = most_events
        self._url = url
        # A token read from a file ends with a line break.
        self._token = token.strip()
        self._reconnect = reconnect
        self._tls = tls
        self._done = after
        """The id of the last event that was handled. A replay begins after it, so queued events come again."""
        self._last = after
        """The id of the last queued event; replayed events up to here are skipped."""
        self._socket: WebSocketConnection | None = None
        self._connected = trio.Event()
        self._pending = PendingRequests()
        self._events: deque[Received | UnknownEvent] = deque()
        self._news = trio.Event()
        self._behind = False
        self._handled: int | None = None
        self._ended: Exception | None = None
        self._heard = 0.0
        """When the last frame came on this connection, in trio's time."""
        self._served = False
        """Whether a frame has arrived on this connection."""
        self._known = False
        """Whether a relay was ever reached at the address; if so, every failure counts as temporary."""
        self._over = False

    # Requests.

    async def send(
        self,
        chat_id: str,
        message: str | None = None,
        *,
        attachments: list[Attachment] | None = None,
        reply_to: int | None = None,
        client_message_id: str | None = None,
    ) -> requests.Accepted:
        """Send a message, and return once the relay has it on disk.

        Args:
            chat_id: the id of a user or group.
            message: the text.
            attachments: the answers of `POST /files`.
            reply_to: the id of the message to reply to.
            client_message_id: the idempotency key of the message; a random one by default.

        Raises:
            RelayError: the relay refused the message.
            SignedOut: the token is no longer accepted.
        """
        return await self.request(
            requests.NEW,
            requests.New(
                chat_id=chat_id,
                client_message_id=client_message_id or str(uuid.uuid4()),
                message=message,
                attachments=attachments,
                reply_to=reply_to,
            ),
        )

    @overload
    async def request(self, kind: RequestType[PayloadT, ResponseT], payload: PayloadT) -> ResponseT: ...
    @overload
    async def request(self, kind: str, payload: Wire, answer: type[T]) -> T: ...
    async def request(
        self, kind: RequestType[PayloadT, ResponseT] | str, payload: Wire, answer: type[T] | None = None
    ) -> object:
        """Make any request of PROTOCOL.md, section 5, and wait for its response, across reconnects.

        Args:
            kind: the request, as `requests.NEW`, or its name.
            payload: its payload.
            answer: the type of the response's payload; by default that of the request.

        Raises:
            RelayError: the relay refused the request; `too_large` if it does not accept a frame of this size.
            Unanswered: the connection was lost before the response, and the request must not be repeated.
            SignedOut: the token is no longer accepted.
        """
        return (await self._page(kind, payload, answer)).payload

    @overload
    async def page(self, kind: RequestType[PayloadT, ResponseT], payload: PayloadT) -> AnswerPage[ResponseT]: ...
    @overload
    async def page(self, kind: str, payload: Wire, answer: type[T]) -> AnswerPage[T]: ...
    async def page(
        self, kind: RequestType[PayloadT, ResponseT] | str, payload: Wire, answer: type[T] | None = None
    ) -> AnswerPage[object]:
        """Make a request like `request`, and return the response with the start of its next page.

        Args, Raises: as `request`.
        """
        return await self._page(kind, payload, answer)

    async def _page(
        self, kind: RequestType[PayloadT, ResponseT] | str, payload: Wire, answer: type[T] | None
    ) -> AnswerPage[object]:
        if self._over:
            raise self._closed()
        if isinstance(payload, requests.Edit) and payload.client_message_id is None:
            # Without an idempotency key a repeated request would be another edit.
            payload = msgspec.structs.replace(payload, client_message_id=str(uuid.uuid4()))
        pending = self._pending.add(kind if isinstance(kind, str) else kind.name, payload)
        try:
            pending.sent = self._socket is not None
            await self._send_frame(pending.frame)
            await pending.done.wait()
        finally:
            self._pending.remove(pending)
        response = pending.response
        if response is None:
            raise pending.failure or self._closed()
        if response.error is not None:
            raise RelayError(response.error.code, response.error.message, retry_after=response.error.retry_after)
        decoded = msgspec.json.decode(response.payload, type=answer or requests.REQUESTS[pending.name].response)
        return AnswerPage(decoded, bool(response.more), response.next)

    async def typing(self, chat_id: str, *, stop: bool = False) -> None:
        """Tell the relay that the user is typing in a chat, or has stopped."""
        payload = msgspec.Raw(codec.encode(ClientTyping(chat_id=chat_id, stop=stop or None)))
        await self._send_frame(codec.encode(ClientEvent(event_type="typing", payload=payload)))

    async def background(self) -> None:
        """Tell the relay that this device goes to the background."""
        await self._send_frame(codec.encode(ClientEvent(event_type="offline")))

    def _closed(self) -> Exception:
        return self._ended or SignedOut("the connection is closed")

    async def _send_frame(self, frame: bytes) -> None:
        """Send a frame if there is a connection; the next connection sends the pending requests."""
        if self._socket is not None:
            self._pending.note_sent(len(frame))
            try:
                await self._socket.send_message(frame.decode())
            except ConnectionClosed:
                return

    # Events.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        """Return the next event. The previous one counts as handled, and is acknowledged.

        Raises:
            SignedOut: the token is no longer accepted.
        """
        while True:
            event = await self._next_event()
            if isinstance(event, Received):
                return event

    async def _next_event(self) -> Received | UnknownEvent:
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
            await self._send_frame(codec.encode(Ack(id=self._handled)))
            # Acknowledge only now: a caller who is cancelled here acknowledges this event with the next call.
            self._handled = None

    async def connected(self) -> None:
        """Wait for the first connection.

        Raises:
            SignedOut: the relay does not accept the token.
            CannotConnect: there is no relay at the address.
        """
        await self._connected.wait()
        if self._ended is not None:
            raise self._ended

    # The connection.

    async def run(self) -> None:
        """Stay connected until cancelled or signed out."""
        pause = FIRST_PAUSE_SECONDS
        try:
            while True:
                self._served = False
                await self._connect_once()
                if self._ended is not None or not self._reconnect:
                    return
                if self._served:
                    # A relay that was restarted is back soon; one that refuses connections needs longer pauses.
                    pause = FIRST_PAUSE_SECONDS
                await trio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter, not a secret
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
        finally:
            self._over = True
            self._connected.set()
            self._news.set()
            self._pending.end()

    async def _connect_once(self) -> None:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "localhost", parts.port or (443 if parts.scheme == "wss" else 80)
        target = parts.path or "/ws"
        if self._done is not None:
            target += f"?after={self._done}"
        try:
            # We own the stream, so that it is closed however the handshake ends.
            with trio.fail_after(self._handshake_seconds):
                stream = await self.open_stream(host, port, tls=parts.scheme == "wss")
            async with stream, trio.open_nursery() as nursery:
                with trio.fail_after(self._handshake_seconds):
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
            self._note_failure(group)

    def _note_failure(self, group: BaseExceptionGroup[Exception]) -> None:
        """Decide from the error that ended a connection whether the client ends, too."""
        error = first_error(group)
        why = permanent_failure(error)
        if isinstance(error, ConnectionRejected) and error.status_code == 401:
            self._ended = SignedOut("the relay does not take this token")
        elif why and not self._known:
            self._ended = CannotConnect(f"{self._url}: {why}")
        elif not self._reconnect and isinstance(error, Exception):
            self._ended = error

    async def open_stream(
        self, host: str, port: int, *, tls: bool
    ) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        """Open the connection to the relay, without the handshake of the WebSocket.

        Args: the relay's host and port, and whether to speak TLS.
        """
        if tls:
            stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=self._tls)
            try:
                # trio-websocket would wait for a response after a failed TLS handshake.
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return stream
        return await trio.open_tcp_stream(host, port)

    async def _converse(self, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        async with trio.open_nursery() as nursery:
            self._heard = trio.current_time()
            nursery.start_soon(self._keep_alive, socket, stream)
            self._socket = socket
            try:
                self._pending.connected(dict(socket.handshake_headers))
                for frame in self._pending.to_send():
                    await socket.send_message(frame.decode())
                self._connected.set()
                while True:
                    self._receive(await socket.get_message())
            except ConnectionClosed as closed:
                code, why = (closed.reason.code, closed.reason.reason) if closed.reason is not None else (None, None)
                if code == REVOKED_CLOSE_CODE:
                    self._ended = SignedOut("this device may not sign in any more")
                elif code == TOO_BIG_CLOSE_CODE:
                    self._pending.refused_as_too_big(why or "")
            finally:
                self._socket = None
                nursery.cancel_scope.cancel()

    async def _keep_alive(self, socket: WebSocketConnection, stream: trio.abc.Stream) -> None:
        """Send keepalives, and close a connection that does not respond."""
        while True:
            before = trio.current_time()
            await trio.sleep(KEEPALIVE_SECONDS)
            if trio.current_time() - before > KEEPALIVE_SECONDS + SUSPENDED_SECONDS:
                # This process was suspended: the relay's frames from meanwhile have not been read yet.
                self._heard = trio.current_time()
            with trio.move_on_after(KEEPALIVE_SECONDS) as sending, suppress(ConnectionClosed):
                await socket.send_message("ping")
            # After half a frame, nothing else can be sent.
            if sending.cancelled_caught or trio.current_time() - self._heard > SILENCE_SECONDS:
                await trio.aclose_forcefully(stream)
                return

    def _receive(self, message: str | bytes) -> None:
        self._served = self._known = True
        self._heard = trio.current_time()
        frame = message.encode() if isinstance(message, str) else message
        if frame == codec.PONG:
            return
        decoded = read_frame(frame)
        if isinstance(decoded, Response):
            self._pending.answered(decoded)
        elif isinstance(decoded, UnreadableResponse):
            self._pending.failed(decoded.id, decoded.failure)
        elif isinstance(decoded, Event):
            self._queue(decoded)

    def _queue(self, event: Event) -> None:
        if event.id is not None:
            if (self._last is not None and event.id <= self._last) or self._behind:
                return
            if len(self._events) >= self._most_events:
                self._behind = True
                return
            self._last = event.id
        elif len(self._events) >= self._most_events:
            return
        self._events.append(read_event(event))
        self._news.set()
