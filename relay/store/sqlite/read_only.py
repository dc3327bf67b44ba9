"""Reading a store that may be closed, without changing it and without leaving files beside it.

Touches one store, which a relay may have open.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from relay.store.files.store_location import log_of


@contextmanager
def read(store: Path) -> Iterator[sqlite3.Connection]:
    """Open a store for reading only.

    Args:
        store: its file.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    try:
        with closing(_connect(store, "ro")) as connection:
            yield connection
    finally:
        _remove_empty_log(store)


def _connect(store: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(bytes(store))}?mode={mode}", uri=True)


def _remove_empty_log(store: Path) -> None:
    """Have SQLite remove the empty write-ahead log that a reading connection makes and may not remove.

    SQLite removes it when a writing connection closes, and only if nobody else has the store open. A log with content
    stays as it is: it is what a killed relay left.
    """
    # A store that this user may not write keeps the empty log, which does no harm.
    with suppress(OSError, sqlite3.Error):
        if log_of(store).stat().st_size == 0:
            with closing(_connect(store, "rw")) as connection:
                # A connection that has read nothing does not know of the log.
                connection.execute("PRAGMA schema_version").fetchone()
