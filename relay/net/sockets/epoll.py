"""Watches plain sockets for readability: one epoll for all of them, on which trio waits as on one descriptor.

A socket is registered once, when it connects, rather than once per read. However many sockets are readable, trio wakes
one task, which calls their readers. The epoll is edge-triggered: each change is reported once, so a reader has to read
until nothing is left. This module knows descriptors and trio, and no connections.
"""

import select
from typing import Protocol

import trio

from relay.keys import Seconds

_READABLE = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_OVER = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

SOCKETS_PER_TURN = 64
"""Sockets handled before other tasks get a turn."""


class Reader(Protocol):
    """The owner of a socket."""

    def readable(self, now: Seconds, *, over: bool) -> None:
        """Take the news that the socket is readable; `now` is trio's time, `over` means the peer has finished."""


class Readiness:
    """The epoll, and the reader of each descriptor.

    It is closed with the last reference to it, because connections that are cut off outlive the task that runs it.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}

    def __len__(self) -> int:
        return len(self._readers)

    def watch(self, descriptor: int, reader: Reader) -> None:
        """Call a reader whenever something new can be read, and once if something can be read already."""
        self._readers[descriptor] = reader
        self._epoll.register(descriptor, _READABLE)

    def forget(self, descriptor: int) -> None:
        """Stop watching a descriptor; before it is closed."""
        if self._readers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    async def run(self) -> None:
        """Call readers until cancelled."""
        readers = self._readers
        while True:
            await trio.lowlevel.wait_readable(self._epoll.fileno())
            now = trio.current_time()
            for descriptor, events in self._epoll.poll(0, SOCKETS_PER_TURN):
                reader = readers.get(descriptor)
                if reader is not None:
                    reader.readable(now, over=bool(events & _OVER))
