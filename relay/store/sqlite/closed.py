"""Makes sure that a closed store is complete without its write-ahead log, before it is moved or copied.

When a store is closed, SQLite tries once to copy the log back, and does not report a full disk. Touches one store that
no process has open.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from relay.store.files.directory import log_of


def make_sure(store: Path) -> None:
    """Copy the rest of the write-ahead log back into a closed store.

    Args:
        store: its file, which is about to be moved or copied without the log.

    Raises:
        sqlite3.Error: the disk is full, or fails, or another process has it open.
    """
    log = log_of(store)
    if not log.exists():
        return
    with closing(sqlite3.connect(store)) as connection:
        ((busy, *_),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    if busy or log.exists():
        raise sqlite3.OperationalError(f"{log.name} cannot be copied back into {store.name}")
