"""May this user do this: every request and client event of a connection, from its table to its answer.

What changes something becomes a command for the log and is answered when it is on disk; what only reads is
answered from the state and a reading connection. Knows no sockets.
"""

import functools
import logging
import secrets
import sqlite3
import uuid
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from relay.core.auth.sign_in import SignIn, new_token, token_hash
from relay.core.clock.clock import Clock
from relay.core.delivery import views
from relay.core.delivery.hub import Hub
from relay.core.delivery.replay import Replays
from relay.core.delivery.subscriber import Receipt, Subscriber
from relay.core.hooks.loops import LoopBrake
from relay.core.limits import fairness, rate_limit
from relay.core.limits.fairness import Fairness
from relay.core.limits.rate_limit import RateLimit
from relay.core.limits.share import LOOKED_UP, Share, Shares
from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.rules import ChangedChat, ChangedDevice, ChangedUser, commands, permissions, visibility
from relay.core.rules.commands import Command
from relay.core.rules.permissions import Action
from relay.core.service import answer_pages
from relay.core.service.answer_pages import PageMaker
from relay.core.service.search import Searches
from relay.keys import UserKey
from relay.protocol import codec, control, events, objects, requests
from relay.protocol.envelopes import Ack, ClientEvent, Request
from relay.protocol.errors import RelayError
from relay.settings import Settings
from relay.store.entry import Entry
from relay.store.log.log import Log
from relay.store.queries import history, replay, search
from relay.store.queries.search import Sought
from relay.store.sqlite.database import Connection
from relay.text import fold

logger = logging.getLogger(__name__)

RECEIPTS = 4_096
"""Receipts put together between two looks at whether the answer is long enough, and others' turns."""
LOOKED_AT_FOR_ONE = 64
"""Of them as many as count as one request more."""
CHATS_PAGE_BYTES = 262_144
"""Bytes of a page of a chat list (version 2)."""
CHATS_PAGE = 1_000
"""Chats of such a page at most."""
CHATS_SLICE = 16
"""Chats of a list that are encoded before others have their turn."""
WRITERS_TIME = 2.0
"""What a second of the log's writer counts as, beside one of the event loop, which others have a part of meanwhile."""
ITEMS, ITEMS_BYTES = 16, 32_768
"""Messages of an answer or a replay, and bytes of them, that are encoded before others have their turn."""
LOOKING = (commands.MarkRead, commands.MarkDelivered)
"""Commands for which the writer looks something up first, as a rule, beside messages that quote or have files."""
USERS_SLICE = 64
"""Users who are looked at for the directory before others have their turn."""
CHANGES = 256
"""Chats that may change at a time before the list is asked for again."""
LISTING = 1
"""Chat lists that are made at a time: a change of a large group has all its members ask for theirs in one moment."""

LENT = 86_400.0
"""Seconds that a lent token is good for."""
DAY = 86_400_000
"""Milliseconds."""
READ_AGAIN = 8
"""How often a page is read at most of which something was edited, deleted or cleared while it was read."""
MOST_LENT = 1_024
"""Lent tokens that are good at a time; the oldest give way."""
NO_DEVICE = 0
"""The device of a lent token: it has no cursor."""

CONNECTED = "a connection"
"""Where guesses at one's own old password come from: the user has signed in already."""

Reply = Callable[[object], None]
Waiting = Coroutine[Any, Any, None]
"""What is still to be awaited of an answer."""
Handler = Callable[["Service", Subscriber, Any, Reply], Waiting | None]


def new_chat_id() -> str:
    """Make the id of a group or channel: 64 random bits, told apart from user ids by its look."""
    return f"g-{secrets.token_hex(8)}"


def new_hook_id() -> str:
    """Make the id of a bot that a hook posts as."""
    return f"hook-{secrets.token_hex(4)}"


class _Done:
    """A reply that can be waited for."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._given = trio.Event()

    def __call__(self, answer: object) -> None:
        self._reply(answer)
        self._given.set()

    async def wait(self) -> None:
        """Wait until it was given."""
        await self._given.wait()


class Service:
    """What connections ask, and what comes of it."""

    def __init__(
        self,
        state: State,
        log: Log,
        hub: Hub,
        reading: Connection,
        searching: Searches,
        replaying: Replays,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.state = state
        self.log = log
        self.hub = hub
        self.reading = reading
        self.searching = searching
        self.replaying = replaying
        self.clock = clock
        self.settings = settings
        self.limit = RateLimit(settings.limits)
        self.pace = RateLimit(settings.limits, rate_limit.FRAMES)
        """Frames of any kind, whatever they say."""
        self.groups = RateLimit(rate_limit.GroupsPerDay(settings.limits))
        self.tellings = RateLimit(rate_limit.FanOut(settings.limits))
        self.answering = LoopBrake(state)
        self.lists = RateLimit(rate_limit.ListBytes())
        """Bytes of chat lists that are sent as events."""
        self.shares = Shares()
        self.fairness = Fairness()
        """Who takes how much of the event loop, and of the writer's time."""
        self.signing_in = SignIn(state, log, clock, settings.auth)
        self._lent: dict[str, tuple[int, float]] = {}
        self._used: dict[int, int] = {}
        """When each device last signed in, Unix milliseconds, since the start."""
        self._unsettled: list[Subscriber] = []
        self._listing = trio.CapacityLimiter(LISTING)
        self._wanted_at = -1
        log.deferred.collect = self.settle
        hub.want_entry = self._want_entry
        hub.charge = self._charge

    # Coming in.

    def sign_in(self, token: str) -> tuple[int, int] | None:
        """Find whose token this is: the keys of user and device; None for nobody who may come in."""
        hashed = token_hash(token)
        key = self.state.device_keys.get(hashed)
        if key is not None:
            device = self.state.devices[key]
            if device.hook is not None or self._unused(key):
                return None
            user = self.state.users[device.user]
        else:
            user_key, until = self._lent.get(hashed, (0, 0.0))
            if until < trio.current_time():
                return None
            user, key = self.state.users[user_key], NO_DEVICE
        if user.disabled or user.removed:
            return None
        if key != NO_DEVICE and self.settings.auth.device_days:
            self._use(key)
        return user.key, key

    def _unused(self, device: int) -> bool:
        """Whether a device was not here for so long that it has to sign in again (`auth.device_days`).

        Nothing is written: a clock that was wrong for a while signs nobody out for good.
        """
        days = self.settings.auth.device_days
        if not days:
            return False
        now = self.clock()
        last = max(self.state.devices[device].created_at, self.log.cursors.get(device, (0, 0))[1])
        return now - max(last, self._used.get(device, 0)) > days * DAY

    def _use(self, device: int) -> None:
        """Note that a device is here."""
        now = self._used[device] = self.clock()
        cursor = self.log.cursors.get(device)
        if cursor is not None and now - cursor[1] > DAY // 24:
            self.log.keep_cursor(device, cursor[0], now)

    def lend(self, user: int) -> str:
        """Make a token for a command on this machine that talks as a user: it is never written anywhere."""
        now = trio.current_time()
        self._lent = {hashed: lent for hashed, lent in self._lent.items() if lent[1] > now}
        while len(self._lent) >= MOST_LENT:
            del self._lent[next(iter(self._lent))]
        token = new_token()
        self._lent[token_hash(token)] = (user, now + LENT)
        return token

    async def first_position(self, user: int) -> int:
        """Where a device's first connection starts: before the oldest message its user has not got, else now."""
        state = self.state
        now = state.seq
        # What a user has not got they have not read either.
        chats = [(chat.key, member.dlvrd_upto) for chat, member in state.listed(user) if state.missed(chat, user)]
        oldest = await self.replaying.oldest_undelivered(user, chats) if chats else None
        return now if oldest is None else oldest - 1

    async def position(self, user: int, device: int, since: int | None) -> int:
        """Where the events of a device that connects start: after its cursor, or after what it says it has (section 7).

        Args:
            user: whose it is.
            device: its key; `NO_DEVICE` has no cursor.
            since: the last event id that it says it has. An id that was never given is no word of this log's.
        """
        now = self.state.seq
        if since is not None and since > now:
            since = None
        if device == NO_DEVICE:
            return now if since is None else since
        self.settle()
        if device not in self.log.cursors:
            first = await self.first_position(user)
            if device not in self.log.cursors:
                await self.log.first_cursor(device, first, self.clock())
        cursor = self.log.cursors[device][0]
        if since is None:
            return cursor
        if since > cursor:
            await self._has(user, device, cursor, since)
        return since

    async def _has(self, user: int, device: int, cursor: int, since: int) -> None:
        """Take what a device has for acknowledged: it may have said so when the connection broke."""
        now = self.clock()
        chats = [(chat.key, member.dlvrd_upto) for chat, member in self.state.listed(user) if chat.last_seq > cursor]
        for chat, message_id in await self.replaying.reached(user, chats, cursor, since):
            self._reached(user, device, chat, message_id, now)
        self.log.keep_cursor(device, since, now)

    def _reached(self, user: int, device: int, chat: int, message_id: int, now: int) -> None:
        """A device has a chat up to a message, which counts as delivered."""
        member = self.state.members[chat].get(user)
        if member is not None and member.dlvrd_upto < message_id:
            mark = commands.MarkDelivered(chat, message_id)
            self.log.append_deferred((chat, user), message_id, Command(now, UserKey(user), device, mark))

    # Frames.

    def take(self, subscriber: Subscriber, frame: bytes, now: float) -> Waiting | None:
        """Handle one text message of a client's that came at `now`, trio's time.

        Returns:
            What is still to be awaited, where the answer needs reading.

        Raises:
            RelayError: the frame is no valid envelope; it is for the caller to say so and to count.
        """
        if not subscriber.foreground:
            self.hub.foreground(subscriber)
        # An object begins so, nearly always: without a call for each acknowledgement.
        if frame[:1] != b"{" and codec.is_keepalive(frame):
            self.hub.send(subscriber.outlet, codec.PONG)
            return None
        envelope = codec.decode_client_frame(frame)
        if type(envelope) is Ack:
            self.acknowledge(subscriber, envelope.id)
            return None
        if type(envelope) is Request:
            return self._request(subscriber, envelope, now)
        assert type(envelope) is ClientEvent
        self._client_event(subscriber, envelope, now)
        return None

    def acknowledge(self, subscriber: Subscriber, event_id: int | str) -> None:
        """A device has an event: its cursor may move, and a message counts as delivered (section 6).

        What comes of it is seen to by `settle`, a moment later for all that come until then.
        """
        if isinstance(event_id, str):
            if not event_id.isascii() or not event_id.isdigit():
                raise RelayError.bad_field("id", "the id of an event is a whole number")
            event_id = int(event_id[:19])
        receipt = subscriber.acknowledge(event_id)
        if receipt is None:
            return
        if not subscriber.unsettled:
            subscriber.unsettled = True
            self._unsettled.append(subscriber)
            self.log.expect_deferred()
        reached = subscriber.reached
        if receipt.message_id > reached.get(receipt.chat, 0):
            reached[receipt.chat] = receipt.message_id

    def settle(self) -> None:
        """Hand on what all acknowledgements since the last time come to, however many they were: marks, and cursors."""
        now = self.clock()
        while self._unsettled:
            # One at a time: what fails for one leaves the others here for the next time.
            subscriber = self._unsettled.pop()
            subscriber.unsettled = False
            user, device = subscriber.user, subscriber.device
            for chat, message_id in subscriber.reached.items():
                self._reached(user, device, chat, message_id, now)
            subscriber.reached.clear()
            if device != NO_DEVICE:
                self.log.keep_cursor(device, subscriber.cursor, now)

    def _request(self, subscriber: Subscriber, request: Request, now: float) -> Waiting | None:
        reply = partial(self._respond, subscriber, request.id)
        name = request.payload_type
        # Those that are most of all count as one, and wait for nobody.
        weight = rate_limit.WEIGHTS.get(name)
        done = _Done(reply) if weight is not None and name in rate_limit.IN_TURN else None
        size = len(request.payload)
        if weight is None:
            weight = 1.0
        if size >= rate_limit.REQUEST_BYTES:
            weight += size // rate_limit.REQUEST_BYTES
        wait = self.limit.take(subscriber.user, now, weight)
        if wait:
            reply(RelayError.rate_limited(wait))
            return None
        try:
            payload = codec.decode_request(request)
            waiting = _HANDLERS[name](self, subscriber, payload, done or reply)
        except RelayError as error:
            reply(error)
            return None
        except Exception:
            logger.exception("%s failed; the relay goes on", name)
            reply(RelayError.internal())
            return None
        if done is not None and waiting is None:
            waiting = done.wait()
        return None if waiting is None else self._awaited(subscriber.share, waiting, reply, name)

    async def _awaited(self, share: Share, waiting: Waiting, reply: Reply, what: str) -> None:
        """Await an answer once no other one of this user's is being made and there is room for it."""
        try:
            async with share.turn:
                await share.room()
                await waiting
        except RelayError as error:
            reply(error)
        except sqlite3.Error as error:
            logger.error("%s: the store cannot be read: %s", what, error)
            reply(RelayError.unavailable())
        except Exception:
            logger.exception("%s failed; the relay goes on", what)
            reply(RelayError.internal())
        finally:
            waiting.close()

    def _respond(self, subscriber: Subscriber, request_id: str | int, answer: object) -> None:
        now = self.clock()
        if isinstance(answer, RelayError):
            payload = codec.refusal(request_id, now, answer.error)
        else:
            payload = codec.response(request_id, now, answer)
            if len(payload) >= rate_limit.ANSWER_BYTES:
                self.limit.charge(subscriber.user, trio.current_time(), len(payload) // rate_limit.ANSWER_BYTES)
        self.hub.send(subscriber.outlet, payload)

    def _client_event(self, subscriber: Subscriber, event: ClientEvent, now: float) -> None:
        name = event.event_type or event.payload_type
        if name is None:
            raise RelayError.bad_field("eventType", "this field is required")
        payload = codec.decode_client_event(name, event.payload)
        if self.limit.take(subscriber.user, now):
            return
        if isinstance(payload, events.ClientTyping):
            chat = self.chat(subscriber.user, payload.chat_id)
            if payload.stop:
                self.hub.stop_typing(chat.key, subscriber.user)
            elif permissions.may(self.state, chat, subscriber.user, Action.TYPE):
                # Who may not write there is not shown, and need not be told: it is worth nothing a moment later.
                self.hub.start_typing(chat.key, subscriber.user, now)
        else:
            self.hub.background(subscriber)

    # Commands.

    def command(self, subscriber: Subscriber, request: msgspec.Struct, reply: Reply, generated_id: str = "") -> None:
        """Append what a connection asks for."""
        share, log = subscriber.share, self.log
        command = Command(self.clock(), subscriber.user, subscriber.device, request, subscriber.number, generated_id)
        if not log.append(command, reply):
            # It is in no batch, so its user need not wait for one.
            return
        if share.batch != log.batch:
            share.batch, share.commands = log.batch, 0
        if type(request) is requests.New:
            looked_up = request.reply_to is not None or bool(request.attachments)
        else:
            looked_up = type(request) in LOOKING
        share.commands += LOOKED_UP if looked_up else 1

    def command_on_chat(
        self, subscriber: Subscriber, request: msgspec.Struct, reply: Reply, generated_id: str = ""
    ) -> None:
        """Append what changes a chat; the answer is the chat as it is then."""

        def answer(decided: object) -> None:
            if isinstance(decided, ChangedChat):
                chat = self.state.chats[decided.chat]
                # Everything unread in a chat one has just changed is known to the client from its list.
                decided = answer_pages.chat(views.chat(self.state, subscriber.user, chat, None, self.hub.presence))
            reply(decided)

        self.command(subscriber, request, answer, generated_id)

    # Reading.

    def chat(self, user: int, chat_id: str) -> Chat:
        """Find the chat that a user calls so, and reads.

        Raises:
            RelayError: `not_found`; it does not tell whether the chat exists.
        """
        key = self.state.chat_key(user, chat_id)
        if key is None:
            raise RelayError.no_chat(chat_id)
        chat = self.state.chats[key]
        permissions.check(self.state, chat, user, Action.READ)
        return chat

    async def chat_list(self, user: int) -> msgspec.Raw:
        """A user's whole chat list, encoded."""
        lines, _ = await self._chat_lines(user, views.listed(self.state, user))
        return msgspec.Raw(b"[" + b",".join(lines) + b"]")

    async def chat_page(self, subscriber: Subscriber, after: str | None) -> codec.Page:
        """A page of a user's chat list, encoded.

        The order of the first page holds for all: a chat in which something is said meanwhile would leave its place.

        Args:
            subscriber: who asks.
            after: the `next` of the page before.

        Raises:
            RelayError: `after` is none.
        """
        state, user = self.state, subscriber.user
        chats = views.listed(state, user)
        if after is not None and after == subscriber.listing_after:
            there: dict[int, tuple[Chat, Member]] = {chat.key: (chat, member) for chat, member in chats}
            chats = [there[key] for key in subscriber.listing if key in there]
        elif after is not None:
            # Of a connection that is gone, or asked for once more: by the places that chats have now.
            last = _place(after)
            chats = [one for one in chats if views.place(one[0]) < last]
        places = [views.place(chat) for chat, _ in chats[:CHATS_PAGE]]
        lines, shown = await self._chat_lines(user, chats[:CHATS_PAGE], CHATS_PAGE_BYTES)
        payload = msgspec.Raw(b"[" + b",".join(lines) + b"]")
        if shown == len(chats):
            return codec.Page(payload, None)
        at, key = places[shown - 1]
        subscriber.listing_after = f"{at:x}.{key:x}"
        subscriber.listing = [chat.key for chat, _ in chats[shown:]]
        return codec.Page(payload, subscriber.listing_after)

    async def _chat_lines(
        self, user: int, chats: Sequence[tuple[Chat, Member]], most: int | None = None
    ) -> tuple[list[bytes], int]:
        """Encode lines of a chat list, a few at a time.

        Args:
            user: whose list it is.
            chats: which.
            most: bytes after which to stop, once there is one.

        Returns:
            The lines, and how many of the chats they are about.
        """
        state, presence = self.state, self.hub.presence
        lines: list[bytes] = []
        size = 0

        def there(chat: Chat, member: Member) -> bool:
            """Tell whether the user is still in a chat: after each wait they may have been removed from it."""
            return state.members[chat.key].get(user) is member

        async with self._listing:
            wanted = views.wanted_texts(state, user, [one for one in chats if there(*one)])
            texts = await history.chat_texts(self.reading, user, wanted)
            for count, (chat, member) in enumerate(chats):
                if count % CHATS_SLICE == CHATS_SLICE - 1:
                    # It is charged, and paid off later: whoever makes a list must not keep others from theirs.
                    await trio.lowlevel.checkpoint()
                if not there(chat, member):
                    continue
                line = codec.encode(views.list_item(state, user, chat, member, texts.get(chat.key), presence))
                if most is not None and lines and size + len(line) > most:
                    return lines, count
                lines.append(line)
                size += len(line) + 1
        return lines, len(chats)

    async def _chat_changes(self, user: int, changed: Sequence[int]) -> list[tuple[str, object]]:
        """What version 2 is told of chats that changed in a user's list: events and their payloads, one at least."""
        state = self.state
        if len(changed) > CHANGES:
            return [("chatsStale", events.ChatsStale())]
        there: dict[int, tuple[Chat, Member]] = {chat.key: (chat, member) for chat, member in state.listed(user)}
        lines, _ = await self._chat_lines(user, [there[key] for key in changed if key in there])
        told: list[tuple[str, object]] = [("chat", {"item": msgspec.Raw(line)}) for line in lines]
        told += [
            ("chatGone", events.ChatGone(chat_id=state.chat_id(state.chats[key], user)))
            for key in changed
            if key in state.chats and key not in there
        ]
        return told or [("chatsStale", events.ChatsStale())]

    async def replay_page(self, subscriber: Subscriber) -> None:
        """Read the next page of the log for a subscriber and send what of it concerns them.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        state = self.state
        if subscriber.position < state.pruned:
            # What the device would need next is no more: it gets its chat list and goes on from what is left.
            pruned = state.pruned
            await self._send_chat_list(subscriber, pruned, state.at)
            subscriber.position = pruned
        if subscriber.list_fits(trio.current_time()):
            await self._send_chat_list(subscriber, subscriber.position, state.at)
            return
        async with self.replaying.turn(subscriber.user):
            # Known only now: what happened while others had their turn need not be in memory afterwards.
            position, upto = subscriber.position, state.seq
            ends = {
                chat: last
                for chat in state.chats_of[subscriber.user]
                if (last := state.chats[chat].last_seq) > position
            }
            page = await self.replaying.page(
                subscriber.lookahead,
                position,
                upto,
                {**ends, replay.CHANGES: upto},
                subscriber.chats_as_of,
                state.users,
            )
        if page.upto >= upto:
            subscriber.lookahead.clear()
        for some in _slices(page.entries):
            # The first one, too, was read a while ago.
            if not self.hub.refresh(page.entries, upto):
                return
            for seq, at in self.hub.replay(subscriber, some):
                await self._send_chat_list(subscriber, seq, at)
                if not self.hub.refresh(page.entries, upto):
                    # What is told already is not told again: a list that came before an entry stands for none.
                    subscriber.position = max(subscriber.position, seq)
                    return
            await fairness.turn()
        subscriber.position = page.upto

    async def _send_chat_list(self, subscriber: Subscriber, seq: int, at: int) -> None:
        """Send the event `seq` that stands for changes of the chat list, as it is now.

        One list of a user is made at a time, once there is room for it and earlier ones are paid off.
        """
        share, user = subscriber.share, subscriber.user
        # At the end of what was removed nobody knows what had changed. Looked at now: the log may be pruned meanwhile.
        unknown = seq == self.state.pruned
        async with share.listing:
            await share.room()
            await trio.sleep(self.lists.charge(user, trio.current_time(), 0))
            size = await self._make_chat_list(subscriber, seq, at, unknown=unknown)
            self.lists.charge(user, trio.current_time(), size)
            # It waits in the outbox of this connection before the next one looks whether there is room.
            self.hub.flush()

    async def _make_chat_list(self, subscriber: Subscriber, seq: int, at: int, *, unknown: bool) -> int:
        """Make that event and put it into the outbox; gives its bytes."""
        changed, since = subscriber.begin_list(self.state.seq, trio.current_time())
        since = since if since < seq else 0
        size = 0
        if subscriber.version == 1:
            last: tuple[str, object] = ("chats", await self.chat_list(subscriber.user))
        else:
            if unknown:
                changed = [0] * (CHANGES + 1)
            *first, last = await self._chat_changes(subscriber.user, changed)
            for name, payload in first:
                # Several that are told together: the last has their id.
                event = codec.event(name, at, payload)
                size += len(event)
                self.hub.send(subscriber.outlet, event)
        frame = self.hub.frame(codec.event(last[0], at, last[1], seq))
        self.hub.replayed(subscriber, frame, Receipt(seq, 0, 0, since))
        return size + len(frame)

    def _want_entry(self, user: int, chat: int) -> None:
        """Have an entry written that says nothing: a chat list waits for an event id that no event has."""
        if self._wanted_at != self.state.seq and chat in self.state.members:
            self._wanted_at = self.state.seq
            self.log.append(
                Command(self.clock(), UserKey(user), NO_DEVICE, commands.ReserveSeq(chat)), self._entry_decided
            )

    def _entry_decided(self, answer: object) -> None:
        """Take the answer to such an entry: where the disk was full it is asked for again."""
        if isinstance(answer, RelayError):
            self._wanted_at = -1

    def charge_writer(self, batch: Sequence[Command], seconds: float) -> None:
        """Charge those whose commands kept the writer by themselves: nobody else gets a turn of it meanwhile."""
        now = self.fairness.time()
        for user, count in Counter(command.user for command in batch if command.user).items():
            self.fairness.of(user).charge(WRITERS_TIME * seconds * count / len(batch), now)

    def _charge(self, user: int, connections: int) -> None:
        """Charge a user for telling others what they did."""
        if user:
            now = trio.current_time()
            self.limit.charge(user, now, connections / rate_limit.TOLD)
            pause = self.tellings.charge(user, now, connections)
            if pause:
                self.fairness.of(user).rest(pause)


def _slices(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Cut entries that are replayed into what is told at a time, by count and by text."""
    some: list[Entry] = []
    size = 0
    for entry in entries:
        some.append(entry)
        size += len(entry.message or "")
        if len(some) >= ITEMS or size >= ITEMS_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def _place(after: str) -> tuple[int, int]:
    """Read where a page of the chat list ended.

    Raises:
        RelayError: it says nothing of the kind.
    """
    at, _, key = after.partition(".")
    try:
        return int(at, 16), int(key, 16)
    except ValueError:
        raise RelayError.bad_field("payload.after", "the `next` of the page before is expected") from None


def _new(service: Service, subscriber: Subscriber, request: requests.New, reply: Reply) -> None:
    if request.attachments:
        _check_attachments(service, request.attachments)
    if service.state.users[subscriber.user].bot:
        service.answering.check(subscriber.user, request.chat_id, trio.current_time())
    service.command(subscriber, request, reply)


def _check_attachments(service: Service, attachments: Sequence[objects.Attachment]) -> None:
    if not service.settings.files.elsewhere and any(one.is_elsewhere for one in attachments):
        raise RelayError.forbidden("payload.attachments: this relay takes no files that lie elsewhere: upload them")


def _edit_or_delete(
    service: Service, subscriber: Subscriber, request: requests.Edit | requests.Delete, reply: Reply
) -> None:
    if isinstance(request, requests.Edit) and request.attachments:
        _check_attachments(service, request.attachments)
    service.command(subscriber, request, reply, str(uuid.uuid4()))


def _dlvrd(service: Service, subscriber: Subscriber, request: requests.Mark, reply: Reply) -> None:
    chat = service.chat(subscriber.user, request.chat_id)
    service.command(subscriber, commands.MarkDelivered(chat.key, request.message_id), reply)


def _read(service: Service, subscriber: Subscriber, request: requests.Mark, reply: Reply) -> None:
    chat = service.chat(subscriber.user, request.chat_id)
    service.command(subscriber, commands.MarkRead(chat.key, request.message_id), reply)


async def _messages(service: Service, subscriber: Subscriber, request: requests.Messages, reply: Reply) -> None:
    if request.start_id is not None and request.end_id is not None:
        raise RelayError.bad_field("payload.endId", "give startId or endId, not both")
    for _ in range(READ_AGAIN):
        found = await _message_page(service, subscriber.user, request)
        if found is not None:
            page, more = found
            reply(page.made(more=more, upwards=request.start_id is not None))
            return
    raise RelayError.unavailable()


async def _message_page(service: Service, user: int, request: requests.Messages) -> tuple[PageMaker, bool] | None:
    """Read a page of messages, and whether there are more; None where it is not true any more once it is read."""
    state = service.state
    chat = service.chat(user, request.chat_id)
    member = state.members[chat.key][user]
    as_of, since, cleared = state.seq, visibility.since(chat, member), member.cleared
    rows, more = await history.messages(
        service.reading,
        chat.key,
        start=request.start_id,
        end=request.end_id,
        after=since,
        cleared=cleared,
        count=request.count,
    )
    shown = _places_of(rows)
    page = PageMaker()
    while rows and not page.full:
        members = state.members[chat.key]
        some = rows[: max(1, RECEIPTS // len(members))] if chat.id is not None and members else rows
        rows = rows[len(some) :]
        marks = []
        if chat.id is not None:
            ids = [row.message_id for row in some]
            marks = await history.receipts(service.reading, chat.key, list(members), min(ids), max(ids))
        if members.get(user) is not member:
            # They left, or were removed; and may be back.
            return None
        await _add_all(page, views.messages(state, user, chat, some, marks))
    still = state.members[chat.key].get(user) is member and visibility.since(chat, member) == since
    return None if not still or service.hub.touched(shown, as_of) else (page, more)


def _places_of(rows: Iterable[history.HistoryRow]) -> set[tuple[int, int]]:
    """Which messages rows show: themselves, and what they quote."""
    return {(row.chat, shown) for row in rows for shown in (row.message_id, row.target)}


async def _add_all(page: PageMaker, items: Iterable[object]) -> None:
    """Take items up to the first that has no room, a little at a time."""
    size = page.size
    for count, item in enumerate(items, 1):
        if not page.add(item):
            return
        if page.size - size > ITEMS_BYTES or count % ITEMS == 0:
            size = page.size
            await fairness.turn()


async def _chat(service: Service, subscriber: Subscriber, request: requests.OneChat, reply: Reply) -> None:
    user = subscriber.user
    chat = service.chat(user, request.chat_id)
    state = service.state
    first_missed = None
    if state.missed(chat, user):
        read = state.members[chat.key][user].read_upto
        texts = await history.chat_texts(service.reading, user, [(chat.key, chat.newest, read)])
        first_missed = texts[chat.key].first_missed
        if user not in state.members[chat.key]:
            raise RelayError.no_chat(request.chat_id)
    reply(answer_pages.chat(views.chat(state, user, chat, first_missed, service.hub.presence), request.after))


async def _chats(service: Service, subscriber: Subscriber, request: requests.ChatsRequest, reply: Reply) -> None:
    if subscriber.version == 1:
        reply(await service.chat_list(subscriber.user))
    else:
        reply(await service.chat_page(subscriber, request.after))


async def _users(service: Service, subscriber: Subscriber, request: requests.UsersRequest, reply: Reply) -> None:
    page = PageMaker()
    last, more = None, False
    query = fold(request.query or "")
    ids = sorted(service.state.user_keys)
    for number in range(0 if request.after is None else bisect_right(ids, request.after), len(ids)):
        if number % USERS_SLICE == USERS_SLICE - 1:
            service.limit.charge(subscriber.user, trio.current_time(), USERS_SLICE / LOOKED_AT_FOR_ONE)
            await fairness.turn()
        profile = _listed(service, subscriber.user, ids[number], query)
        if profile is None:
            continue
        if len(page) >= request.count or not page.add(profile):
            more = True
            break
        last = profile.id
    reply(page.made(more=more, after=last))


_folded = functools.lru_cache(maxsize=16_384)(fold)
"""Of names, which are compared for each letter that somebody types."""


def _listed(service: Service, asker: int, user_id: str, query: str) -> objects.Profile | None:
    """A user as the directory shows them, where their id or name holds the query.

    When somebody was here last is told to those who share a chat with them, as `online` and `offline` are.
    """
    state = service.state
    user = state.users[state.user_keys[user_id]]
    if user.disabled or user.removed or not (query in fold(user_id) or query in _folded(user.name)):
        return None
    known = asker == user.key or state.share_chat(asker, user.key)
    return views.profile(user, service.hub.presence.last(user.key) if known else None)


async def _search(service: Service, subscriber: Subscriber, request: requests.Search, reply: Reply) -> None:
    state, user = service.state, subscriber.user
    if not Sought(request.query, {}).folded:
        raise RelayError.bad_field("payload.query", "what to find is missing: a letter, a digit or a sign")
    chats = sorted(state.chats_of[user]) if request.chat_id is None else [service.chat(user, request.chat_id).key]
    before = older = search.END
    if isinstance(request.before, str):
        before = answer_pages.seq_of(request.before)
    elif request.before is not None:
        older = request.before
    unseen = {chat: visibility.since(state.chats[chat], state.members[chat][user]) for chat in chats}
    said = sum(state.chats[chat].last_message_id - upto for chat, upto in unseen.items())
    sought = Sought(request.query, unseen, before, older, request.count, said)
    for _ in range(READ_AGAIN):
        as_of = state.seq
        rows, more = await service.searching.find(user, sought)
        if not service.hub.touched(_places_of(rows), as_of):
            break
    else:
        raise RelayError.unavailable()
    page = PageMaker()
    last = None
    for row in rows:
        # Who has left a chat since, or cleared it, does not see it any more.
        if visibility.sees(state.chats[row.chat], state.members[row.chat].get(user), row.message_id):
            (message,) = views.messages(state, user, state.chats[row.chat], [row], (), with_chat_id=True)
            size = page.size
            if not page.add(message):
                break
            if page.size - size > ITEMS_BYTES:
                await fairness.turn()
        last = row.seq
    reply(page.made(more=more, after=None if last is None else answer_pages.cursor(last)))


def _create_chat(service: Service, subscriber: Subscriber, request: requests.CreateChat, reply: Reply) -> None:
    wait = service.groups.take(subscriber.user, trio.current_time())
    if wait:
        raise RelayError.too_many_groups(service.settings.limits.groups_per_day, wait)
    service.command_on_chat(subscriber, request, reply, new_chat_id())


def _update_chat(service: Service, subscriber: Subscriber, request: requests.UpdateChat, reply: Reply) -> None:
    service.command_on_chat(subscriber, request, reply)


def _add_participants(service: Service, subscriber: Subscriber, request: requests.Participants, reply: Reply) -> None:
    service.command_on_chat(subscriber, commands.AddParticipants(request.chat_id, request.participants), reply)


def _remove_participants(
    service: Service, subscriber: Subscriber, request: requests.Participants, reply: Reply
) -> None:
    service.command_on_chat(subscriber, commands.RemoveParticipants(request.chat_id, request.participants), reply)


def _leave_chat(service: Service, subscriber: Subscriber, request: requests.ChatRequest, reply: Reply) -> None:
    service.command(subscriber, commands.LeaveChat(request.chat_id), reply)


def _delete_chat(service: Service, subscriber: Subscriber, request: requests.ChatRequest, reply: Reply) -> None:
    service.command(subscriber, commands.DeleteChat(request.chat_id), reply)


def _profile(service: Service, subscriber: Subscriber, request: requests.ProfileRequest, reply: Reply) -> None:
    def answer(decided: object) -> None:
        if isinstance(decided, ChangedUser):
            decided = views.profile(service.state.users[decided.user])
        reply(decided)

    service.command(subscriber, request, answer)


async def _devices(service: Service, subscriber: Subscriber, _request: requests.Nothing, reply: Reply) -> None:
    there = {one.device for one in service.hub.presence.subscribers.get(subscriber.user, ())}
    reply(
        [
            requests.DeviceItem(
                device_id=device.key,
                label=device.label,
                created_at=device.created_at,
                last_seen=service.log.cursors.get(device.key, (0, 0))[1] or None,
                current=device.key == subscriber.device,
                online=device.key in there,
            )
            for device in service.state.devices.values()
            if device.user == subscriber.user and not device.revoked_at
        ]
    )


def _revoke_device(service: Service, subscriber: Subscriber, request: requests.RevokeDevice, reply: Reply) -> None:
    def answer(decided: object) -> None:
        reply(requests.Nothing() if isinstance(decided, ChangedDevice) else decided)

    service.command(subscriber, control.RevokeDevice(device_id=request.device_id), answer)


async def _password(service: Service, subscriber: Subscriber, request: requests.Password, reply: Reply) -> None:
    revoked = await service.signing_in.change_password(
        subscriber.user,
        subscriber.device,
        request.old,
        request.new,
        sign_out_others=request.sign_out_others,
        address=CONNECTED,
    )
    reply(requests.PasswordChanged(signed_out=revoked))


async def _invite(service: Service, subscriber: Subscriber, request: requests.Invite, reply: Reply) -> None:
    reply(
        await service.signing_in.invite(
            subscriber.user,
            subscriber.device,
            user_id=request.user_id,
            name=request.name,
            chat_id=request.chat_id,
        )
    )


_HANDLERS: dict[str, Handler] = {
    "new": _new,
    "edit": _edit_or_delete,
    "delete": _edit_or_delete,
    "dlvrd": _dlvrd,
    "read": _read,
    "messages": _messages,
    "chat": _chat,
    "chats": _chats,
    "users": _users,
    "search": _search,
    "createChat": _create_chat,
    "updateChat": _update_chat,
    "addParticipants": _add_participants,
    "removeParticipants": _remove_participants,
    "leaveChat": _leave_chat,
    "deleteChat": _delete_chat,
    "profile": _profile,
    "devices": _devices,
    "revokeDevice": _revoke_device,
    "invite": _invite,
    "password": _password,
}
"""Who handles what: PROTOCOL.md, section 5."""
