"""One WebSocket connection from its handshake to its end: reads frames, hands them on, keeps it alive or ends it.

Knows the transport below and the service above; the rules of the chat are not its business. What fails in
here ends this connection only.
"""

import logging
import sqlite3
from collections import deque
from collections.abc import Awaitable, Iterator

import trio

from relay.core.delivery.subscriber import Subscriber
from relay.core.limits.share import COMMANDS_PER_BATCH
from relay.core.service.dispatch import Service
from relay.net.sockets.transport import Transport
from relay.net.websocket import frames
from relay.net.websocket.keepalive import SILENCE, Keepalive
from relay.net.websocket.outbox import Outbox
from relay.protocol import codec
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

ABUSE = 20
"""Bad frames in a minute that end a connection (section 2)."""
ABUSE_SECONDS = 60.0
AHEAD = 1_024
"""Replayed events that one who acknowledges may have to take in before more comes: what it asks meanwhile is answered
after no more than these."""
ACKNOWLEDGING = 1.0
"""Seconds without an acknowledgement after which nobody waits for them any more."""
SLICE = 32
"""Messages of one read that are handled before it is looked at whose turn it is."""
PORTION = 4_096
"""Bytes of one read that are taken apart before it is: some 700 of the smallest frames."""
FRAME_BITS = 8
"""Two to the power of this, 256, bytes of a read count as one more frame of those that a client may send."""
COUNTED = 64
"""Frames after which their user is charged for them."""
FAREWELL = 2.0
"""Seconds that a peer has for its half of the closing handshake."""

NORMAL = 1000
NO_CODE = 1005
ABUSED = 1008
INTERNAL = 1011
SERVER_RESTARTING = 1012
TRY_AGAIN = 1013
SILENT = 4408
STUCK_READER = 4409

FAILED = "a connection failed and is closed; the relay goes on"
FAILED_REASON = "the relay failed; its log says why"

BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Session:
    """One connection: the `Connection` of its subscriber."""

    patience = SILENCE

    __slots__ = (
        "_abuse",
        "_acknowledged",
        "_acknowledges",
        "_answering",
        "_catching_up",
        "_closing",
        "_decoder",
        "_ended",
        "_held",
        "_liveness",
        "_nursery",
        "_outbox",
        "_service",
        "_share",
        "_subscriber",
        "_transport",
        "_uncounted",
        "heard",
    )

    def __init__(self, transport: Transport, service: Service, liveness: Keepalive) -> None:
        self._transport = transport
        self._service = service
        self._liveness = liveness
        self._decoder = frames.Decoder(limit=service.settings.limits.frame_bytes)
        self._uncounted = 0  # frames that the user was not charged for yet
        self._held = 0  # bytes of an unfinished message, as the user's share knows
        self._abuse: deque[float] | None = None
        self._acknowledged = trio.Event()
        self._acknowledges = True
        self._answering = False
        self._closing = False
        self._ended = False
        self._catching_up = False
        self.heard = trio.current_time()
        """When bytes last came from the peer, trio's time."""

    async def run(self, user: int, device: int, position: int, received: bytes, version: int = 1) -> None:
        """Serve the connection until it ends.

        Args:
            user: who signed in.
            device: from which device.
            position: the last event id that the device has.
            received: what came after the handshake in the same read.
            version: of the protocol, that the client speaks.
        """
        with self._service.limits.shares.of(user, self) as share:
            self._share = share
            try:
                await self._serve(user, device, position, received, version)
            finally:
                self._come_apart()

    def _come_apart(self) -> None:
        """Let go of what knows this session in turn: a dead connection must not wait for the garbage collector."""
        # Whoever still calls `start_catch_up` gets nothing more.
        self._catching_up = True
        del self._nursery, self._outbox, self._subscriber

    async def _serve(self, user: int, device: int, position: int, received: bytes, version: int) -> None:
        hub = self._service.hub
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._outbox = Outbox(self._transport, nursery, self._stuck, self._share.note_progress, self._liveness)
            subscriber = Subscriber(hub.next_number(), user, device, self._outbox, self, position, version, self._share)
            self._subscriber = subscriber
            hub.connect(subscriber)
            self._liveness.watch(self)
            try:
                self.start_catch_up()
                hub.flush()
                await self._read(received)
            except BROKEN:
                logger.debug("connection of user %d broke", user)
            except Exception:
                logger.exception(FAILED)
                self.close(INTERNAL, FAILED_REASON)
                await self._part()
            finally:
                self._liveness.forget(self)
                hub.disconnect(subscriber)
                hub.flush()
                self._ended = True
                self._outbox.end()
                nursery.cancel_scope.cancel()

    # In.

    async def _read(self, received: bytes) -> None:
        waiting = self._take_read(received, trio.current_time())
        if waiting is not None:
            await waiting
        await self._transport.receive_each(self._take_read)

    def _take_read(self, data: bytes, now: float) -> Awaitable[None] | None:
        """Handle all messages of a read that came at `now`, trio's time; give what is still to be awaited."""
        size = len(data)
        if size > PORTION:
            return self._take_portions(data)
        self.heard = now
        decoder = self._decoder
        messages = decoder.feed(data)
        if messages:
            self._service.log.note_read(size + self._held, now)
        if decoder.held != self._held:
            self._hold(decoder.held)
        count = len(messages)
        uncounted = self._uncounted + count + (size >> FRAME_BITS)
        if decoder.fragments:
            uncounted += decoder.fragments
            decoder.fragments = 0
        rest = iter(messages)
        if uncounted < COUNTED:
            self._uncounted = uncounted
        else:
            self._uncounted = 0
            pause = self._service.limits.frames.charge(self._subscriber.user, now, uncounted)
            if pause or count > SLICE:
                return self._take_rest(None, rest, pause)
        share = self._share
        for opcode, payload in rest:
            waiting = self._take(opcode, payload)
            if waiting is not None:
                return self._take_rest(waiting, rest)
            if share.commands >= COMMANDS_PER_BATCH and self._crowded:
                # What is looked up counts as several, so one read can be too much for a batch.
                return self._take_rest(None, rest)
        return self._end_read()

    async def _take_portions(self, data: bytes) -> None:
        """Handle a large read a little at a time: small frames are many, and each costs more than its bytes."""
        for start in range(0, len(data), PORTION):
            self._answering = True
            if start:
                await self._turn()
            waiting = self._take_read(data[start : start + PORTION], trio.current_time())
            if waiting is not None:
                await waiting
        self._answering = False

    async def _turn(self) -> None:
        """Let others have their turn where this user has had theirs."""
        payer = self._transport.payer
        if payer is not None and not payer.begin():
            self._service.hub.flush()
            await payer.turn()
            self.heard = trio.current_time()

    async def _take_rest(
        self, waiting: Awaitable[None] | None, messages: Iterator[tuple[int, bytes]], pause: float = 0.0
    ) -> None:
        """Go on with a read that cannot be handled at once: answers come in order.

        Args:
            waiting: what the last message asked for, which takes its time.
            messages: those that follow.
            pause: seconds to wait first, since the client sends too much.
        """
        self._answering = True
        if waiting is not None:
            self._service.hub.flush()
            await waiting
        if pause:
            await trio.sleep(pause)
        for count, (opcode, payload) in enumerate(messages, 1):
            if self._crowded:
                await self._hold_back()
            more = self._take(opcode, payload)
            if more is not None:
                self._service.hub.flush()
                await more
            elif count % SLICE == 0:
                await self._turn()
        # Signs of life that came meanwhile lie in the socket still.
        self.heard = trio.current_time()
        self._answering = False
        held_back = self._end_read()
        if held_back is not None:
            await held_back

    def _hold(self, size: int) -> None:
        """Tell the user's share how much of an unfinished message is here."""
        self._held = size
        self._service.limits.shares.hold(self._share, self, size)

    @property
    def waiting_bytes(self) -> int:
        """See `Holder`."""
        return self._outbox.waiting[0]

    def abort(self) -> None:
        """See `Holder`."""
        self._held = 0
        self._decoder.stop()
        logger.info("closing %s (%d): it holds too much of unfinished messages", self._transport.peer, TRY_AGAIN)
        self.close(TRY_AGAIN, "too many unfinished messages at once")

    def _end_read(self) -> Awaitable[None] | None:
        """Do once what all messages of a read ask for; give what is to be waited for where there is too much."""
        service = self._service
        if self._catching_up and self._subscriber.ack_pending:
            self._acknowledged.set()
        violation = self._decoder.violation
        if violation is not None:
            self.close(violation.code, violation.reason)
        # Once a read of each member of a group: without a further call where there is nothing to send or to wait for.
        if service.hub.dirty:
            service.hub.flush()
        full = service.log.full
        if full or self._share.commands >= COMMANDS_PER_BATCH or self._outbox.overflowing:
            return self._hold_back() if full or self._crowded else None
        return None

    @property
    def _crowded(self) -> bool:
        """Whether this user has to wait before more is taken up, for the connection's sake or for others'."""
        share = self._share
        return self._outbox.overflowing or (
            share.commands >= COMMANDS_PER_BATCH and share.batch == self._service.log.batch
        )

    async def _hold_back(self) -> None:
        """Take nothing more from the peer before there is room for it."""
        before, self._answering = self._answering, True
        self._service.hub.flush()
        log, share = self._service.log, self._share
        await log.room()
        while share.commands >= COMMANDS_PER_BATCH and share.batch == log.batch:
            await log.next_batch()
        if self._outbox.overflowing:
            await self._outbox.drained()
        await self._share.room()
        self._answering = before
        self.heard = trio.current_time()

    def _take(self, opcode: int, payload: bytes) -> Awaitable[None] | None:
        """Handle one message; give what is still to be awaited."""
        if self._closing:
            if opcode == frames.CLOSE:
                self._nursery.cancel_scope.cancel()
            return None
        if self._service.log.stopping and opcode != frames.CLOSE:
            # What is taken up now could not be answered any more; unanswered, it is sent again after the restart.
            return None
        if opcode == frames.TEXT:
            try:
                return self._service.take(self._subscriber, payload, self.heard)
            except RelayError as error:
                self._bad_frame(error)
        elif opcode == frames.PING:
            # With all else that this read asks for, in one write.
            self._outbox.put(frames.encode(frames.PONG, payload))
            self._service.hub.dirty[self._outbox] = None
        elif opcode == frames.BINARY:
            self._bad_frame(RelayError.bad_field("frame", "messages are JSON objects in text frames"))
        elif opcode == frames.CLOSE:
            code, _ = frames.parse_close(payload)
            self.close(NORMAL if code == NO_CODE else code, "")
            self._nursery.start_soon(self._part)
        return None

    def _bad_frame(self, error: RelayError) -> None:
        service = self._service
        service.hub.send(self._outbox, codec.error_frame(service.clock(), error.error))
        now = trio.current_time()
        if self._abuse is None:
            self._abuse = deque(maxlen=ABUSE)
        self._abuse.append(now)
        if len(self._abuse) == ABUSE and now - self._abuse[0] < ABUSE_SECONDS:
            self.close(ABUSED, f"{ABUSE} bad frames within a minute")

    # Out.

    def close(self, code: int, reason: str) -> None:
        """See `Connection`. What was queued goes out first; then the peer has a moment to part."""
        if self._closing or self._ended:
            return
        self._outbox.shut(frames.encode_close(code, reason))
        self._closing = True
        self._subscriber.live = False
        # Whoever is told to go is gone for the others at once, whether they answer or not.
        self._service.hub.disconnect(self._subscriber)
        self._outbox.flush()
        self._nursery.start_soon(self._farewell)

    async def _farewell(self) -> None:
        await trio.sleep(FAREWELL)
        self._nursery.cancel_scope.cancel()

    async def _part(self) -> None:
        """The peer has closed: once our half is out there is nothing to wait for."""
        await self._outbox.drained()
        self._transport.end()
        self._nursery.cancel_scope.cancel()

    def silent(self) -> None:
        """Nothing came for too long: this ends the connection (section 4)."""
        self.close(SILENT, "no sign of life for 20 s")

    @property
    def waited_for(self) -> bool:
        """Whether it is us who do not read, so that silence says nothing."""
        payer = self._transport.payer
        waits = payer is not None and payer.waiting > 0
        return self._answering or waits or self._outbox.overflowing or self._service.log.full

    def _stuck(self) -> None:
        """The peer has not taken a byte for too long."""
        logger.info("closing %s (%d): it reads nothing", self._transport.peer, STUCK_READER)
        self._nursery.cancel_scope.cancel()

    # Catching up.

    def start_catch_up(self) -> None:
        """See `Connection`."""
        if not self._catching_up:
            self._catching_up = True
            self._nursery.start_soon(self._catch_up)

    async def _catch_up(self) -> None:
        """Read from the log what the subscriber has not seen, until it can go on live."""
        hub, subscriber = self._service.hub, self._subscriber
        try:
            while not self._closing:
                await self._outbox.drained()
                if hub.rejoin(subscriber):
                    break
                hub.flush()
                await self._share.room()
                await self._turn()
                await self._service.catch_up.page(subscriber)
                hub.flush()
                await self._taken_in()
        except sqlite3.Error as error:
            logger.error("cannot replay to a device: the store cannot be read: %s", error)
            self.close(TRY_AGAIN, "the relay cannot read its store just now")
        except Exception:
            logger.exception(FAILED)
            self.close(INTERNAL, FAILED_REASON)
        self._catching_up = False
        hub.flush()

    async def _taken_in(self) -> None:
        """Let one who acknowledges take in what it was sent; who does not is sent all that it takes."""
        while self._acknowledges and self._subscriber.unacknowledged > AHEAD and not self._closing:
            self._acknowledged = trio.Event()
            with trio.move_on_after(ACKNOWLEDGING) as patience:
                await self._acknowledged.wait()
            self._acknowledges = not patience.cancelled_caught
