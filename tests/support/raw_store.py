"""A store opened by a program other than the relay: manual writes go through the same triggers."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from relay.store.sqlite.reading import fold_column


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a store's file; each statement is a transaction of its own."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("fold", 1, fold_column, deterministic=True)
        yield connection
