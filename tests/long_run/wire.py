"""A light client: one WebSocket on a bare socket, requests and their answers, and HTTP for files.

Hundreds of them run in one process beside the relay, so it does as little as possible per frame. trio-websocket and
`relay.client` are tested elsewhere. Does not know the content.
"""

import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec
import trio

RECEIVE = 65_536
WAIT_SECONDS = 120.0
"""Seconds within which a request is answered while its connection lives, including stops of the relay and a busy
machine."""
HANDSHAKE = 30.0

_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10


class Lost(Exception):
    """The connection ended before the answer came: the outcome of the request is unknown."""


class Refused(Exception):
    """The relay answered with an error."""

    def __init__(self, code: str, message: str = "", retry_after: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.retry_after = retry_after
        self.repeated = False
        """Whether the request was sent before and its answer lost, so that it may have taken effect already."""


class Payload(msgspec.Struct, rename="camel"):
    """The fields of event payloads, except for chat lists."""

    chat_id: str = ""
    user_id: str = ""
    sender: str = ""
    message_id: int = 0
    client_message_id: str = ""
    original_message_id: int = 0
    message: str | None = None
    timestamp: int = 0
    status: str = ""
    missed: int = 0


class Error(msgspec.Struct, rename="camel"):
    """Why a request was refused."""

    code: str
    message: str = ""
    retry_after: int = 0


class Frame(msgspec.Struct, rename="camel"):
    """Any frame of the relay."""

    type: str = ""
    id: int | None = None
    timestamp: int = 0
    event_type: str = ""
    payload: msgspec.Raw = msgspec.Raw(b"")
    error: Error | None = None


_frame = msgspec.json.Decoder(Frame).decode
_payload = msgspec.json.Decoder(Payload).decode
DURABLE = frozenset({"new", "chats", "edit", "delete", "dlvrd", "read"})

Heard = Callable[[str, int, int, Any], None]
"""Takes a durable event: its type, id, timestamp and payload (None for a chat list)."""


def masked(opcode: int, payload: bytes) -> bytes:
    """Make a client's frame. Its mask is all zeros: masks matter only to proxies in between."""
    length = len(payload)
    if length < 126:
        head = bytes((0x80 | opcode, 0x80 | length))
    elif length < 65_536:
        head = bytes((0x80 | opcode, 0x80 | 126)) + length.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, 0x80 | 127)) + length.to_bytes(8)
    return head + b"\0\0\0\0" + payload


class Socket:
    """One signed-in connection. `listen` runs until it ends; requests are made meanwhile."""

    def __init__(self, heard: Heard) -> None:
        self.closed = trio.Event()
        self.code = 0
        """The close code that the relay gave, 0 for none."""
        self.deaf_until = 0.0
        """Until this time (trio's) it reads nothing, like a hanging phone."""
        self._heard = heard
        self._waiting: dict[int, tuple[trio.Event, list[Frame]]] = {}
        self._next = 0
        self._out = bytearray()
        self._in = b""
        self._socket: socket.socket | None = None

    async def connect(self, url: str, token: str, after: int | None = None) -> None:
        """Connect and sign in.

        Raises:
            OSError, Lost: there is no relay, or it has no room.
            Refused: with the status of the answer.
        """
        parts = urlsplit(url)
        with trio.move_on_after(HANDSHAKE) as waiting:
            stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
            path = parts.path + ("" if after is None else f"?after={after}")
            try:
                await stream.send_all(
                    f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
                    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                    f"Sec-WebSocket-Version: 13\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
                )
                received = b""
                while b"\r\n\r\n" not in received:
                    data = await stream.receive_some(RECEIVE)
                    if not data:
                        raise Lost("handshake")
                    received += data
            except BaseException as failed:
                stream.socket.close()
                if isinstance(failed, trio.BrokenResourceError):
                    raise Lost("handshake") from None
                raise
            head, _, self._in = received.partition(b"\r\n\r\n")
            status = head.split(b" ", 2)[1].decode()
            if status != "101":
                stream.socket.close()
                raise Refused(status)
            # Use a bare socket without trio: sending must not wait.
            self._socket = socket.socket(fileno=stream.socket.detach())
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if waiting.cancelled_caught:
            raise Lost("handshake")

    async def listen(self) -> None:
        """Process frames until the connection ends."""
        there = self._socket
        if there is None:
            return
        try:
            self._take()
            while not self.closed.is_set():
                if self.deaf_until > trio.current_time():
                    await trio.sleep(0.5)
                    continue
                if self._out:
                    # Only if the kernel accepts no more, which is rare: a short sleep replaces a separate task.
                    with trio.move_on_after(0.05):
                        await trio.lowlevel.wait_readable(there)
                    self._flush()
                else:
                    await trio.lowlevel.wait_readable(there)
                try:
                    data = there.recv(RECEIVE)
                except BlockingIOError:
                    continue
                if not data:
                    break
                self._in = self._in + data if self._in else data
                self._take()
                self._flush()
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """End it without a closing handshake, like phones."""
        if self._socket is not None:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._socket = None
        self.closed.set()
        for event, _ in self._waiting.values():
            event.set()

    def say(self, text: bytes) -> None:
        """Send a text frame."""
        self._out += masked(_TEXT, text)
        self._flush()

    async def request(self, name: str, payload: Any) -> Any:
        """Make a request and wait for its answer, as plain data.

        Raises:
            Refused: it is an error.
            Lost: none came.
        """
        if self.closed.is_set():
            raise Lost(name)
        self._next += 1
        number = self._next
        waiting = self._waiting[number] = (trio.Event(), [])
        frame = {"type": "request", "id": number, "payloadType": name, "payload": payload}
        try:
            self.say(msgspec.json.encode(frame))
            with trio.move_on_after(WAIT_SECONDS) as patience:
                await waiting[0].wait()
            if patience.cancelled_caught:
                self.close()
                raise Lost("silence")
            if not waiting[1]:
                raise Lost(name)
        finally:
            del self._waiting[number]
        (answer,) = waiting[1]
        if answer.error is not None:
            raise Refused(answer.error.code, answer.error.message, answer.error.retry_after)
        return msgspec.json.decode(answer.payload)

    def _flush(self) -> None:
        if self._out and self._socket is not None:
            try:
                sent = self._socket.send(self._out)
            except BlockingIOError:
                return
            except OSError:
                self.closed.set()
                return
            del self._out[:sent]

    def _take(self) -> None:
        data, start = self._in, 0
        available = len(data)
        while available - start >= 2:
            length, body = data[start + 1] & 127, start + 2
            if length == 126:
                length, body = int.from_bytes(data[start + 2 : start + 4]), start + 4
            elif length == 127:
                length, body = int.from_bytes(data[start + 2 : start + 10]), start + 10
            end = body + length
            if end > available or body > available:
                break
            opcode = data[start] & 15
            if opcode == _TEXT:
                self._understand(data[body:end])
            elif opcode == _PING:
                self._out += masked(_PONG, data[body:end])
            elif opcode == _CLOSE:
                self.code = int.from_bytes(data[body : body + 2])
                self.closed.set()
            start = end
        self._in = data[start:]

    def _understand(self, text: bytes) -> None:
        frame = _frame(text)
        if frame.type == "response":
            waiting = self._waiting.get(frame.id or 0)
            if waiting is not None:
                waiting[1].append(frame)
                waiting[0].set()
        elif frame.type == "event" and frame.event_type in DURABLE:
            payload = None if frame.event_type == "chats" else _payload(frame.payload)
            assert frame.id is not None
            self._heard(frame.event_type, frame.id, frame.timestamp, payload)
            self._out += masked(_TEXT, b'{"type":"ack","id":%d}' % frame.id)


async def http(url: str, method: str, path: str, token: str, body: bytes = b"") -> tuple[int, bytes]:
    """Make one HTTP request on a connection of its own; return the status and the body.

    Raises:
        OSError, Lost: the connection ended too early.
    """
    parts = urlsplit(url)
    received = b""
    with trio.move_on_after(WAIT_SECONDS) as patience:
        stream = await trio.open_tcp_stream(parts.hostname or "", parts.port or 80)
        async with stream:
            try:
                await stream.send_all(
                    f"{method} {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n"
                    f"Authorization: Bearer {token}\r\nContent-Disposition: attachment; filename=a.bin\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                while data := await stream.receive_some(RECEIVE):
                    received += data
            except trio.BrokenResourceError:
                # It may have answered before it had read everything.
                if b"\r\n\r\n" not in received:
                    raise Lost(path) from None
    head, _, content = received.partition(b"\r\n\r\n")
    if patience.cancelled_caught or not head.startswith(b"HTTP/1.1 "):
        raise Lost(path)
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:") and len(content) < int(line.split(b":")[1]):
            raise Lost(path)
    return int(head.split(b" ", 2)[1]), content
