"""Listening, and one task for each connection; starting and stopping all of it.

Sockets come in here and go nowhere else but into a transport.
"""

import errno
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import trio

from relay.core.limits.fairness import PAYER, Account
from relay.core.limits.rate_limit import RateLimit
from relay.core.relay import Relay
from relay.net.http.connection import HEAD_SECONDS
from relay.net.router import Router, WebSocketUpgrade
from relay.net.sockets.descriptors import NONE_LEFT, Spare, allow
from relay.net.sockets.epoll import Readiness
from relay.net.sockets.transport import SocketTransport, StreamTransport, Transport, peer_of
from relay.net.tls.certificates import CLIENT_HELLO, HANDSHAKE_SECONDS, Certificates
from relay.net.websocket import frames
from relay.net.websocket.keepalive import OVERSLEPT, Keepalive
from relay.net.websocket.session import BROKEN, SERVER_RESTARTING, Session
from relay.settings import LimitsSection

logger = logging.getLogger(__name__)

BACKLOG = 1_024
PAUSE = 0.2
"""Seconds to wait when there are no file descriptors left."""
ROOM_AGAIN = 10.0
"""Seconds in which nobody had to be told that there is no room, after which there is some."""
TICK = 0.2
"""Seconds between two looks at what is to be told later."""
CONNECTS_PER_SECOND, CONNECTS_AT_ONCE = 10.0, 64
"""How often one user may connect: each connection is replayed to and told who is online."""
WAITING_EACH = 1_024
"""New connections of one address that wait for its turn on the event loop; more are closed at once."""
STOP = 5.0
"""Seconds within which everything is over once a stop was asked for."""
AT_THE_DOOR = 1.0
"""Seconds more that an accepted connection has to say what it came for and be answered."""
RESTARTS = "the relay restarts"
OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


def listen(host: str, port: int, *, both: bool = False) -> list[socket.socket]:
    """Open listening sockets for a host: one for each of its addresses.

    Args:
        host: a name or an address; nothing for all of the machine's.
        port: the port.
        both: whether an address of IPv6 that stands for all takes those of IPv4 as well, as on Linux elsewhere.

    Raises:
        OSError: the address cannot be had.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = dict.fromkeys((one[0], one[4]) for one in found)
    return [_listen(family, address, both=both and len(places) == 1) for family, address in places]


def _listen(family: int, address: tuple[str | int, ...] | tuple[int, bytes], *, both: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """The network side of one relay."""

    def __init__(self, relay: Relay, certificates: Certificates | None = None) -> None:
        self.relay = relay
        self._certificates = certificates
        self._limits = relay.settings.limits
        self.door = Router(relay, lasting=certificates is not None and certificates.lasting)
        self.readiness = Readiness()
        self.liveness = Keepalive()
        self.door.lobby.patience = self.liveness.patience
        self._spare = Spare()
        self._turned_away = 0
        self._turned_away_at = 0.0
        self._allowed = (0, 0)
        self.sessions: set[Session] = set()
        self._connections: Counter[int] = Counter()
        """WebSockets by user: those that begin, too."""
        self._connecting = RateLimit(LimitsSection(requests_per_second=CONNECTS_PER_SECOND, burst=CONNECTS_AT_ONCE))
        self._listening = trio.CancelScope()
        self._stopping = False
        self._at_the_door = 0
        self._door_empty = trio.Event()
        self._last_left = trio.Event()

    async def run(
        self,
        listeners: Iterable[socket.socket],
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until `stop` is called and over."""
        # Said before anybody connects.
        self.relay.admin.runtime.most_connections = lambda: self.most_connections
        logger.debug("room for %d connections", self.most_connections)
        with self.door.fairness.at_work():
            await self._run(list(listeners), task_status)

    async def _run(self, listeners: list[socket.socket], task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.readiness.run)
            if self._certificates is not None:
                self.door.secure_port = listeners[0].getsockname()[1]
                self.door.listened_on = frozenset(str(listener.getsockname()[0]) for listener in listeners)
                nursery.start_soon(self._certificates.keep_fresh)
            nursery.start_soon(self.liveness.run)
            nursery.start_soon(self._tell_later)
            await nursery.start(self.relay.files.run)
            async with trio.open_nursery() as connections:
                with self._listening:
                    async with trio.open_nursery() as listening:
                        for listener in listeners:
                            listening.start_soon(self._accept, listener, connections)
                        task_status.started()
                with trio.move_on_after(STOP) as patience:
                    await self._farewell()
                if patience.cancelled_caught:
                    logger.warning("some connections did not close within %s s and were cut", STOP)
                connections.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Stop accepting, let what waits be written and sent, close all connections, and let `run` return."""
        self._stopping = True
        self.door.lobby.close()
        self._listening.cancel()

    async def _farewell(self) -> None:
        self.relay.stop()
        await self.relay.log.stopped.wait()
        self.relay.hub.flush()
        for session in list(self.sessions):
            session.close(SERVER_RESTARTING, RESTARTS)
        if self.sessions:
            await self._last_left.wait()
        if self._at_the_door:
            with trio.move_on_after(AT_THE_DOOR):
                await self._door_empty.wait()

    async def _accept(self, listener: socket.socket, connections: trio.Nursery) -> None:
        listener.setblocking(False)
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                try:
                    connected, address = listener.accept()
                except BlockingIOError:
                    continue
                except OSError as error:
                    if error.errno in OUT_OF:
                        await self._turn_away(listener, connections, error)
                    continue
                payer = self.door.payer_at(_peer(address))
                # Charged for from here on; and who connects all the time waits for some of it and not for all.
                if payer is not None and not payer.begin() and payer.waiting >= WAITING_EACH:
                    connected.close()
                    continue
                connections.start_soon(self._serve_socket, connected, payer)
        finally:
            listener.close()

    async def _turn_away(self, listener: socket.socket, connections: trio.Nursery, error: OSError) -> None:
        """Say to whoever comes while there is no room that there is none."""
        self._turned_away_at = trio.current_time()
        if not self._turned_away:
            self._turned_away = 1
            logger.error("no more connections can be accepted: %s; whoever comes is told to try again", error)
            connections.start_soon(self._until_there_is_room)
        if error.errno in NONE_LEFT and self._spare.turn_away(listener, plain=self._certificates is None):
            self._turned_away += 1
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(PAUSE)

    async def _until_there_is_room(self) -> None:
        while True:
            quiet_at = self._turned_away_at + ROOM_AGAIN
            if quiet_at <= trio.current_time():
                break
            await trio.sleep_until(quiet_at)
        logger.info("connections are accepted again; %d were told to try again", self._turned_away - 1)
        self._turned_away = 0

    @property
    def most_connections(self) -> int:
        """How many WebSockets there may be: as the settings say, or fewer where the process may have no more."""
        wanted = self._limits.connections
        if self._allowed[0] != wanted:
            self._allowed = (wanted, allow(wanted))
            if self._allowed[1] < wanted:
                logger.warning(
                    "there can be %d connections and not %d (limits.connections), since this process may have no more"
                    " descriptors: raise LimitNOFILE= of the unit, or `ulimit -n`",
                    self._allowed[1],
                    wanted,
                )
        return self._allowed[1]

    async def _serve_socket(self, connected: socket.socket, payer: Account | None) -> None:
        """Find out what a new connection speaks, and serve it."""
        if payer is not None and not await self._may_come(payer):
            connected.close()
            return
        certificates = self._certificates
        if certificates is None:
            await self._serve_plain(connected)
            return
        connected.setblocking(False)
        try:
            first = await self._first_byte(connected)
            if first == CLIENT_HELLO:
                await self._serve_tls(connected, certificates.context)
            elif first is not None:
                await self._serve_plain(connected)
        finally:
            connected.close()

    async def _may_come(self, payer: Account) -> bool:
        """Wait for the turn of who connects; tells whether it came before others needed the place."""
        PAYER.set(payer)
        with self.door.lobby.wait(HEAD_SECONDS) as patience:
            await payer.turn()
        return not patience.cancelled_caught

    async def _first_byte(self, connected: socket.socket) -> int | None:
        """Look at a connection's first byte, and leave it there; None where none comes."""
        with self.door.lobby.wait(HEAD_SECONDS):
            while True:
                await trio.lowlevel.wait_readable(connected)
                try:
                    first = connected.recv(1, socket.MSG_PEEK)
                except BlockingIOError:
                    continue
                except OSError:
                    return None
                return first[0] if first else None
        return None

    async def _serve_plain(self, connected: socket.socket) -> None:
        try:
            transport = SocketTransport(connected, self.readiness)
            transport.payer = PAYER.get(None)
        except OSError:
            connected.close()
            return
        try:
            await self.serve(transport)
        finally:
            transport.close()

    async def _serve_tls(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        try:
            peer = peer_of(connected)
        except OSError:
            return
        plain = trio.SocketStream(trio.socket.from_stdlib_socket(connected))
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        try:
            with self.door.lobby.wait(HANDSHAKE_SECONDS) as patience:
                await stream.do_handshake()
            if not patience.cancelled_caught:
                transport = StreamTransport(stream, peer)
                transport.payer = PAYER.get(None)
                await self.serve(transport, secure=True)
        except BROKEN:
            return
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def serve(self, transport: Transport, *, secure: bool = False) -> None:
        """Serve one connection, whatever it turns out to be. Its failure is its own."""
        entrance = position = None
        try:
            with self._at_door():
                entrance = await self.door.serve(transport, secure=secure, full=self._full)
                if entrance is not None:
                    # Counted before anything is waited for, so that no others slip in meanwhile.
                    self._connections[entrance.user] += 1
                    position = await self._enter(transport, entrance)
            if entrance is not None and position is not None:
                await self._converse(transport, entrance, position)
        except BROKEN:
            return
        except Exception:
            logger.exception("a connection failed before it was one; the relay goes on")
        finally:
            if entrance is not None:
                self._connections[entrance.user] -= 1
                if not self._connections[entrance.user]:
                    del self._connections[entrance.user]

    @contextmanager
    def _at_door(self) -> Iterator[None]:
        self._at_the_door += 1
        try:
            yield
        finally:
            self._at_the_door -= 1
            if self._stopping and not self._at_the_door:
                self._door_empty.set()

    def _full(self, user: int) -> str | None:
        """Why a user may have no further WebSocket just now, where that is so."""
        if self._stopping or self._connections.total() >= self.most_connections:
            return "too many connections"
        if self._connections[user] >= self._limits.connections_per_user:
            return f"you have {self._connections[user]} connections already"
        if self._limits.requests_per_second and self._connecting.take(user, trio.current_time()):
            return "you connect too often"
        return None

    async def _converse(self, transport: Transport, entrance: WebSocketUpgrade, position: int) -> None:
        session = Session(transport, self.relay.service, self.liveness)
        self.sessions.add(session)
        try:
            await session.run(entrance.user, entrance.device, position, entrance.rest, entrance.version)
        finally:
            self.sessions.discard(session)
            if self._stopping and not self.sessions:
                self._last_left.set()

    async def _enter(self, transport: Transport, entrance: WebSocketUpgrade) -> int | None:
        """Let a WebSocket begin; gives where its events start, None where the relay stops."""
        position = await self.relay.service.position(entrance.user, entrance.device, entrance.since)
        await _send(transport, entrance.answer)
        if self._stopping:
            await _send(transport, frames.encode_close(SERVER_RESTARTING, RESTARTS))
            transport.end()
            return None
        return position

    async def _tell_later(self) -> None:
        """Have told in time what the hub tells later than it happens."""
        hub = self.relay.hub
        while True:
            await hub.pending.wait()
            before = trio.current_time()
            await trio.sleep(TICK)
            if trio.current_time() - before > TICK + OVERSLEPT:
                # The relay stood still: what typists said meanwhile is read first.
                await trio.sleep(TICK)
            hub.tick(trio.current_time())
            hub.flush()


def _peer(address: Any) -> str:
    """The address of a new connection, as `peer_of` gives it."""
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else "local"


async def _send(transport: Transport, data: bytes) -> None:
    while data:
        sent = await transport.send_some(data)
        data = data[sent:]
