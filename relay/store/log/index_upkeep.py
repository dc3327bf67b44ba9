"""Keeps the full-text index up to date, merged and intact. It is derived from the log, so a damaged one is rebuilt.

Each method is one portion on the writing connection, in the writer's turn; `background` decides which is next.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import trio

from relay.keys import Seconds
from relay.logs import LastingFault
from relay.store.damage import REPAIR_HELPS, DamagedIndex, is_damage
from relay.store.log.index_merge import IndexMerge
from relay.store.log.schedule import WriteSchedule
from relay.store.log.tuning import LogTuning
from relay.store.portion import Portion
from relay.store.refusals import what_failed
from relay.store.sqlite.database import Connection
from relay.store.upkeep import full_text_index

logger = logging.getLogger(__name__)

T = TypeVar("T")

MERGE_SEGMENTS = 4
"""New segments after which the full-text index is merged: the minimum that FTS5 merges on one level."""


class IndexUpkeep:
    """The work on the full-text index, and its progress."""

    def __init__(self, writing: Connection, schedule: WriteSchedule, tuning: LogTuning) -> None:
        self.merging = IndexMerge(tuning)
        self.losses = 0
        """How many times the index was found damaged since the start."""
        self.remaking = False
        """Whether it is being rebuilt."""
        self.suspected = False
        """Whether a requested check of it has yet to run."""
        self.beyond_rebuilding = False
        """Whether its tables lie on damaged pages, so that it is neither used nor rebuilt until the next start."""
        self._lost_before = False
        """Whether it was damaged and is not whole again since."""
        self.emptied = trio.Event()
        """Set once the remains of a dropped index are removed, or cannot be."""
        self.segments = MERGE_SEGMENTS
        """New segments since the last merge. An earlier run may have left some, which the first merge finds."""
        self._writing = writing
        self._schedule = schedule
        self._merged_pages = tuning.merged_pages
        self._unwritten = LastingFault(logger, "the full-text index can be written again")
        # If a sync alone takes as long as a portion may, smaller portions would make no progress.
        self._blocks = Portion(64, least=8, most=2_000)
        self._entries = Portion(64, least=48, most=1_000)
        self._pages = Portion(tuning.merged_pages, least=32, most=1_024)

    # Writes.

    def wrote(self, *, indexed: bool, amended: bool) -> None:
        """Note the effect of a batch on the index."""
        self.segments += indexed or amended
        if self.remaking:
            self._look_whether_whole()
        if amended:
            self.merging.mark_dirty()

    def job_ran(self) -> None:
        """Note a job that may have changed the index."""
        self.merging.mark_dirty()
        self.segments += 1

    # Due work.

    @property
    def many_segments(self) -> bool:
        """Whether segments should be merged."""
        # Segments of a dropped index are removed, not merged.
        return self.segments >= MERGE_SEGMENTS and not self._schedule.index_left_over

    @property
    def far_too_many_segments(self) -> bool:
        """Whether merging goes before jobs."""
        return self.segments >= 2 * MERGE_SEGMENTS and self.many_segments

    @property
    def erasing_at(self) -> float:
        """When the next step of erasing is due, if the relay is quiet; infinity if there is none."""
        # The index reaches the end of the log only in quiet moments, so it is quiet when this is due.
        return self.merging.due_at if self._schedule.indexed else float("inf")

    # A damaged index.

    async def despite_damage(self, run: Callable[[], Awaitable[T]]) -> T:
        """Run a transaction; if it fails because the index is damaged, drop the index and run it again.

        SQLite does not say which page is damaged. If the transaction succeeds without the index, the index was the
        cause; otherwise it stays as it is. So a damaged page elsewhere costs a second attempt, and no index.

        Args:
            run: the transaction.

        Raises:
            sqlite3.Error: it failed for another reason.
        """
        try:
            return await run()
        except sqlite3.DatabaseError as error:
            if not is_damage(error) or self._schedule.index_begins:
                raise
            damage = error
        done = await self._without_index(run, damage)
        self._lost(damage)
        return done

    async def _without_index(self, run: Callable[[], Awaitable[T]], damage: sqlite3.Error) -> T:
        """Drop the index and run a transaction, both or neither.

        Raises:
            sqlite3.Error: `damage` if it fails so again.
        """
        writing = self._writing
        await writing.execute("BEGIN IMMEDIATE")
        try:
            await full_text_index.lose_index(writing)
            # A change of a text needs this table as long as there is an index, so the table could be the cause.
            await full_text_index.unmerged(writing)
            done = await run()
            await writing.execute("COMMIT")
        except BaseException as error:
            # A full disk may have ended the transaction.
            with suppress(sqlite3.Error):
                await writing.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error) and is_damage(error):
                raise damage from None
            raise
        return done

    async def lose(self, error: sqlite3.Error) -> None:
        """Drop the index, which is damaged according to this error; one that is being rebuilt stays.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        self.suspected = False
        if self._schedule.index_begins:
            return
        await full_text_index.lose_index(self._writing)
        self._lost(error)

    def _lost(self, error: sqlite3.Error) -> None:
        """Note that the index was dropped because it is damaged."""
        self._begin_again()
        if self._lost_before:
            # To begin once more would go on without end.
            self._give_up(error)
            return
        self._lost_before = True
        logger.error(
            "the full-text index is damaged (%s) and is rebuilt from the log: no message is lost, searches"
            " may be slower meanwhile",
            error,
        )

    def _give_up(self, error: sqlite3.Error) -> None:
        """Rebuild the index no more: its own tables lie on damaged pages."""
        self.beyond_rebuilding, self.remaking = True, False
        self._schedule.index_given_up = True
        self.emptied.set()
        logger.error(
            "the full-text index cannot be rebuilt in this file (%s): no message is lost, searches look through the"
            " log; %s",
            error,
            REPAIR_HELPS,
        )

    async def begin(self) -> None:
        """Start to rebuild the index.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        await full_text_index.lose_index(self._writing)
        self._lost_before = False
        self._begin_again()

    def _begin_again(self) -> None:
        self._schedule.index_lost()
        self.segments = 0
        self.losses += 1
        self.remaking = True
        self.beyond_rebuilding = False
        self.emptied = trio.Event()

    def _look_whether_whole(self) -> None:
        if self.remaking and self._schedule.indexed:
            self.remaking = self._lost_before = False
            logger.info("the full-text index is whole again")

    async def _failed(self, error: sqlite3.Error, now: Seconds) -> None:
        """Drop a damaged index, or reschedule one that could not be written."""
        if isinstance(error, DamagedIndex):
            try:
                await full_text_index.lose_index(self._writing)
            except sqlite3.Error as other:
                error = other
            else:
                self._lost(error)
                return
        self._unwritten.found("the full-text index cannot be written: %s", what_failed(error))
        self._schedule.index_failed(now)

    # Portions.

    async def index(self, now: Seconds) -> None:
        """Index some more entries. The remains of a dropped index are removed first."""
        if self._schedule.index_left_over:
            await self._empty(now)
            return
        upto = self._schedule.index_upto(self._entries.size)
        try:
            reached = await full_text_index.index(self._writing, upto)
        except sqlite3.Error as error:
            await self._failed(error, now)
        else:
            self._unwritten.gone()
            ended = trio.current_time()
            self._schedule.index_written(reached, ended)
            # If long texts took the time, fewer entries would not be faster.
            if reached == upto:
                self._entries.took(ended - now)
            self.segments += 1
            self._look_whether_whole()

    async def _empty(self, now: Seconds) -> None:
        """Remove a part of a dropped index."""
        try:
            self._schedule.index_left_over = await full_text_index.empty_index(self._writing, self._blocks.size)
        except sqlite3.Error as error:
            if is_damage(error):
                self._give_up(error)
                return
            self._unwritten.found("the full-text index cannot be emptied, and searches look through the log: %s", error)
            self._schedule.index_failed(now)
        else:
            if not self._schedule.index_left_over:
                self.emptied.set()
            self._unwritten.gone()
            self._blocks.took(trio.current_time() - now)

    async def merge(self, now: Seconds) -> None:
        """Merge some segments, so that searches have fewer to read."""
        try:
            if not await full_text_index.merge(self._writing, pages=self._pages.size):
                self.segments = 0
        except sqlite3.Error as error:
            self.segments = 0
            await self._failed(error, now)
        else:
            self._unwritten.gone()
            self._pages.took(trio.current_time() - now)

    async def erase(self) -> bool:
        """Do a step of the merge that erases deleted texts from the segments; return whether it was the last one."""
        writing, merging = self._writing, self.merging
        try:
            if not merging.texts:
                merging.start(await full_text_index.unmerged(writing))
            elif await full_text_index.merge(writing, begin=not merging.steps, pages=self._merged_pages):
                merging.stepped()
            else:
                await full_text_index.note_merged(writing, merging.texts)
                merging.done(trio.current_time())
                return True
        except sqlite3.Error as error:
            merging.failed(trio.current_time())
            await self._failed(error, trio.current_time())
        else:
            self._unwritten.gone()
        return False
