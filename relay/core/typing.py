"""Who is typing where, and for how long that holds: PROTOCOL.md, section 4. In memory only; never written."""

SILENCE = 6.0
"""Seconds after which a typist who says nothing more has stopped."""


class Typing:
    """The typists of each chat, and when each falls silent."""

    def __init__(self) -> None:
        self._until: dict[tuple[int, int], float] = {}

    def start(self, chat: int, user: int, now: float) -> None:
        """A user types in a chat: this holds for `SILENCE` seconds from now."""
        # Moved to the end, so that the first to fall silent always stands first.
        self._until.pop((chat, user), None)
        self._until[chat, user] = now + SILENCE

    def stop(self, chat: int, user: int) -> bool:
        """A user has stopped; tells whether they were typing."""
        return self._until.pop((chat, user), None) is not None

    def chats_of(self, user: int) -> list[int]:
        """Where a user is typing now."""
        return [chat for chat, typist in self._until if typist == user]

    @property
    def next_silence(self) -> float:
        """When the next typist falls silent; infinity while nobody types."""
        return next(iter(self._until.values()), float("inf"))

    def fallen_silent(self, now: float) -> list[tuple[int, int]]:
        """Take out who has said nothing for `SILENCE` seconds: (chat, user)."""
        silent = []
        for place, until in self._until.items():
            if until > now:
                break
            silent.append(place)
        for place in silent:
            del self._until[place]
        return silent

    def __bool__(self) -> bool:
        return bool(self._until)
