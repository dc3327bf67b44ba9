"""HTTP/1.1 on one connection: requests in, responses out, within limits of size and time.

h11 parses and frames. This module does not know the meaning of requests.
"""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

import h11
import trio

from relay.core.auth.throttle import rate_limit_key
from relay.net.http.idle import IdleConnections
from relay.net.http.pace import TransferPace
from relay.net.http.request import AmbiguousHead, HttpRequest
from relay.net.http.response import FilePart, Headers, HttpError, HttpResponse
from relay.net.sockets.transport import Transport
from relay.net.tuning import NetTuning

HEAD_BYTES = 16_384
"""The largest request head."""
IDLE_SECONDS = 30.0
"""How long a connection is kept for another request."""
SEND_SECONDS = 30.0
"""How long a client may stop reading a response; a longer response must keep to `TRANSFER_BYTES_PER_SECOND`."""
DISK_ERRORS = (errno.EIO, errno.ESTALE, errno.EUCLEAN, errno.EBADMSG, errno.EREMOTEIO)
"""Errors of a file that is sent; the others are the connection's."""
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 * 2**20
"""How much of a refused body is still read and discarded, so that the client sees the refusal."""

logger = logging.getLogger(__name__)


class Disconnected(Exception):
    """The client disconnected in the middle of a request."""


class HttpConnection:
    """One client, request after request."""

    def __init__(self, transport: Transport, idle_connections: IdleConnections, tuning: NetTuning) -> None:
        self._tuning = tuning
        self.transport = transport
        self._idle_connections = idle_connections
        self._address = rate_limit_key(transport.peer)
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._rest = b""
        """Bytes received and not used yet."""
        self._unread = 0
        """Bytes of the body that have yet to come; -1 during a chunked one."""
        self._body: TransferPace | None = None
        self._fresh = True
        self.reusable = True
        """Whether another request may follow on this connection."""

    async def next_request(self) -> HttpRequest | None:
        """Read a request's head.

        Returns:
            The request; None if the client disconnected, took too long or had to make room.

        Raises:
            HttpError: it is not HTTP.
        """
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        if not self._rest:
            seconds = self._tuning.head_seconds if self._fresh else IDLE_SECONDS
            with self._idle_connections.wait(seconds, self._address, answered=not self._fresh):
                self._rest = await self.transport.receive()
            if not self._rest:
                return None
        self._fresh = False
        with self._idle_connections.wait(self._tuning.head_seconds, self._address):
            return await self._read_head()
        return None

    async def _read_head(self) -> HttpRequest | None:
        reader = self._h11
        data = self._rest
        while True:
            if self.transport.payer is not None:
                await self.transport.payer.wait_for_turn()
            await self._idle_connections.wait_for_turn()
            try:
                reader.receive_data(data)
                event = reader.next_event()
            except h11.RemoteProtocolError as error:
                self.reusable = False
                raise _not_http(error.error_status_hint) from None
            if isinstance(event, h11.Request):
                return self._begin(event)
            if event is not h11.NEED_DATA:
                return None
            data = await self.transport.receive()
            if not data:
                return None

    def _begin(self, event: h11.Request) -> HttpRequest:
        # h11 limits the size of an unfinished head only: one that came in a single read may be larger.
        if len(event.target) + sum(len(name) + len(value) for name, value in event.headers) > HEAD_BYTES:
            self.reusable = False
            raise HttpError(431, "bad_request", f"the request's head is over {HEAD_BYTES} bytes")
        try:
            request = HttpRequest(event, self.transport.peer, self.piece, self._idle_connections.timeout)
        except AmbiguousHead as error:
            self.reusable = False
            raise HttpError(400, "bad_request", f"this is not an HTTP request: {error}") from None
        closing = b"close" in request.headers.get(b"connection", b"").lower()
        self.reusable = event.http_version >= b"1.1" and not closing
        self._body = None
        length = request.content_length
        if length is None:
            self._unread = -1
            self._rest = b""
        else:
            # A body of known length does not pass through h11, which would only copy it.
            self._rest = self._h11.trailing_data[0]
            self._unread = length
        return request

    @property
    def rest(self) -> bytes:
        """The bytes that followed the head: an upgraded connection begins with them."""
        return self._rest

    # The body.

    async def piece(self) -> bytes:
        """See `HttpRequest.piece`."""
        if not self._unread:
            return b""
        if self._body is None:
            self._body = TransferPace(self._tuning.body_seconds)
            await self._send_continue()
        piece = await self._chunk() if self._unread < 0 else await self._known()
        self._body.count += len(piece)
        return piece

    async def _send_continue(self) -> None:
        """Ask for the body if the client waits for that (RFC 9110, section 10.1.1)."""
        if self._h11.they_are_waiting_for_100_continue and not self._rest:
            go_on = self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self.send(go_on or b"")

    async def _known(self) -> bytes:
        """Continue to read a body of known length."""
        data = self._rest or await self._receive()
        piece = data[: self._unread]
        self._rest = data[self._unread :]
        self._unread -= len(piece)
        return piece

    async def _chunk(self) -> bytes:
        """Continue to read a chunked body."""
        while True:
            try:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    self._h11.receive_data(await self._receive())
                    continue
            except h11.RemoteProtocolError:
                self.reusable = False
                raise HttpError(400, "bad_request", "the body is broken: chunks as in RFC 9112 are expected") from None
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self._unread = 0
                self._rest = self._h11.trailing_data[0]
                return b""
            raise Disconnected

    async def _receive(self) -> bytes:
        # Check before each read: a chunk's head can go on forever without a byte of the body.
        if self._body is not None and self._body.too_slow():
            raise _stalled()
        data = b""
        with self._idle_connections.timeout(self._tuning.body_seconds) as timeout:
            data = await self.transport.receive()
        if timeout.cancelled_caught:
            raise _stalled()
        if not data:
            raise Disconnected
        return data

    # The response.

    async def answer(self, request: HttpRequest | None, answer: HttpResponse, fixed: Headers = ()) -> None:
        """Send a response; afterwards the connection is `reusable` or over.

        Args:
            request: the request; None if none could be read.
            answer: the response.
            fixed: headers that every response has.

        Raises:
            Disconnected: the client disconnected or reads too slowly.
            OSError: a file cannot be read.
        """
        if self._unread:
            self.reusable = False
        length = answer.body.length if isinstance(answer.body, FilePart) else len(answer.body)
        headers = [*answer.headers, *fixed]
        if answer.status not in (204, 304):
            headers.append((b"Content-Length", b"%d" % length))
        if not self.reusable:
            headers.append((b"Connection", b"close"))
        if request is None:
            self._h11 = h11.Connection(h11.SERVER)
        reason = HTTPStatus(answer.status).phrase.encode()
        head = self._h11.send(h11.Response(status_code=answer.status, headers=headers, reason=reason)) or b""
        if (request is not None and request.method == "HEAD") or answer.status in (204, 304):
            await self.send(head)
        elif isinstance(answer.body, FilePart):
            await self._send_part(head, answer.body)
        else:
            await self.send(head + answer.body)
        if not self.reusable:
            await self._linger()

    async def send(self, data: bytes) -> None:
        """Send the whole response.

        Raises:
            Disconnected: the client disconnected or reads too slowly.
        """
        view = memoryview(data)
        pace = TransferPace(SEND_SECONDS)
        while view:
            sent = 0
            with self._idle_connections.timeout(SEND_SECONDS) as timeout:
                sent = await self.transport.send_some(view)
            pace.count += sent
            # A broken transport accepts everything at once: the remaining requests are not worth answering.
            if timeout.cancelled_caught or pace.too_slow() or self.transport.broken:
                raise self._give_up()
            view = view[sent:]

    def _give_up(self) -> Disconnected:
        """Have the kernel discard unsent data, which it would otherwise keep for minutes."""
        self.transport.discard()
        return Disconnected()

    async def _send_part(self, head: bytes, part: FilePart) -> None:
        with _logged(part.path), open(part.path, "rb") as file, part.while_allowed() as allowed:  # noqa: ASYNC230, PTH123 - opening waits for no disk worth a thread
            await self.send(head)
            offset, end = part.start, part.start + part.length
            pace = TransferPace(SEND_SECONDS)
            while offset < end:
                sent = 0
                with self._idle_connections.timeout(SEND_SECONDS) as timeout:
                    sent = await self.transport.send_file(file.fileno(), offset, end - offset)
                pace.count += sent
                if not sent and not timeout.cancelled_caught:
                    logger.warning("a file cannot be sent: %s ends at byte %d of %d", part.path, offset, end)
                if timeout.cancelled_caught or not sent or pace.too_slow():
                    raise self._give_up()
                offset += sent
        if allowed.cancelled_caught:
            raise self._give_up()

    async def _linger(self) -> None:
        """Keep reading for a moment if the response came before the end of the request: a reset would destroy it."""
        self.transport.end()
        if not self._unread:
            return
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            while left > 0 and (data := await self.transport.receive()):
                left -= len(data)


@contextmanager
def _logged(path: str) -> Iterator[None]:
    """Name a file that cannot be read: the client gets only a part of it."""
    try:
        yield
    except OSError as error:
        if error.filename == path or error.errno in DISK_ERRORS:
            logger.warning("a file cannot be sent: %s cannot be read: %s", path, error.strerror)
        raise


def _stalled() -> HttpError:
    return HttpError(408, "bad_request", "the body came too slowly")


def _not_http(status: int) -> HttpError:
    """Say what is expected in place of bytes that are no request, by the status of the answer."""
    why = {
        431: f"the request's head is over {HEAD_BYTES} bytes",
        501: "of all codings of a body only Transfer-Encoding: chunked is known here",
    }
    expected = "this is not an HTTP request: a request line, Host and headers are expected (RFC 9112)"
    return HttpError(status, "bad_request", why.get(status, expected))
