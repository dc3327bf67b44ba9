"""Who is where, and telling them: entries that are on disk, presence, typing.

Its promise of order: a live subscriber gets the events of entries in the order of the log, each once. One
that cannot keep up falls behind and is brought back by whoever reads the log for it (`rejoin`).
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import islice

import msgspec
import trio

from relay.core.auth.rights import KINDS, Rights
from relay.core.clock.clock import Clock
from relay.core.delivery import views
from relay.core.delivery.presence import Presence
from relay.core.delivery.subscriber import Outlet, Receipt, Subscriber
from relay.core.delivery.typing import Typists
from relay.core.model import changes
from relay.core.model.state import State
from relay.core.rules import permissions, visibility
from relay.core.rules.permissions import Action
from relay.keys import UserKey
from relay.protocol import codec, events
from relay.store import kinds
from relay.store.entry import REPLY_PREVIEW, Entry

RECENT = 4_096
"""Entries kept in memory, so that a replay meets what goes on meanwhile."""
RECENT_SIZE = 4_000_000
"""Characters of text they may hold together, with what they quote."""

MANY = 8
"""Connections that may be told of a message before its author is charged for them."""

INTRODUCED = 512
"""People of one chat who are there and are told of each other when somebody joins or leaves it: each pair is looked
at, and where there are more their clients learn it from the next list or when they connect."""

Charge = Callable[[int, int], None]
"""Takes a user and how many connections are told of what they did."""
Frame = Callable[[bytes], bytes]
"""Makes a frame of a message, once for all who get it."""


class Hub:
    """All connections, and what they are to be told."""

    def __init__(self, state: State, clock: Clock, frame: Frame, time: Callable[[], float] = trio.current_time) -> None:
        """Begin with nobody there.

        Args:
            state: what is told of.
            clock: gives the time that events say, Unix milliseconds.
            frame: makes a frame of a message.
            time: gives seconds that never jump, for what is told later.
        """
        self.state = state
        self.clock = clock
        self.frame = frame
        self.time = time
        self.charge: Charge = _nothing
        """Called where telling of what a user did is much work."""
        self.want_entry: Callable[[int, int], None] = _nothing
        """Called with a user and one of their chats where a chat list waits for an event id that no event has."""
        self.pending = trio.Event()
        """Set while something is to be told later: `tick` tells it."""
        self._owing: dict[Subscriber, None] = {}
        """Who is live and owed a chat list."""
        self.presence = Presence()
        self.typing = Typists()
        self.rights = Rights()
        """What ends with somebody's right to it."""
        self.recent: deque[Entry] = deque()
        self._recent_size = 0
        self._changed: deque[tuple[int, int, int]] = deque()
        """The latest edits and deletions: `seq`, chat and message."""
        self._changed_known = 0
        """All of those after this `seq` are among them."""
        self.delivered = 0
        """Durable events handed to live subscribers since the start."""
        self.watchers: list[Callable[[Entry], None]] = []
        """Who sees every entry as it is told, beside those whom it concerns."""
        self.dirty: dict[Outlet, None] = {}
        """Where something was put that goes out at the next `flush`; each once, however much it is."""
        self._numbers = 0
        self._leaving: list[Subscriber] = []
        """Who is to be sent away once what this turn had to say is said."""

    # Frames out.

    def send(self, outlet: Outlet, payload: bytes) -> None:
        """Queue one message for one connection; it goes out at the next `flush`."""
        outlet.put(self.frame(payload))
        self.dirty[outlet] = None

    def flush(self) -> None:
        """Send what this turn had to say: one write a connection, however much it is."""
        dirty = self.dirty
        if dirty:
            self.dirty = {}
            for outlet in dirty:
                outlet.flush()
        while self._leaving:
            # Only now: who signed their own device out is answered first.
            self._turn_away(self._leaving.pop())

    # Coming and going.

    def next_number(self) -> int:
        """Number a connection."""
        self._numbers += 1
        return self._numbers

    def arrive(self, subscriber: Subscriber) -> None:
        """A device connects: its user may come online, and it learns who is.

        It was let in a while ago: if it may not be here any more it is turned away, since whoever sent away those who
        were here could not see it yet.
        """
        if self._unwelcome(subscriber):
            self._turn_away(subscriber)
            return
        subscriber.arrived = self.state.seq
        if self.presence.arrive(subscriber):
            self._flipped(subscriber.user)
        there = [user for user in self.state.contacts(subscriber.user) if self.presence.shown(user)]
        for user in there:
            subscriber.outlet.put(self._online(user))
        self.charge(subscriber.user, len(there))
        self.dirty[subscriber.outlet] = None

    def leave(self, subscriber: Subscriber) -> None:
        """A device is gone: it types no more, and its user may be offline now."""
        self._owing.pop(subscriber, None)
        if self.presence.leave(subscriber, self.clock()):
            self._went_offline(subscriber.user)

    def background(self, subscriber: Subscriber) -> None:
        """A device goes to the background (client event `offline`)."""
        if self.presence.background(subscriber, self.clock()):
            self._went_offline(subscriber.user)

    def foreground(self, subscriber: Subscriber) -> None:
        """A device that was in the background said something."""
        if self.presence.foreground(subscriber):
            self._flipped(subscriber.user)

    def _went_offline(self, user: int) -> None:
        for chat in self.typing.chats_of(user):
            self.stop_typing(chat, user)
        self._flipped(user)

    def _flipped(self, user: int) -> None:
        """Tell that a user came or went: at once, or what is true a second after the last time."""
        self.pending.set()
        if self.presence.tells(user, self.time()):
            self._announce(user, online=self.presence.online(user))

    def _announce(self, user: int, *, online: bool) -> None:
        frame = self._online(user) if online else self._offline(user)
        for contact in self.state.contacts(user):
            self._whisper(contact, frame)

    def _whisper(self, user: int, frame: bytes, *, least: int = 1) -> None:
        """Tell what is worth nothing later: whoever cannot take it now never gets it.

        Args:
            user: whose devices are told.
            frame: what they are told.
            least: the version of the protocol that a device must speak.
        """
        for subscriber in self.presence.subscribers.get(user, ()):
            if subscriber.version >= least and subscriber.outlet.offer(frame):
                self.dirty[subscriber.outlet] = None

    def _id(self, user: int) -> str:
        return self.state.users[user].id

    # Typing.

    def start_typing(self, chat: int, user: int, now: float) -> None:
        """A user types; `now` is trio's time."""
        self.pending.set()
        if self.typing.start(chat, user, now):
            self._tell_typing(chat, user, stop=None)

    def stop_typing(self, chat: int, user: int) -> None:
        """A user has stopped typing, if they did."""
        if self.typing.stop(chat, user):
            self._tell_typing(chat, user, stop=True)

    def tick(self, now: float) -> None:
        """Tell what is due: who has fallen silent, who came or went, whose chat list changed a while ago."""
        for chat, user, stopped in self.typing.due(now):
            self._tell_typing(chat, user, stop=True if stopped else None)
        for user, online in self.presence.due(now):
            self._announce(user, online=online)
        self._tell_lists(now)
        if not (self.typing or self.presence.pending or self._owing):
            self.pending = trio.Event()

    def _end_rights(self) -> None:
        """End what somebody may not do any more."""
        self.rights.look()
        for chat, user in self.typing.typists():
            if not permissions.may(self.state, self.state.chats[chat], user, Action.TYPE):
                self.stop_typing(chat, user)

    def _tell_typing(self, key: int, user: int, *, stop: bool | None) -> None:
        chat = self.state.chats[key]
        now = self.clock()
        for member in self.state.members[key]:
            if member != user and member in self.presence.subscribers:
                payload = events.Typing(user_id=self._id(user), chat_id=self.state.chat_id(chat, member), stop=stop)
                self._whisper(member, self.frame(codec.event("typing", now, payload)))

    # Entries.

    def tell(self, entry: Entry) -> None:
        """Tell all whom an entry concerns and who are live; it is on disk and the state has it already."""
        self._remember(entry)
        for watch in self.watchers:
            watch(entry)
        kind = entry.kind
        if kind in KINDS:
            self._end_rights()
        if kind == kinds.NEW:
            if self.typing:
                self.stop_typing(entry.chat, entry.actor)
            self._tell_messages(entry)
        elif kind in (kinds.EDIT, kinds.DELETE):
            self._tell_messages(entry)
        elif kind in (kinds.DLVRD, kinds.READ):
            self._tell_marks(entry)
        elif kind in (kinds.CHATS, kinds.USER):
            self._tell_chats(entry)
        elif kind == kinds.DEVICE:
            self._tell_device(entry)
            self._dismiss(entry)
        elif kind == kinds.NOTE:
            self._tell_pruned(entry)

    def _remember(self, entry: Entry) -> None:
        recent = self.recent
        recent.append(entry)
        self._recent_size += _length(entry)
        while len(recent) > RECENT or self._recent_size > RECENT_SIZE:
            self._recent_size -= _length(recent.popleft())
        if entry.kind in (kinds.EDIT, kinds.DELETE):
            self._changed.append((entry.seq, entry.chat, entry.target))
            if len(self._changed) > RECENT:
                self._changed_known = self._changed.popleft()[0]
            self._amend(entry)

    def _amend(self, change: Entry) -> None:
        """Bring what is remembered of a message up to what is true now."""
        for one in self.recent:
            if one.chat == change.chat:
                before = _length(one)
                _amend(one, change)
                self._recent_size += _length(one) - before

    def refresh(self, entries: Sequence[Entry], since: int) -> bool:
        """Bring entries up to what is true now that were read from a log which ended at `since`.

        Whoever changed a message meanwhile has the answer and is told no more: what is sent after it must know.
        Tells whether all that happened since is still in memory.
        """
        recent = self.recent
        if self.state.seq == since:
            return True
        if not recent or recent[0].seq > since + 1:
            return False
        for change in islice(recent, since + 1 - recent[0].seq, None):
            if change.kind in (kinds.EDIT, kinds.DELETE):
                for one in entries:
                    if one.chat == change.chat:
                        _amend(one, change)
        return True

    def touched(self, messages: Collection[tuple[int, int]], since: int) -> bool:
        """Tell whether one of these messages was edited or deleted after an entry, or may have been.

        An answer that was read before must not say what was: whoever is answered may have been told of the change.

        Args:
            messages: chats and message ids.
            since: the last `seq` when they were read.
        """
        if since < self._changed_known:
            return True
        for seq, chat, target in reversed(self._changed):
            if seq <= since:
                break
            if (chat, target) in messages:
                return True
        return False

    def _tell_messages(self, entry: Entry) -> None:
        subscribers = self.presence.subscribers
        chat = self.state.chats[entry.chat]
        # What is new is seen by every member (nobody can have cleared it) and to be delivered to all but its author.
        is_new = entry.kind == kinds.NEW
        receipt = Receipt(entry.seq, entry.chat, entry.message_id if is_new else 0)
        shared: dict[int, bytes] = {}
        dirty = self.dirty
        count, actor, origin = chat.count, entry.actor, entry.origin
        told = 0
        for user, member in self.state.members[entry.chat].items():
            there = subscribers.get(user)
            if there is None or not (is_new or visibility.is_event_for(self.state, entry, user)):
                continue
            # In a group members differ in their unread count only, and its author sees the status otherwise.
            alike = -1 if user == actor or chat.id is None else count - member.seen
            frame = shared.get(alike) if alike >= 0 else None
            for subscriber in there:
                if subscriber.number == origin:
                    if not subscriber.live:
                        subscriber.note_said(entry.seq)
                    continue
                if not subscriber.live:
                    continue
                if frame is None:
                    frame = self._event_frame(entry, user)
                    if alike >= 0:
                        shared[alike] = frame
                subscriber.event(frame, receipt if user != actor else _receipt(entry, to_author=True))
                dirty[subscriber.outlet] = None
                told += 1
        self.delivered += told
        if told > MANY:
            self.charge(actor, told)

    def _tell_marks(self, entry: Entry) -> None:
        receipt = Receipt(entry.seq, entry.chat, 0)
        told = {one.author for one in entry.covered}
        if entry.kind == kinds.READ:
            told.add(entry.actor)
        for user in told:
            there = self.presence.subscribers.get(user)
            if there is None or not visibility.is_event_for(self.state, entry, user):
                continue
            frame = None
            for subscriber in there:
                if subscriber.number == entry.origin:
                    if not subscriber.live:
                        subscriber.note_said(entry.seq)
                elif subscriber.live:
                    frame = frame or self._event_frame(entry, user)
                    subscriber.event(frame, receipt)
                    self.dirty[subscriber.outlet] = None
                    self.delivered += 1

    def _tell_chats(self, entry: Entry) -> None:
        """A chat list is made from texts in the log: those who need one get it from there, in its place.

        Who had one a moment ago gets the next a moment later, whatever else changes until then.
        """
        for user in views.chat_list_readers(self.state, entry):
            for subscriber in self.presence.subscribers.get(user, ()):
                if subscriber.live:
                    if self._owe(subscriber, entry):
                        subscriber.fall_behind(entry.seq - 1)
                    self.dirty[subscriber.outlet] = None
        if entry.kind == kinds.CHATS:
            self._introduce(entry)
            self._part(entry)
        self._dismiss(entry)

    def _tell_pruned(self, entry: Entry) -> None:
        """Send the chats again whose unread counts a prune has lowered.

        Also to devices that are still catching up: their list may be older than this entry, and no replay has it.
        """
        change = changes.decode(entry.extra or "")
        if not isinstance(change, changes.HistoryPruned):
            return
        for pruned in change.chats:
            for user, _unread in pruned.unread:
                for subscriber in self.presence.subscribers.get(user, ()):
                    subscriber.owe_list(entry.seq, pruned.chat, appears=False, goes=False)
                    self._owing[subscriber] = None
                    self.pending.set()

    def _owe(self, subscriber: Subscriber, entry: Entry) -> bool:
        """Note that a subscriber's chat list has changed; tells whether they get it at once."""
        chat = views.changed_chat(self.state, entry, subscriber.user)
        change = changes.decode(entry.extra or "")
        subscriber.owe_list(
            entry.seq,
            chat,
            appears=subscriber.user in _appears_for(change),
            goes=subscriber.user in _goes_for(change),
        )
        if subscriber.list_due(self.time()):
            return True
        self._owing[subscriber] = None
        self.pending.set()
        return False

    def _tell_lists(self, now: float) -> None:
        """Let those have their chat list who are owed it for long enough."""
        seq = self.state.seq
        for subscriber in list(self._owing):
            if not subscriber.owed:
                del self._owing[subscriber]
            elif subscriber.live and subscriber.list_due(now):
                if subscriber.sent < seq:
                    # The id of an entry that was no event for this one: all before it has been told.
                    subscriber.fall_behind(seq)
                else:
                    self.want_entry(subscriber.user, next(iter(subscriber.owed)))

    def _introduce(self, entry: Entry) -> None:
        """Tell those who come to share a chat, and shared none before, that the others are online."""
        there = self.state.members[entry.chat].keys() & self.presence.subscribers.keys()
        if len(there) > INTRODUCED:
            return
        online = {user: self._online(user) for user in there if self.presence.shown(user)}
        for user in there.intersection(_newcomers(entry)):
            there.discard(user)
            for other in there - self.state.contacts(user, but=entry.chat):
                if other in online:
                    self._whisper(user, online[other])
                if user in online:
                    self._whisper(other, online[user])

    def _part(self, entry: Entry) -> None:
        """Tell those who share no chat any more that the others are offline: they hear no more of each other."""
        gone = _goes_for(changes.decode(entry.extra or ""))
        shown = self.presence.shown
        there = {user for user in [*gone, *self.state.members[entry.chat]] if user in self.presence.subscribers}
        if len(there) > INTRODUCED:
            return
        for user in there.intersection(gone):
            there.discard(user)
            for other in there:
                if not self.state.share_chat(user, other):
                    if shown(other):
                        self._whisper(user, self._offline(other))
                    if shown(user):
                        self._whisper(other, self._offline(user))

    def _offline(self, user: int) -> bytes:
        return self.frame(codec.event("offline", self.clock(), events.Offline(user_id=self._id(user))))

    def _online(self, user: int) -> bytes:
        return self.frame(codec.event("online", self.clock(), events.Online(user_id=self._id(user))))

    def _tell_device(self, entry: Entry) -> None:
        """Tell a user's other devices that one more may sign in: whoever stole an invite or a password is seen."""
        change = changes.decode(entry.extra or "")
        if not isinstance(change, changes.DeviceAdded) or change.hook is not None:
            return
        payload = events.DeviceSignedIn(device_id=change.key, label=change.label, timestamp=entry.at)
        self._whisper(change.user, self.frame(codec.event("device", entry.at, payload)), least=2)

    def _dismiss(self, entry: Entry) -> None:
        """End the connections of devices and users that may not be here any more."""
        if entry.kind == kinds.CHATS:
            return
        leaving = [
            subscriber
            for there in self.presence.subscribers.values()
            for subscriber in there
            if self._unwelcome(subscriber)
        ]
        for subscriber in leaving:
            subscriber.live = False
        self._leaving += leaving

    @staticmethod
    def _turn_away(subscriber: Subscriber) -> None:
        subscriber.live = False
        subscriber.connection.close(4401, "this device may not sign in any more")

    def _unwelcome(self, subscriber: Subscriber) -> bool:
        return not self.state.is_authorized(subscriber.user, subscriber.device)

    def _event_frame(self, entry: Entry, user: int) -> bytes:
        name, payload = views.event(self.state, entry, user)
        return self.frame(codec.event(name, entry.at, payload, entry.seq))

    # Replay.

    def replay(self, subscriber: Subscriber, entries: Iterable[Entry]) -> Iterator[tuple[int, int]]:
        """Send what of these entries concerns a subscriber; stop where their chat list is to be sent.

        Yields the event id and the time of each list: the caller sends it before it goes on.
        """
        state = self.state
        user = subscriber.user
        for entry in entries:
            if entry.kind in (kinds.CHATS, kinds.USER):
                news = entry.seq > subscriber.chats_as_of and user in views.chat_list_readers(state, entry)
                if news and self._owe(subscriber, entry):
                    yield entry.seq, entry.at
            elif entry.kind <= kinds.READ:
                if subscriber.appeared and subscriber.position > subscriber.sent and self._is_told(subscriber, entry):
                    yield subscriber.position, entry.at
                self._replay_one(subscriber, entry)
            subscriber.position = entry.seq

    def _is_told(self, subscriber: Subscriber, entry: Entry) -> bool:
        """Whether an entry is an event for a subscriber."""
        user = subscriber.user
        if not visibility.is_event_for(self.state, entry, user):
            return False
        if not _said_itself(subscriber, entry):
            return True
        return entry.kind == kinds.DLVRD or (entry.kind == kinds.READ and entry.actor != user)

    def _replay_one(self, subscriber: Subscriber, entry: Entry) -> None:
        user = subscriber.user
        if not self._is_told(subscriber, entry):
            return
        receipt = _receipt(entry, to_author=user == entry.actor)
        self.replayed(subscriber, self._event_frame(entry, user), receipt)

    def replayed(self, subscriber: Subscriber, frame: bytes, receipt: Receipt) -> None:
        """Hand a replayed event over, whatever waits already: whoever replays looks after that."""
        subscriber.replayed(frame, receipt)
        self.dirty[subscriber.outlet] = None

    def rejoin(self, subscriber: Subscriber) -> bool:
        """Go on live where the replay stopped, if what happened since is still in memory; without a gap.

        Nothing can happen between the last entry taken from memory and the first live one: there is no
        waiting in here.
        """
        recent = self.recent
        if subscriber.list_fits(self.time()):
            return False
        if subscriber.position < self.state.seq:
            if not recent or recent[0].seq > subscriber.position + 1:
                return False
            first = subscriber.position + 1 - recent[0].seq
            for _ in self.replay(subscriber, list(islice(recent, first, None))):
                return False
        subscriber.go_live(self.state.seq)
        return True


def _nothing(_user: int, _what: int) -> None:
    """Do nothing."""


def _newcomers(entry: Entry) -> list[UserKey]:
    """Who is in a chat by this entry and was not before."""
    match changes.decode(entry.extra or ""):
        case changes.ChatMade(members=users) | changes.MembersAdded(users=users):
            return users
    return []


def _appears_for(change: changes.AnyChange) -> list[UserKey]:
    """Whose list has a chat by this change that it did not have before."""
    match change:
        case changes.ChatMade(members=users) | changes.MembersAdded(users=users) | changes.ChatShown(users=users):
            return users
    return []


def _goes_for(change: changes.AnyChange) -> list[UserKey]:
    """Out of whose list a chat goes by this change."""
    match change:
        case changes.MembersRemoved(users=users) | changes.ChatDeleted(users=users):
            return users
        case changes.ChatHidden(user=user):
            return [user]
    return []


def _said_itself(subscriber: Subscriber, entry: Entry) -> bool:
    """Whether an entry is what this very connection did, or its device over one before (section 4).

    Two pages of a browser are one device: what one of them says is news to the other, that was there too.
    """
    if entry.origin == subscriber.number or entry.seq in subscriber.said:
        return True
    # A lent token has no device.
    return 0 < entry.device == subscriber.device and entry.seq <= subscriber.arrived


def _receipt(entry: Entry, *, to_author: bool) -> Receipt:
    """What acknowledging a message says: one's own is delivered to nobody by oneself (section 6)."""
    return Receipt(entry.seq, entry.chat, entry.message_id if entry.kind == kinds.NEW and not to_author else 0)


def _length(entry: Entry) -> int:
    """How many characters an entry holds."""
    size = len(entry.message) if entry.message else 0
    quoted = entry.reply_to
    return size + len(quoted.message) if quoted is not None and quoted.message else size


def _amend(one: Entry, change: Entry) -> None:
    """Tell a message, an earlier edit of it and an answer to it as they are after an edit or a deletion (section 4)."""
    target = change.target
    if target == (one.message_id if one.kind == kinds.NEW else one.target if one.kind == kinds.EDIT else 0):
        one.message, one.attachments = change.message, change.attachments
        one.deleted = change.kind == kinds.DELETE
    elif one.reply_to is not None and one.reply_to.message_id == target:
        text = change.message[:REPLY_PREVIEW] if change.message else None
        one.reply_to = msgspec.structs.replace(one.reply_to, message=text)
