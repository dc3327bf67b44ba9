"""A lock that owners get in turn: an owner with many waiting tasks delays the others by one task at a time.

Owners whom the relay knows have a queue of their own. The two queues are served alternately and have separate room, so
any number of unknown clients cannot keep the lock from a known one.
"""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio

from relay.protocol.errors import RelayError


class _Waiting:
    def __init__(self) -> None:
        self.over = trio.Event()
        self.refused = False


class _Line:
    """Waiting tasks by owner; the next one is the first task of the owner whose turn it is."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._queues: OrderedDict[Hashable, deque[_Waiting]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, owner: Hashable) -> _Waiting:
        """Let a task wait. Raises `rate_limited` if there is no room and this owner has the most tasks."""
        if self._count >= self._room:
            self._make_room(owner)
        waiting = _Waiting()
        self._queues.setdefault(owner, deque()).append(waiting)
        self._count += 1
        return waiting

    def _make_room(self, owner: Hashable) -> None:
        most = max(self._queues, key=lambda one: len(self._queues[one]), default=owner)
        if most == owner or len(self._queues[most]) <= len(self._queues.get(owner, ())) + 1:
            raise RelayError.rate_limited(1_000)
        latest = self._queues[most][-1]
        self.remove(most, latest)
        latest.refused = True
        latest.over.set()

    def remove(self, owner: Hashable, waiting: _Waiting) -> None:
        queue = self._queues[owner]
        queue.remove(waiting)
        self._count -= 1
        if not queue:
            del self._queues[owner]

    def pop(self) -> _Waiting:
        """Take out the next task; its owner's other tasks move behind those of the other owners."""
        owner, queue = next(iter(self._queues.items()))
        first = queue[0]
        self.remove(owner, first)
        if queue:
            self._queues.move_to_end(owner)
        return first


class FairLock:
    """One holder at a time; the next one is the first task of the owner whose turn it is."""

    def __init__(self, room: int) -> None:
        """Begin unlocked.

        Args:
            room: tasks that may wait in each queue. When another one comes, the owner with the most loses its latest.
        """
        self._locked = False
        self._trusted, self._strangers = _Line(room), _Line(room)
        self._lines = deque((self._trusted, self._strangers))
        """The queue to serve next, if a task waits in it, and then the other one."""

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    @property
    def held(self) -> bool:
        """Whether somebody holds the lock."""
        return self._locked

    @asynccontextmanager
    async def turn(self, owner: Hashable, *, trusted: bool = False) -> AsyncIterator[None]:
        """Hold the lock.

        Args:
            owner: the user or network that the task works for.
            trusted: whether the relay knows the owner as a user or an admin.

        Raises:
            RelayError: `rate_limited`, too many wait, and this owner has the most of them.
        """
        await trio.lowlevel.checkpoint()
        if self._locked:
            await self._wait(owner, self._trusted if trusted else self._strangers)
        self._locked = True
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, owner: Hashable, line: _Line) -> None:
        waiting = line.add(owner)
        try:
            await waiting.over.wait()
        except trio.Cancelled:
            if not waiting.over.is_set():
                line.remove(owner, waiting)
            elif not waiting.refused:
                self._pass_on()
            raise
        if waiting.refused:
            raise RelayError.rate_limited(1_000)

    def _pass_on(self) -> None:
        line = next((line for line in self._lines if len(line)), None)
        self._locked = line is not None
        if line is not None:
            self._lines.remove(line)
            self._lines.append(line)
            line.pop().over.set()
