"""Whether SQLite has brought its log into a store that was closed: what is moved without the log would be torn.

On the way out SQLite tries once, and tells nobody that the disk was full. Touches one store that nobody has open.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from relay.store.files.place import log_of


def make_sure(store: Path) -> None:
    """See that a store that was closed is whole by itself; what is still in its log is brought into it.

    Args:
        store: its file, which is about to be moved or copied by itself.

    Raises:
        sqlite3.Error: the disk is full, or fails, or somebody else has it open.
    """
    log = log_of(store)
    if not log.exists():
        return
    with closing(sqlite3.connect(store)) as connection:
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy or log.exists():
        raise sqlite3.OperationalError(f"what is in {log.name} cannot be brought into {store.name}")
