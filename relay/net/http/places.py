"""Limits the HTTP requests answered at a time: in total, and for one address or one user.

A response that is not read and a body that does not arrive hold kernel memory, so each takes a place. When all places
are taken, the holder of most places loses its oldest, so a few addresses cannot shut out the others.
"""

from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

import trio

from relay.core.auth.throttle import rate_limit_key
from relay.net.http.caller import Caller
from relay.net.http.idle import IdleConnections
from relay.net.http.pace import AddressPace
from relay.net.tuning import NetTuning

ANONYMOUS_PLACES = 256
"""Places for requests without a valid token, in total."""
USER_PLACES, PLACES_PER_USER = 512, 32
"""Places for requests with a valid token: in total, and per user."""


class Places:
    """A number of places, and their holders."""

    def __init__(self, room: int, each: int) -> None:
        """Begin with all places free.

        Args:
            room: the number of places.
            each: the maximum for one holder.
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

    @property
    def waiting(self) -> int:
        """How many holders at their maximum wait for one of their own places."""
        return len(self._own)

    def held(self, holder: Hashable) -> int:
        """Return how many places a holder has."""
        return len(self._held.get(holder, ()))

    def free(self, holder: Hashable) -> bool:
        """Return whether `holder` can have a place; if all are taken, one may be taken from the largest holder."""
        if self.held(holder) >= self._each:
            return False
        return self._taken < self._room or self._make_room(holder)

    async def wait(self, holder: Hashable) -> None:
        """Wait until `holder` can have a place. The caller has to `take` it before awaiting anything else."""
        while not self.free(holder):
            if self.held(holder) < self._each:
                await self._any.park()
                continue
            own = self._own.setdefault(holder, trio.lowlevel.ParkingLot())
            try:
                await own.park()
            finally:
                if not own and self._own.get(holder) is own:
                    del self._own[holder]

    def _make_room(self, holder: Hashable) -> bool:
        """Cancel the oldest request of the largest holder, if that holds more than `holder` would."""
        largest = max(self._held, key=self.held, default=None)
        if largest is None or self.held(largest) <= self.held(holder) + 1:
            return False
        number = next(iter(self._held[largest]))
        self._held[largest][number].cancel()
        self._leave(largest, number)
        return True

    @asynccontextmanager
    async def take(self, holder: Hashable) -> AsyncIterator[trio.CancelScope]:
        """Hold a place; the scope is cancelled if another holder needs it more."""
        self._numbers += 1
        number = self._numbers
        with trio.CancelScope() as scope:
            self._held.setdefault(holder, {})[number] = scope
            self._taken += 1
            try:
                yield scope
            finally:
                self._leave(holder, number)

    def _leave(self, holder: Hashable, number: int) -> None:
        held = self._held.get(holder, {})
        if held.pop(number, None) is None:
            return
        self._taken -= 1
        if not held:
            self._held.pop(holder, None)
        own = self._own.get(holder)
        if own is not None:
            own.unpark()
        self._any.unpark_all()


class RequestPlaces:
    """The places for requests: anonymous ones by address, all others by user."""

    def __init__(self, idle_connections: IdleConnections, tuning: NetTuning) -> None:
        self._tuning = tuning
        self.anonymous = Places(ANONYMOUS_PLACES, tuning.anonymous_places_per_address)
        self.users = Places(USER_PLACES, PLACES_PER_USER)
        self._pace = AddressPace(tuning.requests_per_second, tuning.burst_requests)
        self._idle_connections = idle_connections

    async def wait(self, caller: Caller) -> tuple[Places, Hashable] | None:
        """Wait for a place, which has to be taken before awaiting anything else.

        Returns:
            The places and the holder that takes one; None if the wait would be too long.
        """
        if caller.signed_in is None:
            places, holder = self.anonymous, rate_limit_key(caller.address)
            wait = self._pace.take(holder, trio.current_time(), self._tuning.queue_seconds)
            if wait is None:
                return None
        else:
            places, holder, wait = self.users, str(caller.signed_in[0]), 0.0
        if wait or not places.free(holder):
            with self._idle_connections.wait(wait + self._tuning.place_seconds, holder) as timeout:
                await trio.sleep(wait)
                await places.wait(holder)
            if timeout.cancelled_caught:
                return None
        return places, holder
