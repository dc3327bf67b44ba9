"""Which users are online, and how often that is announced (PROTOCOL.md, section 4). In memory only; never written."""

from collections.abc import Set as AbstractSet

from relay.core.delivery.subscriber import Subscriber
from relay.keys import Seconds, UnixMs, UserKey

ANNOUNCE_SECONDS = 1.0
"""A user's presence is announced at most once in this many seconds, and again at their end if it has changed."""


class Presence:
    """The connections of each user, and which of them are in the foreground."""

    def __init__(self) -> None:
        self.subscribers: dict[UserKey, list[Subscriber]] = {}
        self.last_seen: dict[UserKey, UnixMs] = {}
        """When each user went offline who was online since the relay started, Unix milliseconds."""
        self._announced: dict[UserKey, tuple[bool, Seconds]] = {}
        """The last announcement about each user within the last second, and its time (monotonic seconds)."""

    def announces_now(self, user: UserKey, now: Seconds) -> bool:
        """Return whether to announce at once that a user came or went; otherwise `due` may return it later."""
        if user in self._announced:
            return False
        self._announced[user] = (self.online(user), now)
        return True

    def shown(self, user: UserKey) -> bool:
        """Return whether a user was announced as online: new connections learn the same."""
        announced = self._announced.get(user)
        return self.online(user) if announced is None else announced[0]

    def concerned(self, users: AbstractSet[UserKey]) -> set[UserKey]:
        """Select the users who are connected, or were announced within the last second and may have gone since.

        Only these can be shown as online, or receive presence events.
        """
        return (users & self.subscribers.keys()) | (users & self._announced.keys())

    def all_shown(self) -> list[UserKey]:
        """Return all users who were announced as online; some may have gone a moment ago."""
        return [user for user in self.subscribers.keys() | self._announced.keys() if self.shown(user)]

    def due(self, now: Seconds) -> list[tuple[UserKey, bool]]:
        """Take out the users to announce at `now` (monotonic seconds).

        Returns:
            Each user, and whether they are online.
        """
        changed = []
        for user, (was, at) in list(self._announced.items()):
            if now - at < ANNOUNCE_SECONDS:
                continue
            is_online = self.online(user)
            if is_online == was:
                del self._announced[user]
            else:
                self._announced[user] = (is_online, now)
                changed.append((user, is_online))
        return changed

    @property
    def pending(self) -> bool:
        """Whether `due` may return something later."""
        return bool(self._announced)

    def online(self, user: UserKey) -> bool:
        """Return whether a user has a device in the foreground."""
        return any(one.foreground for one in self.subscribers.get(user, ()))

    def last(self, user: UserKey) -> UnixMs | None:
        """Return when a user was last online, Unix milliseconds; None if they are now, or if it is unknown."""
        return None if self.online(user) else self.last_seen.get(user)

    def connect(self, subscriber: Subscriber) -> bool:
        """Add a connection; return whether its user came online by it."""
        before = self.online(subscriber.user)
        self.subscribers.setdefault(subscriber.user, []).append(subscriber)
        return not before

    def disconnect(self, subscriber: Subscriber, now: UnixMs) -> bool:
        """Remove a connection; return whether its user went offline by it. `now` is Unix milliseconds."""
        before = self.online(subscriber.user)
        there = self.subscribers.get(subscriber.user, [])
        if subscriber in there:
            there.remove(subscriber)
        if not there:
            self.subscribers.pop(subscriber.user, None)
        return self._gone(subscriber.user, now, before=before)

    def background(self, subscriber: Subscriber, now: UnixMs) -> bool:
        """Note that a device went to the background; return whether its user went offline by it."""
        before = self.online(subscriber.user)
        subscriber.foreground = False
        return self._gone(subscriber.user, now, before=before)

    def foreground(self, subscriber: Subscriber) -> bool:
        """Note that a device is back; return whether its user came online by it."""
        before = self.online(subscriber.user)
        subscriber.foreground = True
        return not before

    def _gone(self, user: UserKey, now: UnixMs, *, before: bool) -> bool:
        gone = before and not self.online(user)
        if gone:
            self.last_seen[user] = now
        return gone
