"""Which plain sockets have something to read: one epoll for all of them, which trio waits for as one.

A socket is registered once, when it comes, and not once a read; trio wakes one task however many sockets have
news, and that tells each reader. Edge-triggered: news comes once, so whoever reads goes on until there is
nothing left. Knows descriptors and trio, nothing of connections.
"""

import select
from typing import Protocol

import trio

_NEWS = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_OVER = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

ROUND = 64
"""Sockets told of before all other tasks have their turn."""


class Reader(Protocol):
    """Whose socket it is."""

    def readable(self, now: float, *, over: bool) -> None:
        """There is something to read at `now`, trio's time; `over` when the peer will send nothing after it."""


class Readiness:
    """The epoll, and who reads from what.

    It is closed with the last reference to it: connections that are cut off let go of it after whoever ran it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}

    def watch(self, descriptor: int, reader: Reader) -> None:
        """Tell a reader whenever there is something new to read, from what is there now on."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, _NEWS)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; before it is closed."""
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Tell readers of news, for ever."""
        readers = self._readers
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            now = trio.current_time()
            for descriptor, events in self._epoll.poll(0, ROUND):
                reader = readers.get(descriptor)
                if reader is not None:
                    reader.readable(now, over=bool(events & _OVER))
