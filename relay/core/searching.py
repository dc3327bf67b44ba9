"""Searches: on a connection of their own, one at a time of each user, and none for long.

What a search costs depends on all that others have said, so nobody else must wait for it.
"""

from collections.abc import Sequence

import trio

from relay.protocol.errors import RelayError
from relay.store import queries
from relay.store.database import Connection, TooLong
from relay.store.queries import HistoryRow


class Searching:
    """Finds messages for users."""

    def __init__(self, reading: Connection) -> None:
        self._reading = reading
        self._turns: dict[int, trio.StrictFIFOLock] = {}

    async def find(
        self, user: int, text: str, chats: Sequence[int], *, before: int | None, count: int
    ) -> list[HistoryRow]:
        """Find messages as `queries.search` does, once the user's other searches are over.

        Args:
            user: who asks.
            text: what to find, one character at least.
            chats: in which chats.
            before: only messages older than this, Unix milliseconds.
            count: how many at most.

        Raises:
            RelayError: `unavailable`, it took too long.
            sqlite3.Error: the store cannot be read.
        """
        turn = self._turns.setdefault(user, trio.StrictFIFOLock())
        try:
            async with turn:
                return await self._find(text, chats, before, count)
        finally:
            if not turn.locked():
                self._turns.pop(user, None)

    async def _find(self, text: str, chats: Sequence[int], before: int | None, count: int) -> list[HistoryRow]:
        try:
            return await queries.search(self._reading, text, chats, before=before, count=count)
        except TooLong:
            pass
        try:
            return await queries.search_through(self._reading, text, chats, before=before, count=count)
        except TooLong:
            raise RelayError(
                "unavailable", "this search took too long: ask for a longer text, or in one chat"
            ) from None
