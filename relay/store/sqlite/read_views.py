"""Short views of a store for reading all of it: while a view is open, the write-ahead log cannot restart.

Reads only. A long statement is stopped when the log has grown too far, and retried.
"""

import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import trio

from relay.store.files.directory import log_of
from relay.store.sqlite import wal
from relay.store.sqlite.database import Connection
from relay.store.sqlite.reading import PageBound
from relay.store.sqlite.statements import Parameters, Rows

VIEW_ENTRIES = 50_000
"""Entries read in one view."""
STOP_LOG_BYTES = 48 << 20
"""A long statement is stopped when the write-ahead log has this many bytes."""
VIEW_LOOK_SECONDS = 0.2
"""Seconds between two checks of the log."""
VIEW_RETRY_SECONDS = 2.0
"""Seconds until a stopped statement is retried."""
ATTEMPTS = 5
"""How often it is tried."""


class TooBusy(Exception):
    """Too much is being written for a long statement to finish."""


class Views:
    """A reading connection; each statement has a view of its own."""

    def __init__(
        self,
        connection: Connection,
        store: Path,
        *,
        look_seconds: float = VIEW_LOOK_SECONDS,
        retry_seconds: float = VIEW_RETRY_SECONDS,
        stop_log_bytes: int = STOP_LOG_BYTES,
    ) -> None:
        """Prepare to read.

        Args:
            connection: one that reads, used by nobody else.
            store: the store's file.
            look_seconds: seconds between two checks of the write-ahead log.
            retry_seconds: seconds until a stopped statement is retried.
            stop_log_bytes: bytes in that log at which a long statement is stopped.
        """
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._stop_log_bytes = stop_log_bytes
        self._connection = connection
        self._path = log_of(store)

    async def execute(self, sql: str, parameters: Parameters = (), *, exact: bool = False) -> Rows:
        """Run one statement that takes a fraction of a second. See `Connection.execute`."""
        return await self._connection.execute(sql, parameters, exact=exact)

    async def page(self, sql: str, parameters: Parameters, bound: PageBound) -> tuple[Rows, bool]:
        """Read a page of the rows of one statement. See `Connection.page`."""
        return await self._connection.page(sql, parameters, bound)

    async def spans(self, upto: int) -> AsyncIterator[tuple[int, int]]:
        """Divide the log up to an entry into parts.

        Yields:
            The `seq` before the part, and its last one.
        """
        ((first,),) = await self.execute("SELECT coalesce(min(seq), 1) FROM log")
        for after in range(first - 1, upto, VIEW_ENTRIES):
            yield after, min(after + VIEW_ENTRIES, upto)

    async def last(self) -> int:
        """Read the last entry of the log."""
        ((seq,),) = await self.execute("SELECT coalesce(max(seq), 0) FROM log")
        return int(seq)

    async def long(self, sql: str, parameters: Parameters = (), *, exact: bool = False) -> Rows:
        """Run one statement that may take many seconds; cancelling stops it. See `Connection.execute`.

        Raises:
            TooBusy: it was stopped each time because the log had grown.
        """
        for _ in range(ATTEMPTS):
            try:
                return await self._watched(sql, parameters, exact=exact)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                    raise
            await trio.sleep(self._retry_seconds)
        raise TooBusy

    async def _watched(self, sql: str, parameters: Parameters, *, exact: bool) -> Rows:
        failed: list[sqlite3.Error] = []
        rows: Rows = []
        over = trio.Event()

        async def run() -> None:
            nonlocal rows
            # Stop a cancelled statement and wait for it, so that the connection can be closed.
            with trio.CancelScope(shield=True):
                try:
                    rows = await self._connection.execute(sql, parameters, exact=exact)
                except sqlite3.Error as error:
                    failed.append(error)
            over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            try:
                while not over.is_set():
                    with trio.move_on_after(self._look_seconds):
                        await over.wait()
                    if not over.is_set() and self._grown():
                        await self._stop(over)
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await self._stop(over)
                raise
        if failed:
            raise failed[0]
        return rows

    async def _stop(self, over: trio.Event) -> None:
        while not over.is_set():
            await self._connection.interrupt()
            with trio.move_on_after(0.02):
                await over.wait()

    def _grown(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            count, size = wal.frames(file)
        finally:
            os.close(file)
        return count * size > self._stop_log_bytes
