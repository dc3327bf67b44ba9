"""Making a store, and bringing one to this relay's version: a copy first, then each step whole or not at all.

Touches the file, and beside it the copies it makes. A start that is interrupted anywhere goes on at the next.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path

from relay.store.files import scratch
from relay.store.sqlite import closed, database
from relay.store.sqlite.schema import APPLICATION_ID, MIGRATIONS

logger = logging.getLogger(__name__)


class CannotUpgrade(sqlite3.OperationalError):
    """What is in the way, for a person. The store is as it was."""


def begun(store: Path, version: int) -> Path | None:
    """The copy that an upgrade to this relay's version made before it was interrupted after a step or more.

    A step adds no entries. So a copy that ends elsewhere was made of what was here before somebody restored a backup,
    or let the relay of a version in between write.

    Args:
        store: the file.
        version: which it has now.
    """
    copies = (_copy_name(store, former) for former in range(1, version))
    found = [path for path in copies if path.exists()]
    ends = [_end(store, "mode=ro")] if found else []
    return next((path for path in found if _end(path, "immutable=1") in ends), None)


def _end(store: Path, how: str) -> tuple[object, ...] | None:
    """Read the last entry of a store, with what tells two of one number apart; None where it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?{how}", uri=True)) as connection:
            return tuple(
                connection.execute(
                    "SELECT seq, at, actor, kind FROM log WHERE seq = (SELECT max(seq) FROM log)"
                ).fetchall()
            )
    except sqlite3.Error:
        return None


def _copy_name(store: Path, version: int) -> Path:
    return store.with_name(f"{store.stem}-{version}-to-{len(MIGRATIONS)}{store.suffix}")


async def begin(store: Path) -> None:
    """Make an empty store, which appears under its name when it is whole and on disk.

    Args:
        store: its file, which is not there yet.

    Raises:
        OSError, sqlite3.Error: the disk is full, or fails.
    """
    with scratch.folder(store.parent, "first") as here:
        part = here / store.name
        async with database.connect(part, writing=True) as connection:
            await upgrade(connection, part)
        closed.make_sure(part)
        scratch.place(part, store)


async def upgrade(connection: database.Connection, store: Path) -> None:
    """Bring the file to this relay's version; a new file gets all of it.

    Args:
        connection: the one that writes.
        store: its file.

    Raises:
        NewerStore: the file has seen a newer relay.
        NotAStore: the file belongs to another program.
        CannotUpgrade: there can be no copy, or a step failed.
    """
    version = await database.recognise(connection)
    if version == len(MIGRATIONS):
        return
    before, kept = "", None
    if version:
        logger.info("bringing %s from version %d to %d", store, version, len(MIGRATIONS))
        kept = begun(store, version) or await _copy(connection, store, version)
        before = f"; what was before is in {kept}"
        logger.info("what was before is in %s", kept)
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
        _remove_earlier(store, kept)


async def _copy(connection: database.Connection, store: Path, version: int) -> Path:
    """Keep the file as it is now, whole and on disk before anything is changed."""
    target = _copy_name(store, version)
    try:
        with scratch.folder(store.parent, "upgrade") as here:
            part = here / target.name
            await connection.backup(part)
            part.chmod(0o600)
            closed.make_sure(part)
            scratch.place(part, target)
    except (sqlite3.Error, OSError) as error:
        raise CannotUpgrade(
            f"it is not brought to version {len(MIGRATIONS)}, since no copy of it can be made first"
            f" ({getattr(error, 'strerror', None) or error}): it needs as much room in {store.parent} as it has itself"
        ) from error
    return target


def _remove_earlier(store: Path, kept: Path) -> None:
    """Remove the copies that earlier upgrades made, and what a relay of before left of one that was interrupted."""
    for path in store.parent.glob(f"{store.stem}-*-to-*"):
        if path != kept:
            path.unlink(missing_ok=True)
