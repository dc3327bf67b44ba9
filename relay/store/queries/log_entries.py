"""Entries as they were written, for applying and auditing them, also past damaged pages. Reads only."""

import sqlite3
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from relay.keys import Seq, UserKey
from relay.store.damage import is_damage
from relay.store.entry import Entry
from relay.store.kinds import EDIT, FIRST_CHANGE, LAST_MESSAGE
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
    Statement(f"SELECT max(seq) FROM log INDEXED BY log_message WHERE kind <= {LAST_MESSAGE}"),
)
_BARE = (
    "seq, kind, chat, message_id, actor, device, at, target, client_key, client_id, NULL,"
    f" CASE WHEN kind <= {EDIT} THEN NULL ELSE extra END FROM log WHERE"
)
_BARE_ENTRIES = Statement(f"SELECT {_BARE} seq > ? ORDER BY seq LIMIT ?")
_BARE_ENTRY = Statement(f"SELECT {_BARE} seq = ?")
_CHANGES = Statement(
    "SELECT seq, kind, chat, message_id, actor, device, at, target, NULL, NULL, NULL, extra FROM log"
    f" INDEXED BY log_change WHERE kind >= {FIRST_CHANGE} AND seq < ?1 AND (?2 IS NULL OR actor = ?2)"
    " ORDER BY seq DESC LIMIT ?3"
)


async def entries(connection: Connection, after: int, limit: int) -> list[Entry]:
    """Read entries without their texts, which applying them to the state does not need.

    Args:
        connection: one that reads.
        after: the `seq` of the last known entry.
        limit: the maximum number of entries.
    """
    rows = await connection.execute(_BARE_ENTRIES, (after, limit))
    return [Entry(*row) for row in rows]


async def entry(connection: Connection, seq: int) -> list[Entry]:
    """Read one entry like `entries`, if it is there."""
    return [Entry(*row) for row in await connection.execute(_BARE_ENTRY, (seq,))]


async def changes(connection: Connection, before: int, actor: UserKey | None, count: int) -> list[Entry]:
    """Read changes to users, devices, chats and history, the newest first.

    Args:
        connection: one that reads.
        before: only entries with a lower `seq`.
        actor: only entries of this user; None for everybody's.
        count: the maximum number.
    """
    rows = await connection.execute(_CHANGES, (before, actor, count))
    return [Entry(*row) for row in rows]


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

        Args:
            after: the `seq` before the first one.
            upto: the `seq` of the last one.
            count: the maximum number, unless a page is damaged.

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
