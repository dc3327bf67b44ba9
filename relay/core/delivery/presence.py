"""Who is online, and how often that is told: PROTOCOL.md, section 4. In memory only; never written."""

from relay.core.delivery.subscriber import Subscriber

ANNOUNCE_SECONDS = 1.0
"""Seconds within which it is told once of a user that they came or went; what is true at their end is told then."""


class Presence:
    """The connections of each user, and whether one of them is in the foreground."""

    def __init__(self) -> None:
        self.subscribers: dict[int, list[Subscriber]] = {}
        self.last_seen: dict[int, int] = {}
        """Unix milliseconds, of users who were online since the relay started and are not now."""
        self._told: dict[int, tuple[bool, float]] = {}
        """Of users of whom something was told in the last second: what, and when."""

    def announces_now(self, user: int, now: float) -> bool:
        """Whether it is to be told at once that a user came or went; else `due` tells it, if it is still true."""
        if user in self._told:
            return False
        self._told[user] = (self.online(user), now)
        return True

    def shown(self, user: int) -> bool:
        """Whether a user is online as the others were told: who comes now learns the same."""
        told = self._told.get(user)
        return self.online(user) if told is None else told[0]

    def due(self, now: float) -> list[tuple[int, bool]]:
        """Take out whose presence is to be told now, and whether they are online."""
        told = []
        for user, (was, at) in list(self._told.items()):
            if now - at < ANNOUNCE_SECONDS:
                continue
            is_online = self.online(user)
            if is_online == was:
                del self._told[user]
            else:
                self._told[user] = (is_online, now)
                told.append((user, is_online))
        return told

    @property
    def pending(self) -> bool:
        """Whether `due` has something to look at."""
        return bool(self._told)

    def online(self, user: int) -> bool:
        """Whether a user has a device that is there."""
        return any(one.foreground for one in self.subscribers.get(user, ()))

    def last(self, user: int) -> int | None:
        """When a user who is offline now was last online, if that is known."""
        return None if self.online(user) else self.last_seen.get(user)

    def connect(self, subscriber: Subscriber) -> bool:
        """Take a connection in; tells whether its user came online by it."""
        before = self.online(subscriber.user)
        self.subscribers.setdefault(subscriber.user, []).append(subscriber)
        return not before

    def disconnect(self, subscriber: Subscriber, now: int) -> bool:
        """Take a connection out; tells whether its user went offline by it."""
        before = self.online(subscriber.user)
        there = self.subscribers.get(subscriber.user, [])
        if subscriber in there:
            there.remove(subscriber)
        if not there:
            self.subscribers.pop(subscriber.user, None)
        return self._gone(subscriber.user, now, before=before)

    def background(self, subscriber: Subscriber, now: int) -> bool:
        """A device goes to the background; tells whether its user went offline by it."""
        before = self.online(subscriber.user)
        subscriber.foreground = False
        return self._gone(subscriber.user, now, before=before)

    def foreground(self, subscriber: Subscriber) -> bool:
        """A device is back; tells whether its user came online by it."""
        before = self.online(subscriber.user)
        subscriber.foreground = True
        return not before

    def _gone(self, user: int, now: int, *, before: bool) -> bool:
        gone = before and not self.online(user)
        if gone:
            self.last_seen[user] = now
        return gone
