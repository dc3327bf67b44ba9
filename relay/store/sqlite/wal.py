"""The write-ahead log: its used size, and checkpoints beside the writer.

By itself SQLite checkpoints inside the commit that fills the log, and all senders wait for it. Here a separate
connection does that in its own thread, and the writer pauses only for the last few pages, so that the log can restart.
Reads the file `-wal`, which SQLite does not lock (format: https://sqlite.org/fileformat2.html#walformat).
"""

import logging
import os
import sqlite3
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import trio

from relay import threads
from relay.keys import Seconds
from relay.store.files.directory import log_of
from relay.store.sqlite import database
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

REMAINING_PAGES = 1_000
"""Pages that may be left to copy when the log restarts; if more are left, a reader holds them back."""
PAUSE_SECONDS = 0.02
"""Seconds to wait for readers at that point."""
STEP_WRITE_BYTES = 4 << 10
"""Bytes of one write of a step. Linux caches a larger write as one unit, and charges each later commit for all of
it."""
PAGE_BYTES = 1_024
"""Bytes of a page."""
HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24


def frames(file: int) -> tuple[int, int]:
    """Count the used pages of the log.

    Returns:
        Their number, and the bytes of each with its header.
    """
    head = os.pread(file, HEADER_BYTES, 0)
    if len(head) < HEADER_BYTES:
        return 0, 1
    page, _, salt = struct.unpack_from(">II8s", head, 8)
    size = page + FRAME_HEADER_BYTES
    # Pages from before the last restart follow the current ones: a binary search finds the first of them.
    low, high = 0, max(0, os.fstat(file).st_size - HEADER_BYTES) // size
    while low < high:
        middle = (low + high) // 2
        if os.pread(file, 8, HEADER_BYTES + middle * size + 8) == salt:
            low = middle + 1
        else:
            high = middle
    return low, size


def _close(file: int) -> None:
    """Close a descriptor, ignoring a late write error of a network file system: the next sync reports it."""
    with suppress(OSError):
        os.close(file)


Pause = Callable[[Callable[[Connection], Awaitable[None]]], Awaitable[None]]
"""Runs a job while the writer pauses."""


class WalTuning(msgspec.Struct, kw_only=True):
    """When to copy, restart and extend the log, and when the writer slows down."""

    copy_pages: int = 4_000
    """The number of pages in the log but not in the store at which they are copied."""
    restart_pages: int = 8_000
    """The number of pages in the log at which the writer pauses for a moment, so that the log can restart."""
    crowded_bytes: int = 20 << 20
    """Bytes in the log at which all postponable work waits. A longer file is truncated when the log restarts, so that
    it is visibly empty before the next write."""
    slowdown_bytes: int = 64 << 20
    """Bytes in the log at which the writer slows down. Only a reader with a long view makes it grow that far."""
    slowed_bytes_per_second: int = 1 << 20
    """Bytes per second by which the log grows beyond that."""
    kept_bytes: int = 16 << 20
    """Bytes that the file has soon after the start, and keeps when the log restarts.

    A commit that overwrites pages leaves the file's size as it is, so the disk has less to write. A reader with a long
    view, such as `relay check`, may keep the log from restarting for as long as 40 messages a second take to fill it.
    """
    step_bytes: int = 1 << 20
    """Bytes by which the file is extended at a time."""
    first_step_seconds: float = 5.0
    """Seconds from the start until the first step: a command on this machine has ended by then and needs no such
    file."""
    lengthening_free_bytes: int = 128 << 20
    """Free bytes on the disk that extending the file requires, so that it takes no room that messages may need."""
    step_seconds: float = 1.0
    """Seconds between two steps: each is synced, and a commit may have to wait for that."""
    look_seconds: float = 0.05
    """Seconds between two checks of the file."""
    erase_seconds: float = 30.0
    """Seconds from a commit that erased a text until the log is emptied: until then both files may have the text."""
    erase_quiet_seconds: float = 2.0
    """Seconds without a commit before that, so that senders do not wait for it."""
    refill_seconds: float = 86_400.0
    """Seconds between two extensions of the file after that. Each writes as much as many deletions do."""
    retry_seconds: float = 0.5
    """Seconds until the next attempt after a reader held pages back."""


class Wal:
    """The write-ahead log of a running relay."""

    def __init__(self, connection: Connection, store: Path, tuning: WalTuning) -> None:
        """Create the watch; nothing is read yet.

        Args:
            connection: a connection of its own, for checkpoints.
            store: the store's file.
            tuning: the timing.
        """
        self._tuning = tuning
        self._copy_from, self._again_from, self._kept = tuning.copy_pages, tuning.restart_pages, tuning.kept_bytes
        self._connection = connection
        self._path = log_of(store)
        self._file: int | None = None
        self._frames = 0
        self._copied = 0
        self._looked = 0.0
        self._tried = float("-inf")
        self._erase_at = float("inf")
        """The time after which the log is emptied as soon as it is quiet."""
        self._quiet_at = float("-inf")
        self._refilled = float("-inf")
        self._due = trio.Event()
        self._cut = trio.Event()
        """Set when the file was truncated and may be extended again."""
        self.held = False
        """Whether copying is off: the disk is full, and the store would take the last room."""
        self.bytes = 0
        """Used bytes of the log at the last check."""

    def rest(self) -> None:
        """Do not try to copy pages for the next `retry_seconds`."""
        self._tried = trio.current_time()

    def erased(self) -> None:
        """Note a commit that erased a text: the store itself has it until the log is copied, and the log after that."""
        if not self._erasing:
            self._erase_at = trio.current_time() + self._tuning.erase_seconds
            self._due.set()

    def keep_small(self, size: int) -> None:
        """Let the log restart before it has `size` bytes, on a small disk."""
        self._again_from = min(self._tuning.restart_pages, size // (PAGE_BYTES + FRAME_HEADER_BYTES))
        self._copy_from = self._again_from // 2
        self._kept = min(self._tuning.kept_bytes, size // 2)

    @property
    def retry_seconds(self) -> float:
        """Seconds until the next attempt after one that failed or was held back."""
        return self._tuning.retry_seconds

    @property
    def crowded(self) -> bool:
        """Whether postponable work should wait."""
        return self.bytes > self._tuning.crowded_bytes

    @property
    def _held_back(self) -> bool:
        """Whether there are pages to copy, or work waits for room."""
        return self.crowded or self._frames - self._copied >= self._copy_from

    def look(self, now: Seconds) -> float:
        """Measure the log after a commit, at most every `look_seconds` seconds.

        Returns:
            How many seconds the writer should wait, so that the log does not grow without bound.
        """
        self._quiet_at = now + self._tuning.erase_quiet_seconds
        if now - self._looked < self._tuning.look_seconds:
            return 0.0
        self._looked = now
        before = self.bytes
        self._measure()
        if self._held_back:
            self._due.set()
        grown = self.bytes - max(before, self._tuning.slowdown_bytes)
        return min(1.0, grown / self._tuning.slowed_bytes_per_second) if grown > 0 else 0.0

    def _measure(self) -> None:
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            count, size = frames(self._file)
        except OSError as error:
            # No descriptor left, or no such file yet: the next check finds out.
            logger.debug("the write-ahead log cannot be measured: %s", error)
            return
        if count < self._copied:
            self._copied = 0
        self._frames, self.bytes = count, count * size

    async def run(self, pause: Pause, moved: Callable[[], None]) -> None:
        """Copy pages when they are due, forever.

        Args:
            pause: runs a job while the writer pauses.
            moved: called when there may be room again.
        """
        try:
            await self._connection.execute(database.busy_after(PAUSE_SECONDS))
            while True:
                # An idle writer does not check, and its work may be waiting for room here. So act on the last check,
                # however soon after the last attempt it was.
                if not (self._held_back or self._erases):
                    self._due = trio.Event()
                    with trio.move_on_at(max(self._erase_at, self._quiet_at)):
                        await self._due.wait()
                    continue
                await trio.sleep_until(self._tried + self._tuning.retry_seconds)
                if self.held:
                    self.rest()
                    continue
                # Commits continue if this fails; on a full disk they report it themselves.
                if self._held_back:
                    await self._copy(pause)
                else:
                    await self._erase(pause)
                moved()
                if self._held_back:
                    self.rest()
        finally:
            if self._file is not None:
                _close(self._file)
                self._file = None

    async def keep_length(self, pause: Pause) -> None:
        """Extend the file to its target length, after the start and after each truncation, until cancelled.

        Args:
            pause: runs a job while the writer pauses.
        """
        pause_seconds = self._tuning.first_step_seconds
        while True:
            await trio.sleep(pause_seconds)
            # A log that will be emptied soon is not extended before.
            if not self._held_back and not self.held and not self._erasing and await self._lengthen(pause):
                pause_seconds = self._tuning.step_seconds
            else:
                self._cut = trio.Event()
                await self._cut.wait()
                pause_seconds = self._tuning.first_step_seconds

    async def _lengthen(self, pause: Pause) -> bool:
        """Extend the file by one step; return whether there may be another."""
        longer = False

        async def write(_writing: Connection) -> None:
            # Only while the writer pauses: pages that it appends must not be overwritten.
            nonlocal longer
            with suppress(OSError):
                disk, size = os.fstatvfs(file), os.fstat(file).st_size
                if disk.f_bavail * disk.f_frsize < self._tuning.lengthening_free_bytes:
                    return
                end = min(size + self._tuning.step_bytes, self._kept)
                for start in range(size, end, STEP_WRITE_BYTES):
                    longer = os.pwrite(file, bytes(min(STEP_WRITE_BYTES, self._kept - start)), start) > 0

        try:
            file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            logger.debug("the write-ahead log cannot be made longer: %s", error)
            return False
        try:
            await pause(write)
            if longer:
                await threads.run_own(os.fdatasync, file)
        except (OSError, sqlite3.Error) as error:
            # The disk is full, or the writer has stopped.
            logger.debug("the write-ahead log cannot be made longer: %s", error)
            return False
        finally:
            _close(file)
        return longer

    async def _copy(self, pause: Pause) -> None:
        left = await self._checkpoint("PASSIVE")
        if left and self._frames >= self._again_from:
            # Few commits came meanwhile.
            left = await self._checkpoint("PASSIVE")
        if left > REMAINING_PAGES:
            self.rest()
        elif self._frames >= self._again_from:
            await pause(self._begin_again)
            self._measure()
            if self._frames >= self._again_from:
                self.rest()

    @property
    def _erasing(self) -> bool:
        """Whether the log is to be emptied some time."""
        return self._erase_at < float("inf")

    @property
    def _erases(self) -> bool:
        """Whether the log is to be emptied now."""
        return trio.current_time() >= max(self._erase_at, self._quiet_at)

    async def _erase(self, pause: Pause) -> None:
        """Copy the whole log, of at most `copy_pages`, and empty it; later where a reader needs it."""
        self._erase_at = trio.current_time() + self._tuning.erase_seconds
        if await self._checkpoint("PASSIVE") <= REMAINING_PAGES:
            await pause(self._empty)

    async def _empty(self, _writing: Connection) -> None:
        await self._checkpoint("TRUNCATE")
        if self._path.stat().st_size:
            return
        self._erase_at = float("inf")
        now = trio.current_time()
        if now - self._refilled >= self._tuning.refill_seconds:
            self._refilled = now
            self._cut.set()

    async def _begin_again(self, _writing: Connection) -> None:
        if self._path.stat().st_size <= min(self._tuning.crowded_bytes, 2 * self._kept):
            await self._checkpoint("RESTART")
        else:
            await self._checkpoint("TRUNCATE")
            self._cut.set()

    async def _checkpoint(self, mode: str) -> int:
        """Checkpoint, and return how many pages are left to copy."""
        ((busy, count, copied),) = await self._connection.execute(f"PRAGMA wal_checkpoint({mode})")
        self._frames, self._copied = max(0, count), max(0, copied)
        left = self._frames - self._copied
        if not left and not busy:
            # The next commit restarts the log, unless a reader has an earlier view: the next check shows that.
            self.bytes = 0
        return left
