"""Ephemeral events: who is online, who types, and new devices (PROTOCOL.md, sections 4 and 10).

They have no id, are never replayed, and a device that cannot take one at once never gets it.
"""

from collections import deque
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Protocol

from relay.core.clock.clock import Clock
from relay.core.delivery import list_readers
from relay.core.delivery.presence import Presence
from relay.core.delivery.typing import Typists
from relay.core.model import changes
from relay.core.model.state import State
from relay.core.rules import permissions
from relay.core.rules.permissions import Action
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, Seconds, UserKey
from relay.protocol import codec, events
from relay.protocol.base import Encodable
from relay.store.entry import Entry

MAX_INTRODUCED = 512
"""Maximum connected members of a chat who are announced to each other when a user joins or leaves: the cost grows with
the pairs. In larger chats clients learn about each other when they connect."""
MAX_WAITING_USERS = 8_192
"""Maximum users whose pairs wait to be announced; beyond it clients learn about each other when they connect."""

Frame = Callable[[bytes], bytes]
"""Encodes one message as a frame, once for all recipients."""


class Send(Protocol):
    """Offers a frame to all devices of a user."""

    def __call__(self, user: UserKey, frame: bytes, *, least_version: int = 1) -> None:
        """Offer the frame to devices that speak at least this version of the protocol."""


class Announcements:
    """Decides whom to announce to whom, and when."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        frame: Frame,
        time: Callable[[], Seconds],
        presence: Presence,
        send: Send,
        tuning: DeliveryTuning,
    ) -> None:
        """Begin with nothing to announce.

        Args:
            state: tells who shares chats with whom.
            clock: the time that events carry, Unix milliseconds.
            frame: encodes a message as a frame.
            time: monotonic seconds, for what is announced later.
            presence: all connections.
            send: offers a frame to a user's devices.
            tuning: how much is announced at a time.
        """
        self._state = state
        self._clock = clock
        self._frame = frame
        self._time = time
        self._presence = presence
        self._send = send
        self._tuning = tuning
        self.typing = Typists()
        self._pairs: deque[tuple[list[UserKey], int]] = deque()
        """Users whose shared chats have changed, as a list and a position in it: the user there forms pairs with those
        after it."""

    @property
    def pending(self) -> bool:
        """Whether something is to be announced later: `tick` does it."""
        return bool(self.typing or self._presence.pending or self._pairs)

    def tick(self, now: Seconds) -> None:
        """Announce what is due: who stopped typing, and who came or went a while ago; `now` is trio's time."""
        for chat, user, stopped in self.typing.due(now):
            self._send_typing(chat, user, stop=True if stopped else None)
        for user, is_online in self._presence.due(now):
            self._send_presence(user, is_online=is_online)
        self._announce_pairs()

    # Presence.

    def presence_changed(self, user: UserKey) -> None:
        """Announce that a user came or went: at once, or after a second with the state at that time."""
        if not self._presence.online(user):
            for chat in self.typing.chats_of(user):
                self.stop_typing(chat, user)
        if self._presence.announces_now(user, self._time()):
            self._send_presence(user, is_online=self._presence.online(user))

    def online_contacts(self, user: UserKey) -> list[bytes]:
        """Make the frames that tell a newly connected user which of their contacts are online."""
        return [self._online(contact) for contact in self._state.contacts(user, self._presence.all_shown())]

    def introduce(self, entry: Entry) -> None:
        """Announce users to each other whose first shared chat this entry creates."""
        concerned = self._presence.concerned(self._state.members[entry.chat].keys())
        newcomers = concerned.intersection(list_readers.list_change(entry).newcomers)
        if self._is_much(concerned, newcomers):
            return
        online = {user: self._online(user) for user in concerned if self._presence.shown(user)}
        for user in newcomers:
            concerned.discard(user)
            for other in concerned.difference(self._state.contacts(user, concerned, but=entry.chat)):
                if other in online:
                    self._send(user, online[other])
                if user in online:
                    self._send(other, online[user])

    def part(self, entry: Entry) -> None:
        """Announce users as offline to each other who no longer share a chat: they get no more news of each other."""
        gone = list_readers.list_change(entry).goes_for
        shown = self._presence.shown
        concerned = self._presence.concerned({*gone, *self._state.members[entry.chat]})
        leavers = concerned.intersection(gone)
        if self._is_much(concerned, leavers):
            return
        for user in leavers:
            concerned.discard(user)
            for other in concerned:
                if not self._state.share_chat(user, other):
                    if shown(other):
                        self._send(user, self._offline(other))
                    if shown(user):
                        self._send(other, self._offline(user))

    def _is_much(self, concerned: AbstractSet[UserKey], moved: AbstractSet[UserKey]) -> bool:
        """Return whether these are too many pairs to announce at once; if so, they wait for the next ticks."""
        if len(concerned) * len(moved) <= self._tuning.slice_pairs:
            return False
        if len(concerned) <= MAX_INTRODUCED and len(self._pairs) < MAX_WAITING_USERS:
            order = [*moved, *(concerned - moved)]
            self._pairs.extend((order, place) for place in range(len(moved)))
        return True

    def _announce_pairs(self) -> None:
        """Announce some of the waiting pairs as they are now.

        A user is online for the other if they are shown so and the two share a chat. Otherwise they are offline. That
        is sent even if they went away while the pair waited, because only users who shared a chat with them at that
        time received it.
        """
        frames: dict[tuple[UserKey, bool], bytes] = {}
        left = self._tuning.slice_pairs
        while self._pairs and left > 0:
            order, place = self._pairs.popleft()
            left -= len(order) - place
            user = order[place]
            for other in order[place + 1 :]:
                share = self._state.share_chat(user, other)
                for listener, subject in ((user, other), (other, user)):
                    is_online = share and self._presence.shown(subject)
                    frame = frames.get((subject, is_online))
                    if frame is None:
                        frame = self._online(subject) if is_online else self._offline(subject)
                        frames[subject, is_online] = frame
                    self._send(listener, frame)

    def _send_presence(self, user: UserKey, *, is_online: bool) -> None:
        frame = self._online(user) if is_online else self._offline(user)
        for contact in self._state.contacts(user, self._presence.subscribers):
            self._send(contact, frame)

    def _offline(self, user: UserKey) -> bytes:
        return self._event("offline", events.Offline(user_id=self._state.users[user].id))

    def _online(self, user: UserKey) -> bytes:
        return self._event("online", events.Online(user_id=self._state.users[user].id))

    def _event(self, name: str, payload: Encodable) -> bytes:
        return self._frame(codec.event(name, self._clock(), payload))

    # Typing.

    def start_typing(self, chat: ChatKey, user: UserKey, now: Seconds) -> None:
        """Announce that a user types, unless it was announced recently.

        Args:
            chat: the chat's key.
            user: the user's key.
            now: monotonic seconds (trio's time).
        """
        if self.typing.start(chat, user, now):
            self._send_typing(chat, user, stop=None)

    def stop_typing(self, chat: ChatKey, user: UserKey) -> None:
        """Announce that a user has stopped typing, if they did type."""
        if self.typing.stop(chat, user):
            self._send_typing(chat, user, stop=True)

    def end_typing_rights(self) -> None:
        """Stop the typing of users who may no longer write in their chat."""
        for chat, user in self.typing.typists():
            if not permissions.may(self._state, self._state.chats[chat], user, Action.TYPE):
                self.stop_typing(chat, user)

    def _send_typing(self, key: ChatKey, user: UserKey, *, stop: bool | None) -> None:
        chat = self._state.chats[key]
        now = self._clock()
        name = self._state.users[user].id
        for other, member in self._state.members[key].items():
            # A user who cleared the dialog does not list it until the next message.
            if other != user and not member.hidden and other in self._presence.subscribers:
                payload = events.Typing(user_id=name, chat_id=self._state.chat_id(chat, other), stop=stop)
                self._send(other, self._frame(codec.event("typing", now, payload)))

    # Devices.

    def device_added(self, entry: Entry) -> None:
        """Announce a new device to the user's other devices, so that a stolen invite or password is noticed."""
        change = changes.change_of(entry)
        if not isinstance(change, changes.DeviceAdded) or change.hook is not None:
            return
        payload = events.DeviceSignedIn(device_id=change.key, label=change.label, timestamp=entry.at)
        self._send(change.user, self._frame(codec.event("device", entry.at, payload)), least_version=2)
