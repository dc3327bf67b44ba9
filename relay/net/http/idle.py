"""Connections from which the relay waits for something: a first byte, a handshake, a request's head.

At most a fixed number wait at a time. When another one needs a place, the one that has waited longest is closed.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import trio

IDLE_CONNECTIONS = 1_024
"""Connections that may wait at a time."""

Timeout = Callable[[float], AbstractContextManager[trio.CancelScope]]
"""Makes a scope that is cancelled after so many seconds."""


class IdleConnections:
    """The connections that wait, the longest waiting first."""

    def __init__(self, room: int = IDLE_CONNECTIONS, timeout: Timeout = trio.move_on_after) -> None:
        """Begin with none.

        Args:
            room: how many may wait at a time.
            timeout: limits each wait; the server passes `Keepalive.timeout`, which does not count the relay's own
                stalls.
        """
        self.timeout = timeout
        self._room = room
        self._waiting: OrderedDict[int, trio.CancelScope] = OrderedDict()
        self._answered: set[trio.CancelScope] = set()
        self._numbers = 0
        self._closed = False
        self._turns = trio.StrictFIFOLock()

    def __len__(self) -> int:
        return len(self._waiting)

    @contextmanager
    def wait(self, seconds: float, *, answered: bool = False) -> Iterator[trio.CancelScope]:
        """Limit a wait for a client; its scope is cancelled earlier when others need the place.

        Args:
            seconds: the longest wait.
            answered: whether all requests of this connection have been answered, so that closing it loses none.
        """
        if len(self._waiting) >= self._room:
            _, longest = self._waiting.popitem(last=False)
            longest.cancel()
        self._numbers += 1
        number = self._numbers
        with self.timeout(seconds) as scope:
            self._waiting[number] = scope
            if answered:
                self._answered.add(scope)
                if self._closed:
                    scope.cancel()
            try:
                yield scope
            finally:
                self._waiting.pop(number, None)
                self._answered.discard(scope)

    async def turn(self) -> None:
        """Wait for this connection's turn to parse a request: one is parsed in each pass of the event loop.

        However much is sent by clients that have not signed in, a message waits for one such request at most.
        """
        async with self._turns:
            pass

    def close(self) -> None:
        """End the waits of connections whose requests have all been answered, now and from now on."""
        self._closed = True
        for scope in self._answered:
            scope.cancel()
