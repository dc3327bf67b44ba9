"""Who is online: PROTOCOL.md, section 4. In memory only; never written."""

from relay.core.subscriber import Subscriber


class Presence:
    """The connections of each user, and whether one of them is in the foreground."""

    def __init__(self) -> None:
        self.subscribers: dict[int, list[Subscriber]] = {}
        self.last_seen: dict[int, int] = {}
        """Unix milliseconds, of users who were online since the relay started and are not now."""

    def online(self, user: int) -> bool:
        """Whether a user has a device that is there."""
        return any(one.foreground for one in self.subscribers.get(user, ()))

    def last(self, user: int) -> int | None:
        """When a user who is offline now was last online, if that is known."""
        return None if self.online(user) else self.last_seen.get(user)

    def arrive(self, subscriber: Subscriber) -> bool:
        """Take a connection in; tells whether its user came online by it."""
        before = self.online(subscriber.user)
        self.subscribers.setdefault(subscriber.user, []).append(subscriber)
        return not before

    def leave(self, subscriber: Subscriber, now: int) -> bool:
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
