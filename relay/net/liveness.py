"""The 20-second rule (PROTOCOL.md, section 4): one task watches all connections, and none pays for it per frame.

Each connection stands in a heap once, under the earliest time at which it could be silent for too long. Who
was heard from since gets a new place when its time comes.
"""

from heapq import heappop, heappush
from itertools import count
from typing import Protocol

import trio

SILENCE = 20.0
"""Seconds without a byte from a client after which its connection is closed."""


class Watched(Protocol):
    """A connection as this module sees it."""

    heard: float

    @property
    def waited_for(self) -> bool:
        """Whether it is us who do not read."""

    def silent(self) -> None:
        """End it: it was silent for too long."""


class Liveness:
    """The watch over all connections."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Watched]] = []
        self._watched: set[Watched] = set()
        self._tie = count()
        self._news = trio.Event()

    def watch(self, connection: Watched) -> None:
        """Start watching a connection."""
        self._watched.add(connection)
        heappush(self._due, (connection.heard + SILENCE, next(self._tie), connection))
        if len(self._due) == 1:
            self._news.set()

    def forget(self, connection: Watched) -> None:
        """Stop watching a connection."""
        self._watched.discard(connection)

    async def run(self) -> None:
        """Watch, for ever."""
        while True:
            if not self._due:
                self._news = trio.Event()
                await self._news.wait()
            await trio.sleep_until(self._due[0][0])
            now = trio.current_time()
            while self._due and self._due[0][0] <= now:
                self._check(heappop(self._due)[2], now)

    def _check(self, connection: Watched, now: float) -> None:
        if connection not in self._watched:
            return
        if connection.waited_for:
            connection.heard = now
        due = connection.heard + SILENCE
        if due <= now:
            self._watched.discard(connection)
            connection.silent()
        else:
            heappush(self._due, (due, next(self._tie), connection))
