"""Who is typing where, for how long, and how often that is announced (PROTOCOL.md, section 4). Never written.

Pure: takes the time as an argument. Clients may repeat the event as often as they like; it is announced every few
seconds.
"""

from relay.keys import ChatKey, Seconds, UserKey

TYPING_SECONDS = 6.0
"""Seconds after which a typist who does not repeat the event has stopped."""
REPEAT_SECONDS = 2.5
"""A user's typing in a chat is announced at most once in this many seconds."""
MAX_CHATS = 4
"""Chats in which one user can be typing at a time, including those announced within `REPEAT_SECONDS`."""


class _Typist:
    """One user's typing in one chat."""

    __slots__ = ("announced_at", "shown", "typing", "until")

    def __init__(self) -> None:
        self.typing = False
        self.shown = False
        """Whether the other members see it."""
        self.until = 0.0
        """When the typing ends; if it has ended, until when the last announcement is remembered."""
        self.announced_at = -REPEAT_SECONDS
        """When it was last announced."""

    def announces(self, now: Seconds) -> bool:
        """Return whether to announce it now."""
        if now - self.announced_at < REPEAT_SECONDS:
            return False
        self.announced_at = now
        self.shown = True
        return True


class Typists:
    """All typists, and when the typing of each ends."""

    def __init__(self) -> None:
        self.users: dict[UserKey, dict[ChatKey, _Typist]] = {}
        """Typists by user and chat; at most `MAX_CHATS` per user."""

    def start(self, chat: ChatKey, user: UserKey, now: Seconds) -> bool:
        """Note that a user types in a chat, for `TYPING_SECONDS` from now.

        Args:
            chat: the chat's key.
            user: the user's key.
            now: monotonic seconds.

        Returns:
            Whether to announce it.
        """
        places = self.users.setdefault(user, {})
        place = places.get(chat)
        if place is None:
            if len(places) >= MAX_CHATS and not _make_room(places, now):
                return False
            place = places[chat] = _Typist()
        place.typing = True
        place.until = now + TYPING_SECONDS
        return place.announces(now)

    def stop(self, chat: ChatKey, user: UserKey) -> bool:
        """Note that a user has stopped; return whether to announce it."""
        place = self.users.get(user, {}).get(chat)
        if place is None or not place.typing:
            return False
        shown, place.shown = place.shown, False
        place.typing = False
        place.until = place.announced_at + REPEAT_SECONDS
        return shown

    def chats_of(self, user: UserKey) -> list[ChatKey]:
        """Return the chats in which a user is typing."""
        return [chat for chat, place in self.users.get(user, {}).items() if place.typing]

    def typists(self) -> list[tuple[ChatKey, UserKey]]:
        """List all who are typing.

        Returns:
            Pairs of chat and user.
        """
        return [(chat, user) for user in self.users for chat in self.chats_of(user)]

    def due(self, now: Seconds) -> list[tuple[ChatKey, UserKey, bool]]:
        """Take out the typing to announce now, and drop typing that is over.

        Returns:
            Chat, user, and whether they have stopped.
        """
        due = []
        for user, places in list(self.users.items()):
            for chat, place in list(places.items()):
                if place.until <= now:
                    if place.shown:
                        due.append((chat, user, True))
                    del places[chat]
                elif place.typing and not place.shown and place.announces(now):
                    due.append((chat, user, False))
            if not places:
                del self.users[user]
        return due

    def __bool__(self) -> bool:
        return bool(self.users)

    def __len__(self) -> int:
        return sum(map(len, self.users.values()))


def _make_room(places: dict[ChatKey, _Typist], now: Seconds) -> bool:
    """Drop a chat in which the user does not type and that was not announced recently."""
    for chat, place in places.items():
        if not place.typing and place.until <= now:
            del places[chat]
            return True
    return False
