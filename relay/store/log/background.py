"""What the writer does between batches: the snapshot, client keys, the full-text index, and what others ask for.

A portion at a time, each a short transaction; while people send the writer rests after each. Uses the writing
connection in the writer's turn only; decides when, `jobs` has the SQL.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import trio

from relay.store.idempotency import IdempotencyKeys, KeyFlush
from relay.store.log import bound_parameters, maintenance
from relay.store.log.batch import release_parameters
from relay.store.log.bound_parameters import BoundParameters
from relay.store.log.index_merge import IndexMerge
from relay.store.log.schedule import WriteSchedule
from relay.store.log.stalls import Stalls
from relay.store.portion import Pace, Portion
from relay.store.sqlite.database import Connection
from relay.store.sqlite.wal import Wal

logger = logging.getLogger(__name__)

T = TypeVar("T")
Job = Callable[[Connection], Awaitable[T]]
"""Something short to be done on the writing connection."""

RETRY = 1.0
"""Seconds until what could not be written and can wait is tried again."""
CROWDED = 1.0
"""Seconds between two portions while there is much in the write-ahead log already."""
FILED_AT_ONCE = 4_096
"""Client keys filed between two batches once too many are in memory: more than a batch of short messages adds."""
SEGMENTS = 4
"""Segments that the full-text index may have more before it is merged; FTS5 merges no fewer on one level."""
FAR = float("inf")


class SnapshotSource(Protocol):
    """Knows which rows of the snapshot are stale."""

    def snapshot(self, count: int) -> dict[str, Any]:
        """About so many of them, as the `snapshot` parameter of a batch; the last have `seq` with them."""

    def snapshot_over(self, *, written: bool) -> None:
        """A round of the snapshot is over."""


class _Asked:
    """A job that somebody waits for."""

    def __init__(self, job: Job[Any], work: str, *, hurried: bool) -> None:
        self.job = job
        self.work = work
        self.hurried = hurried
        self.done = trio.Event()
        self.outcome: list[Any] = []


class Background:
    """All of it, and its turn."""

    def __init__(
        self,
        writing: Connection,
        rules: SnapshotSource,
        schedule: WriteSchedule,
        client_keys: IdempotencyKeys,
        held: BoundParameters,
        stalls: Stalls,
        wal: Wal,
    ) -> None:
        self._writing = writing
        self._engine = rules
        self._schedule = schedule
        self._idempotency_keys = client_keys
        self._bound = held
        self._stalls = stalls
        self._wal = wal
        self._pace = Pace()
        self._asked: list[_Asked] = []
        self._index_merge = IndexMerge()
        # The relay before may have ended before it merged them: the first look finds what is left.
        self._segments = SEGMENTS
        self.index_losses = 0
        """How often the full-text index was found damaged since the start."""
        self.index_remaking = False
        """Whether it is being made once more."""
        self._index_suspected = False
        self._key_flush: KeyFlush | None = None
        self._filing_at = 0
        self._filing_from = 0.0
        self._snapshot_wanted: list[trio.Event] = []
        self._snapshot_awaited: list[trio.Event] = []
        self.thrifty = False
        """Whether only what is asked for is written: the disk is full, and the rest can wait."""
        self.snapshot_failed = False
        """Whether the last round of the snapshot could not be written."""
        self.snapshot_full = False
        """Whether that was for want of room on the disk."""
        self.busy_since: float | None = None
        """Since when a portion has been under way."""
        # Where a sync alone takes as long as a portion may, fewer than these would get nowhere.
        self._rows = Portion(500, least=200, most=5_000)
        self._keys = Portion(128, least=64, most=1_024)
        self._blocks = Portion(64, least=8, most=2_000)
        self._entries = Portion(64, least=48, most=1_000)
        self._pages = Portion(maintenance.MERGED, least=32, most=1_024)

    # What is asked for.

    def ask(self, job: Job[Any], work: str, *, hurried: bool) -> _Asked:
        """Have a job done; whoever asks waits for its `done`."""
        asked = _Asked(job, work, hurried=hurried)
        self._asked.append(asked)
        return asked

    def withdraw(self, asked: _Asked) -> None:
        """Forget a job that nobody waits for any more, unless it was begun."""
        if asked in self._asked:
            self._asked.remove(asked)

    def want_snapshot(self) -> trio.Event:
        """Have a round of the snapshot begin; the event is set when it is over."""
        wanted = trio.Event()
        self._snapshot_wanted.append(wanted)
        return wanted

    @property
    def unkept(self) -> bool:
        """Whether rows of the snapshot are stale, as far as one can say they can be written."""
        return self._schedule.snapshot_at < FAR and not self.snapshot_failed and not self.thrifty

    def wrote(self, *, indexed: bool, amended: bool) -> None:
        """Note what a batch did to the full-text index."""
        self._segments += indexed or amended
        if self.index_remaking:
            self._look_whether_whole()
        if amended:
            self._index_merge.mark_dirty()

    # The full-text index is made from the log: where it is damaged it is made once more.

    @property
    def index_behind(self) -> int:
        """How many entries are not in the full-text index."""
        return self._schedule.index_behind

    def suspect_index(self, error: sqlite3.Error) -> None:
        """Have the full-text index made from the beginning: somebody who read it found it damaged."""
        if not self._index_suspected and not self._schedule.index_begins:
            self._index_suspected = True
            self.ask(lambda _writing: self._lose_index(error), "index", hurried=True)

    async def despite_index(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run what may meet a damaged full-text index: where it does the index is lost, and it runs once more.

        Args:
            run: one transaction, on the writing connection and in the writer's turn.

        Raises:
            sqlite3.Error: what it fails with for other reasons.
        """
        try:
            return await run()
        except sqlite3.DatabaseError as error:
            if not await self.lose_damaged_index(error):
                raise
        return await run()

    async def lose_damaged_index(self, error: sqlite3.DatabaseError) -> bool:
        """Give the full-text index up where a transaction failed because it is damaged.

        Returns:
            Whether it was that, and the transaction should be run once more.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        if not maintenance.is_damage(error) or self._schedule.index_begins:
            return False
        await self._lose_index(error)
        return True

    async def _lose_index(self, error: sqlite3.Error) -> None:
        self._index_suspected = False
        if self._schedule.index_begins:
            return
        await self.begin_index()
        logger.error(
            "the full-text index is damaged (%s) and is made once more from the log: no message is lost, searches"
            " may be slower meanwhile",
            error,
        )

    async def begin_index(self) -> None:
        """Have the full-text index made from the beginning, in the writer's turn."""
        await maintenance.lose_index(self._writing)
        self._schedule.index_lost()
        self._segments = 0
        self.index_losses += 1
        self.index_remaking = True

    def _look_whether_whole(self) -> None:
        if self.index_remaking and self._schedule.indexed:
            self.index_remaking = False
            logger.info("the full-text index is whole again")

    # When.

    @property
    def hurried(self) -> bool:
        """Whether a job waits that must not."""
        return bool(self._asked) and any(one.hurried for one in self._asked)

    @property
    def waited_for(self) -> bool:
        """Whether somebody waits for a job or a snapshot."""
        return bool(self._asked or self._snapshot_wanted or self._snapshot_awaited)

    def next_at(self) -> float:
        """When the next is due; infinity where there is none."""
        if self._asked and self.hurried:
            return 0.0
        if self.thrifty:
            return self._pace.rests_until if self._asked or self._snapshot_under_way else FAR
        if self._wal.crowded:
            # What somebody waits for goes on slowly, since it may be what makes room.
            return self._pace.rests_until + (CROWDED if self.waited_for or self._idempotency_keys.overflowing else FAR)
        return max(self._pace.rests_until, min(self._due(), self._next_erasing(), self._next_freeing()))

    @property
    def _snapshot_under_way(self) -> bool:
        return bool(self._snapshot_wanted or self._snapshot_awaited)

    def _due(self) -> float:
        if self._asked or self._snapshot_wanted or self._key_flush or self._many_segments or self._bound.too_much:
            return 0.0
        return min(
            self._schedule.snapshot_at,
            self._schedule.index_at,
            self._filing_from if self._idempotency_keys.full else FAR,
        )

    @property
    def _many_segments(self) -> bool:
        # What is left over of an index is in none: it is removed, not merged.
        return self._segments >= SEGMENTS and not self._schedule.index_left_over

    def _next_freeing(self) -> float:
        return self._schedule.quiet_at + bound_parameters.PATIENCE if self._bound else FAR

    def _next_erasing(self) -> float:
        # The index is brought to the end of the log in quiet moments only, so that then it is one.
        return self._index_merge.due_at if self._schedule.indexed else FAR

    # What is done.

    async def work(self, *, last: bool = False) -> None:
        """Do a portion of what is due, once it is: see `next_at`. With `last`, of what a stop must not leave over."""
        now = trio.current_time()
        self.busy_since = now
        with trio.CancelScope(shield=True):
            work = await self._portion(now, last=last)
        self.busy_since = None
        if work:
            ended = trio.current_time()
            self._stalls.worked(work, now, ended)
            lively = not last and now < self._schedule.quiet_at and not self._idempotency_keys.overflowing
            self._pace.worked(now, ended, lively=lively)

    async def _portion(self, now: float, *, last: bool) -> str:
        """Do one; gives what it was."""
        asked = next((one for one in self._asked if one.hurried), self._asked[0] if self._asked else None)
        if asked is not None and (asked.hurried or last or not self._starved()):
            return await self._do(asked)
        if self.thrifty:
            return await self._snapshot(now) if self._snapshot_under_way else ""
        if self._idempotency_keys.overflowing and now >= self._filing_from:
            return await self._file(now)
        if self._bound.too_much or now >= self._next_freeing():
            return await self._forget()
        if self._snapshot_wanted or now >= self._schedule.snapshot_at or (last and self.unkept):
            return await self._snapshot(now)
        if self._many_segments:
            return await self._merge()
        if self._key_flush or (self._idempotency_keys.full and now >= self._filing_from):
            return await self._file(now)
        if now >= self._schedule.index_at:
            return await self._index(now)
        if now >= self._next_erasing():
            return await self._erase()
        return ""

    def _starved(self) -> bool:
        """Whether what nobody asks for goes first: a long chain of jobs must not keep segments and keys waiting."""
        if self.thrifty:
            return self._snapshot_under_way
        return bool(
            (self._segments >= 2 * SEGMENTS and self._many_segments)
            or self._snapshot_wanted
            or self._snapshot_awaited
            or self._idempotency_keys.overfull
        )

    async def _do(self, asked: _Asked) -> str:
        self._asked.remove(asked)
        try:
            asked.outcome.append(await self.despite_index(lambda: asked.job(self._writing)))
        except sqlite3.Error as error:
            asked.outcome.append(error)
        except Exception as error:
            # A fault of ours: whoever asked is told, and everybody else's chat goes on.
            logger.exception("something the writer was asked to do failed; the relay goes on")
            asked.outcome.append(error)
        finally:
            if not asked.hurried:
                self._index_merge.mark_dirty()
                self._segments += 1
            asked.done.set()
        return asked.work

    async def _snapshot(self, now: float) -> str:
        schedule, engine = self._schedule, self._engine
        if not schedule.snapshot_begun:
            # Whoever wants one later than this waits for the next round.
            self._snapshot_awaited, self._snapshot_wanted = self._snapshot_wanted, []
            schedule.snapshot_begins()
        rows = engine.snapshot(self._rows.size)
        try:
            await maintenance.keep_rows(self._writing, rows)
        except sqlite3.Error as error:
            logger.warning("the snapshot cannot be written: %s", error)
            self.snapshot_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            self._snapshot_over(written=False)
        else:
            count = sum(len(part) for part in rows.values() if isinstance(part, list))
            self._rows.took(trio.current_time() - now, count)
            if "seq" in rows:
                self._snapshot_over(written=True)
        return "snapshot"

    def _snapshot_over(self, *, written: bool) -> None:
        self._engine.snapshot_over(written=written)
        self._schedule.snapshot_ended(trio.current_time(), written=written)
        self.snapshot_failed = not written
        for awaited in self._snapshot_awaited:
            awaited.set()
        self._snapshot_awaited = []

    async def _file(self, now: float) -> str:
        """Bring some client keys from memory into their table."""
        filing = self._key_flush or self._idempotency_keys.due()
        if filing is None:
            return ""
        self._key_flush = filing
        # A busy event loop makes each portion look slow: one that shrank then would never file what each batch adds.
        size = FILED_AT_ONCE if self._idempotency_keys.overflowing else self._keys.size
        keys = filing.keys[self._filing_at : self._filing_at + size]
        try:
            await maintenance.file_client_keys(self._writing, keys)
            self._filing_at += len(keys)
            if self._filing_at >= len(filing.keys):
                await maintenance.note_filed(self._writing, filing)
        except sqlite3.Error as error:
            # They stay in memory; the next batch finds out whether messages can be written.
            logger.warning("client ids cannot be brought into their table: %s", error)
            self._key_flush, self._filing_at, self._filing_from = None, 0, now + RETRY
            return "filing"
        self._keys.took(trio.current_time() - now, len(keys))
        if self._filing_at >= len(filing.keys):
            self._idempotency_keys.filed(filing)
            self._key_flush, self._filing_at = None, 0
        return "filing"

    async def _index(self, now: float) -> str:
        """Bring the full-text index a little further. One that begins begins empty, whatever was left over."""
        if self._schedule.index_left_over:
            return await self._empty_index(now)
        upto = self._schedule.index_upto(self._entries.size)
        try:
            reached = await maintenance.index(self._writing, upto)
        except sqlite3.Error as error:
            await self._index_failed(error, now)
        else:
            ended = trio.current_time()
            self._schedule.index_written(reached, ended)
            # Where long texts took the time, fewer entries would not be faster.
            if reached == upto:
                self._entries.took(ended - now)
            self._segments += 1
            self._look_whether_whole()
        return "index"

    async def _empty_index(self, now: float) -> str:
        try:
            self._schedule.index_left_over = await maintenance.empty_index(self._writing, self._blocks.size)
        except sqlite3.Error as error:
            logger.warning("the full-text index cannot be emptied, and searches look through the log: %s", error)
            self._schedule.index_failed(now)
        else:
            self._blocks.took(trio.current_time() - now)
        return "index"

    async def _index_failed(self, error: sqlite3.Error, now: float) -> None:
        """See what to do about an index that could not be written: it is lost, or gets its time again."""
        if maintenance.is_damage(error):
            try:
                await self._lose_index(error)
            except sqlite3.Error as other:
                error = other
            else:
                return
        logger.warning("the full-text index cannot be written: %s", error)
        self._schedule.index_failed(now)

    async def _merge(self) -> str:
        """Put segments of the full-text index together a little further, so that searches have few to look at."""
        now = trio.current_time()
        try:
            if not await maintenance.merge(self._writing, pages=self._pages.size):
                self._segments = 0
        except sqlite3.Error as error:
            self._segments = 0
            await self._index_failed(error, now)
        else:
            self._pages.took(trio.current_time() - now)
        return "index"

    async def _forget(self) -> str:
        """Have a statement let go of the texts that it wrote last."""
        try:
            await release_parameters(self._writing, self._bound.largest())
        except sqlite3.Error as error:
            # It lets go of them when it runs the next time.
            logger.debug("a statement keeps its texts for now: %s", error)
        return "sync"

    async def _erase(self) -> str:
        """Bring texts that left the full-text index a little further out of its segments."""
        writing, erasing = self._writing, self._index_merge
        try:
            if not erasing.texts:
                erasing.start(await maintenance.unmerged(writing))
            elif await maintenance.merge(writing, begin=not erasing.steps):
                erasing.stepped()
            else:
                await maintenance.note_merged(writing, erasing.texts)
                erasing.done(trio.current_time())
        except sqlite3.Error as error:
            erasing.failed(trio.current_time())
            await self._index_failed(error, trio.current_time())
        return "index"
