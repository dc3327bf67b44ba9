"""The write-ahead log's file: how much of it is in use, and copying it back into the store beside the writer.

SQLite copies it back inside the commit that fills it, which all who send then wait for. Here a connection of its own
does that in a thread of its own, and the writer stands still only for the last few pages, so that the log can begin
again. Reads the file `-wal`, which SQLite puts no locks on (format: https://sqlite.org/fileformat2.html#walformat).
"""

import logging
import os
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

FRAMES = 4_000
"""Pages in the log, and not in the store yet, from which on they are copied."""
AGAIN = 8_000
"""Pages in the log from which on the writer stands still for a moment, so that it can begin again."""
REMAINDER = 1_000
"""Pages that may be left to copy then; more means that a reader holds them back."""
PAUSE = 0.02
"""Seconds that readers are waited for then."""
CROWDED = 20 << 20
"""Bytes in the log from which on all work that can wait does wait. A longer file is cut when the log begins again, and
so is seen to be empty before somebody writes."""
BOUND = 64 << 20
"""Bytes in the log from which on the writer slows down. Only a reader of a long view makes it grow so far."""
BEYOND = 1 << 20
"""Bytes a second that it grows by from there on."""
KEPT = 16 << 20
"""Bytes that the file has soon after the start, and keeps when the log begins again.

A commit into pages that are there needs no news in the directory, and takes half as long. A reader of a long view, as
`relay check` is, keeps the log from beginning again for as long as 40 messages a second take to fill so many.
"""
STEP = 1 << 20
"""Bytes that the file is made longer by at a time."""
STEP_SECONDS = 1.0
"""Seconds between two steps: each is synced, and a commit may have to wait for that."""
LOOK = 0.05
"""Seconds between two looks at the file."""
PATIENCE = 0.5
"""Seconds until the next try where a reader held pages back."""
PAGE = 1_024
"""Bytes of a page."""
HEADER = 32
FRAME_HEADER = 24


def frames(file: int) -> tuple[int, int]:
    """Count the pages in the log that are in use; gives their number, and the bytes of each with its header."""
    head = os.pread(file, HEADER, 0)
    if len(head) < HEADER:
        return 0, 1
    page, _, salt = struct.unpack_from(">II8s", head, 8)
    size = page + FRAME_HEADER
    # Pages of before the log began again follow those of now: a search finds the first.
    low, high = 0, max(0, os.fstat(file).st_size - HEADER) // size
    while low < high:
        middle = (low + high) // 2
        if os.pread(file, 8, HEADER + middle * size + 8) == salt:
            low = middle + 1
        else:
            high = middle
    return low, size


Pause = Callable[[Callable[[Connection], Awaitable[None]]], Awaitable[None]]
"""Has something done while the writer stands still."""


class Wal:
    """The log's file while a relay runs."""

    def __init__(self, connection: Connection, store: Path) -> None:
        """Begin.

        Args:
            connection: one of its own; it copies.
            store: the store's file.
        """
        self._copy_from, self._again_from, self._kept = FRAMES, AGAIN, KEPT
        self._connection = connection
        self._path = store.with_name(f"{store.name}-wal")
        self._file: int | None = None
        self._frames = 0
        self._copied = 0
        self._looked = 0.0
        self._tried = float("-inf")
        self._due = trio.Event()
        self.held = False
        """Whether nothing is copied: the disk is full, and the store would take the last room."""
        self.bytes = 0
        """What of the file was in use at the last look."""

    def keep_small(self, size: int) -> None:
        """Have it copied and begun again before it has so many bytes, where the disk is small."""
        self._again_from = min(AGAIN, size // (PAGE + FRAME_HEADER))
        self._copy_from = self._again_from // 2
        self._kept = min(KEPT, size // 2)

    @property
    def crowded(self) -> bool:
        """Whether what can wait should wait."""
        return self.bytes > CROWDED

    @property
    def _held_back(self) -> bool:
        """Whether there is something to copy, or work waits for room."""
        return self.crowded or self._frames - self._copied >= self._copy_from

    def look(self, now: float) -> float:
        """Look how much is in use, after something was committed; at most so often.

        Returns:
            How many seconds the writer should wait, so that it does not grow without bound.
        """
        if now - self._looked < LOOK:
            return 0.0
        self._looked = now
        before = self.bytes
        self._measure()
        if self._held_back:
            self._due.set()
        grown = self.bytes - max(before, BOUND)
        return min(1.0, grown / BEYOND) if grown > 0 else 0.0

    def _measure(self) -> None:
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            count, size = frames(self._file)
        except OSError as error:
            # No descriptor left, or no such file yet: the next look finds out.
            logger.debug("the write-ahead log cannot be looked at: %s", error)
            return
        if count < self._copied:
            self._copied = 0
        self._frames, self.bytes = count, count * size

    async def run(self, pause: Pause, moved: Callable[[], None]) -> None:
        """Copy what is due, for ever.

        Args:
            pause: has something done while the writer stands still.
            moved: called when there may be room again.
        """
        try:
            await self._connection.execute(f"PRAGMA busy_timeout = {round(PAUSE * 1_000)}")
            while True:
                await self._lengthen(pause)
                # An idle writer looks at nothing, and what it has to do may wait for room here: whatever the last look
                # found is seen to, however soon after the last try that was.
                if not self._held_back:
                    self._due = trio.Event()
                    await self._due.wait()
                await trio.sleep_until(self._tried + PATIENCE)
                if self.held:
                    self._tried = trio.current_time()
                    continue
                try:
                    await self._copy(pause)
                    moved()
                except sqlite3.Error as error:
                    # Commits go on; where the disk is full they say so themselves.
                    logger.warning("the write-ahead log cannot be copied back now: %s", error)
                    self._tried = trio.current_time()
                if self._held_back:
                    self._tried = trio.current_time()
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    async def _lengthen(self, pause: Pause) -> None:
        """Bring the file to the length that it keeps; nothing is copied meanwhile, as little is written by then."""

        async def write(_writing: Connection) -> None:
            # Only while the writer stands still: what it writes at the end of the file must not be written over.
            size = os.fstat(file).st_size
            os.pwrite(file, bytes(max(0, min(STEP, self._kept - size))), size)

        while not self._held_back and not self.held:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                logger.debug("the write-ahead log cannot be made longer: %s", error)
                return
            try:
                if os.fstat(file).st_size >= self._kept:
                    return
                await pause(write)
                await trio.to_thread.run_sync(os.fdatasync, file)
            except OSError as error:
                logger.debug("the write-ahead log cannot be made longer: %s", error)
                return
            finally:
                os.close(file)
            await trio.sleep(STEP_SECONDS)

    async def _copy(self, pause: Pause) -> None:
        left = await self._checkpoint("PASSIVE")
        if left and self._frames >= self._again_from:
            # What was committed meanwhile is little by now.
            left = await self._checkpoint("PASSIVE")
        if left > REMAINDER:
            self._tried = trio.current_time()
        elif self._frames >= self._again_from:
            await pause(self._begin_again)
            self._measure()
            if self._frames >= self._again_from:
                self._tried = trio.current_time()

    async def _begin_again(self, _writing: Connection) -> None:
        long = self._path.stat().st_size > min(CROWDED, 2 * self._kept)
        await self._checkpoint("TRUNCATE" if long else "RESTART")

    async def _checkpoint(self, mode: str) -> int:
        """Copy pages; gives how many are left."""
        ((busy, count, copied),) = await self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        self._frames, self._copied = max(0, count), max(0, copied)
        left = self._frames - self._copied
        if not left and not busy:
            # The next commit begins again, unless a reader looks at an earlier view: the next look shows that.
            self.bytes = 0
        return left
