"""Overwrites pages of a closed store, as a failing card does."""

import sqlite3
from contextlib import closing
from pathlib import Path

PAGE = 1_024
"""Bytes of a page of every store."""


def pages(store: Path, name: str, kind: str = "leaf") -> list[int]:
    """List the pages of a table or an index, in the order of its rows.

    Args:
        store: the store's file.
        name: the table or index.
        kind: `leaf`, `internal` or `overflow`.
    """
    with closing(sqlite3.connect(store)) as file:
        rows = file.execute("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY path", (name, kind))
        return [page for (page,) in rows]


def garble(store: Path, name: str, at: float = 0.5, *, content: bytes = b"\xff") -> None:
    """Overwrite one leaf of a table or an index.

    Args:
        store: the store's file; nobody has it open.
        name: the table or index.
        at: which leaf, from 0 for the first to 1 for the last.
        content: the byte that the page is filled with.
    """
    leaves = pages(store, name)
    overwrite(store, leaves[round(at * (len(leaves) - 1))], content)


def overwrite(store: Path, page: int, content: bytes = b"\xff") -> None:
    """Fill a page with one byte."""
    with store.open("r+b") as file:
        file.seek((page - 1) * PAGE)
        file.write(content * PAGE)
