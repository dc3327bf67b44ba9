"""The handshake of a WebSocket: its headers (by wsproto) and the parameters of `/ws` (PROTOCOL.md, section 1)."""

from typing import NamedTuple

from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.events import Request as UpgradeRequest
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from relay.keys import DeviceKey, Seq, UserKey
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError
from relay.protocol.base import FRAME_BYTES_HEADER
from relay.protocol.schema import VERSIONS


class WebSocketUpgrade(NamedTuple):
    """A WebSocket that is about to begin."""

    user: UserKey
    """The user's key."""
    device: DeviceKey
    """The device's key."""
    after: Seq | None
    """The id of the last event that the client has, as it says."""
    response: bytes
    """The bytes to send before the first frame."""
    rest: bytes
    """The bytes that the client sent after the request."""
    version: int = 1
    """The protocol version that the client asked for."""


def accept(request: HttpRequest, frame_bytes: int) -> bytes:
    """Return the response that accepts an upgrade (RFC 6455, section 4.2.2).

    Args:
        request: the request.
        frame_bytes: the largest accepted frame; the response names it.

    Raises:
        HttpError: it is not a request for an upgrade.
    """
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(request.event.headers), request.event.target.decode("latin-1"))
    except RemoteProtocolError:
        raise HttpError(
            426,
            "bad_request",
            "this is the WebSocket's address: an upgrade to websocket, version 13, with a key is expected (RFC 6455)",
            (b"Upgrade", b"websocket"),
        ) from None
    assert any(isinstance(event, UpgradeRequest) for event in handshake.events())
    return handshake.send(AcceptConnection(extra_headers=[(FRAME_BYTES_HEADER, str(frame_bytes).encode())]))


def last_event(request: HttpRequest) -> int | None:
    """Return the id of the last event that a client says it has (`/ws?after=23`): the replay begins after it."""
    values = request.query.get("after")
    return int(values[0][:18]) if values and values[0].isascii() and values[0].isdigit() else None


def version(request: HttpRequest) -> int:
    """Return the protocol version that a client asks for (`/ws?v=2`), 1 by default.

    Raises:
        HttpError: the relay does not speak it.
    """
    asked = request.query.get("v", ["1"])[0]
    if asked not in VERSIONS:
        raise HttpError(
            400, "bad_request", f"v: {asked[:16]!r} is none of the protocol's versions {', '.join(VERSIONS)}"
        )
    return int(asked)
