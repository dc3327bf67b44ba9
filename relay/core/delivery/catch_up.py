"""Catching up: pages of the log and chat lists for a subscriber that is behind (PROTOCOL.md, section 7).

The session calls `page` again and again until the hub can take the subscriber live.
"""

from collections.abc import Iterator, Sequence

import trio

from relay.core.clock.clock import Clock
from relay.core.delivery.chat_lists import ChatLists
from relay.core.delivery.hub import Hub
from relay.core.delivery.replay import Replays
from relay.core.delivery.subscriber import AwaitedEvent, Subscriber
from relay.core.limits import fairness
from relay.core.limits.rate_limit import RateLimit
from relay.core.model.state import State
from relay.core.rules import commands
from relay.keys import NO_CHAT, NO_DEVICE, ChatKey, Seq, UnixMs, UserKey
from relay.protocol import codec
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.entry import Entry
from relay.store.log.log import Log
from relay.store.queries import replay

SLICE_ENTRIES, SLICE_CHARACTERS = 16, 32_768
"""Entries of a replay, and characters of their texts, that are sent before other tasks get a turn."""


class CatchUp:
    """Sends a subscriber the events that it has missed."""

    def __init__(self, state: State, hub: Hub, replays: Replays, chat_lists: ChatLists, list_bytes: RateLimit) -> None:
        self._state = state
        self._hub = hub
        self._replays = replays
        self._chat_lists = chat_lists
        self._list_bytes = list_bytes

    async def page(self, subscriber: Subscriber) -> None:
        """Read the next page of the log for a subscriber, and send the events in it that concern the user.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        state = self._state
        if subscriber.position < state.pruned:
            # Retention removed the next entries: the device gets its chat list and goes on with the rest.
            pruned = state.pruned
            await self._send_chat_list(subscriber, pruned, state.at)
            subscriber.position = pruned
        if subscriber.list_fits(trio.current_time()):
            await self._send_chat_list(subscriber, subscriber.position, state.at)
            return
        async with self._replays.turn(subscriber.user):
            # Read this after the wait: entries written during it may have left the memory already.
            position, upto = subscriber.position, state.seq
            ends = {
                chat: last
                for chat in state.chats_of[subscriber.user]
                if (last := state.chats[chat].last_seq) > position
            }
            page = await self._replays.page(
                subscriber.lookahead,
                position,
                upto,
                {**ends, replay.CHANGES_CHAT: upto},
                subscriber.chats_as_of,
                state.users,
            )
        if page.upto >= upto:
            subscriber.lookahead.clear()
        recent = self._hub.recent
        for some in _slices(page.entries):
            # Also before the first slice, which was read a while ago, too.
            if not recent.refresh(page.entries, upto):
                return
            for seq, at in self._hub.replay(subscriber, some):
                await self._send_chat_list(subscriber, seq, at)
                if not recent.refresh(page.entries, upto):
                    # Entries that were sent are not sent again: a list sent before an entry does not cover it.
                    subscriber.position = max(subscriber.position, seq)
                    return
            await fairness.wait_for_turn()
        subscriber.position = page.upto

    async def _send_chat_list(self, subscriber: Subscriber, seq: Seq, at: UnixMs) -> None:
        """Send the event `seq` that covers changes of the chat list, with the current list.

        One list per user is made at a time, once there is room for it and the rate allows it.
        """
        share, user = subscriber.share, subscriber.user
        # After a prune the changes are unknown. `pruned` is read before the wait, since a prune may move it.
        is_unknown = seq == self._state.pruned
        async with share.listing:
            await share.room()
            await trio.sleep(self._list_bytes.charge(user, trio.current_time(), 0))
            size = await self._make_chat_list(subscriber, seq, at, is_unknown=is_unknown)
            self._list_bytes.charge(user, trio.current_time(), size)
            # The list must be in the outbox before the user's next one looks for room.
            self._hub.flush()

    async def _make_chat_list(self, subscriber: Subscriber, seq: Seq, at: UnixMs, *, is_unknown: bool) -> int:
        """Put that event into the outbox, and return its size in bytes."""
        changed, since = subscriber.begin_list(self._state.seq, trio.current_time())
        since = since if since < seq else 0
        size = 0
        if subscriber.version == 1:
            last: tuple[str, object] = ("chats", await self._chat_lists.whole(subscriber.user))
        else:
            *first, last = await self._chat_lists.changes(subscriber.user, None if is_unknown else changed)
            for name, payload in first:
                # When several events are sent together, the last one has the id.
                event = codec.event(name, at, payload)
                size += len(event)
                self._hub.send(subscriber.outlet, event)
        frame = self._hub.frame(codec.event(last[0], at, last[1], seq))
        self._hub.send_replayed(subscriber, frame, AwaitedEvent(seq, NO_CHAT, 0, since))
        return size + len(frame)


class EmptyEntries:
    """Appends entries without content, to give a chat list an event id that no other event has."""

    def __init__(self, state: State, log: Log, clock: Clock) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._requested_at = -1
        """The last `seq` when an entry was requested: it serves all requests until it is written."""

    def request(self, user: UserKey, chat: ChatKey) -> None:
        """Append such an entry.

        Args:
            user: the user who needs it.
            chat: the chat that changed in their list; `NO_CHAT` for a name.
        """
        # The entry is an event for no user, so if a name changed, any chat will do.
        key = chat if chat in self._state.members else next(iter(self._state.members), None)
        if key is not None and self._requested_at != self._state.seq:
            self._requested_at = self._state.seq
            self._log.append(Command(self._clock(), user, NO_DEVICE, commands.ReserveSeq(key)), self._answered)

    def _answered(self, answer: object) -> None:
        if isinstance(answer, RelayError):
            # The disk was full: it is requested again.
            self._requested_at = -1


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut the entries of a replay into slices to send at a time, by count and by text."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        some.append(entry)
        size += len(entry.message or "")
        if len(some) >= SLICE_ENTRIES or size >= SLICE_CHARACTERS:
            yield some
            some, size = [], 0
    if some:
        yield some
