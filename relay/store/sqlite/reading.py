"""Reading rows in a connection's thread: up to a bound, and with texts that a failing disk changed."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple, TypeVar

from relay.store.sqlite.statements import Parameters, Row, Rows
from relay.text import fold

T = TypeVar("T")


def _any(_row: Row) -> bool:
    """Accept every row."""
    return True


class PageBound(NamedTuple):
    """The end of a page: after `rows` rows, or before the row whose weight exceeds the rest of `weight`."""

    rows: int
    weight: int
    weigh: Callable[[Row], int]
    """Returns the weight of a row, in bytes."""
    belongs: Callable[[Row], bool] = _any
    """Returns whether a row belongs to the page; called in the connection's thread."""


def is_undecodable(error: BaseException) -> bool:
    """Tell whether an error means that a text in the file is not UTF-8: sqlite3 gives no code for it."""
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode to UTF-8")


def replacing(text: bytes) -> str:
    """Decode a text as a `text_factory`, with U+FFFD for what is not UTF-8."""
    return text.decode(errors="replace")


def _leniently(connection: sqlite3.Connection, read: Callable[[], T]) -> T:
    """Read; where a text is not UTF-8, read again with U+FFFD for what is wrong in it.

    A `text_factory` of Python is called for each text, which would make all reading slower.
    """
    try:
        return read()
    except sqlite3.OperationalError as error:
        if not is_undecodable(error):
            raise
    connection.text_factory = replacing
    try:
        return read()
    finally:
        connection.text_factory = str


def read_all(connection: sqlite3.Connection, sql: str, parameters: Parameters, exact: bool) -> Rows:
    """Read all rows. See `Connection.execute` for the arguments."""

    def read() -> Rows:
        with closing(connection.execute(sql, parameters)) as cursor:
            return cursor.fetchall()

    return read() if exact else _leniently(connection, read)


def fold_column(text: str | bytes | None) -> str | None:
    """Fold a text for SQL. Statements give its bytes, since sqlite3 fails where a text is not UTF-8."""
    return fold(replacing(text) if isinstance(text, bytes) else text) if text is not None else None


def take(connection: sqlite3.Connection, sql: str, parameters: Parameters, bound: PageBound, rows: Rows) -> bool:
    """Read rows into a list up to a bound, and return whether there are more. See `Connection.page`."""

    def read() -> bool:
        rows.clear()
        return _take_once(connection, sql, parameters, bound, rows)

    return _leniently(connection, read)


def _take_once(connection: sqlite3.Connection, sql: str, parameters: Parameters, bound: PageBound, rows: Rows) -> bool:
    left = bound.weight
    with closing(connection.execute(sql, parameters)) as cursor:
        for row in cursor:
            if not bound.belongs(row):
                continue
            weight = bound.weigh(row)
            if rows and (len(rows) >= bound.rows or weight > left):
                return True
            rows.append(row)
            left -= weight
    return False


def utf8(text: str | None) -> int:
    """Count the bytes of a text on the wire, without its quotes and JSON escapes."""
    if not text:
        return 0
    return len(text) if text.isascii() else len(text.encode())
