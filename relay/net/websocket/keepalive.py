"""Timeouts for peers: one task watches everything that may take too long, without a cost per frame.

It watches silence (20 s: PROTOCOL.md, section 4), a write without progress, a handshake, the head of a request. Each is
in a heap once, by the earliest time at which it could time out. If there was activity by that time, it is put in again.
Only time in which the relay itself ran counts: after a stall, a stopped process or a suspended machine, the peers' data
is still in the sockets.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import trio

from relay.keys import Seconds

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0
"""How long a client may send nothing before its connection is closed."""
OVERSLEPT_SECONDS = 2.0
"""If the task wakes later than this, the relay itself stood still."""
LAST_READ_SECONDS = 0.25
"""A last chance to read before a timeout, for stalls too short to be noticed."""
STALE_ENTRIES = 1_024
"""The heap is rebuilt when its stale entries exceed the watched ones by this many."""


class Watched(Protocol):
    """Something that may time out."""

    heard: float
    """The time of the last activity, trio's time."""

    @property
    def timeout(self) -> float:
        """Seconds without activity after which it times out."""

    @property
    def exempt(self) -> bool:
        """Whether it cannot time out now, because the relay is not reading or expects nothing."""

    def timed_out(self) -> None:
        """End it: it has timed out."""


class _Scope:
    """A block of code with a time limit."""

    exempt = False

    def __init__(self, scope: trio.CancelScope, seconds: float) -> None:
        self.heard = trio.current_time()
        self.timeout = seconds
        self._scope = scope

    def timed_out(self) -> None:
        """See `Watched`."""
        self._scope.cancel()


class _HeapEntry:
    """An entry of the heap. `forget` clears what it watches; the entry stays until its time comes."""

    __slots__ = ("due", "tie", "watched")

    def __init__(self, due: float, tie: int, watched: Watched) -> None:
        self.due = due
        self.tie = tie
        self.watched: Watched | None = watched

    def __lt__(self, other: "_HeapEntry") -> bool:
        return (self.due, self.tie) < (other.due, other.tie)


class Keepalive:
    """The timeouts of all peers."""

    def __init__(self) -> None:
        self._due: list[_HeapEntry] = []
        self._watched: dict[Watched, _HeapEntry] = {}
        self._last_turn: set[Watched] = set()
        self._tie = count()
        self._news = trio.Event()

    def __len__(self) -> int:
        """How many entries the heap has, stale ones included."""
        return len(self._due)

    def watch(self, watched: Watched) -> None:
        """Start watching, unless it is watched already."""
        if watched in self._watched:
            return
        self._push(watched.heard + watched.timeout, watched)
        if self._due[0].watched is watched:
            self._news.set()

    def forget(self, watched: Watched) -> None:
        """Stop watching."""
        place = self._watched.pop(watched, None)
        if place is not None:
            place.watched = None
        self._last_turn.discard(watched)
        if len(self._due) > 2 * len(self._watched) + STALE_ENTRIES:
            self._due = [place for place in self._due if place.watched is not None]
            heapify(self._due)

    @contextmanager
    def timeout(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Cancel the block after `seconds` in which the relay ran."""
        with trio.CancelScope() as scope:
            watched = _Scope(scope, seconds)
            self.watch(watched)
            try:
                yield scope
            finally:
                self.forget(watched)

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            self._news = trio.Event()
            due = self._next()
            with trio.move_on_at(due) as until:
                await self._news.wait()
            if not until.cancelled_caught:
                continue
            now = trio.current_time()
            if now - due > OVERSLEPT_SECONDS:
                self._stood_still(now, now - due)
            while self._due and self._due[0].due <= now:
                watched = heappop(self._due).watched
                if watched is not None:
                    self._check(watched, now)

    def _next(self) -> float:
        """Return the earliest time at which something could time out."""
        while self._due and self._due[0].watched is None:
            heappop(self._due)
        return self._due[0].due if self._due else float("inf")

    def _stood_still(self, now: Seconds, seconds: float) -> None:
        """Restart all timeouts: the peers' data from meanwhile has yet to be read."""
        logger.warning("the relay stood still for %.0f s or more: no client is disconnected for that time", seconds)
        self._last_turn.clear()
        self._due.clear()
        for watched in self._watched:
            watched.heard = now
            self._push(now + watched.timeout, watched)

    def _check(self, watched: Watched, now: Seconds) -> None:
        if watched.exempt:
            watched.heard = now
        due = watched.heard + watched.timeout
        if due > now:
            self._last_turn.discard(watched)
            self._push(due, watched)
        elif watched not in self._last_turn:
            self._last_turn.add(watched)
            self._push(now + LAST_READ_SECONDS, watched)
        else:
            self._last_turn.discard(watched)
            del self._watched[watched]
            watched.timed_out()

    def _push(self, due: float, watched: Watched) -> None:
        place = self._watched[watched] = _HeapEntry(due, next(self._tie), watched)
        heappush(self._due, place)
