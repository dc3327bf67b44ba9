"""The control socket: an admin's requests, one line of JSON each, from a Unix socket to `Admin` and back.

The envelopes are those of the WebSocket. A request with many results sends an event for each, and its response at the
end. Root, the relay's own user and members of the group `relay` may connect: the kernel checks the socket's mode, and
the peer's credentials are checked again here.
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
from relay.exception_groups import first_error
from relay.net.sockets.socket_file import SocketFile
from relay.protocol import codec
from relay.protocol.control import CONTROL, READING_REQUESTS
from relay.protocol.control.table import PRUNE
from relay.protocol.envelopes import Request
from relay.protocol.errors import Error, RelayError
from relay.store.damage import DAMAGE_HELPS, is_damage
from relay.store.files.directory import about_file
from relay.store.files.disk_full import is_full
from relay.typed_command import line

logger = logging.getLogger(__name__)

LINE_BYTES = 16_000_000
"""The longest request, in bytes."""
GROUP = "relay"
"""The group whose members may use the socket."""
CANCELLED_WHEN_GONE = (b'"prune"',)
"""Long requests that are cancelled when the client disconnects."""
GONE_SECONDS = 0.5
"""How often to check whether the client has disconnected."""
SO_PEERGROUPS = 59
"""Linux's socket option for all groups of a peer, which the socket module does not name."""
OVERFLOW_UID = 65_534
"""The id of users that do not exist in this process's user namespace."""

Send = Callable[[bytes], Awaitable[None]]
_payloads: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {
    name: msgspec.json.Decoder(kind.payload) for name, kind in CONTROL.items()
}


class Peer(NamedTuple):
    """The credentials of a client."""

    uid: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        """The user's name, or the id if it has none."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return str(self.uid)


def peer_of(connected: socket.socket | trio.socket.SocketType) -> Peer:
    """Return the credentials of a connected client."""
    _, uid, gid = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        groups = connected.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 1024)
    except OSError:
        groups = b""
    return Peer(uid, frozenset({gid, *(one for (one,) in struct.iter_unpack("I", groups))}))


def group_id() -> int | None:
    """Return the id of the group whose members may use the socket; None if there is no such group."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def may_ask(peer: Peer, *, own: int, group: int | None, private_users: bool) -> bool:
    """Return whether a client may make requests.

    Args:
        peer: its credentials.
        own: the relay's own user id.
        group: the group whose members may, if there is one.
        private_users: whether this process is in a user namespace (`PrivateUsers=` of systemd), in which all other
            users look alike: the socket's mode alone keeps strangers out.
    """
    return (
        peer.uid in (0, own)
        or (group is not None and group in peer.groups)
        or (private_users and peer.uid == OVERFLOW_UID)
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
    """Handle one request.

    Args:
        admin: handles it.
        clock: for timestamps.
        line: the request.
        send: takes the events that precede the response.
        peer: the client, for the log.
        client: stands for the connection (see `Admin.handle`).

    Returns:
        The encoded response.
    """
    request_id: str | int = ""
    name = ""
    try:
        request = codec.decode_client_frame(line)
        if not isinstance(request, Request):
            raise RelayError.bad_field("type", "only requests are answered here")
        request_id, name = request.id, request.payload_type
        payload = _payload(request)
        if peer is not None and name not in READING_REQUESTS:
            logger.info("admin request %s", name, extra={"ADMIN": peer.name, "REQUEST": name})

        async def item(value: object) -> None:
            await send(b"" if value is None else codec.event("item", clock(), value))

        return codec.response(request_id, clock(), await admin.handle(name, payload, item, client=client))
    except RelayError as error:
        if error.error.code == "storage_full" and error.error.quota is None:
            error = _no_room(admin) if name == "import.file" else _full(admin, name)
        return codec.refusal(request_id, clock(), _sendable(error))
    except sqlite3.Error as error:
        return codec.refusal(request_id, clock(), _sendable(_store_failed(admin, error, name)))
    except OSError as error:
        if isinstance(error, ConnectionError):
            raise
        return codec.refusal(request_id, clock(), _sendable(RelayError("unavailable", about_file(error, admin.data))))


def _sendable(error: RelayError) -> Error:
    """Encode an error, whose message may contain a path that is not UTF-8."""
    return msgspec.structs.replace(error.error, message=codec.printable(error.error.message))


def _full(admin: Admin, name: str) -> RelayError:
    """Tell an admin that the disk is full, and how to free space."""
    if name == PRUNE.name:
        # It removes a portion at a time; removed portions stay removed.
        return RelayError(
            "storage_full",
            f"the disk of {admin.data} is full, and not everything could be removed: try again, or move other files"
            " away from that disk",
        )
    return RelayError(
        "storage_full",
        f"the disk of {admin.data} is full, and nothing was changed: remove old messages"
        f" (`{line('prune', admin.data)}`, for which space is reserved), or move other files away from that disk",
    )


def _no_room(admin: Admin) -> RelayError:
    """Tell an admin that there is no room for an imported file, although the disk is not full."""
    return RelayError(
        "storage_full",
        f"there is no room for more files in {admin.data}: free some of its disk, or raise files.total_bytes",
    )


def _store_failed(admin: Admin, error: sqlite3.Error, name: str) -> RelayError:
    if is_full(error):
        return _full(admin, name)
    answer = admin.faults.unread(error, f"the admin's request {name}", "read or written")
    helps = DAMAGE_HELPS if is_damage(error) else f"`{line('doctor', admin.data)}` looks for the cause"
    return RelayError(answer.error.code, f"the store in {admin.data} cannot be read or written ({error}): {helps}")


def _payload(request: Request) -> msgspec.Struct:
    decoder = _payloads.get(request.payload_type)
    if decoder is None:
        raise RelayError(
            "unknown_request",
            f"payloadType: {request.payload_type[:64]!r} is unknown here: are command and relay of one version?",
        )
    return codec.decode_payload(decoder, request.payload)


async def serve(
    path: Path,
    admin: Admin,
    clock: Clock,
    gone_seconds: float = GONE_SECONDS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve a socket file until cancelled.

    Args:
        path: the socket's file, which is created, created again if it is removed, and removed at the end.
        admin: handles the requests.
        clock: for timestamps.
        gone_seconds: seconds between two checks whether the client of a long request is still there.
        task_status: started once clients can connect.

    Raises:
        OSError: the file cannot be created, or another program's file is there.
    """
    group, private_users = group_id(), _private_users()
    file = SocketFile(path, group)

    async def converse(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                peer = peer_of(stream.socket)
                if may_ask(peer, own=os.geteuid(), group=group, private_users=private_users):
                    try:
                        await _converse(
                            stream, lambda line, send: answer(admin, clock, line, send, peer, stream), gone_seconds
                        )
                    finally:
                        await admin.disconnected(stream)
                else:
                    logger.warning("refused user %s at the control socket", peer.name)
                    await stream.receive_some()
                    await stream.send_all(_refusal(clock, peer) + b"\n")
            except Exception as error:
                if not _hung_up(error):
                    logger.exception("a control connection failed; the relay goes on")

    async def listen(listener: trio.SocketListener, conversations: trio.Nursery) -> None:
        try:
            async with listener:
                await trio.serve_listeners(converse, [listener], handler_nursery=conversations)
        except* OSError as failed:
            logger.warning("the control socket fails and is made again: %s", first_error(failed))
            file.forget()

    bound = file.bind()
    try:
        # New clients wait in the socket's queue from now on.
        task_status.started()
        async with trio.open_nursery() as conversations:
            while True:
                listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
                async with trio.open_nursery() as listening:
                    listening.start_soon(listen, listener, conversations)
                    bound = await file.bind_when_lost()
                    listening.cancel_scope.cancel()
    finally:
        file.remove()


def _hung_up(error: Exception) -> bool:
    """Return whether an error, or each one in a group, only means that the client disconnected."""
    if isinstance(error, ExceptionGroup):
        return all(map(_hung_up, error.exceptions))
    return isinstance(error, trio.BrokenResourceError | trio.ClosedResourceError)


def _refusal(clock: Clock, peer: Peer) -> bytes:
    may = f"root, the relay's own user and members of the group {GROUP} may"
    return codec.refusal("", clock(), RelayError.forbidden(f"{peer.name} may not do this: {may}").error)


async def _until_gone(connected: trio.socket.SocketType, scope: trio.CancelScope, seconds: float) -> None:
    """Cancel a request when its client disconnects, which is checked periodically."""
    poll = select.poll()
    # POLLHUP alone: a client that has only closed its sending half still waits for the response.
    poll.register(connected.fileno(), 0)
    while True:
        if any(event & select.POLLHUP for _, event in poll.poll(0)):
            scope.cancel()
            return
        await trio.sleep(seconds)


async def _converse(
    stream: trio.SocketStream, reply: Callable[[bytes, Send], Awaitable[bytes]], gone_seconds: float
) -> None:
    """Answer one line after another until the client disconnects."""

    async def send(line: bytes) -> None:
        await stream.send_all(line + b"\n")

    buffer = bytearray()
    async for data in stream:
        buffer += data
        while (end := buffer.find(b"\n")) >= 0:
            line = bytes(buffer[:end])
            del buffer[: end + 1]
            async with trio.open_nursery() as nursery:
                if any(name in line for name in CANCELLED_WHEN_GONE):
                    nursery.start_soon(_until_gone, stream.socket, nursery.cancel_scope, gone_seconds)
                await send(await reply(line, send))
                nursery.cancel_scope.cancel()
            if nursery.cancel_scope.cancelled_caught:
                return
        if len(buffer) > LINE_BYTES:
            return
