"""One client of the load generator: a socket, the client's half of WebSocket, and a reader of incoming frames.

It trusts the relay and parses only as much of each frame as counting needs, so that it costs little itself. It does not
know what is measured.
"""

import base64
import os
import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

RECEIVE_BYTES = 262_144
TIMEOUT_SECONDS = 30.0
"""How long a handshake, a response or a write may take."""

_TEXT = 0x81
_MASKED = 0x80
_TWO_BYTES = 126
_EIGHT_BYTES = 127
_CLOSE = 8
_RESPONSE = b'{"type":"response","id":'
_EVENT = b'{"type":"event","id":'
_NEW = b'"eventType":"new"'
_MESSAGE = b'"message":"'
NUMBER_DIGITS = 8
"""Hexadecimal digits at the start of a text: the message's number."""


class BenchRefused(Exception):
    """The relay refused a client or a request, or ended a connection; the text has the details."""


class Answered(NamedTuple):
    """The response to a request."""

    number: int
    frame: bytes

    @property
    def failed(self) -> bool:
        """Whether it is an error."""
        return b'"error":' in self.frame


class DeliveredEvent(NamedTuple):
    """A message that arrived."""

    number: int


def masked(payload: bytes) -> bytes:
    """Return a text frame with a random mask, as clients send them (RFC 6455, section 5.3)."""
    length = len(payload)
    mask = os.urandom(4)
    stream = (mask * ((length + 3) >> 2))[:length]
    hidden = (int.from_bytes(payload) ^ int.from_bytes(stream)).to_bytes(length)
    if length < _TWO_BYTES:
        return bytes((_TEXT, _MASKED | length)) + mask + hidden
    return bytes((_TEXT, _MASKED | _TWO_BYTES)) + length.to_bytes(2) + mask + hidden


def _shake_hands(connected: socket.socket, host: str, path: str, token: str) -> bytes:
    """Do the client's part of the handshake; return the bytes after it."""
    key = base64.b64encode(os.urandom(16)).decode()
    connected.sendall(
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    received = b""
    while b"\r\n\r\n" not in received:
        data = connected.recv(RECEIVE_BYTES)
        if not data:
            raise BenchRefused("the relay closed the connection during the handshake")
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if " 101 " not in status:
        raise BenchRefused(f"the relay answered the handshake with {status!r}")
    return rest


class BenchClient:
    """A signed-in connection that acknowledges every event."""

    def __init__(self, connected: socket.socket, received: bytes = b"") -> None:
        """Begin after the handshake.

        Args:
            connected: the socket.
            received: the bytes that came in the same read as the end of the handshake.
        """
        self.socket = connected
        self.number = connected.fileno()
        self._buffer = received
        self._out: list[bytes] = []

    @classmethod
    def connect(cls, url: str, token: str) -> "BenchClient":
        """Connect and sign in.

        Args:
            url: ws:// or wss://, with the path. A certificate is not checked, since nothing secret is sent.
            token: a device's token.

        Raises:
            OSError: there is no relay.
            BenchRefused: the relay refused.
        """
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        address = (parts.hostname or "127.0.0.1", parts.port or (443 if secure else 80))
        connected = socket.create_connection(address, timeout=TIMEOUT_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            connected = context.wrap_socket(connected, server_hostname=address[0])
        return cls(connected, _shake_hands(connected, parts.netloc, parts.path or "/ws", token))

    def put(self, payload: bytes) -> None:
        """Queue a message; `flush` sends."""
        self._out.append(masked(payload))

    def flush(self) -> None:
        """Send the queued frames; wait while the relay reads nothing."""
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self.socket.settimeout(TIMEOUT_SECONDS)
            self.socket.sendall(data)

    def receive(self, timeout: float = 0) -> Iterator[Answered | DeliveredEvent]:
        """Yield the frames of one read, and those that came with the handshake. `flush` acknowledges the events.

        Args:
            timeout: seconds to wait for it.

        Raises:
            BenchRefused: the relay has ended the connection.
        """
        self.socket.settimeout(timeout)
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return
        if not data:
            raise BenchRefused("the relay closed a connection")
        yield from self._read_frames(self._buffer + data if self._buffer else data)

    def _read_frames(self, data: bytes) -> Iterator[Answered | DeliveredEvent]:
        start, available = 0, len(data)
        while available - start >= 2:
            length, body = data[start + 1], start + 2
            if length == _TWO_BYTES:
                length, body = int.from_bytes(data[start + 2 : start + 4]), start + 4
            elif length == _EIGHT_BYTES:
                length, body = int.from_bytes(data[start + 2 : start + 10]), start + 10
            end = body + length
            if end > available or body > available:
                break
            if data[start] == _TEXT:
                found = self._parse(data[body:end])
                if found is not None:
                    yield found
            elif data[start] & 15 == _CLOSE:
                raise BenchRefused(f"the relay closed a connection with code {int.from_bytes(data[body : body + 2])}")
            start = end
        self._buffer = data[start:]

    def _parse(self, payload: bytes) -> Answered | DeliveredEvent | None:
        if payload.startswith(_EVENT):
            after = len(_EVENT)
            self.put(b'{"type":"ack","id":%b}' % payload[after : payload.index(b",", after)])
            if _NEW in payload:
                at = payload.find(_MESSAGE) + len(_MESSAGE)
                try:
                    return DeliveredEvent(int(payload[at : at + NUMBER_DIGITS], 16))
                except ValueError:
                    return None
        elif payload.startswith(_RESPONSE):
            after = len(_RESPONSE)
            number = int(payload[after : payload.index(b",", after)])
            return Answered(number, payload)
        return None

    def ask(self, name: str, payload: str) -> bytes:
        """Make one request and return its response.

        Raises:
            BenchRefused: it is an error.
        """
        self.put(f'{{"type":"request","id":0,"payloadType":"{name}","payload":{payload}}}'.encode())
        while True:
            self.flush()
            for found in self.receive(TIMEOUT_SECONDS):
                if isinstance(found, Answered) and found.number == 0:
                    if found.failed:
                        raise BenchRefused(found.frame.decode())
                    return found.frame

    def close(self) -> None:
        """Close at once."""
        self.socket.close()
