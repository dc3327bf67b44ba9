"""Whether the store's file is still where it was opened: a commit to one that was moved or removed is lost.

SQLite goes on writing to a file that has no name any more. Looks at two names in the data directory.
"""

import os
import sqlite3
from pathlib import Path


class Displaced(sqlite3.OperationalError):
    """The store's file, or its write-ahead log, was removed, replaced or emptied while it was open."""

    def __init__(self, path: Path) -> None:
        """Say which file.

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
    """The names of an open store, and the files that they stood for when it was opened."""

    def __init__(self, path: Path) -> None:
        """Note which file it is now.

        Args:
            path: the store's file, which is open.

        Raises:
            OSError: it is not there.
        """
        # As text, which each look would make of a path.
        self._store, self._log = str(path), f"{path}-wal"
        store = path.stat()
        self._store_is = (store.st_dev, store.st_ino)
        self._log_is: tuple[int, int] | None = None

    def check(self) -> None:
        """Make sure that both names still stand for the same files.

        Raises:
            Displaced: one does not.
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
