"""The relay's patience with its peers: one task watches all that may last too long, and none pays for it per frame.

The 20-second rule (PROTOCOL.md, section 4), a write without progress, a handshake, the head of a request. Each stands
in a heap once, under the earliest time at which it could have taken too long; what has moved since gets a new place
when its time comes. Only time in which the relay itself ran counts: after a stall, a stopped process or a suspended
machine, what came meanwhile still lies in the sockets.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Protocol

import trio

logger = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0
"""Seconds without a byte from a client after which its connection is closed."""
OVERSLEPT_SECONDS = 2.0
"""Seconds by which the watch may wake late before it takes itself for what stood still."""
LAST_READ_SECONDS = 0.25
"""Seconds in which what is silent is read once more: a shorter stall is none that the watch could see."""
STALE = 1_024
"""Places in the heap of what is watched no more, beside as many as are watched, after which it is made anew."""


class Watched(Protocol):
    """Something that may take too long, as this module sees it."""

    heard: float
    """When it last moved, trio's time."""

    @property
    def patience(self) -> float:
        """Seconds after which it has taken too long."""

    @property
    def waited_for(self) -> bool:
        """Whether it is us who do not read, or there is nothing to wait for."""

    def silent(self) -> None:
        """End it: it has taken too long."""


class _Scope:
    """A block of code that may take so long."""

    waited_for = False

    def __init__(self, scope: trio.CancelScope, patience: float) -> None:
        self.heard = trio.current_time()
        self.patience = patience
        self._scope = scope

    def silent(self) -> None:
        """See `Watched`."""
        self._scope.cancel()


class _HeapEntry:
    """A place in the heap. What is watched no more is let go at once; its place stays until its time comes."""

    __slots__ = ("due", "tie", "watched")

    def __init__(self, due: float, tie: int, watched: Watched) -> None:
        self.due = due
        self.tie = tie
        self.watched: Watched | None = watched

    def __lt__(self, other: "_HeapEntry") -> bool:
        return (self.due, self.tie) < (other.due, other.tie)


class Keepalive:
    """The watch over all of them."""

    def __init__(self) -> None:
        self._due: list[_HeapEntry] = []
        self._watched: dict[Watched, _HeapEntry] = {}
        self._last_turn: set[Watched] = set()
        self._tie = count()
        self._news = trio.Event()

    def watch(self, watched: Watched) -> None:
        """Start watching, unless it is watched already."""
        if watched in self._watched:
            return
        self._push(watched.heard + watched.patience, watched)
        if self._due[0].watched is watched:
            self._news.set()

    def forget(self, watched: Watched) -> None:
        """Stop watching."""
        place = self._watched.pop(watched, None)
        if place is not None:
            place.watched = None
        self._last_turn.discard(watched)
        if len(self._due) > 2 * len(self._watched) + STALE:
            self._due = [place for place in self._due if place.watched is not None]
            heapify(self._due)

    @contextmanager
    def patience(self, seconds: float) -> Iterator[trio.CancelScope]:
        """Cancel what is done in the block once it has taken so many seconds in which the relay ran."""
        with trio.CancelScope() as scope:
            watched = _Scope(scope, seconds)
            self.watch(watched)
            try:
                yield scope
            finally:
                self.forget(watched)

    async def run(self) -> None:
        """Watch, for ever."""
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
        """When something could have taken too long, at the earliest."""
        while self._due and self._due[0].watched is None:
            heappop(self._due)
        return self._due[0].due if self._due else float("inf")

    def _stood_still(self, now: float, seconds: float) -> None:
        """Count everybody as heard now: whatever came while nobody read is still to be read."""
        logger.warning("the relay stood still for %.0f s or more: nobody is sent away for that time", seconds)
        self._last_turn.clear()
        self._due.clear()
        for watched in self._watched:
            watched.heard = now
            self._push(now + watched.patience, watched)

    def _check(self, watched: Watched, now: float) -> None:
        if watched.waited_for:
            watched.heard = now
        due = watched.heard + watched.patience
        if due > now:
            self._last_turn.discard(watched)
            self._push(due, watched)
        elif watched not in self._last_turn:
            self._last_turn.add(watched)
            self._push(now + LAST_READ_SECONDS, watched)
        else:
            self._last_turn.discard(watched)
            del self._watched[watched]
            watched.silent()

    def _push(self, due: float, watched: Watched) -> None:
        place = self._watched[watched] = _HeapEntry(due, next(self._tie), watched)
        heappush(self._due, place)
