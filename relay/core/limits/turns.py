"""One job at a time per user, so that nobody gets more turns by asking more often."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from relay.keys import UserKey


class Turns:
    """A queue for each user with a job under way."""

    def __init__(self) -> None:
        self._turns: dict[UserKey, trio.StrictFIFOLock] = {}

    def __len__(self) -> int:
        return len(self._turns)

    @asynccontextmanager
    async def of(self, user: UserKey) -> AsyncIterator[None]:
        """Wait until the user's earlier jobs are done, and make later ones wait for this one."""
        turn = self._turns.setdefault(user, trio.StrictFIFOLock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked():
                self._turns.pop(user, None)
