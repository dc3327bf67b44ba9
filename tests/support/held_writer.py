"""Holds the log's writer, so that commands wait in a known order."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from relay.store.log.log import Log
from relay.store.sqlite.database import Connection

Work = Callable[[], Coroutine[Any, Any, Any]]


class HeldWriter:
    """A writer that does nothing until `release`."""

    def __init__(self, log: Log, nursery: trio.Nursery) -> None:
        self._log = log
        self._nursery = nursery
        self._held = trio.Event()
        self._released = trio.Event()

    async def hold(self) -> None:
        """Make the writer wait."""
        self._nursery.start_soon(partial(self._log.run_exclusive, self._wait, hurried=True))
        await self._held.wait()

    async def _wait(self, _writing: Connection) -> None:
        self._held.set()
        await self._released.wait()

    async def queue(self, work: Work) -> list[Any]:
        """Start a function, and wait until its command is in the queue.

        Returns:
            A list that gets the result, or the error, once there is one.
        """
        ended: list[Any] = []
        count = len(self._log.waiting)
        self._nursery.start_soon(_note, work, ended)
        with trio.fail_after(5):
            while len(self._log.waiting) == count:
                assert not ended, ended
                await trio.sleep(0.005)
        return ended

    def release(self) -> None:
        """Let the writer continue."""
        self._released.set()


async def _note(work: Work, ended: list[Any]) -> None:
    try:
        ended.append(await work())
    except Exception as error:  # noqa: BLE001 - the test looks at it
        ended.append(error)


@asynccontextmanager
async def held_writer(log: Log) -> AsyncIterator[HeldWriter]:
    """Hold the writer until `release`, or the end of the block; then wait for all queued commands."""
    async with trio.open_nursery() as nursery:
        writer = HeldWriter(log, nursery)
        await writer.hold()
        try:
            yield writer
        finally:
            writer.release()
