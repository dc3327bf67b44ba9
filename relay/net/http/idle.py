"""Connections that the relay waits for: for a first byte, a handshake, a request's head.

At most a fixed number wait at a time. When another one needs a place, the address with the most of them loses the one
that has waited longest: an address that opens connections all the time shuts out only itself.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager

import trio

IDLE_CONNECTIONS = 1_024
"""Maximum connections waiting at a time."""

Timeout = Callable[[float], AbstractContextManager[trio.CancelScope]]
"""Makes a scope that is cancelled after this many seconds."""


class IdleConnections:
    """The waiting connections, by their address."""

    def __init__(self, room: int = IDLE_CONNECTIONS, timeout: Timeout = trio.move_on_after) -> None:
        """Begin with none.

        Args:
            room: the maximum number waiting at a time.
            timeout: limits each wait; the server passes `Keepalive.timeout`, which does not count the relay's own
                stalls.
        """
        self.timeout = timeout
        self.room = room
        self._waiting: dict[Hashable, dict[int, trio.CancelScope]] = {}
        """By address and number: in a dictionary, the one waiting longest comes first."""
        self._count = 0
        self._answered: set[trio.CancelScope] = set()
        self._numbers = 0
        self._closed = False
        self._turns = trio.StrictFIFOLock()

    def __len__(self) -> int:
        return self._count

    @contextmanager
    def wait(self, seconds: float, address: Hashable, *, answered: bool = False) -> Iterator[trio.CancelScope]:
        """Limit a wait for a client; its scope is cancelled earlier if others need the place.

        Args:
            seconds: the longest wait.
            address: the owner of the place: a network address (see `throttle.network`), or a user.
            answered: whether all requests of this connection have been answered, so that closing it loses none.
        """
        if self._count >= self.room:
            self._make_room()
        self._numbers += 1
        number = self._numbers
        with self.timeout(seconds) as scope:
            self._waiting.setdefault(address, {})[number] = scope
            self._count += 1
            if answered:
                self._answered.add(scope)
                if self._closed:
                    scope.cancel()
            try:
                yield scope
            finally:
                self._remove(address, number)
                self._answered.discard(scope)

    def _make_room(self) -> None:
        """Close the longest-waiting connection of the address with the most."""
        address = max(self._waiting, key=lambda one: len(self._waiting[one]))
        number, scope = next(iter(self._waiting[address].items()))
        scope.cancel()
        self._remove(address, number)

    def _remove(self, address: Hashable, number: int) -> None:
        waiting = self._waiting.get(address, {})
        if waiting.pop(number, None) is not None:
            self._count -= 1
            if not waiting:
                del self._waiting[address]

    async def wait_for_turn(self) -> None:
        """Wait for this connection's turn to parse a request: one is parsed in each pass of the event loop.

        So a message waits for at most one such request, however much clients send that have not signed in.
        """
        async with self._turns:
            pass

    def close(self) -> None:
        """End the waits of connections whose requests have all been answered, both now and later."""
        self._closed = True
        for scope in self._answered:
            scope.cancel()
