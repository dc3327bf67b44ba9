"""Acknowledgements of devices, which become cursors and delivery receipts (PROTOCOL.md, sections 6 and 7).

Acknowledgements are collected and applied together a moment later: one cursor per device and one receipt per chat,
however many events were acknowledged.
"""

from relay.core.clock.clock import Clock
from relay.core.delivery.replay import Replays
from relay.core.delivery.subscriber import Subscriber
from relay.core.model.state import State
from relay.core.rules import commands
from relay.keys import NO_DEVICE, ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.log.log import Log

SEQ_DIGITS = 19
"""Digits of the largest `seq`."""


class PendingAcknowledgements:
    """Subscribers whose acknowledgements wait to be applied, each once. The log calls `apply` when they are due."""

    def __init__(self, state: State, clock: Clock) -> None:
        self.subscribers: list[Subscriber] = []
        self._state = state
        self._clock = clock

    def apply(self, log: Log) -> None:
        """Apply all of them: move each device's cursor in the log, and append one delivery receipt per chat."""
        now = self._clock()
        while self.subscribers:
            # One at a time: if one fails, the others stay pending.
            subscriber = self.subscribers.pop()
            subscriber.ack_pending = False
            device = subscriber.device
            for chat, message_id in subscriber.acked_up_to.items():
                _deliver(self._state, log, subscriber.user, device, chat, message_id, now)
            subscriber.acked_up_to.clear()
            if device != NO_DEVICE:
                log.keep_cursor(device, subscriber.cursor, now)


class Acknowledgements:
    """Takes acknowledgements, and finds where the events of a device start."""

    def __init__(
        self, state: State, log: Log, clock: Clock, replays: Replays, pending: PendingAcknowledgements
    ) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._replays = replays
        self._pending = pending

    def take(self, subscriber: Subscriber, event_id: int | str) -> None:
        """Take an acknowledgement; a moment later it moves the cursor and makes the receipt.

        Raises:
            RelayError: the id is not a number.
        """
        if isinstance(event_id, str):
            if not event_id.isascii() or not event_id.isdigit():
                raise RelayError.bad_field("id", "the id of an event is a whole number")
            event_id = int(event_id[:SEQ_DIGITS])
        awaited = subscriber.acknowledge(event_id)
        if awaited is None:
            return
        if not subscriber.ack_pending:
            pending = self._pending.subscribers
            if not pending:
                # Once for all acknowledgements until they are applied.
                self._log.expect_deferred()
            subscriber.ack_pending = True
            pending.append(subscriber)
        acked = subscriber.acked_up_to
        if awaited.message_id > acked.get(awaited.chat, 0):
            acked[awaited.chat] = awaited.message_id

    async def start_position(self, user: UserKey, device: DeviceKey, since: int | None) -> int:
        """Find where a connecting device's events start: after its cursor, or after the event id that it sends.

        Args:
            user: the device's user.
            device: its key; `NO_DEVICE` has no cursor.
            since: the last event id that it says it has; ignored if this log never issued it.

        Returns:
            The `seq` after which its events start (PROTOCOL.md, section 7).
        """
        now = self._state.seq
        if since is not None and since > now:
            since = None
        if device == NO_DEVICE:
            return now if since is None else since
        self._pending.apply(self._log)
        if device not in self._log.cursors:
            first = await self._first_position(user)
            if device not in self._log.cursors:
                await self._log.first_cursor(device, first, self._clock())
        self.note_use(device)
        cursor = self._log.cursors[device][0]
        if since is None:
            return cursor
        if since > cursor:
            await self._advance_cursor(user, device, cursor, since)
        return since

    def note_use(self, device: DeviceKey) -> None:
        """Note that a device is connected, or was until now; its cursor stays where it is."""
        cursor = self._log.cursors.get(device)
        if cursor is not None:
            self._log.keep_cursor(device, cursor[0], self._clock())

    async def _first_position(self, user: UserKey) -> int:
        """Find where a device's first connection starts: before the oldest undelivered message, or at the end."""
        state = self._state
        now = state.seq
        # An undelivered message is also unread.
        chats = [(chat.key, member.dlvrd_upto) for chat, member in state.listed(user) if state.missed(chat, user)]
        oldest = await self._replays.oldest_undelivered(user, chats) if chats else None
        return now if oldest is None else oldest - 1

    async def _advance_cursor(self, user: UserKey, device: DeviceKey, cursor: Seq, since: int) -> None:
        """Count everything up to `since` as acknowledged: acknowledgements may have been lost with the connection."""
        now = self._clock()
        chats = [(chat.key, member.dlvrd_upto) for chat, member in self._state.listed(user) if chat.last_seq > cursor]
        for chat, message_id in await self._replays.reached(user, chats, cursor, since):
            _deliver(self._state, self._log, user, device, chat, message_id, now)
        self._log.keep_cursor(device, since, now)


def _deliver(
    state: State, log: Log, user: UserKey, device: DeviceKey, chat: ChatKey, message_id: MessageId, now: UnixMs
) -> None:
    """Append a delivery receipt for a chat's messages up to this one, unless there is one already."""
    member = state.members[chat].get(user)
    if member is not None and member.dlvrd_upto < message_id:
        mark = commands.MarkDelivered(chat, message_id)
        log.append_deferred((chat, user), message_id, Command(now, user, device, mark))
