"""Repairing a damaged store that no relay serves: a new file with all of its log, and all that follows from it.

SQLite cannot free the pages of a broken table in place, so the new file is made beside the old one and replaces it by
`replacing`; the old one is kept. Touches one data directory, under its lock.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import trio

from relay.store.backup.salvage import Salvaged, salvage
from relay.store.data_dir import empty
from relay.store.data_dir.opening import opened
from relay.store.files import replacing, scratch
from relay.store.files.directory import STORE
from relay.store.files.lock import wait_seconds
from relay.store.sqlite import closed, database
from relay.store.sqlite.migrate import begin
from relay.store.sqlite.read_only import read, readable


class PreparedRepair(NamedTuple):
    """A new store that may replace the damaged one."""

    data: Path
    folder: Path
    """The folder with the new store, which a relay has to open once: it makes the snapshot."""
    salvaged: Salvaged

    def commit(self) -> Path | None:
        """Put it in place; return the folder that keeps the damaged one.

        Raises:
            OSError, sqlite3.Error: the disk fails; the present store stays, or the next command finishes it.
        """
        closed.make_sure(self.folder / STORE)
        with read(self.folder / STORE) as store:
            ((first, *_),) = store.execute("PRAGMA integrity_check(1)")
        if first != "ok":
            raise sqlite3.DatabaseError(f"the new file is damaged, too ({' '.join(first.split())})")
        return replacing.commit(self.data, self.folder, replacing.REPAIRED_STORE)


@contextmanager
def salvaged(data: Path, wait: float, progress: Callable[[int], None]) -> Iterator[PreparedRepair]:
    """Copy what can be read of a store to a new one in the data directory, under its lock.

    Args:
        data: the data directory.
        wait: seconds to wait for another command that has it.
        progress: called with the entries copied since the last call.

    Raises:
        NoDirectory: there is no data directory.
        Locked: a relay runs.
        NotAStore, OlderStore: there is no store of this relay's version.
        LogDamaged: the log itself is damaged.
        OSError, sqlite3.Error: the data directory cannot be written.
    """
    with opened(data, wait=wait_seconds(data, wait)):
        empty.refuse_to_read(data / STORE)
        trio.run(_recognise, data / STORE)
        with scratch.folder(data, "repair") as here:
            trio.run(begin, here / STORE)
            yield PreparedRepair(data, here, salvage(data / STORE, here / STORE, progress))


async def _recognise(store: Path) -> None:
    with readable(store) as address:
        async with database.connect(store, writing=False, address=address) as reading:
            await database.recognise_current(reading)
