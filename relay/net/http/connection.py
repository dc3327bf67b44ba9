"""HTTP/1.1 on one connection: request after request in, answers out, within limits of size and time.

h11 reads and frames; what a request means is not known here. Whoever stalls is let go: see `IdleConnections`.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec
import trio

from relay.net.sockets.transport import Transport
from relay.protocol import codec
from relay.protocol.errors import ErrorCode, RelayError

HEAD_BYTES = 16_384
"""The largest request head."""
HEAD_SECONDS = 10.0
"""How long a client may take for its request's head."""
IDLE_SECONDS = 30.0
"""How long a connection is kept for another request."""
BODY_SECONDS = 30.0
"""How long a body may bring nothing."""
TRANSFER_RATE = 1_024
"""Bytes a second that a body must bring once it has taken longer than `BODY_SECONDS`."""
SEND_SECONDS = 30.0
"""How long a client may take nothing of an answer; one that takes longer has to be taken at `TRANSFER_RATE`."""
LINGER_SECONDS, LINGER_BYTES = 2.0, 16 * 2**20
"""What is still read and thrown away of a body that was refused, so that the client gets to see the refusal."""
JSON_BYTES = 16_384
"""The largest JSON body."""
IDLE_CONNECTIONS = 1_024
"""Connections that may wait for a request's head at a time."""

ONCE = frozenset({b"authorization", b"origin"})
"""Headers that decide who comes in: given twice, two readers could each believe another one."""

Headers = Sequence[tuple[bytes, bytes]]

STATUS: dict[ErrorCode, int] = {
    "bad_request": 400,
    "unknown_request": 404,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "storage_full": 507,
    "unavailable": 503,
    "internal": 500,
}
"""The HTTP status that goes with an error of the protocol."""


class HttpError(Exception):
    """A request that is answered with an error, for a program by its code and for a person by its sentence."""

    def __init__(self, status: int, code: ErrorCode, message: str, *headers: tuple[bytes, bytes], **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = RelayError(code, message).error
        self.headers = headers
        self.more = more
        """What the answer's body holds beside the error."""

    @classmethod
    def of(cls, error: RelayError) -> "HttpError":
        """An error of the protocol as an answer."""
        wait = error.error.retry_after
        after = [] if wait is None else [(b"Retry-After", b"%d" % -(-wait // 1_000))]
        refused = cls(STATUS[error.error.code], error.error.code, error.error.message, *after)
        refused.error = error.error
        return refused


class FilePart(NamedTuple):
    """A part of a file, to be sent as a body."""

    path: str
    start: int
    length: int
    while_allowed: Callable[[], AbstractContextManager[trio.CancelScope]] = trio.CancelScope
    """Cancels what is done inside once the client may not have it any more."""


class HttpResponse(NamedTuple):
    """What a request is answered with."""

    status: int
    headers: Headers = ()
    body: bytes | FilePart = b""


def json_response(value: object, status: int = 200, headers: Headers = ()) -> HttpResponse:
    """Answer with a JSON object that no cache keeps."""
    fixed = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    return HttpResponse(status, [*fixed, *headers], codec.encode(value))


def error_response(refused: HttpError) -> HttpResponse:
    """Answer with an error."""
    return json_response({**refused.more, "error": refused.error}, refused.status, refused.headers)


Patience = Callable[[float], AbstractContextManager[trio.CancelScope]]
"""Cancels what takes longer than so many seconds."""


class IdleConnections:
    """Those who are connected and say nothing: there is room for so many, and the longest there goes first.

    So a client that opens connections and lets them hang takes nobody's place but its own.
    """

    def __init__(self, room: int = IDLE_CONNECTIONS, patience: Patience = trio.move_on_after) -> None:
        self.patience = patience
        """How long is waited; see `Liveness.patience`."""
        self._room = room
        self._waiting: OrderedDict[int, trio.CancelScope] = OrderedDict()
        self._idle: set[trio.CancelScope] = set()
        self._numbers = 0
        self._closed = False
        self._turns = trio.StrictFIFOLock()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def wait(self, seconds: float, *, idle: bool = False) -> Iterator[trio.CancelScope]:
        """Wait for a client, at most so long; cancelled before that where others need the place.

        Args:
            seconds: how long.
            idle: whether they have been answered and owe nothing.
        """
        if len(self._waiting) >= self._room:
            _, longest = self._waiting.popitem(last=False)
            longest.cancel()
        self._numbers += 1
        number = self._numbers
        with self.patience(seconds) as scope:
            self._waiting[number] = scope
            if idle:
                self._idle.add(scope)
                if self._closed:
                    scope.cancel()
            try:
                yield scope
            finally:
                self._waiting.pop(number, None)
                self._idle.discard(scope)

    async def turn(self) -> None:
        """Wait for one's turn to have a request read: one is between two rounds of all else that there is to do.

        Strangers may send as much at once as they like: messages wait for one request of theirs, and not for all.
        """
        async with self._turns:
            pass

    def close(self) -> None:
        """Let those go who have been answered: no request of theirs is lost."""
        self._closed = True
        for scope in self._idle:
            scope.cancel()


class TransferPace:
    """Whether a transfer brings enough once it has taken long: whoever lets it trickle holds memory for nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since = trio.current_time()
        self.count = 0
        """Bytes so far."""

    def too_slow(self) -> bool:
        """Whether it has to end."""
        taken = trio.current_time() - self._since
        return taken > self._seconds and self.count < taken * TRANSFER_RATE


class HttpRequest:
    """One request: its head, and its body for who asks for it."""

    def __init__(self, connection: "HttpConnection", event: h11.Request) -> None:
        """Read the head.

        Raises:
            ValueError: its target or its headers can be understood in more than one way.
        """
        self.event = event
        self.method = event.method.decode("latin-1")
        self.headers = _joined(event)
        self.host, self.path, query = _target(event.target.decode("latin-1"), self.header(b"host") or "")
        self.query = parse_qs(query)
        self.peer = connection.transport.peer
        """The address at the other end of the connection, which may be a proxy's."""
        self._connection = connection

    def header(self, name: bytes) -> str | None:
        """Give a header's value."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def announced(self) -> int | None:
        """How many bytes the body is said to have; None where it is sent in chunks."""
        if b"transfer-encoding" in self.headers:
            return None
        return int(self.headers.get(b"content-length", b"0"))

    async def piece(self) -> bytes:
        """Read the next piece of the body; empty at its end.

        Raises:
            HttpError: it stalls or is broken.
            Disconnected: the client is.
        """
        return await self._connection.piece()

    async def json(self, kind: Any) -> Any:
        """Read a small JSON body.

        Raises:
            HttpError: it is too large, takes too long, or is not what it should be.
        """
        if (self.announced or 0) > JSON_BYTES:
            raise _too_large()
        content = bytearray()
        with trio.move_on_after(HEAD_SECONDS) as patience:
            while piece := await self.piece():
                content += piece
                if len(content) > JSON_BYTES:
                    raise _too_large()
        if patience.cancelled_caught:
            raise HttpError(408, "bad_request", f"the body did not come within {HEAD_SECONDS:.0f} s")
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.DecodeError as error:
            raise HttpError.of(codec.explain(error, "body")) from None
        except RecursionError:
            raise HttpError(400, "bad_request", "body: nested too deeply") from None


def _joined(event: h11.Request) -> dict[bytes, bytes]:
    """Give each header once; of several of a name all values, as RFC 9110, section 5.3, and RFC 6265 put them together.

    Raises:
        ValueError: what may be there once is there twice, or the body's length is said in two ways.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in event.headers:
        if name not in headers:
            headers[name] = value
        elif name in ONCE:
            raise ValueError(f"the header {name.decode()} is there twice")
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    if b"transfer-encoding" in headers and (b"content-length" in headers or event.http_version < b"1.1"):
        # Where a proxy goes by the one and the relay by the other, what follows is somebody else's request.
        raise ValueError("Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0")
    return headers


def _target(target: str, host: str) -> tuple[str, str, str]:
    """Take a request's target apart (RFC 9112, section 3.2): whom it is for, the path, the query.

    Raises:
        ValueError: it names another host than the `Host` header, or could be taken for it.
    """
    if not target.startswith("/") and "://" in target:
        absolute = urlsplit(target)
        if absolute.netloc.lower() != host.lower():
            raise ValueError("the target is for another host than the Host header")
        return host, absolute.path or "/", absolute.query
    path, _, query = target.partition("?")
    return host, path, query


def _too_large() -> HttpError:
    return HttpError(413, "too_large", f"the body is over {JSON_BYTES} bytes")


class Disconnected(Exception):
    """The client went away in the middle of a request."""


class HttpConnection:
    """One client, request after request."""

    def __init__(self, transport: Transport, idle_connections: IdleConnections) -> None:
        self.transport = transport
        self._idle_connections = idle_connections
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self._rest = b""
        """What came after what was read so far."""
        self._unread = 0
        """Bytes of the body that are still to come; -1 while a chunked one is not over."""
        self._body: TransferPace | None = None
        self._fresh = True
        self.reusable = True
        """Whether another request may follow on this connection."""

    async def next_request(self) -> HttpRequest | None:
        """Read a request's head.

        Returns:
            The request; None when the client went away, took too long or had to make room.

        Raises:
            HttpError: it is not HTTP.
        """
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        if not self._rest:
            with self._idle_connections.wait(HEAD_SECONDS if self._fresh else IDLE_SECONDS, idle=not self._fresh):
                self._rest = await self.transport.receive()
            if not self._rest:
                return None
        self._fresh = False
        with self._idle_connections.wait(HEAD_SECONDS):
            return await self._read_head()
        return None

    async def _read_head(self) -> HttpRequest | None:
        reader = self._h11
        data = self._rest
        while True:
            if self.transport.payer is not None:
                await self.transport.payer.turn()
            await self._idle_connections.turn()
            try:
                reader.receive_data(data)
                event = reader.next_event()
            except h11.RemoteProtocolError as error:
                self.reusable = False
                raise HttpError(error.error_status_hint, "bad_request", f"this is no request: {error}") from None
            if isinstance(event, h11.Request):
                return self._begin(event)
            if event is not h11.NEED_DATA:
                return None
            data = await self.transport.receive()
            if not data:
                return None

    def _begin(self, event: h11.Request) -> HttpRequest:
        # A head that came in one read is whole before h11 counts it.
        if len(event.target) + sum(len(name) + len(value) for name, value in event.headers) > HEAD_BYTES:
            self.reusable = False
            raise HttpError(431, "bad_request", f"the request's head is over {HEAD_BYTES} bytes")
        try:
            request = HttpRequest(self, event)
        except ValueError as error:
            self.reusable = False
            raise HttpError(400, "bad_request", f"this is no request: {error}") from None
        closing = b"close" in request.headers.get(b"connection", b"").lower()
        self.reusable = event.http_version >= b"1.1" and not closing
        self._body = None
        announced = request.announced
        if announced is None:
            self._unread = -1
            self._rest = b""
        else:
            # h11 need not copy what it would not look at: a body of known length is read past it.
            self._rest = self._h11.trailing_data[0]
            self._unread = announced
        return request

    @property
    def rest(self) -> bytes:
        """What came after the head: an upgraded connection begins with it."""
        return self._rest

    # The body.

    async def piece(self) -> bytes:
        """See `HttpRequest.piece`."""
        if not self._unread:
            return b""
        if self._body is None:
            self._body = TransferPace(BODY_SECONDS)
            await self._ask_for_body()
        piece = await self._chunk() if self._unread < 0 else await self._known()
        self._body.count += len(piece)
        return piece

    async def _ask_for_body(self) -> None:
        if self._h11.they_are_waiting_for_100_continue and not self._rest:
            go_on = self._h11.send(h11.InformationalResponse(status_code=100, headers=[]))
            await self.send(go_on or b"")

    async def _known(self) -> bytes:
        """Read on in a body of known length."""
        data = self._rest or await self._receive()
        piece = data[: self._unread]
        self._rest = data[self._unread :]
        self._unread -= len(piece)
        return piece

    async def _chunk(self) -> bytes:
        """Read on in a body that comes in chunks."""
        while True:
            try:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    self._h11.receive_data(await self._receive())
                    continue
            except h11.RemoteProtocolError as error:
                self.reusable = False
                raise HttpError(400, "bad_request", f"the body is broken: {error}") from None
            if isinstance(event, h11.Data):
                return bytes(event.data)
            if isinstance(event, h11.EndOfMessage):
                self._unread = 0
                self._rest = self._h11.trailing_data[0]
                return b""
            raise Disconnected

    async def _receive(self) -> bytes:
        # Looked at before each read: the head of a chunk can come for ever without a byte of the body.
        if self._body is not None and self._body.too_slow():
            raise _stalled()
        data = b""
        with self._idle_connections.patience(BODY_SECONDS) as patience:
            data = await self.transport.receive()
        if patience.cancelled_caught:
            raise _stalled()
        if not data:
            raise Disconnected
        return data

    # The answer.

    async def answer(self, request: HttpRequest | None, answer: HttpResponse, fixed: Headers = ()) -> None:
        """Send an answer; afterwards the connection is `reusable` or over.

        Args:
            request: what it answers; None where no request could be read.
            answer: the answer.
            fixed: headers that every answer has.

        Raises:
            Disconnected: the client is.
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
        """Send all of it.

        Raises:
            Disconnected: the client takes nothing.
        """
        view = memoryview(data)
        pace = TransferPace(SEND_SECONDS)
        while view:
            sent = 0
            with self._idle_connections.patience(SEND_SECONDS) as patience:
                sent = await self.transport.send_some(view)
            pace.count += sent
            # One that is over takes everything at once: what it asked for beyond that is owed to nobody.
            if patience.cancelled_caught or pace.too_slow() or self.transport.broken:
                raise self._give_up()
            view = view[sent:]

    def _give_up(self) -> Disconnected:
        """Let what the client did not take be thrown away: the kernel would keep it for minutes."""
        self.transport.discard()
        return Disconnected()

    async def _send_part(self, head: bytes, part: FilePart) -> None:
        with open(part.path, "rb") as file, part.while_allowed() as allowed:  # noqa: ASYNC230, PTH123 - opening waits for no disk worth a thread
            await self.send(head)
            offset, end = part.start, part.start + part.length
            pace = TransferPace(SEND_SECONDS)
            while offset < end:
                sent = 0
                with self._idle_connections.patience(SEND_SECONDS) as patience:
                    sent = await self.transport.send_file(file.fileno(), offset, end - offset)
                pace.count += sent
                if patience.cancelled_caught or not sent or pace.too_slow():
                    raise self._give_up()
                offset += sent
        if allowed.cancelled_caught:
            raise self._give_up()

    async def _linger(self) -> None:
        """Let the client read an answer that came before it had sent everything: a reset would destroy it."""
        self.transport.end()
        if not self._unread:
            return
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            while left > 0 and (data := await self.transport.receive()):
                left -= len(data)


def _stalled() -> HttpError:
    return HttpError(408, "bad_request", "the body came too slowly")
