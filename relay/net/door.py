"""The front door: reads one request's head, and either answers it or hands an upgrade on.

HTTP is h11's, the WebSocket handshake wsproto's; what is decided here is who may come in (protocol.md,
sections 1 and 9).
"""

import logging
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import h11
import trio
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.events import Request as Upgrade
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from relay.net.transport import Transport
from relay.protocol import codec
from relay.protocol.errors import ErrorCode, RelayError

logger = logging.getLogger(__name__)

HEAD_BYTES = 16_384
"""The largest request head."""
HEAD_SECONDS = 10.0
"""How long a client may take for its request's head."""


class Head(NamedTuple):
    """A request's head, and what came after it in the same read."""

    request: h11.Request
    headers: dict[bytes, bytes]
    path: str
    query: dict[str, list[str]]
    rest: bytes


class Refused(Exception):
    """A request that is answered with an HTTP error."""

    def __init__(self, status: int, code: ErrorCode, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.error = RelayError(code, message).error
        self.headers = headers


def unauthorized() -> Refused:
    """Nobody who may come in."""
    return Refused(
        401,
        "unauthorized",
        "sign in first: send `Authorization: Bearer TOKEN`",
        (b"WWW-Authenticate", b'Bearer realm="chat-relay"'),
    )


async def read_head(transport: Transport) -> Head | None:
    """Read a request's head.

    Returns:
        The head; None when the peer went away or took too long.

    Raises:
        Refused: it is not HTTP.
    """
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    with trio.move_on_after(HEAD_SECONDS):
        while True:
            try:
                event = connection.next_event()
            except h11.RemoteProtocolError as error:
                raise Refused(error.error_status_hint, "bad_request", f"this is no request: {error}") from None
            if isinstance(event, h11.Request):
                target = urlsplit(event.target.decode("latin-1"))
                return Head(
                    event,
                    dict(event.headers),
                    target.path,
                    parse_qs(target.query),
                    connection.trailing_data[0],
                )
            if event is not h11.NEED_DATA:
                return None
            data = await transport.receive()
            if not data:
                return None
            connection.receive_data(data)
    return None


def bearer(head: Head) -> str | None:
    """The token of an `Authorization` header."""
    scheme, _, token = head.headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def since(head: Head) -> int | None:
    """The last event id that a client says it has (`/ws?after=23`), so that it need not be told again."""
    values = head.query.get("after")
    return int(values[0][:18]) if values and values[0].isascii() and values[0].isdigit() else None


def accept(head: Head) -> bytes:
    """Answer a WebSocket upgrade.

    Raises:
        Refused: it is none.
    """
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(head.request.headers), head.request.target.decode("latin-1"))
    except RemoteProtocolError as error:
        raise Refused(
            426, "bad_request", f"this is the WebSocket's address: {error}", (b"Upgrade", b"websocket")
        ) from None
    assert any(isinstance(event, Upgrade) for event in handshake.events())
    return handshake.send(AcceptConnection())


def refusal(refused: Refused, *, head_only: bool = False) -> bytes:
    """Encode an HTTP error; the connection is closed after it."""
    body = codec.encode({"error": refused.error})
    connection = h11.Connection(h11.SERVER)
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
        *refused.headers,
    ]
    sent = connection.send(h11.Response(status_code=refused.status, headers=headers)) or b""
    return sent if head_only else sent + body
