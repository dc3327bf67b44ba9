"""What is on its way to one connection: bounded, sent as one write a turn, waited for only while the peer is slow.

Its promise of order: frames go out in the order they were put in; at most one task drains. It knows a
transport and nothing of what the frames say.
"""

from collections.abc import Callable

import trio

from relay.net.sockets.transport import Transport
from relay.net.websocket.keepalive import Keepalive

OUTBOX_BYTES = 262_144
"""Bytes that may wait before events are no longer put in."""
OUTBOX_FRAMES = 1_024
"""Frames that may wait likewise."""
PAUSE_READING_BYTES = OUTBOX_BYTES
"""Bytes from which on none of its requests is taken up either: it asks and does not listen."""
STUCK_SECONDS = 30.0
"""Seconds without any progress after which a peer counts as stuck (PROTOCOL.md, section 7)."""
WRITE_BYTES = 131_072
"""Bytes given to the transport at a time while draining."""


class Outbox:
    """The frames that wait for one connection: the `Outlet` of its subscriber, watched while they wait."""

    patience = STUCK_SECONDS

    __slots__ = (
        "_advanced",
        "_drained",
        "_draining",
        "_ended",
        "_frames",
        "_keepalive",
        "_nursery",
        "_patience",
        "_shut",
        "_since",
        "_size",
        "_stuck",
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
    ) -> None:
        """Begin empty.

        Args:
            transport: takes the bytes.
            nursery: where the task runs that drains.
            stuck: called when the peer has taken nothing for too long.
            advanced: called when something that had to wait has gone out.
            keepalive: tells when the peer has taken nothing for too long.
        """
        self._transport = transport
        self._nursery = nursery
        self._stuck = stuck
        self._advanced = advanced
        self._keepalive = keepalive
        self._patience = trio.CancelScope()
        self.heard = 0.0  # when the peer last took something, trio's time
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
        """Whether it is time to stop reading from the peer."""
        return self._size >= PAUSE_READING_BYTES

    def put(self, frame: bytes) -> None:
        """Queue a frame. An answer may come when there is nobody left to take it."""
        if not self._shut:
            self._frames.append(frame)
            self._size += len(frame)

    def offer(self, frame: bytes) -> bool:
        """See `Outlet`. What can go out is sent first."""
        if self._size >= OUTBOX_BYTES and not self._draining:
            self.flush()
        if self._draining and (self._size >= OUTBOX_BYTES or len(self._frames) >= OUTBOX_FRAMES):
            return False
        if not self._shut:
            self._frames.append(frame)
            self._size += len(frame)
        return True

    def shut(self, last: bytes) -> None:
        """Queue a last frame and take no more."""
        self.put(last)
        self._shut = True

    def end(self) -> None:
        """Give up what waits: the connection is gone."""
        self._shut = self._ended = True
        self._frames.clear()
        self._size = 0
        self._keepalive.forget(self)

    @property
    def waited_for(self) -> bool:
        """See `Watched`: whether nothing waits for the peer to take it."""
        return not self._draining

    def silent(self) -> None:
        """See `Watched`."""
        self._patience.cancel()

    def flush(self) -> None:
        """Send what waits without waiting; what does not go is drained by a task."""
        frames = self._frames
        if self._draining or not frames or self._ended:
            return
        if self._size > WRITE_BYTES:
            # Others have their turn between its pieces.
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
        """Wait until all that was flushed has gone out."""
        while self._draining:
            if self._drained is None:
                self._drained = trio.Event()
            await self._drained.wait()

    async def _drain(self) -> None:
        self.heard = trio.current_time()
        self._keepalive.watch(self)
        with trio.CancelScope() as self._patience:
            await self._send_waiting()
        if self._patience.cancelled_caught:
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
                    sent = await self._transport.send_some(data[:WRITE_BYTES])
                except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                    sent = len(data)
                if self._ended:
                    return
                self.heard = trio.current_time()
                self._size -= sent
                data = data[sent:]
                self._advanced()

    def _take(self) -> bytes:
        """Take frames off the front, up to a write's worth."""
        size = count = 0
        for frame in self._frames:
            size += len(frame)
            count += 1
            if size >= WRITE_BYTES:
                break
        data = b"".join(self._frames[:count])
        del self._frames[:count]
        return data
