"""The frames that wait to be sent to one connection: bounded, joined into one write, drained by a task if needed.

Frames go out in the order in which they were queued, and at most one task drains. It knows a transport and
does not look into the frames.
"""

from collections.abc import Callable

import trio

from relay.net.sockets.transport import Transport
from relay.net.websocket.keepalive import Keepalive

OUTBOX_FRAMES = 1_024
"""Maximum waiting frames; beyond it, live events are refused and replayed from the log later."""
PAUSE_READING_BYTES = 262_144
"""At this many bytes, the relay stops reading from the peer, which does not read its responses."""
STUCK_SECONDS = 30.0
"""How long a peer may read nothing before it is disconnected (PROTOCOL.md, section 7)."""
SOCKET_WRITE_BYTES = 131_072
"""Bytes given to the transport at a time while draining."""


class Outbox:
    """The frames that wait for one connection; the `Outlet` of its subscriber, and `Watched` while it drains."""

    timeout = STUCK_SECONDS

    __slots__ = (
        "_advanced",
        "_drained",
        "_draining",
        "_ended",
        "_frames",
        "_keepalive",
        "_most",
        "_nursery",
        "_shut",
        "_since",
        "_size",
        "_stuck",
        "_timeout",
        "_transport",
        "heard",
    )

    def __init__(
        self,
        transport: Transport,
        nursery: trio.Nursery,
        stuck: Callable[[], None],
        advanced: Callable[[], None],
        keepalive: Keepalive,
        most: int,
    ) -> None:
        """Begin empty.

        Args:
            transport: takes the bytes.
            nursery: runs the task that drains.
            stuck: called when the peer has read nothing for `STUCK_SECONDS`.
            advanced: called when waiting bytes have gone out.
            keepalive: watches the peer while the outbox drains.
            most: maximum waiting bytes; beyond it, live events are refused and replayed from the log later.
        """
        self._transport = transport
        self._nursery = nursery
        self._stuck = stuck
        self._advanced = advanced
        self._keepalive = keepalive
        self._most = most
        self._timeout = trio.CancelScope()
        self.heard = 0.0  # when the peer last read something, trio's time
        self._frames: list[bytes] = []
        self._size = 0
        self._draining = False
        self._drained: trio.Event | None = None
        self._since = 0.0  # when draining began, trio's time
        self._shut = False
        self._ended = False

    @property
    def waiting(self) -> tuple[int, float]:
        """See `Outlet`."""
        return self._size, self._since if self._size else 0.0

    @property
    def overflowing(self) -> bool:
        """Whether to stop reading from the peer."""
        return self._size >= PAUSE_READING_BYTES

    def put(self, frame: bytes) -> None:
        """Queue a frame; dropped when the connection is already closing."""
        if not self._shut:
            self._frames.append(frame)
            self._size += len(frame)

    def offer(self, frame: bytes) -> bool:
        """See `Outlet`. Tries to send first when the outbox is full."""
        if self._size >= self._most and not self._draining:
            self.flush()
        if self._draining and (self._size >= self._most or len(self._frames) >= OUTBOX_FRAMES):
            return False
        if not self._shut:
            self._frames.append(frame)
            self._size += len(frame)
        return True

    def shut(self, last: bytes) -> None:
        """Queue a last frame and accept no more."""
        self.put(last)
        self._shut = True

    def end(self) -> None:
        """Drop the waiting frames: the connection is over."""
        self._shut = self._ended = True
        self._frames.clear()
        self._size = 0
        self._keepalive.forget(self)

    @property
    def exempt(self) -> bool:
        """See `Watched`: whether nothing is waiting."""
        return not self._draining

    def timed_out(self) -> None:
        """See `Watched`."""
        self._timeout.cancel()

    def flush(self) -> None:
        """Send as much as possible without waiting; a task drains the rest."""
        frames = self._frames
        if self._draining or not frames or self._ended:
            return
        if self._size > SOCKET_WRITE_BYTES:
            # The task lets others have a turn between two writes.
            self._begin_to_drain()
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        sent = self._transport.send_now(data)
        if sent == len(data):
            frames.clear()
            self._size = 0
            return
        self._frames = [data[sent:]]
        self._size = len(data) - sent
        self._begin_to_drain()

    def _begin_to_drain(self) -> None:
        self._draining = True
        self._since = trio.current_time()
        self._nursery.start_soon(self._drain)

    async def drained(self) -> None:
        """Wait until everything flushed has gone out."""
        while self._draining:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def _drain(self) -> None:
        self.heard = trio.current_time()
        self._keepalive.watch(self)
        with trio.CancelScope() as self._timeout:
            await self._send_waiting()
        if self._timeout.cancelled_caught:
            self._stuck()
            return
        if self._ended:
            return
        self._draining = False
        if self._drained is not None:
            self._drained.set()
            self._drained = None

    async def _send_waiting(self) -> None:
        while self._frames:
            data = memoryview(self._take())
            while data:
                try:
                    sent = await self._transport.send_some(data[:SOCKET_WRITE_BYTES])
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    sent = len(data)
                if self._ended:
                    return
                self.heard = trio.current_time()
                self._size -= sent
                data = data[sent:]
                self._advanced()

    def _take(self) -> bytes:
        """Remove frames from the front, `SOCKET_WRITE_BYTES` or a little more."""
        size = count = 0
        for frame in self._frames:
            size += len(frame)
            count += 1
            if size >= SOCKET_WRITE_BYTES:
                break
        data = b"".join(self._frames[:count])
        del self._frames[:count]
        return data
