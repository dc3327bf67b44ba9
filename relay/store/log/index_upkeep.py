"""Keeps the full-text index up to date, merged and intact. It is derived from the log, so a damaged one is rebuilt.

Each method is one portion on the writing connection, in the writer's turn; `background` decides which is next.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from relay.keys import Seconds
from relay.logs import LastingFault
from relay.store.log.index_merge import IndexMerge
from relay.store.log.schedule import WriteSchedule
from relay.store.log.tuning import LogTuning
from relay.store.portion import Portion
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

        Args:
            run: the transaction.

        Raises:
            sqlite3.Error: it failed for another reason.
        """
        try:
            return await run()
        except sqlite3.DatabaseError as error:
            if not await self.lose_damaged(error):
                raise
        return await run()

    async def lose_damaged(self, error: sqlite3.Error) -> bool:
        """Drop the index if a transaction failed because it is damaged.

        Returns:
            Whether it was damaged, so that the transaction should run again.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        if not full_text_index.is_damage(error) or self._schedule.index_begins:
            return False
        await self.lose(error)
        return True

    async def lose(self, error: sqlite3.Error) -> None:
        """Drop the index, which is damaged according to this error; one that is being rebuilt stays.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        self.suspected = False
        if self._schedule.index_begins:
            return
        await self.begin()
        logger.error(
            "the full-text index is damaged (%s) and is rebuilt from the log: no message is lost, searches"
            " may be slower meanwhile",
            error,
        )

    async def begin(self) -> None:
        """Start to rebuild the index.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        await full_text_index.lose_index(self._writing)
        self._schedule.index_lost()
        self.segments = 0
        self.losses += 1
        self.remaking = True

    def _look_whether_whole(self) -> None:
        if self.remaking and self._schedule.indexed:
            self.remaking = False
            logger.info("the full-text index is whole again")

    async def _failed(self, error: sqlite3.Error, now: Seconds) -> None:
        """Drop a damaged index, or reschedule one that could not be written."""
        if full_text_index.is_damage(error):
            try:
                await self.lose(error)
            except sqlite3.Error as other:
                error = other
            else:
                return
        self._unwritten.found("the full-text index cannot be written: %s", error)
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
            self._unwritten.found("the full-text index cannot be emptied, and searches look through the log: %s", error)
            self._schedule.index_failed(now)
        else:
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
