"""The writer's work between batches: the snapshot, client keys, the full-text index, and jobs of other rooms.

Each portion is a short transaction; while people send, the writer rests after each. This module decides what to do and
when, and uses the writing connection only in the writer's turn. `store.upkeep` has the SQL.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import trio

from relay.keys import Seconds
from relay.logs import LastingFault
from relay.store.damage import is_damage
from relay.store.files.disk_full import is_full
from relay.store.idempotency import IdempotencyKeys, KeyFlush
from relay.store.log import bound_parameters
from relay.store.log.bound_parameters import BoundParameters
from relay.store.log.index_upkeep import IndexUpkeep
from relay.store.log.schedule import WriteSchedule
from relay.store.log.stalls import Stalls
from relay.store.log.tuning import LogTuning
from relay.store.portion import Pace, Portion
from relay.store.queries.snapshots import SnapshotRows
from relay.store.refusals import what_failed
from relay.store.sqlite.database import Connection
from relay.store.sqlite.parameters import release_parameters
from relay.store.sqlite.wal import Wal
from relay.store.upkeep import client_keys, snapshot_rows

logger = logging.getLogger(__name__)

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Job = Callable[[Connection], Awaitable[T]]
"""A short job on the writing connection."""

CROWDED_SECONDS = 1.0
"""Seconds between two portions while the write-ahead log is long."""
FLUSHED_KEYS = 4_096
"""Client keys to move to their table between two batches once too many are in memory: more than a batch adds."""
FAR = float("inf")


class SnapshotSource(Protocol):
    """Knows which rows of the snapshot are stale."""

    def snapshot(self, count: int) -> SnapshotRows:
        """Return about `count` stale rows, as the `snapshot` parameter of a batch. The last ones come with `seq`."""

    def snapshot_over(self, *, written: bool) -> None:
        """End a round of the snapshot; `written` tells whether all of it is on disk."""


class _JobRequest(Generic[T_co]):
    """A job, and its outcome for the caller that waits for it."""

    def __init__(self, job: Job[T_co], work: str, *, hurried: bool) -> None:
        self.job = job
        self.work = work
        self.hurried = hurried
        self.done = trio.Event()
        self.outcome: list[T_co | Exception] = []


class Background:
    """Chooses the next portion of background work, and does it."""

    def __init__(
        self,
        writing: Connection,
        engine: SnapshotSource,
        schedule: WriteSchedule,
        idempotency_keys: IdempotencyKeys,
        bound: BoundParameters,
        stalls: Stalls,
        wal: Wal,
        tuning: LogTuning,
    ) -> None:
        self._writing = writing
        self._engine = engine
        self._schedule = schedule
        self._idempotency_keys = idempotency_keys
        self._bound = bound
        self._stalls = stalls
        self._snapshot_fault = LastingFault(logger, "the snapshot can be written again")
        self.damaged: dict[str, str] = {}
        """The parts that cannot be written because their pages are damaged, by the kind of work."""
        self._keys_fault = LastingFault(logger, "client ids can be written to their table again")
        self._wal = wal
        self._tuning = tuning
        self._pace = Pace(tuning.rest_factor)
        self._requests: list[_JobRequest[object]] = []
        self.index = IndexUpkeep(writing, schedule, tuning)
        self._key_flush: KeyFlush | None = None
        self._flushed_keys = 0
        self._flush_from = 0.0
        self._snapshot_wanted: list[trio.Event] = []
        self._snapshot_awaited: list[trio.Event] = []
        self.thrifty = False
        """Whether to do requested work only: the disk is full, and the rest can wait."""
        self.snapshot_failed = False
        """Whether the last round of the snapshot could not be written."""
        self.snapshot_full = False
        """Whether that was because the disk is full."""
        self.busy_since: float | None = None
        """Since when a portion has been running (trio's time); None while none is."""
        self._rows = Portion.of(tuning.snapshot_rows)
        self._keys = Portion.of(tuning.key_portion)

    # Requests.

    def ask(self, job: Job[T], work: str, *, hurried: bool) -> _JobRequest[T]:
        """Queue a job; `done` of the result is set when it has an outcome.

        Args:
            job: called with the writing connection.
            work: the name of the work, for the record of stalls.
            hurried: whether it goes before other background work.
        """
        request = _JobRequest(job, work, hurried=hurried)
        self._requests.append(request)
        return request

    def withdraw(self, request: _JobRequest[object]) -> None:
        """Drop a job whose caller is gone, unless it has run already."""
        if request in self._requests:
            self._requests.remove(request)

    def want_snapshot(self) -> trio.Event:
        """Start a round of the snapshot; the event is set when it is over."""
        wanted = trio.Event()
        self._snapshot_wanted.append(wanted)
        return wanted

    def abandon(self) -> None:
        """Fail everything that callers wait for: the writer is stopping."""
        for request in self._requests:
            request.outcome.append(sqlite3.OperationalError("the relay has stopped"))
            request.done.set()
        self._requests = []
        if self._snapshot_under_way:
            self.snapshot_failed = True
        for wanted in (*self._snapshot_awaited, *self._snapshot_wanted):
            wanted.set()
        self._snapshot_awaited, self._snapshot_wanted = [], []

    @property
    def unkept(self) -> bool:
        """Whether rows of the snapshot are stale and can probably be written."""
        return self._schedule.snapshot_at < FAR and not self.snapshot_failed and not self.thrifty

    def suspect_index(self, error: sqlite3.Error) -> None:
        """Rebuild the full-text index, which is damaged according to this error of a search."""
        if not self.index.suspected and not self._schedule.index_begins:
            self.index.suspected = True
            self.ask(lambda _writing: self.index.lose(error), "index", hurried=True)

    # Timing.

    @property
    def hurried(self) -> bool:
        """Whether a waiting job must run in the next turn."""
        return bool(self._requests) and any(one.hurried for one in self._requests)

    @property
    def waited_for(self) -> bool:
        """Whether a caller is waiting for a job or a snapshot."""
        return bool(self._requests or self._snapshot_wanted or self._snapshot_awaited)

    def next_at(self) -> float:
        """Return when the next portion is due (trio's time); infinity if there is nothing to do."""
        if self._requests and self.hurried:
            return 0.0
        if self.thrifty:
            return self._pace.rests_until if self._requests or self._snapshot_under_way else FAR
        if self._wal.crowded:
            # Requested work continues slowly, because it may make room.
            return self._pace.rests_until + (
                CROWDED_SECONDS if self.waited_for or self._idempotency_keys.overflowing else FAR
            )
        return max(self._pace.rests_until, min(self._due(), self.index.erasing_at, self._next_freeing()))

    @property
    def _snapshot_under_way(self) -> bool:
        return bool(self._snapshot_wanted or self._snapshot_awaited)

    def _due(self) -> float:
        if (
            self._requests
            or self._snapshot_wanted
            or self._key_flush
            or self.index.many_segments
            or self._bound.too_much
        ):
            return 0.0
        return min(
            self._schedule.snapshot_at,
            self._schedule.index_at,
            self._flush_from if self._idempotency_keys.full else FAR,
        )

    def _next_freeing(self) -> float:
        return self._schedule.quiet_at + bound_parameters.RELEASE_SECONDS if self._bound else FAR

    # Work.

    async def work(self, *, last: bool = False) -> None:
        """Do one portion of the due work; with `last`, only of work that a stop needs."""
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

    async def _portion(self, now: Seconds, *, last: bool) -> str:
        """Do one portion and return its name, or an empty text if nothing was due."""
        request = next((one for one in self._requests if one.hurried), self._requests[0] if self._requests else None)
        if request is not None and (request.hurried or last or not self._starved()):
            return await self._do(request)
        if self.thrifty:
            return await self._snapshot(now) if self._snapshot_under_way else ""
        if self._idempotency_keys.overflowing and now >= self._flush_from:
            return await self._flush_keys(now)
        if self._bound.too_much or now >= self._next_freeing():
            return await self._release_parameters()
        if self._snapshot_wanted or now >= self._schedule.snapshot_at or (last and self.unkept):
            return await self._snapshot(now)
        if self.index.many_segments:
            await self.index.merge(now)
            return "index"
        if self._key_flush or (self._idempotency_keys.full and now >= self._flush_from):
            return await self._flush_keys(now)
        if now >= self._schedule.index_at:
            await self.index.index(now)
            return "index"
        if now >= self.index.erasing_at:
            await self._erase()
            return "index"
        return ""

    def _starved(self) -> bool:
        """Whether unrequested work goes first: a long chain of jobs must not keep segments and keys waiting."""
        if self.thrifty:
            return self._snapshot_under_way
        return bool(
            self.index.far_too_many_segments
            or self._snapshot_wanted
            or self._snapshot_awaited
            or self._idempotency_keys.overfull
        )

    async def _do(self, request: _JobRequest[object]) -> str:
        self._requests.remove(request)
        try:
            request.outcome.append(await self.index.despite_damage(lambda: request.job(self._writing)))
        except (sqlite3.Error, OSError) as error:
            # The disk is full, or fails: the caller handles it.
            request.outcome.append(error)
        except Exception as error:
            # A bug: the caller gets the error, and the relay keeps running.
            logger.exception("a job of the writer failed; the relay goes on")
            request.outcome.append(error)
        finally:
            if not request.hurried:
                # Retention, which removes messages.
                self.index.job_ran()
                self._wal.erased()
            request.done.set()
        return request.work

    async def _snapshot(self, now: Seconds) -> str:
        schedule, engine = self._schedule, self._engine
        if not schedule.snapshot_begun:
            # A later caller waits for the next round.
            self._snapshot_awaited, self._snapshot_wanted = self._snapshot_wanted, []
            schedule.snapshot_begins()
        rows = engine.snapshot(self._rows.size)
        try:
            await snapshot_rows.keep_rows(self._writing, rows)
        except sqlite3.Error as error:
            self._snapshot_fault.found("the snapshot cannot be written: %s", what_failed(error))
            if is_damage(error):
                self.damaged["snapshot"] = "the snapshot of users and chats"
            self.snapshot_full = is_full(error)
            self._snapshot_over(written=False)
        else:
            self._snapshot_fault.gone()
            self.damaged.pop("snapshot", None)
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

    async def _flush_keys(self, now: Seconds) -> str:
        """Move some client keys from memory to their table."""
        flush = self._key_flush or self._idempotency_keys.due()
        if flush is None:
            return ""
        self._key_flush = flush
        # A busy event loop makes each portion look slow; smaller portions would never catch up with the batches.
        size = FLUSHED_KEYS if self._idempotency_keys.overflowing else self._keys.size
        keys = flush.keys[self._flushed_keys : self._flushed_keys + size]
        try:
            await client_keys.flush_client_keys(self._writing, keys)
            self._flushed_keys += len(keys)
            if self._flushed_keys >= len(flush.keys):
                await client_keys.note_flushed(self._writing, flush)
        except sqlite3.Error as error:
            # They stay in memory; the next batch shows whether messages can be written.
            self._keys_fault.found("client ids cannot be written to their table: %s", what_failed(error))
            if is_damage(error):
                self.damaged["keys"] = "the table of client ids"
            self._key_flush, self._flushed_keys, self._flush_from = None, 0, now + self._tuning.key_retry_seconds
            return "keys"
        self._keys_fault.gone()
        self._keys.took(trio.current_time() - now, len(keys))
        if self._flushed_keys >= len(flush.keys):
            self._idempotency_keys.flushed(flush)
            self._key_flush, self._flushed_keys = None, 0
        return "keys"

    async def _erase(self) -> None:
        """Do a step of erasing deleted texts from the full-text index."""
        if await self.index.erase():
            self._wal.erased()

    async def _release_parameters(self) -> str:
        """Release the texts bound to a statement."""
        try:
            await release_parameters(self._writing, self._bound.largest())
        except sqlite3.Error as error:
            # It releases them at its next run.
            logger.debug("a statement keeps its texts for now: %s", error)
        return "sync"
