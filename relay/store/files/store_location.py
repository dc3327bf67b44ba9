"""Checks that the store's file is still where it was opened: a commit to a moved or removed file would be lost.

SQLite keeps writing to a file that no longer has a name. Checks two names: the store and its write-ahead log.
"""

import os
import sqlite3
from pathlib import Path

from relay.store.files.directory import log_of


class OtherWriter(sqlite3.OperationalError):
    """Another program has written to the store: the state in memory no longer matches the disk."""

    def __init__(self, error: sqlite3.IntegrityError) -> None:
        super().__init__(f"another program writes to the store: end it, then start the relay again ({error})")
        self.sqlite_errorcode = error.sqlite_errorcode
        self.sqlite_errorname = error.sqlite_errorname


def explain(error: sqlite3.IntegrityError) -> sqlite3.Error:
    """Find the cause of a refused insert. If the next `seq` is taken, another program has added an entry."""
    return OtherWriter(error) if str(error).endswith("log.seq") else error


class Displaced(sqlite3.OperationalError):
    """The store's file, or its write-ahead log, was removed, replaced or emptied while it was open."""

    def __init__(self, path: Path) -> None:
        """Name the file.

        Args:
            path: where it was.
        """
        super().__init__(
            f"{path.name} in {path.parent} was moved, removed or replaced while it was in use: put it back"
            " where it was, or stop the relay and see `relay check`"
        )
        self.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
        self.sqlite_errorname = "SQLITE_READONLY_DBMOVED"


class StorePlace:
    """The names of an open store and its log, and the files that had these names when it was opened."""

    def __init__(self, path: Path) -> None:
        """Note the current file.

        Args:
            path: the store's file, which is open.

        Raises:
            OSError: it is missing.
        """
        # As text: each check would convert a path.
        self._store, self._log = str(path), str(log_of(path))
        store = path.stat()
        self._store_is = (store.st_dev, store.st_ino)
        self._log_is: tuple[int, int] | None = None

    def check(self) -> None:
        """Make sure that both names still lead to the same files.

        Raises:
            Displaced: one of them does not.
        """
        try:
            store = os.stat(self._store)  # noqa: PTH116 - before each commit, and a third faster than pathlib's
        except OSError:
            raise Displaced(Path(self._store)) from None
        if not store.st_size or (store.st_dev, store.st_ino) != self._store_is:
            raise Displaced(Path(self._store))
        try:
            log = os.stat(self._log)  # noqa: PTH116 - likewise
        except OSError:
            # SQLite creates it at the first commit, and removes it when the store is closed.
            if self._log_is is not None:
                raise Displaced(Path(self._log)) from None
            return
        if self._log_is is None:
            self._log_is = (log.st_dev, log.st_ino)
        elif (log.st_dev, log.st_ino) != self._log_is:
            raise Displaced(Path(self._log))
