"""The control socket: an admin's requests, a line of JSON each, from a Unix socket to `Admin` and back.

Who may connect is decided by the socket's mode and owner. Envelopes are those of the wire.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import trio

from relay.core.admin import Admin
from relay.core.clock import Clock
from relay.protocol import codec
from relay.protocol.control import CONTROL
from relay.protocol.envelopes import Request
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

LINE = 16_000_000
"""The longest request, in bytes."""

_payloads = {name: msgspec.json.Decoder(kind.payload) for name, kind in CONTROL.items()}


async def answer(admin: Admin, clock: Clock, line: bytes) -> bytes:
    """Do what one request asks, and encode its answer."""
    request_id: str | int = ""
    try:
        request = codec.decode_client_frame(line)
        if not isinstance(request, Request):
            raise RelayError.bad_field("type", "only requests are answered here")
        request_id = request.id
        return codec.response(request_id, clock(), await admin.handle(request.payload_type, _payload(request)))
    except RelayError as error:
        return codec.refusal(request_id, clock(), error.error)


def _payload(request: Request) -> msgspec.Struct:
    decoder = _payloads.get(request.payload_type)
    if decoder is None:
        raise RelayError("unknown_request", f"payloadType: {request.payload_type[:64]!r} is unknown here")
    try:
        return decoder.decode(request.payload)
    except msgspec.DecodeError as error:
        raise codec.explain(error, "payload") from None


def bind(path: Path) -> socket.socket:
    """Make the socket's file, for its owner and group. The lock is held, so an old one is nobody's."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen()
    return listener


async def serve(
    path: Path, admin: Admin, clock: Clock, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer requests at a socket file, until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bind(path)))

    async def converse(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await _converse(stream, lambda line: answer(admin, clock, line))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            except Exception:
                logger.exception("a control connection failed; the relay goes on")

    try:
        await trio.serve_listeners(converse, [listener], task_status=task_status)  # type: ignore[arg-type]
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _converse(stream: trio.SocketStream, reply: Callable[[bytes], Awaitable[bytes]]) -> None:
    buffer = bytearray()
    async for data in stream:
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            await stream.send_all(await reply(line) + b"\n")
        if len(buffer) > LINE:
            return
