"""How many HTTP requests may be answered at a time: in all, and for one address or one user.

An answer that nobody reads and a body that does not come hold memory of the kernel's, so each takes a place. When all
places are taken, whoever has the most loses the oldest: a few addresses cannot keep out the others.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio


class Places:
    """The places, and who has them."""

    def __init__(self, room: int, each: int) -> None:
        """Make places that are all free.

        Args:
            room: how many there are.
            each: how many of them one asker may have.
        """
        self._room = room
        self._each = each
        self._taken = 0
        self._held: dict[Hashable, dict[int, trio.CancelScope]] = {}
        self._own: dict[Hashable, trio.lowlevel.ParkingLot] = {}
        self._any = trio.lowlevel.ParkingLot()
        self._numbers = 0

    def __len__(self) -> int:
        return self._taken

    def held(self, who: Hashable) -> int:
        """How many places an asker has."""
        return len(self._held.get(who, ()))

    def free(self, who: Hashable) -> bool:
        """Whether there is a place for an asker; where all are taken, whoever has the most may lose one for it."""
        if self.held(who) >= self._each:
            return False
        return self._taken < self._room or self._make_room(who)

    async def wait(self, who: Hashable) -> None:
        """Wait until there is a place for an asker, who has to `take` it before anything else is awaited."""
        while not self.free(who):
            if self.held(who) < self._each:
                await self._any.park()
                continue
            own = self._own.setdefault(who, trio.lowlevel.ParkingLot())
            try:
                await own.park()
            finally:
                if not own and self._own.get(who) is own:
                    del self._own[who]

    def _make_room(self, who: Hashable) -> bool:
        """Take the oldest place from whoever has the most, if that is more than this asker would have."""
        largest = max(self._held, key=self.held, default=None)
        if largest is None or self.held(largest) <= self.held(who) + 1:
            return False
        number = next(iter(self._held[largest]))
        self._held[largest][number].cancel()
        self._leave(largest, number)
        return True

    @asynccontextmanager
    async def take(self, who: Hashable) -> AsyncIterator[trio.CancelScope]:
        """Hold a place; the scope is cancelled when somebody else needs it more."""
        self._numbers += 1
        number = self._numbers
        with trio.CancelScope() as scope:
            self._held.setdefault(who, {})[number] = scope
            self._taken += 1
            try:
                yield scope
            finally:
                self._leave(who, number)

    def _leave(self, who: Hashable, number: int) -> None:
        held = self._held.get(who, {})
        if held.pop(number, None) is None:
            return
        self._taken -= 1
        if not held:
            self._held.pop(who, None)
        own = self._own.get(who)
        if own is not None:
            own.unpark()
        self._any.unpark_all()
