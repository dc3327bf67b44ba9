"""Searches: on a connection of their own, one per user at a time, each with a time limit.

The cost of a search depends on all users' messages, so no other request may wait for it.
"""

import sqlite3
from typing import Protocol

import trio

from relay.core.limits.turns import Turns
from relay.keys import UserKey
from relay.protocol.errors import RelayError
from relay.store.damage import DamagedIndex, is_damage
from relay.store.queries import search
from relay.store.queries.history import HistoryRow
from relay.store.queries.search import Sought
from relay.store.queries.trigrams import TrigramShares
from relay.store.sqlite.database import Connection, TooLong

LEARNED_SECONDS = 3_600.0
"""Seconds after which the usual trigrams are counted again."""
NOTHING_LEARNED_SECONDS = 60.0
"""The same, if there were too few to count."""


class Index(Protocol):
    """The keeper of the full-text index."""

    @property
    def index_losses(self) -> int:
        """How many times the index was found damaged."""

    def suspect_index(self, error: sqlite3.Error) -> None:
        """Have the index rebuilt after this error."""


class Searches:
    """Finds messages for users."""

    def __init__(self, reading: Connection, index: Index) -> None:
        self._reading = reading
        self.bounds = search.SearchBounds()
        """How much one search reads at a time."""
        self._index = index
        self.turns = Turns()
        self._usual = TrigramShares()
        self._learn_at = float("-inf")

    async def find(self, user: UserKey, sought: Sought) -> tuple[list[HistoryRow], bool]:
        """Find messages as `search.search` does, once the user's other searches are over.

        If the full-text index is damaged, the log is searched instead and the index is rebuilt.

        Args:
            user: the user who asks.
            sought: the query.

        Returns:
            The messages, newest first, and whether there are more.

        Raises:
            RelayError: `unavailable`, it took too long.
            sqlite3.Error: the store cannot be read.
        """
        async with self.turns.of(user):
            losses = self._index.index_losses
            try:
                await self._learn()
                found = await self._find(sought)
            except DamagedIndex as error:
                found = await self._find(sought, indexed=0)
                self._index.suspect_index(error)
            else:
                if self._index.index_losses != losses:
                    # The index has been emptied meanwhile.
                    found = await self._find(sought)
            return found

    async def _find(self, sought: Sought, indexed: int | None = None) -> tuple[list[HistoryRow], bool]:
        try:
            return await search.search(self._reading, sought, self._usual, indexed=indexed, bounds=self.bounds)
        except TooLong:
            pass
        try:
            return await search.search_through(self._reading, sought)
        except TooLong:
            raise RelayError(
                "unavailable", "this search took too long: ask for a longer text, or in one chat"
            ) from None

    async def _learn(self) -> None:
        """Count the usual trigrams now and then."""
        now = trio.current_time()
        if now < self._learn_at:
            return
        self._learn_at = now + NOTHING_LEARNED_SECONDS
        try:
            if await search.learn(self._reading, self._usual):
                self._learn_at = now + LEARNED_SECONDS
        except TooLong:
            # Without the count a search only takes longer.
            return
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
