"""The disk's room: what may still be written when there is none, and how a full disk is freed.

The last bytes of a disk are set aside (`store.reserve`). While they are not, because the disk lacks them, people
read, and what would fill the rest is refused; what frees room goes on, and gets what was set aside first.
"""

import logging
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

import msgspec
import trio

from relay.core.rules import commands
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store.files.reserve import Reserve
from relay.store.log import maintenance
from relay.store.log.log import Log

logger = logging.getLogger(__name__)

T = TypeVar("T")

SMALL = 16 << 20
"""Bytes of a reserve that bounds SQLite's log."""
COPY_EACH = 256
"""Pages after which SQLite itself brings its log into the file while a full disk is freed."""
PAUSES = (0.2, 0.5, 1.0, 2.0)
"""Seconds until work that frees room, and had none itself, is tried again."""
EVERY = 5.0
"""Seconds between two looks at whether the disk has room for the reserve."""

ALWAYS: frozenset[type[msgspec.Struct]] = frozenset(
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
        commands.AddDevice,
        commands.UseInvite,
        commands.RevokeInvites,
        commands.SetPassword,
        commands.RevokeDevices,
        control.RevokeDevice,
        control.ChangeUser,
    }
)
"""What is taken while the disk is full: what frees room, signs people in or out, and marks what they read."""
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
"""The admin's requests for which the reserve is spent."""


def _needs_room(command: commands.Command) -> bool:
    return type(command.request) not in ALWAYS


class DiskRoom:
    """Keeps the reserve while a relay is open, and says when it is missing."""

    def __init__(self, reserve: Reserve, log: Log) -> None:
        self.reserve = reserve
        self._log = log
        self._freeing = 0
        self._copy_each = 0

    @property
    def full(self) -> bool:
        """Whether the disk is full, as far as people are concerned."""
        return self.reserve.short or self._log.disk_full

    async def run(self) -> None:
        """Set room aside as soon as there is some, for ever."""
        while True:
            if not self._freeing:
                await self._fill()
            await trio.sleep(EVERY)

    async def begin(self) -> None:
        """Go by what the start found."""
        self._note()
        wanted = self.reserve.wanted
        if 0 < wanted < SMALL:
            # Bringing SQLite's log into the file must never need more than what is set aside.
            self._log.wal.keep_small(wanted // 2)
            # A copy beside the commits may come too late; here each commit keeps the log small.
            self._copy_each = COPY_EACH
            await self._log.run_exclusive(partial(maintenance.copy_each, pages=COPY_EACH), "checkpoint", hurried=True)
        if self.reserve.short:
            await self._shrink_log()

    @asynccontextmanager
    async def freeing(self) -> AsyncIterator[None]:
        """Let something that frees room have what was set aside, where the disk is full."""
        if not (self._log.disk_full or self.reserve.short or self.reserve.disk_is_full):
            yield
            return
        self._freeing += 1
        try:
            # Refused first: what is given up must not be taken by the next message.
            self.reserve.short = True
            self._note()
            await trio.to_thread.run_sync(self.reserve.spend)
            await self._shrink_log()
            # What is given up is for this, and SQLite's log must not outgrow it.
            self._log.wal.held = False
            await self._log.run_exclusive(partial(maintenance.copy_each, pages=COPY_EACH), "checkpoint", hurried=True)
            yield
        finally:
            self._freeing -= 1
            self._log.wal.held = self._log.thrifty
            with trio.CancelScope(shield=True):
                with suppress(sqlite3.Error):
                    # Where the writer has stopped, or the disk fails, this connection ends soon.
                    await self._log.run_exclusive(
                        partial(maintenance.copy_each, pages=self._copy_each), "checkpoint", hurried=True
                    )
                await self._shrink_log()
                await self._fill()

    async def free(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do something that frees room, on a full disk with what was set aside.

        A reader may keep SQLite's log from giving its room back for a moment, so work for which there is no room is
        tried again. It changed nothing, or can go on where it stopped.

        Raises:
            RelayError, sqlite3.Error: what the work raises.
        """
        async with self.freeing():
            for pause in PAUSES:
                try:
                    return await work()
                except RelayError as error:
                    if error.error.code != "storage_full":
                        raise
                except sqlite3.Error as error:
                    if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                        raise
                await trio.sleep(pause)
                await self._shrink_log()
            return await work()

    def stop(self) -> None:
        """Let the last that waits be written even on a full disk: called right before the log is stopped."""
        if self._log.disk_full or self.reserve.short:
            self.reserve.spend()
            self._log.try_again()

    async def _fill(self) -> None:
        await trio.to_thread.run_sync(self.reserve.fill)
        self._note()

    def _note(self) -> None:
        short = self.reserve.short
        if short and not self._log.thrifty:
            logger.error("the disk is full: people can read, and nothing is taken in but what frees it (relay prune)")
            self._log.spare(_needs_room)
            self._log.wal.held = True
        elif not short and self._log.thrifty:
            logger.info("the disk has room again")
            self._log.spare(None)
            self._log.wal.held = False

    async def _shrink_log(self) -> None:
        """Bring SQLite's log into the file, which frees what it took, where it can be done."""
        try:
            await self._log.run_exclusive(
                partial(maintenance.shrink_log, fits=self.reserve.store_may_have), "checkpoint", hurried=True
            )
        except (sqlite3.Error, OSError) as error:
            logger.debug("the write-ahead log keeps its size: %s", error)
