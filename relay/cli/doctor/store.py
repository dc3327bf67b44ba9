"""Checks of the store: SQLite's version, damage, unfinished upgrades, the index, and leftovers of commands."""

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from relay.cli.doctor.finding import Finding, Subject
from relay.cli.status import damaged, index_remaking
from relay.store.damage import PAGE_HELPS, RESTORE_HELPS

OLDEST_SQLITE = (3, 38, 0)
"""The first version with the JSON operators that the store uses."""


def search(subject: Subject) -> Iterator[Finding]:
    """Return whether the running relay has met damaged pages, or is rebuilding the full-text index."""
    status = subject.status
    if status is not None and status.damaged:
        yield Finding("damage", "bad", damaged(status), "`relay check` says where.")
    if status is not None and status.index_remaking:
        yield Finding("search", "note", index_remaking(status))


def sqlite(subject: Subject) -> Iterator[Finding]:
    """Check SQLite's version, and the store for damage and an unfinished upgrade."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Finding("sqlite", "bad", f"version {sqlite3.sqlite_version} is too old", "Upgrade the system.")
    else:
        yield Finding("sqlite", "good", f"version {sqlite3.sqlite_version}")
    if not (subject.data / "relay.db").exists():
        return
    from relay.store.data_dir.errors import can_be_repaired, what_to_do

    try:
        damage = _damage(subject.data / "relay.db")
    except sqlite3.OperationalError as error:
        yield Finding("store", "bad", what_to_do(error, subject.data), "There is no sign that it is damaged.")
        return
    if damage:
        helps = f"`relay check` says where; {PAGE_HELPS}" if can_be_repaired(subject.data) else RESTORE_HELPS
        yield Finding("store", "bad", damage, f"{helps}.")
        return
    yield from upgrade(subject.data / "relay.db")
    yield Finding("store", "good", "the file is intact (a quick check; `relay check` verifies all of it)")


def upgrade(path: Path) -> Iterator[Finding]:
    """Check the version of the store. A copy beside an older one means that an upgrade did not finish."""
    from relay.store.data_dir import written_by
    from relay.store.sqlite.migrate import begun
    from relay.store.sqlite.read_only import read
    from relay.store.sqlite.schema import MIGRATIONS

    with read(path) as store:
        ((version,),) = store.execute("PRAGMA user_version")
        ((told,),) = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'writer'")
        ((last,),) = store.execute(written_by.LAST) if told else [("",)]
    newest = len(MIGRATIONS)
    if not written_by.is_release(last):
        yield Finding(
            "writer",
            "note",
            f"the file: {written_by.UNRELEASED.format(version=last)}",
            "Releases are tested with stores of releases: keep a backup from before it, and install a release.",
        )
    if version > newest:
        yield Finding(
            "upgrade",
            "bad",
            f"a newer relay{f' ({last})' if last else ''} wrote the file (version {version}; this one knows {newest})",
            "Install that relay again, or go back as `relay help upgrade` says.",
        )
    elif version < newest and (before := begun(path, version)):
        yield Finding(
            "upgrade",
            "bad",
            f"an upgrade of the file from version {version} to {newest} did not finish; what was"
            f" before is in {before.name}",
            "`systemctl restart relay` continues it; `journalctl -u relay` says what stopped it.",
        )
    elif version < newest:
        yield Finding(
            "upgrade", "note", f"the file is of version {version}; the next start of the relay makes it {newest}"
        )


def _damage(path: Path) -> str:
    """Return the damage of the file; an empty text if it is intact.

    Raises:
        sqlite3.OperationalError: it cannot be read now.
    """
    import trio

    from relay.store.data_dir.errors import is_damaged
    from relay.store.queries import storage
    from relay.store.sqlite import database

    async def look() -> str:
        async with database.connect(path, writing=False) as reading:
            # The store of a newer relay may be intact; its version is a finding of its own.
            with suppress(database.NewerStore):
                await database.recognise(reading)
            return await storage.damage(reading)

    try:
        return trio.run(look)
    except sqlite3.OperationalError as error:
        if not is_damaged(error):
            raise
        return str(error)
    except (sqlite3.Error, database.NotAStore) as error:
        return str(error)


def leftovers(subject: Subject) -> Iterator[Finding]:
    """List leftovers of killed commands, and the folders that restores put aside."""
    from relay.cli.doctor.leftovers import examine

    for left in examine(subject.data):
        yield Finding("leftovers", left.level, left.what, left.advice)
