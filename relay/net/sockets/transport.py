"""Bytes in and bytes out, over a plain socket or over a stream of trio's (TLS, and tests).

Both have the same few verbs, so that whatever stands on them knows no difference.
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import outcome
import trio

from relay.core.limits.fairness import Account
from relay.net.sockets.epoll import Readiness

T = TypeVar("T")

RECEIVE = 65_536
"""Bytes taken at one read."""
CHUNK = 16_384
"""Bytes given to a stream at a time: each that goes through is progress."""
FILE_CHUNK = 2**20
"""Bytes of a file given to the kernel at a time."""
STREAM_FILE_CHUNK = 131_072
"""Bytes of a file read and given to a stream at a time."""
SEND_BUFFER = 262_144
"""Bytes that the kernel may hold for one who does not read."""
ANONYMOUS_SEND_BUFFER = 16_384
"""The same for one who has not signed in; Linux doubles both."""


ReadHandler = Callable[[bytes, float], Awaitable[None] | None]
"""Handles what one read brought, at once, and at what time (trio's) that was news; what it gives is to be awaited
before the next."""


class Transport(Protocol):
    """One connection to a peer. Whatever it takes or gives waits for the turn of its payer."""

    payer: Account | None
    """For whom the connection is served, once that is known."""

    @property
    def peer(self) -> str:
        """The peer's address, for the log and for limits."""

    @property
    def broken(self) -> bool:
        """Whether something could not be sent, since the connection is over."""

    async def receive(self) -> bytes:
        """Wait for bytes; none at the end.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """

    async def receive_each(self, take: ReadHandler) -> None:
        """Have each read handled as it comes, until the end of the stream.

        `take` may be called in whichever task learns that there is something; what it raises is raised here.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """

    def send_now(self, data: bytes | memoryview) -> int:
        """Send what can be sent without waiting, and say how many bytes that was."""

    async def send_some(self, data: bytes | memoryview) -> int:
        """Wait until at least some bytes could be sent, and say how many."""

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """Wait until at least some of a part of a file could be sent, and say how many bytes.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke, or the file cannot be read.
        """

    def grow_buffer(self) -> None:
        """Let more wait in the kernel, for one who has signed in."""

    def discard(self) -> None:
        """Have the close throw away what the peer did not take, instead of keeping it for minutes."""

    def end(self) -> None:
        """Say that nothing more will be sent."""

    def close(self) -> None:
        """Close at once."""


def peer_of(connected: socket.socket) -> str:
    """The address at the other end; IPv4 looks alike on every listener.

    Raises:
        OSError: it is gone already.
    """
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return "local"
    return str(connected.getpeername()[0]).removeprefix("::ffff:")


Handed = outcome.Outcome[tuple[bool, Awaitable[None] | None]]
"""What came of a read: whether the stream goes on, and what is to be awaited before the next."""


class SocketTransport:
    """A plain socket that does not block, used directly: no task switch where none is needed."""

    __slots__ = ("_over", "_parked", "_readable", "_readiness", "_socket", "_take", "_wide", "broken", "payer", "peer")

    def __init__(self, connected: socket.socket, readiness: Readiness) -> None:
        connected.setblocking(False)
        if connected.family in (socket.AF_INET, socket.AF_INET6):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANONYMOUS_SEND_BUFFER)
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
        """See `Transport`. Whoever waits for all sockets calls `take`: a read costs no switch to another task.

        This one is woken when there is something to await, when it is over, and when there is more than one read
        took, which can wait until others had their turn.
        """
        while True:
            self._take = take
            try:
                done = await self._news()
            finally:
                self._take = None
            if done is None:
                await _turn_of(self.payer)
                done = self._hand_over(take, trio.current_time())
            if done is not None:
                try:
                    go_on, waiting = done.unwrap()
                finally:
                    # An exception holds this frame: it must not hold the exception, or a dead connection stays.
                    del done
                if not go_on:
                    return
                if waiting is not None:
                    await waiting

    async def _news(self) -> Handed | None:
        """Wait until there may be something to read; gives what came of it where it was handed over already."""
        if self._readable:
            # Others get their turn, however much one peer sends.
            await trio.lowlevel.checkpoint()
            return None
        self._parked = trio.lowlevel.current_task()
        done: Handed | None = await trio.lowlevel.wait_task_rescheduled(self._unpark)
        return done

    def _receive_now(self) -> bytes | None:
        """Read what is there; None where nothing is."""
        try:
            data = self._socket.recv(RECEIVE)
        except BlockingIOError:
            self._readable = False
            return None
        # A read that is not full has emptied the socket; the end of the stream is news that came already.
        self._readable = self._over or len(data) == RECEIVE
        return data

    def _hand_over(self, take: ReadHandler, now: float) -> Handed | None:
        """Read once, and have it handled; None where nobody has to do anything more about it."""
        try:
            data = self._receive_now()
            waiting = take(data, now) if data else None
        except Exception as error:  # noqa: BLE001 - whose connection it is raises it
            return outcome.Error(error)
        if waiting is None and data is None:
            return None
        if waiting is None and data and not self._readable:
            return None
        return outcome.Value((data != b"", waiting))

    def _unpark(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED

    def readable(self, now: float, *, over: bool) -> None:
        """See `Reader`."""
        self._readable = True
        self._over |= over
        if self._parked is None:
            return
        done = None
        if self._take is not None and (self.payer is None or self.payer.begin()):
            done = self._hand_over(self._take, now)
            if done is None:
                return
        task, self._parked = self._parked, None
        if task is None:
            # What was read had the connection cut off: its task is on its way out, and takes nothing more.
            _give_up(done)
            return
        trio.lowlevel.reschedule(task, outcome.Value(done))
        # As in `receive_each`: the traceback of an exception has this frame.
        del done

    def send_now(self, data: bytes | memoryview) -> int:
        """See `Transport`. A connection that broke takes everything: the reader learns of it."""
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
        """See `Transport`. The kernel copies it; in a thread, since the disk may take its time."""
        await _turn_of(self.payer)
        while True:
            await trio.lowlevel.wait_writable(self._socket)
            try:
                return await _in_thread(
                    self.payer, os.sendfile, self._socket.fileno(), descriptor, offset, min(count, FILE_CHUNK)
                )
            except BlockingIOError:
                continue

    def grow_buffer(self) -> None:
        """See `Transport`."""
        if not self._wide and self._socket.family in (socket.AF_INET, socket.AF_INET6):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
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
        await payer.turn()


async def _in_thread(payer: Account | None, work: Callable[..., T], *arguments: Any) -> T:
    return await (trio.to_thread.run_sync(work, *arguments) if payer is None else payer.in_thread(work, *arguments))


def _give_up(done: Handed | None) -> None:
    """Let go of what was still to be awaited, where nobody will."""
    waiting = done.value[1] if isinstance(done, outcome.Value) else None
    if waiting is not None:
        waiting.close()


class StreamTransport:
    """A stream of trio's: nothing goes without waiting, so all of it takes the drain task's way."""

    __slots__ = ("_stream", "payer", "peer")
    broken = False
    """A stream says so by an exception."""

    def __init__(self, stream: trio.abc.Stream, peer: str = "stream") -> None:
        self._stream = stream
        self.payer: Account | None = None
        self.peer = peer

    async def receive(self) -> bytes:
        """See `Transport`."""
        await _turn_of(self.payer)
        return bytes(await self._stream.receive_some(RECEIVE))

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
        part = data[:CHUNK]
        await _turn_of(self.payer)
        await self._stream.send_all(part)
        return len(part)

    async def send_file(self, descriptor: int, offset: int, count: int) -> int:
        """See `Transport`."""
        await _turn_of(self.payer)
        data = await _in_thread(self.payer, os.pread, descriptor, min(count, STREAM_FILE_CHUNK), offset)
        await self._stream.send_all(data)
        return len(data)

    def grow_buffer(self) -> None:
        """See `Transport`: a stream has no buffer that could be set."""

    def discard(self) -> None:
        """See `Transport`: a stream that is closed by force sends nothing more."""

    def end(self) -> None:
        """See `Transport`: a stream is ended by closing it."""

    def close(self) -> None:
        """See `Transport`; the owner of the stream closes it with `aclose`."""
