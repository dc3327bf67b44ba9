"""SQL statements that are composed, or that read a whole table or sort, and the reasons.

The plan of each is tested, like that of every SQL text in the source: see tests/support/statement_plans.py.
"""

from collections.abc import Sequence
from typing import Any, Self

import msgspec

SqlValue = int | float | str | bytes | None
"""A value that SQLite stores in a column."""
Parameters = Sequence[SqlValue]
"""The values for the question marks of a statement."""
Row = tuple[Any, ...]
"""A row that a statement returns. Any: only its text says what each column is, and the reader names and types them."""
Rows = list[Row]


class Statement(str):
    """One SQL statement.

    It must not read a whole table, nor sort without a limit, unless it gives a reason.
    """

    __slots__ = ("sorts", "whole")

    whole: str
    """Why it may read a whole table; empty if it must not."""
    sorts: str
    """Why its sorting is bounded; empty if it must not sort."""

    def __new__(cls, sql: str, *, whole: str = "", sorts: str = "") -> Self:
        """Make a statement and add it to `ALL`.

        Args:
            sql: the text.
            whole: why it may read a whole table.
            sorts: why its sorting is bounded.
        """
        made = super().__new__(cls, sql)
        made.whole = whole
        made.sorts = sorts
        ALL[str(made)] = made
        return made


ALL: dict[str, Statement] = {}
"""Every statement, by its text."""

_json = msgspec.json.encode


def said_at(row: str) -> str:
    """Return the expression for when an imported message of a row of the log was said; NULL for another message.

    Invalid JSON makes the whole statement fail.
    """
    return f"(CASE WHEN json_valid({row}.extra) THEN {row}.extra ->> '$.saidAt' END)"


def as_json(value: object) -> str:
    """Encode a parameter for SQLite's JSON functions."""
    return _json(value).decode()
