"""SQLite from trio: the one module that knows aiosqlite.

aiosqlite runs each connection in a thread of its own and answers asyncio's futures; `bridge` carries them over.
Everything else in the relay sees trio only.
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiosqlite
import trio

from relay.store.bridge import Bridge
from relay.store.schema import APPLICATION_ID, MIGRATIONS

Parameters = Sequence[Any]
Rows = list[tuple[Any, ...]]

CACHE = 2_000
"""KiB of the file that a connection keeps in memory, as SQLite has it."""
INSIST = 0.02
"""Seconds after which a statement that was told to stop, and still runs, is told again."""

_SHARED = """
PRAGMA busy_timeout = 5000;
PRAGMA temp_store = MEMORY;
"""
_WRITING = """
PRAGMA page_size = 1024;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 8388608;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
"""


class NewerStore(Exception):
    """The file was written by a newer relay than this one."""


class NotAStore(Exception):
    """The file is no relay's, or is damaged beyond opening."""


class TooLong(Exception):
    """A statement was stopped, since it took longer than it may."""


class Connection:
    """One connection to the file, and its thread."""

    def __init__(self, connection: aiosqlite.Connection, bridge: Bridge) -> None:
        self._connection = connection
        self._run = bridge.run
        self._turn = trio.StrictFIFOLock()

    async def execute(self, sql: str, parameters: Parameters = ()) -> Rows:
        """Run one statement and return all its rows: one hop to the thread and back.

        Raises:
            sqlite3.Error: what SQLite says.
        """
        return cast("Rows", await self._run(self._connection.execute_fetchall(sql, parameters)))

    async def execute_within(self, seconds: float, sql: str, parameters: Parameters = ()) -> Rows:
        """Run one statement as `execute` does, and stop it once it has taken too long. One at a time.

        Whoever is cancelled meanwhile waits until it is over: what is stopped must be this one.

        Raises:
            TooLong: it was stopped.
            sqlite3.Error: what SQLite says.
        """
        async with self._turn:
            rows: Rows = []
            try:
                with trio.CancelScope(shield=True):
                    rows = await self._watched(seconds, sql, parameters)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                    raise TooLong from error
                raise
            return rows

    async def _watched(self, seconds: float, sql: str, parameters: Parameters) -> Rows:
        found: Rows = []
        failed: list[sqlite3.Error] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._stop_after, seconds)
            try:
                found = await self.execute(sql, parameters)
            except sqlite3.Error as error:
                # Raised outside, where no group wraps it.
                failed.append(error)
            nursery.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return found

    async def _stop_after(self, seconds: float) -> None:
        """Stop what runs, again and again until it ends: it may not have begun yet."""
        await trio.sleep(seconds)
        while True:
            await self._run(self._connection.interrupt())
            await trio.sleep(INSIST)

    async def interrupt(self) -> None:
        """Stop the statement that runs, if one does: it fails with `SQLITE_INTERRUPT`."""
        await self._run(self._connection.interrupt())

    async def script(self, sql: str) -> None:
        """Run several statements that take no parameters."""
        await self._run(self._connection.executescript(sql))

    async def backup(self, target: Path, pages: int = 1_000) -> None:
        """Copy the file while it is written to (SQLite's online backup)."""
        copy = sqlite3.connect(target, check_same_thread=False)
        try:
            await self._run(self._connection.backup(copy, pages=pages))
        finally:
            copy.close()


@asynccontextmanager
async def connect(path: Path, *, writing: bool, cache: int = CACHE) -> AsyncIterator[Connection]:
    """Open one connection.

    A reading connection cannot write, whatever it is asked.

    Args:
        path: the file.
        writing: whether it is the one that writes.
        cache: KiB of the file that it may keep in memory.
    """
    bridge = Bridge()
    raw = await bridge.run(aiosqlite.connect(path, isolation_level=None, cached_statements=256))
    try:
        connection = Connection(raw, bridge)
        await connection.script(
            f"{_SHARED} PRAGMA cache_size = -{cache}; {_WRITING if writing else 'PRAGMA query_only = ON;'}"
        )
        yield connection
    finally:
        with trio.CancelScope(shield=True):
            await bridge.run(raw.close())


async def recognise(connection: Connection) -> int:
    """Make sure that the file is a relay's that this relay knows; gives its version.

    Raises:
        NewerStore: the file has seen a newer relay.
        NotAStore: the file belongs to another program.
    """
    ((version,),) = await connection.execute("PRAGMA user_version")
    ((application,),) = await connection.execute("PRAGMA application_id")
    ((tables,),) = await connection.execute("SELECT count(*) FROM sqlite_master")
    identify(version, application, tables)
    return int(version)


def identify(version: int, application: int, tables: int) -> None:
    """Make sure that a file with these marks is a relay's that this relay knows, or empty.

    Raises:
        NewerStore: the file has seen a newer relay.
        NotAStore: the file belongs to another program.
    """
    if application != APPLICATION_ID and (application or tables):
        raise NotAStore("this file belongs to another program")
    if version > len(MIGRATIONS):
        raise NewerStore(
            f"this file was written by a newer relay (its version is {version}, this relay knows {len(MIGRATIONS)}):"
            " install that relay again, or restore a backup that this one made; `relay help upgrade` tells the way back"
        )
