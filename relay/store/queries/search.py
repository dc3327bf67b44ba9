"""Full-text search: the latest messages that contain a text in any spelling (PROTOCOL.md, section 5, "Found").

SQL in, rows out. Reads only.
"""

import sqlite3
import sys
import time

import msgspec

from relay.keys import ChatKey, MessageId, Seq, UnixMs
from relay.store.damage import DamagedIndex, is_damage, is_index_damage
from relay.store.kinds import LAST_MESSAGE, NEW
from relay.store.queries.history import COLUMNS, HISTORY_PAGE_BYTES, MESSAGES, REPLIED_TO, HistoryRow, weight
from relay.store.queries.positions import ends
from relay.store.queries.trigrams import TRIGRAM_CHARACTERS, TrigramChoice, TrigramShares
from relay.store.sqlite.database import Connection, TooLong
from relay.store.sqlite.reading import PageBound
from relay.store.sqlite.statements import Row, Rows, Statement, as_json, said_at
from relay.text import fold, fold_query

SEARCH_SECONDS = 1.0
"""Time limit of a search; `search_through` may take the same time again."""
SCANNED_ENTRIES = 200_000
"""The number of latest entries to read for a text that the index cannot find."""
PREFIX_SECONDS = 0.25
"""Time limit for finding them: trigrams of a common letter are in every text."""
SAMPLED_ENTRIES = 256
"""How many entries, spread over the log, the common trigrams are learned from."""
SAMPLED_CHARACTERS = 256
"""Characters read of each."""
END = 2**62
"""More than any `seq` and any time."""
MESSAGE_COLUMN = 8
"""The column of the text in a row."""
CHECKED_CANDIDATES = 64
"""Candidates after which the search is reconsidered: if most did not match, one more trigram leaves fewer."""


class SearchBounds(msgspec.Struct, kw_only=True):
    """How much one search reads at a time."""

    span_entries: int = 20_000
    """Entries that one statement reads, so that other requests get a turn in between."""
    latest_entries: int = 2_000
    """Entries to read first for a text shorter than a trigram: they fill a page for a common letter."""
    prefixed_trigrams: int = 500
    """Trigrams that may begin with such a text; if there are more, the index is not used."""


USUAL_BOUNDS = SearchBounds()


class Sought(msgspec.Struct, frozen=True):
    """A query: the text, and where to search."""

    text: str
    """The text as typed."""
    chats: dict[ChatKey, MessageId]
    """By chat key: the message id up to which messages are not shown."""
    before: Seq = END
    """Only messages with a lower `seq`."""
    older: UnixMs = END
    """Only messages whose shown date is earlier, Unix milliseconds."""
    count: int = 50
    """How many at most."""
    said: int = END
    """An upper bound of the messages in these chats."""

    @property
    def folded(self) -> str:
        """The folded text; empty if there is nothing to search for."""
        return fold_query(self.text)


def _holds(row: str) -> str:
    """Return the condition that a message contains the folded text; for most ASCII texts, lower case is enough."""
    return (
        f"(instr(lower({row}.message), ?4) OR ((length({row}.message) <> length(CAST({row}.message AS BLOB)) OR"
        # Only a phrase is affected by collapsed white space.
        f" instr(?4, ' ') AND ({row}.message GLOB '*[^ -~]*' OR instr({row}.message, char(32, 32))))"
        f" AND instr(fold(CAST({row}.message AS BLOB)), ?4)))"
    )


def _older(row: str) -> str:
    """Return the condition that the shown date is earlier, which is the source's date for an imported message."""
    return f"(?6 = {END} OR ifnull({said_at(row)}, {row}.at) < ?6)"


# Compare cleared messages last: few people have cleared anything.
_MINE = (
    f"l.kind = {NEW} AND NOT l.deleted AND l.chat IN (SELECT value FROM json_each(?1)) AND {_older('l')}"
    " AND (?2 = '{}' OR l.message_id > ifnull(?2 ->> ('$.' || l.chat), 0))"
)
# All of them go backwards from the latest message and stop at a page, so a word in every text costs no more than any
# other.
_NEWEST = Statement("SELECT coalesce(max(seq), 0) FROM log WHERE seq < ?")
_ENDINGS = Statement("SELECT term FROM vocab WHERE term >= ?1 AND term < ?2 ORDER BY term LIMIT ?3")
_THERE = Statement(
    f"SELECT {MESSAGES} WHERE l.seq > ?7 AND l.seq < ?3 AND {_MINE} AND {_holds('l')} ORDER BY l.seq DESC LIMIT ?5"
)
# One row per candidate, also for hidden ones, so that they can be counted. They come in the order of `s`, the outer
# loop.
_INDEXED = Statement(
    "WITH s (seq) AS (SELECT rowid FROM search WHERE search MATCH ?4 AND rowid < ?3 ORDER BY rowid DESC LIMIT ?5)"
    f" SELECT {COLUMNS.replace('l.seq', 's.seq', 1)} FROM s LEFT JOIN log AS l ON l.seq = s.seq AND {_MINE}"
    f" {REPLIED_TO}"
)
_CANDIDATES = Statement("SELECT rowid FROM search WHERE search MATCH ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT ?3")
_THROUGH = Statement(
    f"SELECT {MESSAGES} WHERE l.seq IN (SELECT o.seq FROM json_each(?1) AS c CROSS JOIN log AS o"
    f" ON o.kind <= {LAST_MESSAGE} AND o.chat = c.value WHERE o.kind = {NEW} AND NOT o.deleted AND o.seq < ?3"
    f" AND {_older('o')} AND o.message_id > ifnull(?2 ->> ('$.' || o.chat), 0)"
    f" AND {_holds('o')} ORDER BY o.seq DESC LIMIT ?5) ORDER BY l.seq DESC",
    sorts="numbers only, up to its limit or where little was said",
)
_SAMPLE = Statement(
    f"SELECT substr(message, 1, {SAMPLED_CHARACTERS}) FROM log WHERE seq IN (SELECT value FROM json_each(?))"
    f" AND kind = {NEW} AND message IS NOT NULL"
)


async def learn(connection: Connection, usual: TrigramShares) -> bool:
    """Learn which trigrams are common from entries spread over the log; return whether there were enough.

    Raises:
        TooLong: it took longer than a search may.
    """
    last, _ = await ends(connection, seconds=SEARCH_SECONDS)
    spread = sorted({last * number // SAMPLED_ENTRIES for number in range(1, SAMPLED_ENTRIES + 1)})
    rows = await connection.execute(_SAMPLE, (as_json(spread),), seconds=SEARCH_SECONDS)
    return usual.learn([text for (text,) in rows])


async def search(
    connection: Connection,
    sought: Sought,
    usual: TrigramShares | None = None,
    *,
    indexed: int | None = None,
    seconds: float = SEARCH_SECONDS,
    bounds: SearchBounds = USUAL_BOUNDS,
) -> tuple[list[HistoryRow], bool]:
    """Find messages, the latest first.

    Args:
        connection: one that reads.
        sought: the query.
        usual: the common trigrams.
        indexed: the entry up to which the index is used; None for all that it has.
        seconds: the time limit, at which the search stops with its results so far.
        bounds: how much it reads at a time.

    Returns:
        The messages, and whether there are more.

    Raises:
        TooLong: it reached the limit and found nothing.
        DamagedIndex: the index is damaged, which was made sure of.
        sqlite3.DatabaseError: the store cannot be read.
    """
    last, upto = await ends(connection, seconds=SEARCH_SECONDS)
    return await SearchRun(connection, sought, usual or TrigramShares(), seconds, bounds).run(
        upto if indexed is None else indexed, last
    )


class SearchRun:
    """One search, in steps that go backwards: first the unindexed entries, a span at a time, then the index.

    A text shorter than a trigram is found by the trigrams that begin with it, if these are few, as for a rare
    character. A common letter occurs in the latest entries, which are read first.
    """

    def __init__(
        self, connection: Connection, sought: Sought, usual: TrigramShares, seconds: float, bounds: SearchBounds
    ) -> None:
        self._bounds = bounds
        self._connection = connection
        self._sought = sought
        self._usual = usual
        self._until = time.monotonic() + seconds
        self._rows: Rows = []
        self._left = HISTORY_PAGE_BYTES
        self._text = sought.folded
        self._short = len(self._text) < TRIGRAM_CHARACTERS
        self._looked = self._found = 0
        """The number of candidates of one statement, and of those that match."""
        self._last = END
        """The `seq` of the last candidate."""

    async def run(self, indexed: int, last: int) -> tuple[list[HistoryRow], bool]:
        """Search, see `search`.

        Args:
            indexed: the last entry that the index has.
            last: the last entry of the log.

        Returns:
            The messages, newest first, and whether there are more.
        """
        try:
            more = await self._run(indexed, last)
        except TooLong:
            if not self._rows:
                raise
            more = True
        # One more than a page was read, to know whether there are more.
        count = self._sought.count
        return [HistoryRow(*row) for row in self._rows[:count]], more or len(self._rows) > count

    async def _run(self, indexed: int, last: int) -> bool:
        if not self._short:
            return await self._through(indexed, last) or await self._indexed(indexed, last)
        indexed = min(indexed, max(0, last - self._bounds.latest_entries))
        if await self._through(indexed, last):
            return True
        if not indexed:
            # That was the whole log. A damaged or missing index is not used.
            return False
        endings = await self._endings()
        if endings is not None:
            before = min(self._sought.before, indexed + 1)
            return bool(endings) and await self._step(_INDEXED, before, _match(endings, " OR "))
        if await self._through(0, indexed, SCANNED_ENTRIES):
            return True
        raise TooLong("a text that is too common")

    async def _through(self, after: int, upto: int, at_most: int = END) -> bool:
        """Read the log backwards, after one entry and up to another; return whether the page is full.

        Args:
            after: the entry before the first.
            upto: the last entry.
            at_most: about how many entries to read.
        """
        before = min(self._sought.before, upto + 1)
        while before > after + 1 and at_most > 0:
            # A restore leaves a gap of a million ids, which do not count.
            ((newest,),) = await self._connection.execute(_NEWEST, (before,))
            before = min(before, newest + 1)
            begin = max(after, before - 1 - self._bounds.span_entries)
            if await self._step(_THERE, before, self._text, begin):
                return True
            before = begin + 1
            at_most -= self._bounds.span_entries
        return False

    async def _endings(self) -> list[str] | None:
        """Find the trigrams that begin with the text; None if there are too many, or it takes too long."""
        text, most = self._text, self._bounds.prefixed_trigrams
        left = self._until - time.monotonic()
        try:
            rows = await self._connection.execute(
                _ENDINGS, (text, f"{text}{chr(sys.maxunicode)}", most + 1), seconds=max(0.0, min(left, PREFIX_SECONDS))
            )
        except TooLong:
            return None
        except sqlite3.DatabaseError as error:
            # These are read from the index alone.
            if is_damage(error):
                raise DamagedIndex(str(error)) from error
            raise
        return [term for (term,) in rows] if len(rows) <= most else None

    async def _indexed(self, indexed: int, entries: int) -> bool:
        """Read the index's candidates, first some and then the rest; return whether the page is full."""
        choice = TrigramChoice(self._usual, self._text, entries)
        before = min(self._sought.before, indexed + 1)
        limit = CHECKED_CANDIDATES
        while before > 1:
            self._looked = self._found = 0
            if await self._step(_INDEXED, before, _match(choice.asked, " AND "), limit=limit):
                return True
            if self._looked != limit:
                return False
            left = self._looked / (before - self._last) * self._last
            before = self._last
            if self._sought.said < min(left, self._sought.count * CHECKED_CANDIDATES / max(self._found, 1)):
                return await self._step(_THROUGH, before, self._text)
            if 2 * self._found >= CHECKED_CANDIDATES or not choice.narrow(left):
                limit = -1
        return False

    async def _step(self, sql: Statement, before: int, text: str, *more: int, limit: int = -1) -> bool:
        """Run one statement; return whether the page is full."""
        try:
            rows, full = await self._connection.page(
                sql,
                _parameters(self._sought, before, text, limit, *more),
                PageBound(max(1, self._sought.count - len(self._rows)), self._left, weight, self.wanted),
                seconds=max(0.0, self._until - time.monotonic()),
                partly=True,
            )
        except sqlite3.DatabaseError as error:
            if sql is _INDEXED and (is_index_damage(error) or await self._index_fails(text, before, limit, error)):
                raise DamagedIndex(str(error)) from error
            raise
        self._left -= sum(map(weight, rows))
        if self._left < 0 and self._rows:
            return True
        self._rows += rows
        return full or len(self._rows) > self._sought.count

    async def _index_fails(self, text: str, before: int, limit: int, error: sqlite3.Error) -> bool:
        """Look up candidates in the index alone, after a statement failed that reads the log, too.

        Returns:
            Whether that fails as well because a page is damaged.
        """
        if is_damage(error):
            try:
                await self._connection.execute(_CANDIDATES, (text, before, limit), seconds=SEARCH_SECONDS)
            except sqlite3.DatabaseError as other:
                return is_damage(other)
        return False

    def wanted(self, row: Row) -> bool:
        """Return whether a candidate contains the text. Called in the connection's thread."""
        self._looked += 1
        self._last = row[0]
        text: str | None = row[MESSAGE_COLUMN]
        found = text is not None and self._text in fold(text)
        self._found += found
        return found


def _match(trigrams: list[str], how: str) -> str:
    return how.join('"' + one.replace('"', '""') + '"' for one in trigrams)


async def search_through(
    connection: Connection, sought: Sought, *, seconds: float = SEARCH_SECONDS
) -> tuple[list[HistoryRow], bool]:
    """Find the same as `search` by reading all messages of these chats.

    This is faster for a common word in chats with few messages: it occurs too often elsewhere.

    Args:
        connection: the connection to search with.
        sought: the query.
        seconds: the time limit.

    Returns:
        The messages, newest first, and whether there are more.

    Raises:
        TooLong: it was interrupted.
    """
    return await _page(connection, _THROUGH, sought, seconds)


async def _page(
    connection: Connection, sql: Statement, sought: Sought, seconds: float
) -> tuple[list[HistoryRow], bool]:
    rows, left = await connection.page(
        sql,
        _parameters(sought, sought.before, sought.folded, sought.count + 1),
        PageBound(sought.count, HISTORY_PAGE_BYTES, weight),
        seconds=seconds,
    )
    return [HistoryRow(*row) for row in rows], left


def _parameters(sought: Sought, before: int, text: str, count: int, *more: int) -> tuple[str | int, ...]:
    cleared = {str(chat): upto for chat, upto in sought.chats.items() if upto}
    return (as_json(list(sought.chats)), as_json(cleared), before, text, count, sought.older, *more)
