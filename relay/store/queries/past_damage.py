"""Reads the log past damaged pages, entry by entry where a whole page of entries cannot be read. Reads only."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from relay.keys import Seq
from relay.store.damage import is_damage
from relay.store.kinds import FIRST_CHANGE, LAST_MESSAGE
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

R = TypeVar("R")

ONE_BY_ONE = 1_000
"""Entries read one by one after a damaged page was met; then a whole page is tried again."""
STRIDE_AFTER = 4_096
"""Unreadable numbers in a row after which only each `STRIDE`th is tried: there may be a gap of a million numbers."""
STRIDE = 64
_LASTS = (
    Statement("SELECT max(seq) FROM log"),
    Statement("SELECT seq FROM snapshot"),
    Statement(f"SELECT max(seq) FROM log INDEXED BY log_change WHERE kind >= {FIRST_CHANGE}"),
    Statement(
        f"SELECT max(seq) FROM log INDEXED BY log_message WHERE kind <= {LAST_MESSAGE}",
        whole="only for the export of a store whose last pages are damaged",
    ),
)


class PastDamage(Generic[R]):
    """Reads entries in their order, and notes those that cannot be read."""

    def __init__(
        self, page: Callable[[int, int, int], Awaitable[list[R]]], one: Callable[[int], Awaitable[list[R]]]
    ) -> None:
        """Prepare to read.

        Args:
            page: reads entries after a `seq`, up to one, at most so many.
            one: reads the entry with a `seq`, if it is of interest.
        """
        self._page = page
        self._one = one
        self.lost: list[tuple[int, int]] = []
        """The first and the last `seq` of each part that cannot be read, ascending."""

    async def read(self, after: int, upto: int, count: int) -> list[R]:
        """Read a page of entries. An empty one is the end.

        Raises:
            sqlite3.Error: the store cannot be read for another reason than a damaged page.
        """
        try:
            return await self._page(after, upto, count)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        rows: list[R] = []
        seq, end = after + 1, after + ONE_BY_ONE
        while seq <= upto and (seq <= end or not rows):
            try:
                rows += await self._one(seq)
                seq += 1
            except sqlite3.DatabaseError as error:
                if not is_damage(error):
                    raise
                first = self.lost[-1][0] if self.lost and self.lost[-1][1] == seq - 1 else seq
                last = min(upto, seq if seq - first < STRIDE_AFTER else seq + STRIDE - 1)
                self.note(first, last)
                seq = last + 1
        return rows

    def note(self, first: int, last: int) -> None:
        """Note that entries cannot be read."""
        if self.lost and first <= self.lost[-1][1] + 1:
            first = min(first, self.lost.pop()[0])
        self.lost.append((first, last))


async def last_entry(connection: Connection) -> Seq:
    """Find the last entry of the log, also if the pages at its end are damaged."""
    last = 0
    for statement in _LASTS:
        try:
            rows = await connection.execute(statement)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            continue
        last = max([last, *(seq for (seq,) in rows if seq)])
        if statement is _LASTS[0]:
            break
    return Seq(last)
