"""Bytes in and bytes out, over a plain socket or over a trio stream (TLS, and tests), with one interface."""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar, TypeVarTuple

import outcome
import trio

from relay import threads
from relay.core.limits.fairness import Account
from relay.keys import Seconds
from relay.net.sockets.epoll import Readiness

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

RECEIVE_BYTES = 65_536
"""The most bytes of one read."""
CHUNK_BYTES = 16_384
"""Bytes given to a stream at a time: each write that completes counts as progress."""
FILE_CHUNK_BYTES = 2**20
"""Bytes of a file given to the kernel at a time."""
STREAM_FILE_CHUNK_BYTES = 131_072
"""Bytes of a file read and given to a stream at a time."""
SEND_BUFFER_BYTES = 262_144
"""The kernel's send buffer for a user's connection; Linux doubles the value."""
ANONYMOUS_SEND_BUFFER_BYTES = 16_384
"""The same before the client has signed in."""


ReadHandler = Callable[[bytes, float], Awaitable[None] | None]
"""Handles the bytes of one read, with the time of the report (trio's). Its result has to be awaited before the next
read."""


class Transport(Protocol):
    """One connection to a peer. Reads and writes wait for the turn of its account (`core/limits/fairness.py`)."""

    payer: Account | None
    """The account that pays for this connection, once it is known."""

    @property
    def peer(self) -> str:
        """The peer's address, for the log and the limits."""

    @property
    def broken(self) -> bool:
        """Whether a write failed because the connection is over."""

    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end of the stream.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """

    async def receive_each(self, take: ReadHandler) -> None:
        """Call `take` with the bytes of each read, until the end of the stream.

        `take` may run in another task, the one that polls the sockets. Its exceptions are raised here.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """

    def send_now(self, data: bytes | memoryview) -> int:
        """Send as much as possible without waiting; return how many bytes that was."""

    async def send_some(self, data: bytes | memoryview) -> int:
        """Wait until at least some bytes could be sent; return how many."""

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Wait until at least some bytes of a file could be sent; return how many.

        Args:
            descriptor: the open file.
            offset: of the first byte to send.
            count: the most bytes to send.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke, or the file cannot be read.
        """

    def grow_buffer(self) -> None:
        """Use the send buffer of a user who has signed in."""

    def discard(self) -> None:
        """Make `close` discard unsent data, which the kernel would otherwise keep for minutes."""

    def end(self) -> None:
        """Send the end of the stream."""

    def close(self) -> None:
        """Close at once."""


def peer_of(connected: socket.socket) -> str:
    """Return the peer's address; an IPv4 address looks the same on every listener.

    Raises:
        OSError: the peer is gone already.
    """
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return "local"
    return str(connected.getpeername()[0]).removeprefix("::ffff:")


ReadResult = outcome.Outcome[tuple[bool, Awaitable[None] | None]]
"""The result of a read: whether the stream continues, and the awaitable to await before the next read."""


class SocketTransport:
    """A plain non-blocking socket, used without task switches where possible."""

    __slots__ = ("_over", "_parked", "_readable", "_readiness", "_socket", "_take", "_wide", "broken", "payer", "peer")

    def __init__(self, connected: socket.socket, readiness: Readiness) -> None:
        connected.setblocking(False)
        if connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANONYMOUS_SEND_BUFFER_BYTES)
        self.peer = peer_of(connected)
        self.payer: Account | None = None
        self._socket = connected
        self._readiness = readiness
        self._readable = False
        self._wide = False
        self.broken = False
        self._over = False
        self._parked: trio.lowlevel.Task | None = None
        self._take: ReadHandler | None = None
        readiness.watch(connected.fileno(), self)

    async def receive(self) -> bytes:
        """See `Transport`."""
        while True:
            await self._news()
            await _turn_of(self.payer)
            data = self._receive_now()
            if data is not None:
                return data

    async def receive_each(self, take: ReadHandler) -> None:
        """See `Transport`. The task that polls all sockets calls `take`: a read costs no task switch.

        This task is woken if there is something to await, at the end of the stream, and if one read did not empty the
        socket, so that others get a turn first.
        """
        while True:
            self._take = take
            try:
                done = await self._news()
            finally:
                self._take = None
            if done is None:
                await _turn_of(self.payer)
                done = self._read_once(take, trio.current_time())
            if done is not None:
                try:
                    go_on, waiting = done.unwrap()
                finally:
                    # An exception refers to this frame: keeping it here would make a cycle that keeps the connection
                    # alive.
                    del done
                if not go_on:
                    return
                if waiting is not None:
                    await waiting

    async def _news(self) -> ReadResult | None:
        """Wait until there may be something to read; return the result if it was read already."""
        if self._readable:
            # Others get their turn, however much one peer sends.
            await trio.lowlevel.checkpoint()
            return None
        self._parked = trio.lowlevel.current_task()
        done: ReadResult | None = await trio.lowlevel.wait_task_rescheduled(self._unpark)
        return done

    def _receive_now(self) -> bytes | None:
        """Read the available bytes; None if there are none."""
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            self._readable = False
            return None
        # A read that is not full has emptied the socket; the end of the stream was reported already.
        self._readable = self._over or len(data) == RECEIVE_BYTES
        return data

    def _read_once(self, take: ReadHandler, now: Seconds) -> ReadResult | None:
        """Read once and call `take`; None if nothing is left to do."""
        try:
            data = self._receive_now()
            waiting = take(data, now) if data else None
        except Exception as error:  # noqa: BLE001 - raised in the connection's own task
            return outcome.Error(error)
        if waiting is None and data is None:
            return None
        if waiting is None and data and not self._readable:
            return None
        return outcome.Value((data != b"", waiting))

    def _unpark(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def readable(self, now: Seconds, *, over: bool) -> None:
        """See `Reader`."""
        self._readable = True
        self._over |= over
        if self._parked is None:
            return
        done = None
        if self._take is not None and (self.payer is None or self.payer.begin()):
            done = self._read_once(self._take, now)
            if done is None:
                return
        task, self._parked = self._parked, None
        if task is None:
            # `take` had the connection cancelled: its task is ending and awaits nothing more.
            _give_up(done)
            return
        trio.lowlevel.reschedule(task, outcome.Value(done))
        # As in `receive_each`: an exception's traceback refers to this frame.
        del done

    def send_now(self, data: bytes | memoryview) -> int:
        """See `Transport`. A broken connection accepts everything; the reader learns that it is over."""
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self.broken = True
            return len(data)

    async def send_some(self, data: bytes | memoryview) -> int:
        """See `Transport`."""
        await _turn_of(self.payer)
        await trio.lowlevel.wait_writable(self._socket)
        return self.send_now(data)

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """See `Transport`. The kernel copies the bytes, in a thread, since the disk may be slow."""
        await _turn_of(self.payer)
        while True:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                return await _in_thread(
                    self.payer, os.sendfile, self._socket.fileno(), descriptor, offset, min(count, FILE_CHUNK_BYTES)
                )
            except BlockingIOError:
                continue

    def grow_buffer(self) -> None:
        """See `Transport`."""
        if not self._wide and self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._wide = True

    def discard(self) -> None:
        """See `Transport`."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def end(self) -> None:
        """See `Transport`."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def close(self) -> None:
        """See `Transport`."""
        trio.lowlevel.notify_closing(self._socket)
        self._readiness.forget(self._socket.fileno())
        self._socket.close()


async def _turn_of(payer: Account | None) -> None:
    if payer is not None:
        await payer.wait_for_turn()


async def _in_thread(payer: Account | None, work: Callable[[*Arguments], T], *arguments: *Arguments) -> T:
    return await (threads.run(work, *arguments) if payer is None else payer.in_thread(work, *arguments))


def _give_up(done: ReadResult | None) -> None:
    """Close a coroutine that is never awaited."""
    waiting = done.value[1] if isinstance(done, outcome.Value) else None
    if waiting is not None:
        waiting.close()


class StreamTransport:
    """A trio stream. It cannot send without waiting, so the outbox's task sends everything."""

    __slots__ = ("_stream", "payer", "peer")
    broken = False
    """A stream raises instead."""

    def __init__(self, stream: trio.abc.Stream, peer: str = "stream") -> None:
        self._stream = stream
        self.payer: Account | None = None
        self.peer = peer

    async def receive(self) -> bytes:
        """See `Transport`."""
        await _turn_of(self.payer)
        return bytes(await self._stream.receive_some(RECEIVE_BYTES))

    async def receive_each(self, take: ReadHandler) -> None:
        """See `Transport`."""
        while data := await self.receive():
            waiting = take(data, trio.current_time())
            if waiting is not None:
                await waiting

    def send_now(self, data: bytes | memoryview) -> int:
        """See `Transport`."""
        return len(data) if not data else 0

    async def send_some(self, data: bytes | memoryview) -> int:
        """See `Transport`."""
        part = data[:CHUNK_BYTES]
        await _turn_of(self.payer)
        await self._stream.send_all(part)
        return len(part)

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """See `Transport`."""
        await _turn_of(self.payer)
        data = await _in_thread(self.payer, os.pread, descriptor, min(count, STREAM_FILE_CHUNK_BYTES), offset)
        await self._stream.send_all(data)
        return len(data)

    def grow_buffer(self) -> None:
        """See `Transport`: a stream's buffer cannot be set."""

    def discard(self) -> None:
        """See `Transport`: a forcefully closed stream sends nothing more."""

    def end(self) -> None:
        """See `Transport`: closing a stream ends it."""

    def close(self) -> None:
        """See `Transport`: the stream's owner closes it with `aclose`."""
