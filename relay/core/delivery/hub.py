"""The hub: knows all connections, and sends them entries that are on disk, and announcements.

Order: a live subscriber gets the events of entries in the order of the log, each once. One that cannot keep up falls
behind: it reads the missed entries from the log, and `rejoin` takes it live again.

The module has over 400 lines, because live events, replays and chat lists must agree on that order, so one place
decides it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import trio

from relay.core.auth.rights import KINDS, STORED_KINDS, Rights
from relay.core.clock.clock import Clock
from relay.core.delivery import list_readers, message_views
from relay.core.delivery.announcements import Announcements, Frame
from relay.core.delivery.list_changes import ListChanges
from relay.core.delivery.presence import Presence
from relay.core.delivery.subscriber import AwaitedEvent, Outlet, Subscriber
from relay.core.model import changes
from relay.core.model.entities import Member
from relay.core.model.recent import RecentEntries
from relay.core.model.state import State
from relay.core.rules import visibility
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, Seconds, Seq, UnixMs, UserKey
from relay.protocol import codec
from relay.store import kinds
from relay.store.entry import Entry

FREE_CONNECTIONS = 8
"""Connections that may get a message before its author is charged for them."""
REVOKED_CLOSE_CODE = 4401
"""The close code for a device that may no longer sign in (PROTOCOL.md, section 1)."""


T = TypeVar("T")


def _nothing(_user: UserKey, _what: int) -> None:
    """Do nothing."""


class Hub:
    """All connections, and everything that is sent to them."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        frame: Frame,
        time: Callable[[], float] = trio.current_time,
        charge: Callable[[UserKey, int], None] = _nothing,
        tuning: DeliveryTuning | None = None,
    ) -> None:
        """Begin without connections.

        Args:
            state: the state; it has each entry before the entry is published.
            clock: the time that events carry, Unix milliseconds.
            frame: encodes a message as a frame.
            time: monotonic seconds, for what is sent later.
            charge: takes a user and the number of connections that one of their actions was sent to.
            tuning: how much is sent at a time and remembered; None for the defaults.
        """
        self.state = state
        self.clock = clock
        self.frame = frame
        self.time = time
        self._charge = charge
        self.tuning = tuning = tuning or DeliveryTuning()
        """How much is sent at a time and remembered; read at each use."""
        self.list_changes = ListChanges(state, time)
        self.pending = trio.Event()
        """Set while something waits for `tick` to send it."""
        self.presence = Presence()
        self.announcements = Announcements(state, clock, frame, time, self.presence, self._send_ephemeral, tuning)
        self.rights = Rights()
        """Work under way that ends when a user loses the right to it."""
        self.recent = RecentEntries(state, tuning)
        self.delivered = 0
        """Durable events handed to live subscribers since the start."""
        self.watchers: list[Callable[[Entry], None]] = []
        """Called with every entry as it is published."""
        self.change_watchers: list[Callable[[Entry], None]] = []
        """Called with each entry that changes a chat or a user, so that a message does not pay for them."""
        self.dirty: dict[Outlet, None] = {}
        """Outlets with frames that go out at the next `flush`."""
        self.publishing = False
        """Whether an entry is being sent in slices."""
        self._numbers = 0
        self._revoked: list[Subscriber] = []
        """Subscribers to close once the frames of this turn are sent."""

    # Frames.

    def send(self, outlet: Outlet, payload: bytes) -> None:
        """Queue one message for one connection; it goes out at the next `flush`."""
        outlet.put(self.frame(payload))
        self.dirty[outlet] = None

    def flush(self) -> None:
        """Send all queued frames: one write per connection, however much it is."""
        dirty = self.dirty
        if dirty:
            self.dirty = {}
            for outlet in dirty:
                outlet.flush()
        while self._revoked:
            # Close after the frames: a user who signed out their own device gets the answer first.
            self._reject(self._revoked.pop())

    def _send_ephemeral(self, user: UserKey, frame: bytes, *, least_version: int = 1) -> None:
        """See `announcements.Send`."""
        for subscriber in self.presence.subscribers.get(user, ()):
            if subscriber.version >= least_version and subscriber.outlet.offer(frame):
                self.dirty[subscriber.outlet] = None

    # Connections.

    def next_number(self) -> int:
        """Number a connection."""
        self._numbers += 1
        return self._numbers

    def connect(self, subscriber: Subscriber) -> None:
        """Add a connection: its user may come online, and gets the list of online contacts.

        If its device was revoked since it was authenticated, the connection is closed.
        """
        if self._is_revoked(subscriber):
            self._reject(subscriber)
            return
        subscriber.connected_seq = self.state.seq
        if self.presence.connect(subscriber):
            self._presence_changed(subscriber.user)
        frames = self.announcements.online_contacts(subscriber.user)
        for frame in frames:
            subscriber.outlet.put(frame)
        self._charge(subscriber.user, len(frames))
        self.dirty[subscriber.outlet] = None

    def disconnect(self, subscriber: Subscriber) -> None:
        """Remove a connection: its user may go offline."""
        self.list_changes.forget(subscriber)
        if self.presence.disconnect(subscriber, self.clock()):
            self._presence_changed(subscriber.user)

    def background(self, subscriber: Subscriber) -> None:
        """Note that a device went to the background (client event `offline`)."""
        if self.presence.background(subscriber, self.clock()):
            self._presence_changed(subscriber.user)

    def foreground(self, subscriber: Subscriber) -> None:
        """Note that a device that was in the background sent something."""
        if self.presence.foreground(subscriber):
            self._presence_changed(subscriber.user)

    def _presence_changed(self, user: UserKey) -> None:
        self.pending.set()
        self.announcements.presence_changed(user)

    def _disconnect_revoked(self, entry: Entry) -> None:
        """Close the connections of devices and users that have lost their access."""
        if entry.kind == kinds.CHATS:
            return
        revoked = [
            subscriber
            for connections in self.presence.subscribers.values()
            for subscriber in connections
            if self._is_revoked(subscriber)
        ]
        for subscriber in revoked:
            subscriber.live = False
        self._revoked += revoked

    def _is_revoked(self, subscriber: Subscriber) -> bool:
        return not self.state.is_authorized(subscriber.user, subscriber.device)

    @staticmethod
    def _reject(subscriber: Subscriber) -> None:
        subscriber.live = False
        subscriber.connection.close(REVOKED_CLOSE_CODE, "this device may not sign in any more")

    # Events that are sent later.

    def start_typing(self, chat: ChatKey, user: UserKey, now: Seconds) -> None:
        """Note that a user types in a chat; `tick` announces it.

        Args:
            chat: the chat's key.
            user: the user's key.
            now: monotonic seconds (trio's time).
        """
        self.pending.set()
        self.announcements.start_typing(chat, user, now)

    def stop_typing(self, chat: ChatKey, user: UserKey) -> None:
        """Note that a user has stopped typing."""
        self.announcements.stop_typing(chat, user)

    def tick(self, now: Seconds) -> list[tuple[UserKey, ChatKey]]:
        """Send what is due: announcements, and chat lists that changed a while ago.

        Args:
            now: trio's time.

        Returns:
            Users whose list needs an entry for its event id, see `ListChanges.tick`.
        """
        self.announcements.tick(now)
        # While an entry is sent in slices, some subscribers do not have it yet, and a list would take its id.
        without_id = [] if self.publishing else self.list_changes.tick(now)
        if not (self.announcements.pending or self.list_changes.pending):
            self.pending = trio.Event()
        return without_id

    # Entries.

    def publish(self, entry: Entry) -> Iterator[None] | None:
        """Send an entry to all live subscribers whom it concerns. It is on disk, and the state has it already.

        Returns:
            The remaining steps for a large chat: each sends to about `slice_connections`. Between two steps the caller
            lets other tasks run; no other entry may be applied before the last step. None if all is done.
        """
        self.recent.add(entry)
        for watch in self.watchers:
            watch(entry)
        kind = entry.kind
        if kind in STORED_KINDS:
            self._end_rights(kind)
        if kind in (kinds.NEW, kinds.EDIT, kinds.DELETE):
            if self.announcements.typing.users and kind == kinds.NEW:
                self.announcements.stop_typing(entry.chat, entry.actor)
            members = self.state.members[entry.chat]
            if len(members) > self.tuning.slice_connections:
                return self._in_slices(entry, [*members.items()], partial(self._send_message, entry, {}))
            self._send_message(entry, {}, members.items())
        elif kind in (kinds.DLVRD, kinds.READ):
            self._publish_receipt(entry)
        elif kind in (kinds.CHATS, kinds.USER):
            return self._publish_list_change(entry)
        elif kind == kinds.DEVICE:
            self.announcements.device_added(entry)
            self._disconnect_revoked(entry)
        elif kind == kinds.NOTE:
            self._publish_pruned(entry)
        return None

    def _end_rights(self, kind: int) -> None:
        """End work that a user may no longer do after an entry of this kind."""
        self.rights.doubt()
        if kind in KINDS:
            self.rights.look()
            self.announcements.end_typing_rights()

    def _in_slices(self, entry: Entry, users: Sequence[T], send: Callable[[Sequence[T]], int]) -> Iterator[None]:
        """Send an entry to many users, one slice per step, in the order of the log and once to each connection.

        A subscriber that connects or rejoins between two steps gets the entry by its replay. Later steps skip it,
        because its position is already the entry's.
        """
        for subscriber in self.presence.subscribers.get(entry.actor, ()):
            # Before any step: a replay must know it, whenever it starts.
            if subscriber.number == entry.origin and not subscriber.live:
                subscriber.note_own(entry.seq)
        sent, count = 0, self.tuning.slice_members
        self.publishing = True
        try:
            for start in range(0, len(users), count):
                sent += send(users[start : start + count])
                if sent >= self.tuning.slice_connections:
                    sent = 0
                    yield
        finally:
            self.publishing = False

    def _send_message(self, entry: Entry, shared: dict[int, bytes], members: Iterable[tuple[UserKey, Member]]) -> int:
        """Send a message, an edit or a deletion to these members, and return the number of connections.

        Args:
            entry: the message, edit or deletion.
            shared: frames by the unread count in them, for members whose frames are equal.
            members: user keys and members of its chat.
        """
        subscribers = self.presence.subscribers
        chat = self.state.chats[entry.chat]
        # Every member sees a new message (none can have cleared it), and all but its author have to acknowledge it.
        is_new = entry.kind == kinds.NEW
        seq = entry.seq
        awaited = AwaitedEvent(seq, entry.chat, entry.message_id if is_new else 0)
        dirty = self.dirty
        count, actor, origin, is_dialog = chat.count, entry.actor, entry.origin, chat.id is None
        sent = 0
        for user, member in members:
            connections = subscribers.get(user)
            if connections is None or not (is_new or visibility.is_event_for(self.state, entry, user)):
                continue
            # In a group the events differ only in the unread count, and the author's in the status.
            alike = -1 if is_dialog or user == actor else count - member.seen
            frame = shared.get(alike) if alike >= 0 else None
            for subscriber in connections:
                if subscriber.number == origin:
                    if not subscriber.live:
                        subscriber.note_own(seq)
                    continue
                if not subscriber.live or subscriber.position >= seq:
                    continue
                if frame is None:
                    frame = self._event_frame(entry, user)
                    if alike >= 0:
                        shared[alike] = frame
                subscriber.event(frame, awaited if user != actor else _awaited(entry, to_author=True))
                dirty[subscriber.outlet] = None
                sent += 1
        self.delivered += sent
        if sent > FREE_CONNECTIONS and origin:
            # Charge only what came over a connection: hooks have a limit of their own, and an import's authors did not
            # ask for it.
            self._charge(actor, sent)
        return sent

    def _publish_receipt(self, entry: Entry) -> None:
        awaited = AwaitedEvent(entry.seq, entry.chat, 0)
        users = {one.author for one in entry.covered}
        if entry.kind == kinds.READ:
            users.add(entry.actor)
        for user in users:
            connections = self.presence.subscribers.get(user)
            if connections is None or not visibility.is_event_for(self.state, entry, user):
                continue
            frame = None
            for subscriber in connections:
                if subscriber.number == entry.origin:
                    if not subscriber.live:
                        subscriber.note_own(entry.seq)
                elif subscriber.live:
                    frame = frame or self._event_frame(entry, user)
                    subscriber.event(frame, awaited)
                    self.dirty[subscriber.outlet] = None
                    self.delivered += 1

    def _publish_pruned(self, entry: Entry) -> None:
        """Resend the chats whose unread counts a prune has lowered.

        Devices that are still catching up get them too: their list may be older than this entry, and no replay includes
        it.
        """
        change = changes.change_of(entry)
        if not isinstance(change, changes.HistoryPruned):
            return
        for pruned in change.chats:
            for user, _unread in pruned.unread:
                for subscriber in self.presence.subscribers.get(user, ()):
                    self.list_changes.note_count(subscriber, entry.seq, pruned.chat)
                    self.pending.set()

    def _event_frame(self, entry: Entry, user: UserKey) -> bytes:
        name, payload = message_views.event(self.state, entry, user)
        return self.frame(codec.event(name, entry.at, payload, entry.seq))

    # Chat lists.

    def _publish_list_change(self, entry: Entry) -> Iterator[None] | None:
        """Note which users' chat lists changed; the lists are made while their readers catch up."""
        for watch in self.change_watchers:
            watch(entry)
        if entry.kind == kinds.CHATS:
            self.announcements.introduce(entry)
            self.announcements.part(entry)
            self.pending.set()
        self._disconnect_revoked(entry)
        note = partial(self._note_list_change, entry, list_readers.list_change(entry))
        readers = list_readers.chat_list_readers(self.state, entry)
        if len(readers) > self.tuning.slice_connections:
            return self._in_slices(entry, readers, note)
        note(readers)
        return None

    def _note_list_change(self, entry: Entry, change: list_readers.ListChange, users: Iterable[UserKey]) -> int:
        """Note for these users that their list changed, and return how many connections they have."""
        count = 0
        for user in users:
            for subscriber in self.presence.subscribers.get(user, ()):
                if subscriber.live and subscriber.position < entry.seq:
                    self.list_changes.note(subscriber, entry, change)
                    self.dirty[subscriber.outlet] = None
                    count += 1
        if self.list_changes.pending:
            self.pending.set()
        return count

    # Replay.

    def replay(self, subscriber: Subscriber, entries: Iterable[Entry]) -> Iterator[tuple[Seq, UnixMs]]:
        """Send the events of these entries that concern a subscriber, and stop wherever a chat list has to be sent.

        Yields:
            The event id and the time of each list; the caller sends it before it goes on.
        """
        state = self.state
        user = subscriber.user
        for entry in entries:
            if entry.kind in (kinds.CHATS, kinds.USER):
                changed = entry.seq > subscriber.chats_as_of and list_readers.changes_list(state, entry, user)
                if changed and self.list_changes.owe(subscriber, entry, list_readers.list_change(entry)):
                    yield entry.seq, entry.at
                elif changed:
                    self.pending.set()
            elif entry.kind <= kinds.READ:
                list_first = subscriber.appeared and subscriber.position > subscriber.sent
                if list_first and self._is_event_for(subscriber, entry):
                    # The messages of a chat come after the list in which the chat appears.
                    yield subscriber.position, entry.at
                if self._is_event_for(subscriber, entry):
                    awaited = _awaited(entry, to_author=user == entry.actor)
                    self.send_replayed(subscriber, self._event_frame(entry, user), awaited)
            subscriber.position = entry.seq

    def send_replayed(self, subscriber: Subscriber, frame: bytes, awaited: AwaitedEvent) -> None:
        """Queue a replayed event, however much waits already; the caller bounds it.

        Args:
            subscriber: the connection.
            frame: the event, encoded as a frame.
            awaited: the meaning of its acknowledgement.
        """
        subscriber.replayed(frame, awaited)
        self.dirty[subscriber.outlet] = None

    def rejoin(self, subscriber: Subscriber) -> bool:
        """Take a subscriber live where its replay stopped, if all entries since then are still in memory.

        There is no gap: this function never waits, so nothing happens between the last entry from memory and the first
        live one.

        Returns:
            Whether it is live now; otherwise it needs another page of the log first.
        """
        if subscriber.position < self.state.pruned or subscriber.list_fits(self.time()):
            # `CatchUp.page` sends the earlier events first.
            return False
        entries = self.recent.after(subscriber.position)
        if entries is None:
            return False
        for _ in self.replay(subscriber, entries):
            return False
        subscriber.go_live(self.state.seq)
        return True

    def _is_event_for(self, subscriber: Subscriber, entry: Entry) -> bool:
        user = subscriber.user
        if not visibility.is_event_for(self.state, entry, user):
            return False
        if not _is_own(subscriber, entry):
            return True
        return entry.kind == kinds.DLVRD or (entry.kind == kinds.READ and entry.actor != user)


def _is_own(subscriber: Subscriber, entry: Entry) -> bool:
    """Return whether an entry was made by this very connection, or by its device over an earlier one.

    See PROTOCOL.md, section 4.

    Two pages in one browser are one device: an action of one is news to the other, if both were connected.
    """
    if entry.origin == subscriber.number or entry.seq in subscriber.own_entries:
        return True
    # A temporary token has no device.
    return 0 < entry.device == subscriber.device and entry.seq <= subscriber.connected_seq


def _awaited(entry: Entry, *, to_author: bool) -> AwaitedEvent:
    """Record the meaning of an acknowledgement (PROTOCOL.md, section 6): authors do not deliver to themselves."""
    return AwaitedEvent(entry.seq, entry.chat, entry.message_id if entry.kind == kinds.NEW and not to_author else 0)
