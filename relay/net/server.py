"""The server: listens, runs one task per connection, and stops them all in order.

Sockets are wrapped into transports here; nothing above sees one.
"""

import errno
import logging
import socket
import sqlite3
import ssl
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus

import trio

from relay.core.auth.throttle import rate_limit_key
from relay.core.files.uploads import SWEEP_SECONDS
from relay.core.limits.fairness import PAYER, Account
from relay.core.limits.rate_limit import RateLimit
from relay.core.relay import Relay
from relay.keys import Seq, UserKey
from relay.net.http.response import HttpError, error_response
from relay.net.router import Router
from relay.net.sockets.descriptors import NONE_LEFT, ConnectionLimit, SpareDescriptor
from relay.net.sockets.epoll import Readiness
from relay.net.sockets.transport import SocketTransport, StreamTransport, Transport, peer_of
from relay.net.tls.certificates import CLIENT_HELLO, Certificates
from relay.net.tuning import NetTuning
from relay.net.websocket import frames
from relay.net.websocket.close_codes import SERVICE_RESTART
from relay.net.websocket.handshake import WebSocketUpgrade
from relay.net.websocket.keepalive import OVERSLEPT_SECONDS, Keepalive
from relay.net.websocket.session import BROKEN, Session
from relay.protocol.errors import RelayError
from relay.settings import LimitsSection
from relay.tasks.background import keep_running

logger = logging.getLogger(__name__)

ACCEPT_PAUSE_SECONDS = 0.2
"""How long to wait before the next `accept` when no file descriptors are left."""
TICK_SECONDS = 0.2
"""How long the hub's delayed announcements are collected."""
CONNECTS_PER_SECOND, CONNECTS_AT_ONCE = 10.0, 64
"""How often one user may connect: each connection costs a replay and the list of online contacts."""
STOP_SECONDS = 5.0
"""How long a stop may take altogether."""
LAST_ANSWER_SECONDS = 1.0
"""How long accepted connections may still make a request and get an answer when the relay stops."""
RESTART_REASON = "the relay restarts"
REFUSED = b"HTTP/1.1 %s\r\n%sConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
"""The head of the response to a handshake that cannot be finished."""
ACCEPT_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class Server:
    """The network side of one relay."""

    def __init__(
        self,
        relay: Relay,
        listeners: Sequence[socket.socket] = (),
        certificates: Certificates | None = None,
        tuning: NetTuning | None = None,
        *,
        most_connections: Callable[[], int] | None = None,
    ) -> None:
        """Put the network side together.

        Args:
            relay: the relay to serve.
            listeners: the listening sockets; `run` closes them.
            certificates: for TLS; None for plain HTTP.
            tuning: time limits for clients, and sizes of queues; None for the defaults.
            most_connections: returns the maximum number of WebSockets; None for the limit of settings and process.
        """
        self.relay = relay
        self.tuning = tuning = tuning or NetTuning()
        self._listeners = listeners
        self._most_connections = most_connections or ConnectionLimit(relay.settings.limits)
        self.certificates = certificates
        self._limits = relay.settings.limits
        self.readiness = Readiness()
        self.keepalive = Keepalive()
        self.router = Router(
            relay,
            tuning,
            hsts=certificates is not None and certificates.publicly_trusted,
            timeout=self.keepalive.timeout,
            secure_port=listeners[0].getsockname()[1] if listeners and certificates is not None else None,
            listened_on=frozenset(str(listener.getsockname()[0]) for listener in listeners),
        )
        self._spare = SpareDescriptor()
        self._rejected = 0
        self._rejected_at = 0.0
        self.sessions: set[Session] = set()
        self._connections: Counter[UserKey] = Counter()
        """WebSockets by user, including those in their handshake."""
        self._connecting = RateLimit(LimitsSection(requests_per_second=CONNECTS_PER_SECOND, burst=CONNECTS_AT_ONCE))
        self._listening = trio.CancelScope()
        self._stopping = False
        self._in_http = 0
        self._http_ended = trio.Event()
        self._sessions_ended = trio.Event()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until `stop` is called and all connections are closed."""
        # Warns before the first connection if the limit of descriptors is too low.
        logger.debug("room for %d connections", self._most_connections())
        with self.router.fairness.at_work():
            await self._run(task_status)

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, "reading connections", self.readiness.run)
            if self.certificates is not None:
                nursery.start_soon(keep_running, "the certificate", self.certificates.keep_fresh)
            nursery.start_soon(keep_running, "the keepalive", self.keepalive.run)
            nursery.start_soon(keep_running, "announcements", self.announce_later)
            nursery.start_soon(keep_running, "downloads under way", self.relay.files.downloads.run)
            nursery.start_soon(keep_running, "removing unused files", self.relay.files.run, SWEEP_SECONDS)
            async with trio.open_nursery() as connections:
                with self._listening:
                    async with trio.open_nursery() as listening:
                        for listener in self._listeners:
                            listening.start_soon(self._listen, listener, connections)
                        task_status.started()
                with trio.move_on_after(STOP_SECONDS) as timeout:
                    await self.farewell()
                if timeout.cancelled_caught:
                    logger.warning("some connections did not close within %s s and were cut", STOP_SECONDS)
                connections.cancel_scope.cancel()
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Stop accepting, write and send everything pending, close all connections, and let `run` return."""
        self._stopping = True
        self.router.idle_connections.close()
        self._listening.cancel()

    async def farewell(self) -> None:
        """Write and send everything pending, and close all connections; the relay is stopping."""
        self.relay.stop()
        await self.relay.log.stopped.wait()
        self.relay.hub.flush()
        for session in list(self.sessions):
            session.close(SERVICE_RESTART, RESTART_REASON)
        if self.sessions:
            await self._sessions_ended.wait()
        if self._in_http:
            with trio.move_on_after(LAST_ANSWER_SECONDS):
                await self._http_ended.wait()

    async def _listen(self, listener: socket.socket, connections: trio.Nursery) -> None:
        listener.setblocking(False)
        try:
            await keep_running("accepting connections", partial(self._accept, listener, connections))
        finally:
            listener.close()

    async def _accept(self, listener: socket.socket, connections: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            try:
                connected, address = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in ACCEPT_ERRORS:
                    await self._reject(listener, connections, error)
                continue
            peer = _peer(address)
            payer = self.router.payer_at(peer)
            # Charge connecting to the address: if it connects all the time, its connections wait.
            most = self.tuning.waiting_connections_per_address
            if payer is not None and not payer.begin() and payer.waiting >= most:
                connected.close()
                continue
            connections.start_soon(self._serve_socket, connected, rate_limit_key(peer), payer)

    async def _reject(self, listener: socket.socket, connections: trio.Nursery, error: OSError) -> None:
        """Reject a connection that has no descriptor left."""
        self._rejected_at = trio.current_time()
        if not self._rejected:
            self._rejected = 1
            logger.error("no more connections can be accepted: %s; new ones are told to try again", error)
            connections.start_soon(self._until_there_is_room)
        if error.errno in NONE_LEFT and self._spare.reject(listener, plain=self.certificates is None):
            self._rejected += 1
            await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(ACCEPT_PAUSE_SECONDS)

    async def _until_there_is_room(self) -> None:
        while True:
            quiet_at = self._rejected_at + self.tuning.room_again_seconds
            if quiet_at <= trio.current_time():
                break
            await trio.sleep_until(quiet_at)
        logger.info("connections are accepted again; %d were told to try again", self._rejected - 1)
        self._rejected = 0

    async def _serve_socket(self, connected: socket.socket, address: str, payer: Account | None) -> None:
        """Serve a new connection: TLS or plain HTTP, by its first byte."""
        certificates = self.certificates
        connected.setblocking(False)
        try:
            if payer is not None and not await self._wait_for_turn(address, payer):
                return
            if certificates is None:
                await self._serve_plain(connected)
                return
            first = await self._first_byte(connected, address)
            if first == CLIENT_HELLO:
                await self._serve_tls(connected, certificates.context)
            elif first is not None:
                await self._serve_plain(connected)
        except OSError as error:
            # For instance, the system refuses to wait for it: that ends one connection.
            logger.warning("a connection was cut: %s", error)
        finally:
            connected.close()

    async def _wait_for_turn(self, address: str, payer: Account) -> bool:
        """Wait for the address's turn; return whether it came before the wait was cut short."""
        PAYER.set(payer)
        with self.router.idle_connections.wait(self.tuning.head_seconds, address) as timeout:
            await payer.wait_for_turn()
        return not timeout.cancelled_caught

    async def _first_byte(self, connected: socket.socket, address: str) -> int | None:
        """Peek at a connection's first byte; None if none comes in time."""
        with self.router.idle_connections.wait(self.tuning.head_seconds, address):
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
            with self.router.idle_connections.wait(self.tuning.tls_handshake_seconds, rate_limit_key(peer)) as timeout:
                await stream.do_handshake()
            if not timeout.cancelled_caught:
                transport = StreamTransport(stream, peer)
                transport.payer = PAYER.get(None)
                await self.serve(transport, secure=True)
        except BROKEN:
            return
        finally:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def serve(self, transport: Transport, *, secure: bool = False) -> None:
        """Serve one connection as HTTP and then as a WebSocket. A failure ends this connection only."""
        upgrade = position = None
        try:
            with self._counted_in_http():
                upgrade = await self.router.serve(transport, secure=secure, full=self._full)
                if upgrade is not None:
                    # Count it before the first await, so that no other connection slips in.
                    self._connections[upgrade.user] += 1
                    position = await self._finish_handshake(transport, upgrade)
            if upgrade is not None and position is not None:
                await self._run_session(transport, upgrade, position)
        except BROKEN:
            return
        except Exception:
            logger.exception("a connection failed before its WebSocket began; the relay goes on")
        finally:
            if upgrade is not None:
                self._connections[upgrade.user] -= 1
                if not self._connections[upgrade.user]:
                    del self._connections[upgrade.user]

    @contextmanager
    def _counted_in_http(self) -> Iterator[None]:
        self._in_http += 1
        try:
            yield
        finally:
            self._in_http -= 1
            if self._stopping and not self._in_http:
                self._http_ended.set()

    def _full(self, user: UserKey) -> str | None:
        """Return why a user may not open another WebSocket now, or None."""
        if self._stopping or self._connections.total() >= self._most_connections():
            return "too many connections"
        if self._connections[user] >= self._limits.connections_per_user:
            return f"you have {self._connections[user]} connections already"
        if self._limits.requests_per_second and self._connecting.take(user, trio.current_time()):
            return "you connect too often"
        return None

    async def _run_session(self, transport: Transport, upgrade: WebSocketUpgrade, position: Seq) -> None:
        session = Session(transport, self.relay.service, self.keepalive, self.tuning)
        self.sessions.add(session)
        try:
            await session.run(upgrade.user, upgrade.device, position, upgrade.rest, upgrade.version)
        finally:
            self.sessions.discard(session)
            if self._stopping and not self.sessions:
                self._sessions_ended.set()

    async def _finish_handshake(self, transport: Transport, upgrade: WebSocketUpgrade) -> Seq | None:
        """Finish the handshake; return the event after which the replay starts, None if there is no WebSocket."""
        starting = self.relay.service.acknowledgements.start_position(upgrade.user, upgrade.device, upgrade.after)
        try:
            position = await starting
        except sqlite3.Error as error:
            await _send(transport, _refused(self.relay.log.faults.unread(error, "a new connection")))
            transport.end()
            return None
        await _send(transport, upgrade.response)
        if self._stopping:
            await _send(transport, frames.encode_close(SERVICE_RESTART, RESTART_REASON))
            transport.end()
            return None
        return position

    async def announce_later(self) -> None:
        """Have the hub send its delayed announcements (typing, presence) on time."""
        relay, hub = self.relay, self.relay.hub
        while True:
            await hub.pending.wait()
            before = trio.current_time()
            await trio.sleep(TICK_SECONDS)
            if trio.current_time() - before > TICK_SECONDS + OVERSLEPT_SECONDS:
                # The relay stood still: first read the frames that came meanwhile, which may cancel an announcement.
                await trio.sleep(TICK_SECONDS)
            relay.tick(trio.current_time())
            hub.flush()


def _peer(address: object) -> str:
    """Return the address of a new connection, in the form of `transport.peer_of`."""
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else "local"


def _refused(error: RelayError) -> bytes:
    """Make the response to a handshake that cannot be finished."""
    response = error_response(HttpError.of(error))
    body = response.body
    assert isinstance(body, bytes)
    status = HTTPStatus(response.status)
    later = b"Retry-After: 5\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else b""
    return REFUSED % (b"%d %s" % (status, status.phrase.encode()), later, len(body)) + body


async def _send(transport: Transport, data: bytes) -> None:
    while data:
        sent = await transport.send_some(data)
        data = data[sent:]
