"""SQLite from trio: the one module that knows aiosqlite.

aiosqlite runs each connection in a thread of its own and resolves asyncio's futures; `aiosqlite_on_trio` waits for
them. Everything else in the relay sees trio only.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar, cast

import aiosqlite
import trio

from relay import threads
from relay.store.files.disk_full import find_cause, is_unclear
from relay.store.files.store_location import StorePlace
from relay.store.sqlite.aiosqlite_on_trio import Bridge
from relay.store.sqlite.reading import PageBound, fold_column, read_all, replacing, take
from relay.store.sqlite.schema import APPLICATION_ID, MIGRATIONS
from relay.store.sqlite.statements import Parameters, Rows, Statement

T = TypeVar("T")

CACHE_KIB = 2_000
"""KiB of the file that a connection keeps in memory: SQLite's default."""
FOR_EVER = float("inf")
ASK_SECONDS = 1.0
"""Seconds between two attempts to find out why writes fail."""
BUSY_SECONDS = 5.0
"""How long a statement waits for another program's lock on the file."""

_WRITING = """
PRAGMA page_size = 1024;
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 0;
PRAGMA journal_size_limit = 16777216;
PRAGMA synchronous = FULL;
PRAGMA foreign_keys = ON;
PRAGMA secure_delete = ON;
"""

VOCABULARY = "CREATE VIRTUAL TABLE temp.vocab USING fts5vocab(main, search, row)"
"""The terms of the full-text index as a table of a reading connection; nothing is written to the store."""
_READING = f"{VOCABULARY}; PRAGMA query_only = ON;"
_VERSION = Statement("PRAGMA user_version")
_APPLICATION = Statement("PRAGMA application_id")
TABLES = Statement("SELECT count(*), count(*) FILTER (WHERE name IN ('log', 'member', 'snapshot')) FROM sqlite_master")
"""How many tables and indexes a file has, and how many of those of the first relay's store."""
OWN_TABLES = 3


class NewerStore(Exception):
    """A newer relay has written to the file."""


class OlderStore(Exception):
    """An earlier relay has written to the file last, and it has to be upgraded before it is read."""


class NotAStore(Exception):
    """The file belongs to another program, or cannot be opened as a database."""


class Unmarked(NotAStore):
    """The file has a store's tables and not its marks."""


class TooLong(sqlite3.OperationalError):
    """A statement took too long and was stopped."""


class Connection:
    """One connection to the file, and its thread.

    A reading connection runs one statement at a time, in the order of the calls. When a caller is cancelled, its
    statement does not run, or is stopped. So a deadline is a cancel scope, and other statements are not affected.
    """

    def __init__(
        self,
        connection: aiosqlite.Connection,
        bridge: Bridge,
        folder: Path,
        *,
        reads: bool,
        seconds: float,
        busy_seconds: float,
    ) -> None:
        """Wrap a connection.

        Args:
            connection: the open connection of aiosqlite.
            bridge: runs its calls in trio.
            folder: the folder of the file.
            reads: whether it only reads, so that a cancelled statement may be stopped.
            seconds: the time limit of one statement; infinity for no limit.
            busy_seconds: how long it waits for a lock of another program.
        """
        self._connection = connection
        self._folder = folder
        self._asked_at = -FOR_EVER
        self._cause: BaseException | None = None
        self._run = bridge.run
        self._reads = reads
        self._seconds = seconds
        self._busy = False
        self._queue = trio.lowlevel.ParkingLot()
        self._place: StorePlace | None = None
        self.busy_seconds = busy_seconds
        """How long a statement waits for a lock that another program has on the file."""
        self.started = 0
        """How many statements were passed to the thread."""

    def stay_at(self, path: Path) -> None:
        """Refuse to write once this name no longer belongs to the open file.

        Args:
            path: the file.

        Raises:
            OSError: it is missing.
        """
        self._place = StorePlace(path)

    async def execute(
        self, sql: str, parameters: Parameters = (), *, seconds: float | None = None, exact: bool = False
    ) -> Rows:
        """Run one statement and return all its rows: one hop to the thread and back.

        Args:
            sql: the statement.
            parameters: its parameters.
            seconds: the time limit; None for the connection's limit.
            exact: whether a text that is not UTF-8 is an error (`is_undecodable`). Otherwise its bad bytes are read as
                U+FFFD, so that one damaged text does not fail the whole answer.

        Raises:
            TooLong: it was stopped.
            Displaced: see `stay_at`.
            sqlite3.Error: the statement failed.
        """
        if not self._reads:
            if self._place is not None:
                self._place.check()
            self.started += 1
            try:
                return cast("Rows", await self._run(self._connection.execute_fetchall(sql, parameters)))
            except sqlite3.OperationalError as error:
                await self._find_cause(error)
                raise

        async def fetch(sql: str, parameters: Parameters) -> Rows:
            return await self._in_thread(read_all, sql, parameters, exact)

        return await self._read(fetch, sql, parameters, seconds=seconds)

    async def _in_thread(self, read: Callable[..., T], *arguments: object) -> T:
        """Call a function with the connection of sqlite3 in its thread."""
        raw = self._connection
        # aiosqlite's own methods return all rows, or take a hop for every few.
        found: T = await raw._execute(read, raw._conn, *arguments)  # type: ignore[no-untyped-call]  # noqa: SLF001
        return found

    async def _find_cause(self, error: sqlite3.OperationalError) -> None:
        """Find out why the disk refused a write, which SQLite does not say; at most once a second."""
        if not is_unclear(error):
            return
        now = trio.current_time()
        if now - self._asked_at >= ASK_SECONDS:
            self._asked_at = now
            with suppress(threads.NoThreads):
                await threads.run_own(find_cause, error, self._folder)
            self._cause = error.__cause__
        elif error.__cause__ is None:
            error.__cause__ = self._cause

    async def page(
        self, sql: str, parameters: Parameters, bound: PageBound, *, seconds: float | None = None, partly: bool = False
    ) -> tuple[Rows, bool]:
        """Run one statement and read its rows up to a bound, at least one. At most one row more is read.

        Args:
            sql: the statement.
            parameters: its parameters.
            bound: the end of the page.
            seconds: see `execute`.
            partly: whether a stopped statement returns the rows that it has found, if any.

        Returns:
            The rows, and whether there are more.

        Raises:
            TooLong: it was stopped.
            sqlite3.Error: the statement failed.
        """
        rows: Rows = []

        async def fetch(sql: str, parameters: Parameters) -> bool:
            return await self._in_thread(take, sql, parameters, bound, rows)

        try:
            return rows, await self._read(fetch, sql, parameters, seconds=seconds)
        except TooLong:
            if partly and rows:
                return rows, True
            raise

    async def _read(
        self,
        fetch: Callable[[str, Parameters], Awaitable[T]],
        sql: str,
        parameters: Parameters,
        *,
        seconds: float | None,
    ) -> T:
        """Read in turn. If no task waits, there is no checkpoint, which would cost a turn of a busy event loop."""
        if self._busy:
            # The previous caller hands over its turn.
            await self._queue.park()
        self._busy = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            self.started += 1
            with trio.move_on_after(self._seconds if seconds is None else seconds):
                return await self._run(fetch(sql, parameters), self._interrupt)
            raise TooLong("the statement took too long")
        finally:
            if self._queue:
                self._queue.unpark()
            else:
                self._busy = False

    def _interrupt(self) -> None:
        self._connection._conn.interrupt()  # noqa: SLF001 - aiosqlite's is a coroutine that does just this

    async def interrupt(self) -> None:
        """Stop the running statement, if any; it fails with SQLITE_INTERRUPT."""
        await self._run(self._connection.interrupt())

    async def script(self, sql: str) -> None:
        """Run several statements without parameters.

        Raises:
            sqlite3.Error: one failed, or a transaction is open, which sqlite3 would commit before the first.
        """
        if self._connection.in_transaction:
            raise sqlite3.OperationalError("a script cannot run in a transaction")
        await self._run(self._connection.executescript(sql))

    async def backup(self, target: Path, pages: int = 1_000) -> None:
        """Copy the file while it is being written to, by SQLite's online backup.

        Args:
            target: the file to write.
            pages: the number of pages to copy per step.
        """
        copy = sqlite3.connect(target, check_same_thread=False)
        try:
            await self._run(self._connection.backup(copy, pages=pages))
        finally:
            copy.close()


def busy_after(seconds: float) -> str:
    """Return the statement that limits how long a connection waits for locks."""
    return f"PRAGMA busy_timeout = {round(seconds * 1_000)}"


def _folder_of(path: Path) -> Path:
    """Return the folder of the file that a path, or a link, leads to."""
    return Path(os.path.realpath(path)).parent


@asynccontextmanager
async def connect(
    path: Path,
    *,
    writing: bool,
    cache: int = CACHE_KIB,
    seconds: float = FOR_EVER,
    busy_seconds: float = BUSY_SECONDS,
    address: str | None = None,
) -> AsyncIterator[Connection]:
    """Open one connection. A reading connection cannot write.

    Args:
        path: the file.
        writing: whether it is the one that writes.
        cache: KiB of the file that it may keep in memory.
        seconds: the time limit of a reading statement.
        busy_seconds: how long a statement waits for a lock that another program has on the file.
        address: the URI of the file, if it is opened in another way (`read_only.readable`).

    Raises:
        sqlite3.Error: it cannot be opened.
        NoThreads: the system has no thread for it.
    """
    bridge = Bridge()
    name, uri = (path, False) if address is None else (address, True)
    try:
        raw = await bridge.run(aiosqlite.connect(name, uri=uri, isolation_level=None, cached_statements=256))
    except RuntimeError as error:
        if threads.lacks_threads(error):
            raise threads.NoThreads from None
        raise
    try:
        # Triggers and searches fold texts with it.
        await bridge.run(raw.create_function("fold", 1, fold_column, deterministic=True))
        if writing:
            # It reads hardly any text, and a statement that has written cannot be run again.
            raw.text_factory = replacing
        folder = _folder_of(path)
        connection = Connection(raw, bridge, folder, reads=not writing, seconds=seconds, busy_seconds=busy_seconds)
        try:
            await connection.script(
                f"{busy_after(busy_seconds)}; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache};"
                f" {_WRITING if writing else _READING}"
            )
        except sqlite3.OperationalError as error:
            find_cause(error, folder)
            raise
        yield connection
    finally:
        with trio.CancelScope(shield=True):
            await bridge.run(raw.close())


async def recognise_current(connection: Connection) -> None:
    """Make sure that the file is a store of this relay's version.

    Raises:
        OlderStore: it has to be upgraded first.
        NewerStore: a newer relay has written to it.
        NotAStore: it belongs to another program.
    """
    version = await recognise(connection)
    if version < len(MIGRATIONS):
        raise OlderStore(
            f"an earlier relay wrote to it last (its version is {version}, this relay's is {len(MIGRATIONS)})"
        )


async def recognise(connection: Connection) -> int:
    """Make sure that the file is a store that this relay can read or upgrade, and return its version.

    Raises:
        NewerStore: a newer relay has written to it.
        NotAStore: it belongs to another program.
    """
    ((version,),) = await connection.execute(_VERSION)
    ((application,),) = await connection.execute(_APPLICATION)
    (tables,) = await connection.execute(TABLES)
    identify(version, application, *tables)
    return int(version)


def identify(version: int, application: int, tables: int, own: int) -> None:
    """Make sure that a file is empty, or a store that is not too new.

    Args:
        version: `PRAGMA user_version` of the file: the count of migrations that made it.
        application: `PRAGMA application_id` of the file.
        tables: how many tables it has.
        own: how many of them are a store's; see `TABLES`.

    Raises:
        NewerStore: the file has seen a newer relay.
        Unmarked: another program has made it from a store.
        NotAStore: the file belongs to another program.
    """
    if own == OWN_TABLES and (version == 0 or application == 0):
        raise Unmarked(
            "its tables are a relay's, but not its application_id and user_version: another program has written it,"
            " maybe from a dump, which does not have them"
        )
    if application != APPLICATION_ID and (application or tables):
        raise NotAStore("this file belongs to another program")
    if version < 0:
        raise NotAStore(f"its version is {version}, which no relay writes")
    if version > len(MIGRATIONS):
        raise NewerStore(
            f"this file was written by a newer relay (its version is {version}, this relay knows {len(MIGRATIONS)}):"
            " install that relay again, or restore a backup that this one made; `relay help upgrade` tells the way back"
        )
