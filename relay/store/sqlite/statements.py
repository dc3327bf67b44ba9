"""SQL that says why it may read a whole table or sort, and SQL that is put together from parts.

The plan of each is tested, as that of every other SQL text in the source: see tests/support/statement_plans.py.
"""

from typing import Self

import msgspec


class Statement(str):
    """One SQL statement.

    It may read no table from end to end and sort nothing without a limit, unless it says why that is right.
    """

    __slots__ = ("sorts", "whole")

    whole: str
    """Why it may read a whole table; empty where it may not."""
    sorts: str
    """Why what it sorts is bounded; empty where it may not sort."""

    def __new__(cls, sql: str, *, whole: str = "", sorts: str = "") -> Self:
        """Make a statement and list it."""
        made = super().__new__(cls, sql)
        made.whole = whole
        made.sorts = sorts
        ALL[str(made)] = made
        return made


ALL: dict[str, Statement] = {}
"""Every statement that was made, by its text."""

_json = msgspec.json.encode


def as_json(value: object) -> str:
    """Encode a parameter that SQLite takes apart."""
    return _json(value).decode()
