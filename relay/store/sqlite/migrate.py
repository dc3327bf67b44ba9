"""Creates a store, or upgrades one to this relay's version: first a copy, then each step completely or not at all.

Touches the file, and the copies beside it. An interrupted upgrade continues at the next start.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from relay.store.files import scratch
from relay.store.sqlite import closed, database
from relay.store.sqlite.read_only import read
from relay.store.sqlite.schema import APPLICATION_ID, MIGRATIONS

logger = logging.getLogger(__name__)


class CannotUpgrade(sqlite3.OperationalError):
    """A store cannot be upgraded, with the reason as a sentence for people. The store is unchanged."""


def begun(store: Path, version: int) -> Path | None:
    """Find the copy that an interrupted upgrade to this relay's version made.

    A step adds no entries. So a copy that ends elsewhere is of another store: a backup was restored since, or a relay
    of a version in between has written.

    Args:
        store: the file.
        version: its present version.
    """
    copies = (_copy_name(store, former) for former in range(1, version))
    found = [path for path in copies if path.exists()]
    ends = [_end(read(store))] if found else []
    return next((path for path in found if _end(_read_copy(path)) in ends), None)


def _end(opening: AbstractContextManager[sqlite3.Connection]) -> tuple[object, ...] | None:
    """Read the last entry of a store, with enough detail to tell two with the same number apart; None if unreadable."""
    try:
        with opening as store:
            return tuple(
                store.execute("SELECT seq, at, actor, kind FROM log WHERE seq = (SELECT max(seq) FROM log)").fetchall()
            )
    except sqlite3.Error:
        return None


@contextmanager
def _read_copy(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a copy for reading only."""
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)) as copy:
        yield copy


def _copy_name(store: Path, version: int) -> Path:
    return store.with_name(f"{store.stem}-{version}-to-{len(MIGRATIONS)}{store.suffix}")


async def begin(store: Path) -> None:
    """Create an empty store. It appears under its name once it is complete and on disk.

    Args:
        store: its file, which does not exist yet.

    Raises:
        OSError, sqlite3.Error: the disk is full, or fails.
    """
    with scratch.folder(store.parent, "first") as here:
        part = here / store.name
        async with database.connect(part, writing=True) as connection:
            await upgrade(connection, part)
        closed.make_sure(part)
        scratch.put_in_place(part, store)


async def upgrade(connection: database.Connection, store: Path) -> None:
    """Bring a store to this relay's version; an empty file gets all tables.

    Args:
        connection: the one that writes.
        store: its file.

    Raises:
        NewerStore: a newer relay wrote to the file.
        NotAStore: the file belongs to another program.
        CannotUpgrade: no copy can be made, or a step failed.
    """
    version = await database.recognise(connection)
    if version == len(MIGRATIONS):
        return
    before, kept = "", None
    if version:
        logger.info("upgrading %s from version %d to %d", store, version, len(MIGRATIONS))
        kept = begun(store, version) or await _copy(connection, store, version)
        before = f"; what was before is in {kept}"
        logger.info("a copy of the store before the upgrade is in %s", kept)
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        try:
            await connection.script(
                f"BEGIN IMMEDIATE; {script}; PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {number}; COMMIT;"
            )
        except sqlite3.Error as error:
            what = f"be brought to version {number}" if version else "be made"
            raise CannotUpgrade(f"it cannot {what}: {error}{before}") from error
    if kept is not None:
        _remove_copies(store, kept)


async def _copy(connection: database.Connection, store: Path, version: int) -> Path:
    """Copy the file; the copy is complete and on disk before anything is changed."""
    target = _copy_name(store, version)
    try:
        with scratch.folder(store.parent, "upgrade") as here:
            part = here / target.name
            await connection.backup(part)
            part.chmod(0o600)
            closed.make_sure(part)
            scratch.put_in_place(part, target)
    except (sqlite3.Error, OSError) as error:
        raise CannotUpgrade(
            f"it is not brought to version {len(MIGRATIONS)}, since no copy of it can be made first"
            f" ({getattr(error, 'strerror', None) or error}): it needs as much room in {store.parent} as it has itself"
        ) from error
    return target


def remove_outdated(store: Path) -> None:
    """Remove the copies of earlier upgrades that lack later messages.

    Called when another version of the relay takes over a store that needs no upgrade. A copy then belongs to an earlier
    upgrade, and a return to it would lose later messages. A copy that ends where the store does was made by this
    upgrade, which was interrupted before the relay ran.

    Args:
        store: the file, of this relay's version.

    Raises:
        OSError: one cannot be removed.
    """
    copies = [path for path in store.parent.glob(f"{store.stem}-*-to-*") if path.is_file()]
    if not copies:
        return
    end = _end(read(store))
    for path in copies:
        if _end(_read_copy(path)) != end:
            logger.info("removed %s, the copy of an earlier upgrade", path)
            path.unlink(missing_ok=True)


def _remove_copies(store: Path, kept: Path) -> None:
    """Remove all copies but one: those of earlier upgrades, and the remains of an earlier relay's interrupted one."""
    for path in store.parent.glob(f"{store.stem}-*-to-*"):
        if path != kept:
            path.unlink(missing_ok=True)
