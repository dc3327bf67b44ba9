"""Who is typing where, how long that holds, and how often it is told: PROTOCOL.md, section 4. Never written.

Pure: the time is handed in. What a user's clients say as often as they like is told seldom.
"""

SILENCE_SECONDS = 6.0
"""Seconds after which a typist who says nothing more has stopped."""
REPEAT_SECONDS = 2.5
"""Seconds within which it is not told again that a user types in a chat."""
MAX_CHATS = 4
"""Chats in which one user types at a time, and of which something is told within `REPEAT_SECONDS` seconds."""


class _Typist:
    """One user's typing in one chat."""

    __slots__ = ("shown", "told", "typing", "until")

    def __init__(self) -> None:
        self.typing = False
        self.shown = False
        """Whether the others have been told so."""
        self.until = 0.0
        """When the typist falls silent; then, until when it is remembered that something was told."""
        self.told = -REPEAT_SECONDS
        """When it was last told that they type."""

    def tell(self, now: float) -> bool:
        """Whether the others are to be told now."""
        if now - self.told < REPEAT_SECONDS:
            return False
        self.told = now
        self.shown = True
        return True


class Typists:
    """The typists of each chat, and when each falls silent."""

    def __init__(self) -> None:
        self.users: dict[int, dict[int, _Typist]] = {}
        """By user and chat: `MAX_CHATS` of each user at most."""

    def start(self, chat: int, user: int, now: float) -> bool:
        """Note that a user types in a chat, for `SILENCE_SECONDS` from now; tell whether to announce it."""
        places = self.users.setdefault(user, {})
        place = places.get(chat)
        if place is None:
            if len(places) >= MAX_CHATS and not _make_room(places, now):
                return False
            place = places[chat] = _Typist()
        place.typing = True
        place.until = now + SILENCE_SECONDS
        return place.tell(now)

    def stop(self, chat: int, user: int) -> bool:
        """A user has stopped; tells whether that is to be told."""
        place = self.users.get(user, {}).get(chat)
        if place is None or not place.typing:
            return False
        shown, place.shown = place.shown, False
        place.typing = False
        place.until = place.told + REPEAT_SECONDS
        return shown

    def chats_of(self, user: int) -> list[int]:
        """Where a user is typing now."""
        return [chat for chat, place in self.users.get(user, {}).items() if place.typing]

    def typists(self) -> list[tuple[int, int]]:
        """Who is typing where now: (chat, user)."""
        return [(chat, user) for user in self.users for chat in self.chats_of(user)]

    def due(self, now: float) -> list[tuple[int, int, bool]]:
        """Take out what is to be told now: (chat, user, whether they stopped), and forget what is over."""
        told = []
        for user, places in list(self.users.items()):
            for chat, place in list(places.items()):
                if place.until <= now:
                    if place.shown:
                        told.append((chat, user, True))
                    del places[chat]
                elif place.typing and not place.shown and place.tell(now):
                    told.append((chat, user, False))
            if not places:
                del self.users[user]
        return told

    def __bool__(self) -> bool:
        return bool(self.users)

    def __len__(self) -> int:
        return sum(map(len, self.users.values()))


def _make_room(places: dict[int, _Typist], now: float) -> bool:
    """Forget a place where nobody types and of which nothing was told of late."""
    for chat, place in places.items():
        if not place.typing and place.until <= now:
            del places[chat]
            return True
    return False
