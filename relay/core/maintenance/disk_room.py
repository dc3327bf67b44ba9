"""Space on the disk: which writes a full disk still allows, and how to free space.

The relay reserves the last bytes of the disk (`store/files/reserve.py`). While the disk is too full for the reserve,
people can read. Commands that need more space are refused. Work that frees space continues, and may use the reserve.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import trio

from relay import threads
from relay.core.rules import commands
from relay.core.tuning import DiskTuning
from relay.outcomes import Decidable
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.files.disk_full import is_full
from relay.store.files.reserve import Reserve
from relay.store.log.log import Log
from relay.store.upkeep import free_space

logger = logging.getLogger(__name__)

T = TypeVar("T")

SMALL_RESERVE_BYTES = 16 << 20
"""A reserve smaller than this limits SQLite's log, too."""
CHECKPOINT_PAGES = 256
"""Pages of SQLite's log after which each commit copies them into the file, while a full disk is freed."""

ALWAYS: frozenset[type[Decidable]] = frozenset(
    {
        requests.Delete,
        commands.MarkDelivered,
        commands.MarkRead,
        commands.LeaveChat,
        commands.DeleteChat,
        commands.RemoveParticipants,
        commands.PruneHistory,
        commands.PruneChats,
        commands.ForgetFiles,
        commands.NoteRestore,
        commands.TrustClock,
        commands.StepClock,
        commands.AddDevice,
        commands.SignInByPassword,
        commands.UseInvite,
        commands.RevokeInvites,
        commands.ChangePassword,
        commands.SetPassword,
        commands.RevokeDevices,
        control.RevokeDevice,
        control.ChangeUser,
    }
)
"""Commands that a full disk still allows: they free space, sign people in or out, or mark messages."""
FREEING = frozenset(
    {
        "prune",
        "user.change",
        "device.revoke",
        "chat.remove",
        "chat.delete",
        "hook.remove",
        "invite.revoke",
        "clock.trust",
    }
)
"""Admin requests that may use the reserve."""


def needs_room(command: Command) -> bool:
    """Return whether a command is refused while the disk is full."""
    return type(command.request) not in ALWAYS


class DiskRoom:
    """Keeps the reserve while a relay is open, and decides what a full disk allows."""

    def __init__(self, reserve: Reserve, log: Log, tuning: DiskTuning) -> None:
        """Begin before the first look at the disk.

        Args:
            reserve: the last bytes of the disk.
            log: its commands may be refused while the disk is full.
            tuning: how often work that frees space is retried, and the reserve filled.
        """
        self.reserve = reserve
        self._log = log
        self._tuning = tuning
        self._freeing = 0
        """How many tasks are freeing space; the reserve is filled again when the last one ends."""
        self._changing = trio.Lock()
        """Held while the reserve is given up or filled: the two must not overlap."""
        self._copy_each = 0

    @property
    def full(self) -> bool:
        """Whether the disk counts as full."""
        return self.reserve.short or self._log.disk_full

    async def run(self) -> None:
        """Fill the reserve whenever there is space, forever."""
        while True:
            async with self._changing:
                if not self._freeing:
                    await self._fill()
            await trio.sleep(self._tuning.fill_seconds)

    async def begin(self) -> None:
        """Act on the state of the disk at the start."""
        self._apply()
        wanted = self.reserve.target_size
        if 0 < wanted < SMALL_RESERVE_BYTES:
            # Copying SQLite's log into the file must never need more space than the reserve has.
            self._log.wal.keep_small(wanted // 2)
            # A checkpoint in the background may come too late; on a small disk each commit keeps the log small.
            self._copy_each = CHECKPOINT_PAGES
            await self._copy_pages(CHECKPOINT_PAGES)
        if self.reserve.short:
            await self._shrink_log()

    @asynccontextmanager
    async def freeing(self) -> AsyncIterator[None]:
        """Allow work that frees space to use the reserve while the disk is full.

        Several tasks may do so at once. Until the last one ends, messages are refused and the reserve stays given up.
        """
        if not (self._freeing or self._log.disk_full or self.reserve.short or self.reserve.disk_is_full):
            yield
            return
        self._freeing += 1
        try:
            async with self._changing:
                await self._begin_freeing()
            yield
        finally:
            self._freeing -= 1
            with trio.CancelScope(shield=True):
                async with self._changing:
                    if not self._freeing:
                        await self._end_freeing()

    async def _begin_freeing(self) -> None:
        # Refuse messages first: the next one must not take the released space.
        self.reserve.short = True
        self._apply()
        try:
            await threads.run_own(self.reserve.spend)
        except threads.NoThreads:
            self.reserve.spend()
        await self._shrink_log()
        # The released space is for this work, and SQLite's log must not take it.
        self._log.wal.held = False
        await self._copy_pages(CHECKPOINT_PAGES)

    async def _end_freeing(self) -> None:
        self._log.wal.held = self._log.thrifty
        with suppress(sqlite3.Error):
            # If the writer has stopped, or the disk fails, this connection ends soon.
            await self._copy_pages(self._copy_each)
        await self._shrink_log()
        await self._fill()

    async def free(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work that frees space; on a full disk, with the reserve.

        A reader may keep SQLite's log from shrinking for a moment, so work that finds no space is retried. It has
        changed nothing, or continues where it stopped.

        Raises:
            RelayError, sqlite3.Error: as raised by the work.
        """
        async with self.freeing():
            for pause in self._tuning.retry_seconds:
                try:
                    return await work()
                except RelayError as error:
                    if error.error.code != "storage_full":
                        raise
                except sqlite3.Error as error:
                    if not is_full(error):
                        raise
                await trio.sleep(pause)
                await self._shrink_log()
            return await work()

    def stop(self) -> None:
        """Let the pending commands be written even on a full disk. Call it right before the log stops."""
        if self._log.disk_full or self.reserve.short:
            # A stop needs the room until the store is closed, whatever other tasks do meanwhile.
            self._freeing += 1
            self.reserve.spend()
            self._log.try_again()

    async def _fill(self) -> None:
        with suppress(threads.NoThreads):
            # Tried again soon.
            await threads.run_own(self.reserve.fill)
        self._apply()

    def _apply(self) -> None:
        short = self.reserve.short
        if short and not self._log.thrifty:
            logger.error("the disk is full: people can read, and only what frees space is allowed (`relay prune`)")
            self._log.spare(needs_room)
            self._log.wal.held = True
        elif not short and self._log.thrifty:
            logger.info("the disk has room again")
            self._log.spare(None)
            self._log.wal.held = False

    async def _copy_pages(self, pages: int) -> None:
        """Have each commit copy SQLite's log into the file once it has this many pages; 0 for never."""
        await self._log.run_exclusive(partial(free_space.copy_each, pages=pages), "checkpoint", hurried=True)

    async def _shrink_log(self) -> None:
        """Copy SQLite's log into the file and truncate it, if that is possible now."""
        try:
            await self._log.run_exclusive(
                partial(free_space.shrink_log, fits=self.reserve.store_may_have), "checkpoint", hurried=True
            )
        except (sqlite3.Error, OSError) as error:
            logger.debug("the write-ahead log keeps its size: %s", error)
