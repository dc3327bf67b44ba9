"""Full text: the latest messages that hold a text, whatever its script and case.

SQL in, rows out. Reads only.
"""

import msgspec

from relay.store.database import Bound, Connection
from relay.store.history import MESSAGES, PAGE_BYTES, HistoryRow, weight
from relay.store.queries import as_json
from relay.store.statements import Statement

TRIGRAM = 3
"""The shortest text, in characters, that the index can find."""
SEARCH_SECONDS = 1.0
"""How long a search may take; the cheaper way as long again."""
SCANNED = 200_000
"""Of how many entries at most, the latest, a shorter text is looked for."""
END = 2**62
"""More than any `seq` and any time."""


class Sought(msgspec.Struct, frozen=True):
    """What is looked for, and where."""

    text: str
    """One character at least."""
    chats: dict[int, int]
    """In which chats, and of each up to which message it is not shown."""
    before: int = END
    """Only messages whose `seq` is lower."""
    older: int = END
    """Only messages that are older, Unix milliseconds."""
    count: int = 50
    """How many at most."""


# What a person has cleared is looked at last: few have cleared anything.
_MINE = (
    "l.kind = 1 AND NOT l.deleted AND l.at < ?6 AND l.chat IN (SELECT value FROM json_each(?1))"
    " AND l.message_id > ifnull(?2 ->> ('$.' || l.chat), 0)"
)
# The index lags a moment behind the log: what it does not hold yet is looked through. Both go backwards from the
# latest and stop at the limit, so that a word that is in every text costs no more than any other.
_INDEXED = Statement(
    f"SELECT {MESSAGES} WHERE l.seq IN ("
    " SELECT * FROM (SELECT l.seq FROM log AS l NOT INDEXED WHERE l.seq > (SELECT seq FROM indexed) AND l.seq < ?3"
    f" AND l.message LIKE ?4 ESCAPE '!' AND {_MINE} ORDER BY l.seq DESC LIMIT ?5)"
    " UNION ALL SELECT * FROM (SELECT l.seq FROM search CROSS JOIN log AS l ON l.seq = search.rowid"
    f" WHERE search MATCH ?7 AND search.rowid < ?3 AND {_MINE} ORDER BY search.rowid DESC LIMIT ?5)"
    ") ORDER BY l.seq DESC LIMIT ?5",
)
_SHORT = Statement(
    f"SELECT {MESSAGES} WHERE l.seq > (SELECT max(seq) FROM log) - {SCANNED} AND l.seq < ?3"
    f" AND l.message LIKE ?4 ESCAPE '!' AND {_MINE} ORDER BY l.seq DESC LIMIT ?5"
)
_THROUGH = Statement(
    f"SELECT {MESSAGES} WHERE l.seq IN (SELECT o.seq FROM json_each(?1) AS c CROSS JOIN log AS o"
    " ON o.kind <= 3 AND o.chat = c.value WHERE o.kind = 1 AND NOT o.deleted AND o.seq < ?3 AND o.at < ?6"
    " AND o.message_id > ifnull(?2 ->> ('$.' || o.chat), 0)"
    " AND o.message LIKE ?4 ESCAPE '!' ORDER BY o.seq DESC LIMIT ?5) ORDER BY l.seq DESC",
    sorts="up to its limit, and numbers only",
)


async def search(
    connection: Connection, sought: Sought, *, seconds: float = SEARCH_SECONDS
) -> tuple[list[HistoryRow], bool]:
    """Find messages, the latest first; give them, and whether there are more.

    Raises:
        TooLong: it took longer than so many seconds.
    """
    if len(sought.text) < TRIGRAM:
        return await _page(connection, _SHORT, sought, seconds)
    quoted = '"' + sought.text.replace('"', '""') + '"'
    return await _page(connection, _INDEXED, sought, seconds, quoted)


async def search_through(
    connection: Connection, sought: Sought, *, seconds: float = SEARCH_SECONDS
) -> tuple[list[HistoryRow], bool]:
    """Find what `search` does by looking through all that was said in these chats.

    A usual word is said so often elsewhere that this is the shorter way to find it in chats where little was said.
    """
    return await _page(connection, _THROUGH, sought, seconds)


async def _page(
    connection: Connection, sql: Statement, sought: Sought, seconds: float, *more: str
) -> tuple[list[HistoryRow], bool]:
    cleared = {str(chat): upto for chat, upto in sought.chats.items() if upto}
    rows, left = await connection.page(
        sql,
        (
            as_json(list(sought.chats)),
            as_json(cleared),
            sought.before,
            _like(sought.text),
            sought.count + 1,
            sought.older,
            *more,
        ),
        Bound(sought.count, PAGE_BYTES, weight),
        seconds=seconds,
    )
    return [HistoryRow(*row) for row in rows], left


def _like(text: str) -> str:
    escaped = text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
    return f"%{escaped}%"
