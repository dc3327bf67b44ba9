"""One WebSocket connection from its handshake to its end: reads frames, passes them to the service, sends and closes.

It knows the transport below and the service above, but no rules of the chat. A failure here ends this connection only.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Iterator

import trio

from relay.core.delivery.subscriber import Subscriber
from relay.core.limits.share import COMMANDS_PER_BATCH
from relay.core.service.dispatch import Service
from relay.keys import DeviceKey, Seconds, Seq, UserKey
from relay.net.sockets.transport import Transport
from relay.net.tuning import NetTuning
from relay.net.websocket import close_codes, frames
from relay.net.websocket.bad_frames import BAD_FRAMES, BadFrames
from relay.net.websocket.keepalive import SILENCE_SECONDS, Keepalive
from relay.net.websocket.outbox import Outbox
from relay.net.websocket.replay import Replay
from relay.protocol import codec
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

READ_SLICE_MESSAGES = 32
"""Messages of one read that are handled before others get a turn."""
READ_SLICE_BYTES = 4_096
"""Bytes of one read that are decoded before others get a turn: some 700 of the smallest frames."""
FRAME_BYTES_LOG2 = 8
"""Each 2**8 bytes of a read are charged like one frame."""
CHARGED_FRAMES = 64
"""The user is charged once per this many frames."""
CLOSE_SECONDS = 2.0
"""How long a peer has for its half of the closing handshake."""
FAILED = "a connection failed and is closed; the relay goes on"
FAILED_REASON = "the relay failed; its log says why"
BROKEN = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)


class Session:
    """One connection; the `Connection` of its subscriber (`core/delivery/subscriber.py`)."""

    timeout = SILENCE_SECONDS

    __slots__ = (
        "_acknowledges",
        "_answering",
        "_bad_frames",
        "_closing",
        "_decoder",
        "_ended",
        "_held",
        "_keepalive",
        "_nursery",
        "_outbox",
        "_replay",
        "_service",
        "_share",
        "_subscriber",
        "_transport",
        "_tuning",
        "_uncounted",
        "heard",
    )

    def __init__(self, transport: Transport, service: Service, keepalive: Keepalive, tuning: NetTuning) -> None:
        self._transport = transport
        self._service = service
        self._keepalive = keepalive
        self._tuning = tuning
        self._decoder = frames.Decoder(limit=service.settings.limits.frame_bytes)
        self._uncounted = 0  # frames that the user was not charged for yet
        self._held = 0  # bytes of an unfinished message, as last reported to the user's share
        self._bad_frames: BadFrames | None = None
        self._acknowledges = True
        self._answering = False
        self._closing = False
        self._ended = False
        self._replay: Replay | None = None
        self.heard = trio.current_time()
        """When the peer last sent something, trio's time."""

    async def run(self, user: UserKey, device: DeviceKey, position: Seq, received: bytes, version: int = 1) -> None:
        """Serve the connection until it ends.

        Args:
            user: the key of the user who signed in.
            device: the key of their device.
            position: the id of the last event that the device has.
            received: the bytes after the handshake in the same read.
            version: the protocol version that the client asked for.
        """
        with self._service.limits.shares.of(user, self) as share:
            self._share = share
            try:
                await self._serve(user, device, position, received, version)
            finally:
                self._break_references()

    def _break_references(self) -> None:
        """Drop the references back to this object, so that a dead connection is freed without the garbage collector."""
        self._replay = None
        del self._nursery, self._outbox, self._subscriber

    async def _serve(self, user: UserKey, device: DeviceKey, position: Seq, received: bytes, version: int) -> None:
        hub = self._service.hub
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            share, most = self._share, self._tuning.outbox_bytes
            outbox = Outbox(self._transport, nursery, self._stuck, share.note_progress, self._keepalive, most)
            self._outbox = outbox
            n, most = hub.next_number(), hub.tuning.own_entries
            subscriber = Subscriber(n, user, device, outbox, self, position, version, share, most_own_entries=most)
            self._subscriber = subscriber
            hub.connect(subscriber)
            self._keepalive.watch(self)
            try:
                self.start_catch_up()
                hub.flush()
                await self._read(received)
            except BROKEN:
                logger.debug("connection of user %d broke", user)
            except Exception:
                logger.exception(FAILED)
                self.close(close_codes.INTERNAL_ERROR, FAILED_REASON)
                await self._finish_close()
            finally:
                self._keepalive.forget(self)
                self._disconnect()
                hub.flush()
                self._ended = True
                self._outbox.end()
                nursery.cancel_scope.cancel()

    # Reading.

    async def _read(self, received: bytes) -> None:
        waiting = self.handle_read(received, trio.current_time())
        if waiting is not None:
            await waiting
        await self._transport.receive_each(self.handle_read)

    def handle_read(self, data: bytes, now: Seconds) -> Awaitable[None] | None:
        """Handle all messages of a read that came at `now`, trio's time.

        Returns:
            The awaitable to await before the next read, if any.
        """
        size = len(data)
        if size > READ_SLICE_BYTES:
            return self._handle_portions(data)
        self.heard = now
        decoder = self._decoder
        messages = decoder.feed(data)
        if messages:
            self._service.log.note_read(size + self._held, now)
        if decoder.held != self._held:
            self._hold(decoder.held)
        count = len(messages)
        uncounted = self._uncounted + count + (size >> FRAME_BYTES_LOG2)
        if decoder.fragments:
            uncounted += decoder.fragments
            decoder.fragments = 0
        rest = iter(messages)
        if uncounted < CHARGED_FRAMES:
            self._uncounted = uncounted
        else:
            self._uncounted = 0
            pause = self._service.limits.frames.charge(self._subscriber.user, now, uncounted)
            if pause or count > READ_SLICE_MESSAGES:
                return self._handle_rest(None, rest, pause)
        share = self._share
        for opcode, payload in rest:
            waiting = self._handle(opcode, payload)
            if waiting is not None:
                return self._handle_rest(waiting, rest)
            if share.commands >= COMMANDS_PER_BATCH and self._has_to_wait:
                # A command that needs a look-up counts as several, so one read can be too much for a batch.
                return self._handle_rest(None, rest)
        return self._end_read()

    async def _handle_portions(self, data: bytes) -> None:
        """Handle a large read in portions: small frames are many, and each costs more than its bytes."""
        for start in range(0, len(data), READ_SLICE_BYTES):
            self._answering = True
            if start:
                await self._turn()
            waiting = self.handle_read(data[start : start + READ_SLICE_BYTES], trio.current_time())
            if waiting is not None:
                await waiting
        self._answering = False

    async def _turn(self) -> None:
        """Wait for this user's next turn, if this one is used up."""
        payer = self._transport.payer
        if payer is not None and not payer.begin():
            self._service.hub.flush()
            await payer.wait_for_turn()
            self.heard = trio.current_time()

    async def _handle_rest(
        self, waiting: Awaitable[None] | None, messages: Iterator[tuple[int, bytes]], pause: float = 0.0
    ) -> None:
        """Continue a read that cannot be handled at once. Responses stay in order.

        Args:
            waiting: the handling of the last message, to be awaited.
            messages: the following messages.
            pause: seconds to wait first, because the client sends too much.
        """
        self._answering = True
        if waiting is not None:
            self._service.hub.flush()
            await waiting
        if pause:
            await trio.sleep(pause)
        for count, (opcode, payload) in enumerate(messages, 1):
            if self._has_to_wait:
                await self._pause_reading()
            more = self._handle(opcode, payload)
            if more is not None:
                self._service.hub.flush()
                await more
            elif count % READ_SLICE_MESSAGES == 0:
                await self._turn()
        # The peer's data from meanwhile is still in the socket.
        self.heard = trio.current_time()
        self._answering = False
        pausing = self._end_read()
        if pausing is not None:
            await pausing

    def _hold(self, size: int) -> None:
        """Report the size of an unfinished message to the user's share."""
        self._held = size
        self._service.limits.shares.hold(self._share, self, size)

    @property
    def waiting_bytes(self) -> int:
        """See `Holder`."""
        return self._outbox.waiting[0]

    def settle_allowance(self) -> int:
        """See `Holder`."""
        return self._subscriber.settle_allowance()

    def abort(self) -> None:
        """See `Holder`."""
        self._held = 0
        self._decoder.stop()
        code = close_codes.TRY_AGAIN_LATER
        logger.info("closing %s (%d): it holds too many bytes of unfinished messages", self._transport.peer, code)
        self.close(code, "too many unfinished messages at once")

    def _end_read(self) -> Awaitable[None] | None:
        """Finish a read: flush what it produced once.

        Returns:
            The awaitable to await before the next read, if any.
        """
        service = self._service
        if self._replay is not None and self._subscriber.ack_pending:
            self._replay.acknowledged.set()
        violation = self._decoder.violation
        if violation is not None:
            self.close(violation.code, violation.reason)
        # This runs for each read of each member of a group, so it avoids unnecessary calls.
        if service.hub.dirty:
            service.hub.flush()
        full = service.log.full
        if full or self._share.commands >= COMMANDS_PER_BATCH or self._outbox.overflowing:
            return self._pause_reading() if full or self._has_to_wait else None
        return None

    @property
    def _has_to_wait(self) -> bool:
        """Whether to stop reading for now: the peer does not read, or the user fills the batch."""
        share = self._share
        return self._outbox.overflowing or (
            share.commands >= COMMANDS_PER_BATCH and share.batch == self._service.log.batch
        )

    async def _pause_reading(self) -> None:
        """Wait for room in the log, the batch, the outbox and the user's share before reading on."""
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

    def _handle(self, opcode: int, payload: bytes) -> Awaitable[None] | None:
        """Handle one message; return the rest of the work to await, if any."""
        if self._closing:
            if opcode == frames.CLOSE:
                self._nursery.cancel_scope.cancel()
            return None
        if self._service.log.stopping and opcode != frames.CLOSE:
            # It could no longer be answered. The client sends it again after the restart.
            return None
        if opcode == frames.TEXT:
            try:
                return self._service.take(self._subscriber, payload, self.heard)
            except RelayError as error:
                self._bad_frame(error)
        elif opcode == frames.PING:
            # Send it in one write with everything else that this read produces.
            self._outbox.put(frames.encode(frames.PONG, payload))
            self._service.hub.dirty[self._outbox] = None
        elif opcode == frames.BINARY:
            self._bad_frame(RelayError.bad_field("frame", "messages are JSON objects in text frames"))
        elif opcode == frames.CLOSE:
            code, _ = frames.parse_close(payload)
            self.close(close_codes.NORMAL if code == close_codes.NO_CODE else code, "")
            self._nursery.start_soon(self._finish_close)
        return None

    def _bad_frame(self, error: RelayError) -> None:
        service = self._service
        service.hub.send(self._outbox, codec.error_frame(service.clock(), error.error))
        if self._bad_frames is None:
            self._bad_frames = BadFrames()
        if self._bad_frames.too_many(trio.current_time()):
            self.close(close_codes.POLICY_VIOLATION, f"{BAD_FRAMES} bad frames within a minute")

    # Closing.

    def close(self, code: int, reason: str) -> None:
        """See `Connection`. Queued frames go out first; then the peer has `CLOSE_SECONDS` to close, too."""
        if self._closing or self._ended:
            return
        self._outbox.shut(frames.encode_close(code, reason))
        self._closing = True
        if self._replay is not None:
            self._replay.stopped = True
        self._subscriber.live = False
        # Others see the user offline at once, whether or not the peer closes.
        self._disconnect()
        self._outbox.flush()
        self._nursery.start_soon(self._cut_off)

    def _disconnect(self) -> None:
        """Remove the connection from the hub; its device was in use until now."""
        self._service.hub.disconnect(self._subscriber)
        self._service.acknowledgements.note_use(self._subscriber.device)

    async def _cut_off(self) -> None:
        await trio.sleep(CLOSE_SECONDS)
        self._nursery.cancel_scope.cancel()

    async def _finish_close(self) -> None:
        """End the connection once our CLOSE is out, since the peer has sent its own."""
        await self._outbox.drained()
        self._transport.end()
        self._nursery.cancel_scope.cancel()

    def timed_out(self) -> None:
        """See `Watched`: the peer sent nothing for too long (PROTOCOL.md, section 4)."""
        self.close(close_codes.SILENT, "no sign of life for 20 s")

    @property
    def exempt(self) -> bool:
        """See `Watched`: whether the relay itself is not reading, so that silence means nothing."""
        payer = self._transport.payer
        waits = payer is not None and payer.waiting > 0
        return self._answering or waits or self._outbox.overflowing or self._service.log.full

    def _stuck(self) -> None:
        """End the connection: the peer has not read a byte for too long."""
        logger.info("closing %s (%d): it reads nothing", self._transport.peer, close_codes.STUCK_READER)
        self._nursery.cancel_scope.cancel()

    # Replay.

    def start_catch_up(self) -> None:
        """See `Connection`."""
        if self._replay is None and not self._ended:
            most = self._tuning.unacknowledged_events
            self._replay = Replay(self._service, self._subscriber, self._outbox, self._share, self._turn, most)
            self._nursery.start_soon(self._run_replay, self._replay)

    async def _run_replay(self, replay: Replay) -> None:
        try:
            self._acknowledges = await replay.run(acknowledges=self._acknowledges)
        except sqlite3.Error as error:
            answer = self._service.log.faults.unread(error, "a replay").error
            self.close(close_codes.UNREAD[answer.code], answer.message)
        except Exception:
            logger.exception(FAILED)
            self.close(close_codes.INTERNAL_ERROR, FAILED_REASON)
        self._replay = None
        self._service.hub.flush()
