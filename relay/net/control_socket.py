"""The control socket: an admin's requests, a line of JSON each, from a Unix socket to `Admin` and back.

Envelopes are those of the wire. A request that gives much sends events first, one an item, and its response
at the end. Who may ask: root, the relay's own user, and members of the group `relay`. The socket's mode says
so to the kernel, the peer's credentials say so again here.
"""

import grp
import logging
import os
import pwd
import select
import socket
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from relay.core.admin import Admin
from relay.core.clock.clock import Clock
from relay.protocol import codec
from relay.protocol.control import CONTROL, READING
from relay.protocol.envelopes import Request
from relay.protocol.errors import RelayError
from relay.socket_path import fitting

logger = logging.getLogger(__name__)

LINE = 16_000_000
"""The longest request, in bytes."""
GROUP = "relay"
"""The group whose members may use the socket."""
GIVEN_UP = (b'"prune"',)
"""Requests that go on for long and are given up when whoever asked has gone."""
GONE = 0.5
"""Seconds between two looks whether that is so."""
SO_PEERGROUPS = 59
"""Linux's option for all groups of a peer, which the socket module does not name."""
OVERFLOW = 65_534
"""What the kernel calls a user that this process's user namespace does not know."""

Send = Callable[[bytes], Awaitable[None]]
_payloads = {name: msgspec.json.Decoder(kind.payload) for name, kind in CONTROL.items()}


class Peer(NamedTuple):
    """Who is at the other end."""

    uid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        """The user's name, or number where nobody has it."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def peer_of(connected: socket.socket | trio.socket.SocketType) -> Peer:
    """Ask the kernel who connected."""
    _, uid, gid = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        groups = connected.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 1024)
    except OSError:
        groups = b""
    return Peer(uid, frozenset({gid, *(one for (one,) in struct.iter_unpack("I", groups))}))


def group_id() -> int | None:
    """The group whose members may use the socket, where there is one."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def may_ask(peer: Peer, *, own: int, group: int | None, private_users: bool) -> bool:
    """Whether a peer may ask.

    Args:
        peer: who it is.
        own: the relay's own user id.
        group: the group that may, if there is one.
        private_users: whether this process lives in a user namespace (`PrivateUsers=` of systemd): others look
            alike from inside, and it is the socket's mode that keeps strangers out.
    """
    return (
        peer.uid in (0, own) or (group is not None and group in peer.groups) or (private_users and peer.uid == OVERFLOW)
    )


def _private_users() -> bool:
    try:
        first = Path("/proc/self/uid_map").read_text().split()
    except OSError:
        return False
    return first != ["0", "0", "4294967295"]


async def answer(
    admin: Admin, clock: Clock, line: bytes, send: Send, peer: Peer | None = None, client: object = None
) -> bytes:
    """Do what one request asks, and encode its answer.

    Args:
        admin: does it.
        clock: for the answer's timestamp.
        line: the request.
        send: takes the events that come before the answer.
        peer: who asks, for the log.
        client: stands for the connection (see `Admin.handle`).
    """
    request_id: str | int = ""
    name = ""
    try:
        request = codec.decode_client_frame(line)
        if not isinstance(request, Request):
            raise RelayError.bad_field("type", "only requests are answered here")
        request_id, name = request.id, request.payload_type
        payload = _payload(request)
        if peer is not None and name not in READING:
            logger.info("admin request %s", name, extra={"ADMIN": peer.name, "REQUEST": name})

        async def item(value: object) -> None:
            await send(b"" if value is None else codec.event("item", clock(), value))

        return codec.response(request_id, clock(), await admin.handle(name, payload, item, client=client))
    except RelayError as error:
        if error.error.code == "storage_full" and error.error.quota is None:
            error = _no_room(admin) if name == "import.file" else _full(admin)
        return codec.refusal(request_id, clock(), error.error)
    except sqlite3.Error as error:
        return codec.refusal(request_id, clock(), _store_failed(admin, error).error)


def _full(admin: Admin) -> RelayError:
    """Say to an admin what is full and what frees it."""
    return RelayError(
        "storage_full",
        f"the disk of {admin.data} is full, and nothing was changed: let old messages go (`relay prune`, which has"
        " room set aside for it), or move other files away from that disk",
    )


def _no_room(admin: Admin) -> RelayError:
    """Say to an admin what an imported file needs, beside a disk that is not full."""
    return RelayError(
        "storage_full",
        f"there is no room for more files in {admin.data}: make some on its disk, or raise files.total_bytes",
    )


def _store_failed(admin: Admin, error: sqlite3.Error) -> RelayError:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
        return _full(admin)
    logger.error("an admin's request failed: %s (%s)", error, getattr(error, "sqlite_errorname", "?"))
    return RelayError(
        "unavailable",
        f"the store in {admin.data} cannot be read or written ({error}): `relay doctor` looks for the cause",
    )


def _payload(request: Request) -> msgspec.Struct:
    decoder = _payloads.get(request.payload_type)
    if decoder is None:
        raise RelayError(
            "unknown_request",
            f"payloadType: {request.payload_type[:64]!r} is unknown here: are command and relay of one version?",
        )
    return codec.decode_payload(decoder, request.payload)


def bind(path: Path) -> socket.socket:
    """Make the socket's file, for its owner and group. The lock is held, so an old one is nobody's."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o117)
    try:
        with fitting(path) as place:
            listener.bind(place)
    finally:
        os.umask(before)
    group = group_id()
    if group is not None and path.stat().st_gid != group:
        try:
            os.chown(path, -1, group)
        except PermissionError:
            logger.warning("%s stays with this user's group: the relay is no member of %s", path, GROUP)
    listener.listen()
    return listener


async def serve(
    path: Path, admin: Admin, clock: Clock, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Answer requests at a socket file, until cancelled."""
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bind(path)))
    group, private_users = group_id(), _private_users()

    async def converse(stream: trio.SocketStream) -> None:
        peer = peer_of(stream.socket)
        async with stream:
            try:
                if may_ask(peer, own=os.geteuid(), group=group, private_users=private_users):
                    try:
                        await _converse(stream, lambda line, send: answer(admin, clock, line, send, peer, stream))
                    finally:
                        await admin.disconnected(stream)
                else:
                    logger.warning("refused user %s at the control socket", peer.name)
                    await stream.receive_some()
                    await stream.send_all(_refusal(clock, peer) + b"\n")
            except Exception as error:
                if not _hung_up(error):
                    logger.exception("a control connection failed; the relay goes on")

    try:
        await trio.serve_listeners(converse, [listener], task_status=task_status)  # type: ignore[arg-type]
    finally:
        os.unlink(path)  # noqa: PTH108 - one system call, not worth a thread


def _hung_up(error: Exception) -> bool:
    """Tell whether all that went wrong is that the client went away; nurseries put it into groups."""
    if isinstance(error, ExceptionGroup):
        return all(map(_hung_up, error.exceptions))
    return isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError)


def _refusal(clock: Clock, peer: Peer) -> bytes:
    may = f"root, the relay's own user and members of the group {GROUP} may"
    return codec.refusal("", clock(), RelayError.forbidden(f"{peer.name} may not do this: {may}").error)


async def _until_gone(connected: trio.socket.SocketType, scope: trio.CancelScope) -> None:
    """Give up what is asked for once nobody waits for it any more."""
    poll = select.poll()
    # Only what hangs up altogether: one who just has nothing more to ask still waits for the answer.
    poll.register(connected.fileno(), 0)
    while True:
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            scope.cancel()
            return
        await trio.sleep(GONE)


async def _converse(stream: trio.SocketStream, reply: Callable[[bytes, Send], Awaitable[bytes]]) -> None:
    """Answer one line after the other; what is being sent to one who went away is given up."""

    async def send(line: bytes) -> None:
        await stream.send_all(line + b"\n")

    buffer = bytearray()
    async for data in stream:
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            async with trio.open_nursery() as nursery:
                if any(name in line for name in GIVEN_UP):
                    nursery.start_soon(_until_gone, stream.socket, nursery.cancel_scope)
                await send(await reply(line, send))
                nursery.cancel_scope.cancel()
            if nursery.cancel_scope.cancelled_caught:
                return
        if len(buffer) > LINE:
            return
