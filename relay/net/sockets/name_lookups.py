"""Looks up host names in threads of their own: a name server that does not answer holds each for a minute.

The resolver of the system cannot be interrupted. The caller stops waiting at its deadline, and the thread goes on;
so the number of threads is bounded, each name has at most one, and slow names have a share of their own. Knows nothing
of hooks or the relay: trio asks here for every name.
"""

import socket
from collections.abc import Hashable
from copy import copy
from functools import partial
from typing import Generic, Literal, TypeVar

import outcome
import trio

from relay.thread_limit import NoThreads, lacks_threads

T = TypeVar("T")
Address = (
    tuple[Literal[socket.AddressFamily.AF_INET], socket.SocketKind, int, str, tuple[str, int]]
    | tuple[
        Literal[socket.AddressFamily.AF_INET6],
        socket.SocketKind,
        int,
        str,
        tuple[str, int, int, int] | tuple[int, bytes],
    ]
)
"""An item of the list that `socket.getaddrinfo` returns."""

LOOKUPS = 8
"""Threads for names that were answered the last time, and for new ones."""
SLOW_LOOKUPS = 8
"""Threads for names that were not answered in time the last time."""
SLOW_NAMES = 1_024
"""Maximum names remembered as slow."""


class _Lookup(Generic[T]):
    """A look-up that is under way."""

    def __init__(self, lane: trio.Semaphore) -> None:
        self.lane = lane
        self.done = trio.Event()
        self.result: outcome.Outcome[T] | None = None


class NameLookups(trio.abc.HostnameResolver):
    """Resolves names for trio."""

    def __init__(self) -> None:
        self._lookups = trio.Semaphore(LOOKUPS)
        self._slow_lookups = trio.Semaphore(SLOW_LOOKUPS)
        self._slow: dict[Hashable, None] = {}
        self._addresses: dict[Hashable, _Lookup[list[Address]]] = {}
        self._names: dict[Hashable, _Lookup[tuple[str, str]]] = {}

    @property
    def threads(self) -> int:
        """How many threads are looking up names."""
        return len(self._addresses) + len(self._names)

    async def getaddrinfo(
        self,
        host: bytes | None,
        port: bytes | str | int | None,
        family: int = 0,
        type: int = 0,  # noqa: A002 - trio's name for it
        proto: int = 0,
        flags: int = 0,
    ) -> list[Address]:
        """See `socket.getaddrinfo`."""
        work = partial(socket.getaddrinfo, host, port, family, type, proto, flags)
        return await self._ask(self._addresses, host, work)

    async def getnameinfo(self, sockaddr: tuple[str, int] | tuple[str, int, int, int], flags: int) -> tuple[str, str]:
        """See `socket.getnameinfo`."""
        return await self._ask(self._names, sockaddr, partial(socket.getnameinfo, sockaddr, flags))

    async def _ask(self, running: dict[Hashable, _Lookup[T]], name: Hashable, work: partial[T]) -> T:
        key = work.args
        lookup = running.get(key)
        if lookup is None:
            lane = self._slow_lookups if name in self._slow else self._lookups
            await lane.acquire()
            lookup = running.get(key)
            if lookup is None:
                lookup = self._begin(running, key, work, lane)
            else:
                lane.release()
        try:
            await lookup.done.wait()
        except trio.Cancelled:
            self._note_slow(name, lookup)
            raise
        self._slow.pop(name, None)
        result = lookup.result
        # Several tasks may ask at once. An outcome can be unwrapped only once, trio sorts the list of addresses in
        # place, and an exception collects the tracebacks of all tasks that raise it, so each task gets a copy.
        if isinstance(result, outcome.Error):
            raise copy(result.error)
        assert isinstance(result, outcome.Value)
        found: T = copy(result.value)
        return found

    def _begin(
        self, running: dict[Hashable, _Lookup[T]], key: Hashable, work: partial[T], lane: trio.Semaphore
    ) -> _Lookup[T]:
        lookup = running[key] = _Lookup(lane)
        token = trio.lowlevel.current_trio_token()

        def end(result: outcome.Outcome[T]) -> None:
            del running[key]
            lookup.result = result
            lookup.lane.release()
            lookup.done.set()

        def deliver(result: outcome.Outcome[T]) -> None:
            try:
                token.run_sync_soon(end, result)
            except trio.RunFinishedError:
                # No task is waiting: trio has ended.
                return

        try:
            trio.lowlevel.start_thread_soon(work, deliver, "name look-up")
        except RuntimeError as error:
            del running[key]
            lane.release()
            if lacks_threads(error):
                raise NoThreads from None
            raise
        return lookup

    def _note_slow(self, name: Hashable, lookup: _Lookup[T]) -> None:
        """Let an abandoned look-up take a place among the slow ones, if one is free."""
        if len(self._slow) >= SLOW_NAMES:
            self._slow.clear()
        self._slow[name] = None
        if lookup.lane is self._lookups and not lookup.done.is_set():
            try:
                self._slow_lookups.acquire_nowait()
            except trio.WouldBlock:
                return
            lookup.lane = self._slow_lookups
            self._lookups.release()
