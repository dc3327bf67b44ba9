"""A lock that those who wait for it get in turn: whoever has many tasks waiting delays the others by one at a time."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio

from relay.protocol.errors import RelayError


class _Waiting:
    def __init__(self) -> None:
        self.over = trio.Event()
        self.refused = False


class FairLock:
    """One holder at a time; the next one is the first task of the owner whose turn it is."""

    def __init__(self, room: int) -> None:
        """Begin unlocked.

        Args:
            room: tasks that may wait. When another one comes, the owner of the most loses its latest.
        """
        self._room = room
        self._locked = False
        self._queues: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @asynccontextmanager
    async def turn(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold the lock.

        Args:
            owner: for whom the task works.

        Raises:
            RelayError: `rate_limited`, too many wait, and this owner's are the most of them.
        """
        await trio.lowlevel.checkpoint()
        if self._locked:
            await self._wait(owner)
        self._locked = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, owner: Hashable) -> None:
        if self._count >= self._room:
            self._make_room(owner)
        waiting = _Waiting()
        self._queues.setdefault(owner, deque()).append(waiting)
        self._count += 1
        try:
            await waiting.over.wait()
        except trio.Cancelled:
            if not waiting.over.is_set():
                self._remove(owner, waiting)
            elif not waiting.refused:
                self._pass_on()
            raise
        if waiting.refused:
            raise RelayError.rate_limited(1_000)

    def _make_room(self, owner: Hashable) -> None:
        most = max(self._queues, key=lambda one: len(self._queues[one]), default=owner)
        if most == owner or len(self._queues[most]) <= len(self._queues.get(owner, ())) + 1:
            raise RelayError.rate_limited(1_000)
        latest = self._queues[most][-1]
        self._remove(most, latest)
        latest.refused = True
        latest.over.set()

    def _remove(self, owner: Hashable, waiting: _Waiting) -> None:
        queue = self._queues[owner]
        queue.remove(waiting)
        self._count -= 1
        if not queue:
            del self._queues[owner]

    def _pass_on(self) -> None:
        self._locked = bool(self._queues)
        if self._locked:
            owner, queue = next(iter(self._queues.items()))
            first = queue[0]
            self._remove(owner, first)
            if queue:
                self._queues.move_to_end(owner)
            first.over.set()
