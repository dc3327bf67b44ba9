"""Searches: on a connection of their own, one at a time of each user, and none for long.

What a search costs depends on all that others have said, so nobody else must wait for it.
"""

from relay.core.turns import Turns
from relay.protocol.errors import RelayError
from relay.store import search
from relay.store.database import Connection, TooLong
from relay.store.history import HistoryRow
from relay.store.search import Sought


class Searching:
    """Finds messages for users."""

    def __init__(self, reading: Connection) -> None:
        self._reading = reading
        self._turns = Turns()

    async def find(self, user: int, sought: Sought) -> tuple[list[HistoryRow], bool]:
        """Find messages as `search.search` does, once the user's other searches are over.

        Args:
            user: who asks.
            sought: what is looked for.

        Raises:
            RelayError: `unavailable`, it took too long.
            sqlite3.Error: the store cannot be read.
        """
        async with self._turns.of(user):
            try:
                return await search.search(self._reading, sought)
            except TooLong:
                pass
            try:
                return await search.search_through(self._reading, sought)
            except TooLong:
                raise RelayError(
                    "unavailable", "this search took too long: ask for a longer text, or in one chat"
                ) from None
