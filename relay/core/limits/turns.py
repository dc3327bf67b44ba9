"""Whose turn it is: one at a time of each user, so that nobody takes the place of others by asking more often."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


class Turns:
    """A queue for each user who has something under way."""

    def __init__(self) -> None:
        self._turns: dict[int, trio.StrictFIFOLock] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, user: int) -> AsyncIterator[None]:
        """Wait until what the user asked for before is over, and hold up the next until this is."""
        turn = self._turns.setdefault(user, trio.StrictFIFOLock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked():
                self._turns.pop(user, None)
