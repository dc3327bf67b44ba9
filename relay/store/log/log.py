"""The log as the rest of the relay sees it: every change goes through `append`.

Puts the parts together: `command_queue` in front, `writer` for batches, `background` for work between two of them,
`schedule` for writes beside them. Knows the database and, through `DecisionEngine`, the rules; no sockets.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from relay.keys import DeviceKey, Seq, UnixMs
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.damage import LOG_HELPS
from relay.store.decision_engine import DecisionEngine
from relay.store.entry import ClientKey, StoredMessage
from relay.store.idempotency import IdempotencyKeys
from relay.store.log.background import Background, Job
from relay.store.log.bound_parameters import BoundParameters
from relay.store.log.command_queue import CommandQueue
from relay.store.log.schedule import INDEX_LAG_ENTRIES, Cursors, WriteSchedule
from relay.store.log.stalls import SLOW_TURN_SECONDS, SYNC, Stalls
from relay.store.log.tuning import LogTuning
from relay.store.log.writer import Writer, WriterFigures
from relay.store.portion import rest_after
from relay.store.queries import fact_lookup, positions
from relay.store.refusals import StoreFaults
from relay.store.sqlite.database import Connection
from relay.store.sqlite.schema import MIGRATIONS
from relay.store.sqlite.statements import Statement
from relay.store.sqlite.wal import Wal
from relay.tasks.background import keep_running

T = TypeVar("T")
logger = logging.getLogger(__name__)

EMPTYING_SECONDS = 5.0
"""How long a rebuild of the full-text index waits for the old one to be removed, before it says how that goes."""


class _TurnWatch(trio.abc.Instrument):
    """Measures each turn of the event loop, during which no other task runs."""

    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls
        self._began = time.perf_counter()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio passes it
        self._began = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        seconds = time.perf_counter() - self._began
        if seconds > SLOW_TURN_SECONDS:
            now = trio.current_time()
            self._stalls.turned(now - seconds, now)


_TOUCH = Statement(f"PRAGMA user_version = {len(MIGRATIONS)}")


async def _touch(connection: Connection) -> None:
    # Writes the present version again: the smallest commit that proves that the file can be written.
    await connection.execute(_TOUCH)


class Log(CommandQueue):
    """The log of a running relay, and its writer."""

    def __init__(
        self,
        writing: Connection,
        reading: Connection,
        wal: Wal,
        engine: DecisionEngine,
        cursors: Cursors,
        collect: "Callable[[Log], None]",
        tuning: LogTuning,
    ) -> None:
        """Put the writer together.

        Args:
            writing: the only connection that writes.
            reading: a connection for looking up facts; nothing else should use it.
            wal: the write-ahead log of the store.
            engine: decides commands and applies entries.
            cursors: every device's cursor, as it is on disk.
            collect: moves cursors of this log and appends the deferred commands that `expect_deferred` announced.
            tuning: amounts of work and their timing.
        """
        super().__init__(engine, partial(collect, self), tuning)
        self.stalls = Stalls()
        self.wal = wal
        self._writing = writing
        self._reading = reading
        self.bound_parameters = BoundParameters(tuning.held_bytes)
        self._schedule = WriteSchedule(cursors, tuning)
        self.idempotency_keys = IdempotencyKeys(tuning.held_keys)
        self.background = Background(
            writing, engine, self._schedule, self.idempotency_keys, self.bound_parameters, self.stalls, wal, tuning
        )
        self._writer = Writer(
            self,
            writing,
            reading,
            wal,
            engine,
            self._schedule,
            self.idempotency_keys,
            self.bound_parameters,
            self.background,
            self.stalls,
            tuning,
        )

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until stopped."""
        last, indexed = await positions.ends(self._reading)
        left_over = not indexed and await positions.index_left_over(self._reading)
        gaps = await positions.gaps(self._reading)
        self._schedule.begin(last, indexed, trio.current_time(), gaps=gaps, left_over=left_over)
        # An upgrade requested a new index, or the relay stopped while building one.
        self.background.index.remaking = left_over or self.index_behind > INDEX_LAG_ENTRIES
        unflushed = await positions.unflushed_keys(self._reading)
        self.idempotency_keys.load(unflushed.keys, unflushed.flushed)
        if unflushed.lost:
            logger.error(
                "%d entries of the log cannot be read, from %d to %d: the relay goes on without them, and a message of"
                " these that is sent again is a new one; %s",
                sum(last - first + 1 for first, last in unflushed.lost),
                unflushed.lost[0][0],
                unflushed.lost[-1][1],
                LOG_HELPS,
            )
        turns = _TurnWatch(self.stalls)
        async with trio.open_nursery() as nursery:
            copy, lengthen = partial(self.wal.run, self._pause, self._wake), partial(self.wal.keep_length, self._pause)
            nursery.start_soon(keep_running, "copying the write-ahead log", copy, self.wal.retry_seconds)
            nursery.start_soon(keep_running, "lengthening the write-ahead log", lengthen)
            trio.lowlevel.add_instrument(turns)
            task_status.started()
            try:
                await self._writer.run()
            finally:
                trio.lowlevel.remove_instrument(turns)
            nursery.cancel_scope.cancel()

    def stop(self) -> None:
        """Let `run` return once all waiting commands are written."""
        self.stopping = True
        self.stopping_since = self.retry_at = trio.current_time()
        self.background.snapshot_failed = False
        self.work.set()

    def _wake(self) -> None:
        self.work.set()

    async def _pause(self, job: Job[None]) -> None:
        await self.run_exclusive(job, "checkpoint", hurried=True)

    # Health.

    @property
    def figures(self) -> WriterFigures:
        """The writer's counters since the start."""
        return self._writer.figures

    @property
    def faults(self) -> StoreFaults:
        """What is told of the store's faults."""
        return self._writer.faults

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self._writer.failing

    @property
    def disk_full(self) -> bool:
        """Whether the last write failed because the disk is full."""
        return self._writer.disk_full

    @property
    def busy_since(self) -> float | None:
        """Since when the store has been working for the writer (trio's time); None while it is idle."""
        busy_since = self._writer.busy_since
        return self.background.busy_since if busy_since is None else busy_since

    @property
    def writable(self) -> bool:
        """Whether messages are accepted, according to the last write."""
        return not self.failing and self.refuses is None

    @property
    def damaged(self) -> list[str]:
        """The parts of the store that do not work because their pages are damaged, in words."""
        found = ["the full-text index"] if self.background.index.beyond_rebuilding else []
        found += self.background.damaged.values()
        return found + (["what some requests need"] if self._writer.faults.damage_told else [])

    @property
    def side_writes_due(self) -> bool:
        """Whether cursors or receipts have to be written now."""
        return self._writer.side_writes_due()

    def try_again(self) -> None:
        """Assume that the store can be written until a write fails, because something has changed."""
        self._writer.failing_since = None

    async def probe(self) -> bool:
        """Commit one page in the writer's turn, and return whether that worked."""
        try:
            await self.run_exclusive(_touch, hurried=True)
        except sqlite3.Error:
            return False
        return True

    # A full disk.

    @property
    def thrifty(self) -> bool:
        """Whether only necessary writes happen; see `spare`."""
        return self.background.thrifty

    def spare(self, refuses: Callable[[Command], bool] | None) -> None:
        """From now on allow necessary writes only, or all of them again.

        Args:
            refuses: returns whether to answer a command with `storage_full`. A command that needs no write, because it
                repeats an earlier one, still gets its answer. None allows all writes.
        """
        self.refuses = refuses
        self.background.thrifty = refuses is not None
        self.work.set()

    # Cursors.

    @property
    def cursors(self) -> Cursors:
        """Every device's cursor."""
        return self._schedule.cursors

    def keep_cursor(self, device: DeviceKey, seq: Seq, seen: UnixMs) -> None:
        """Schedule a device's cursor to be written within seconds. It never goes back.

        Args:
            device: the device's key.
            seq: the last entry that it acknowledged.
            seen: when it was last connected, Unix milliseconds.
        """
        self._schedule.keep_cursor(device, seq, seen, trio.current_time())
        self.work.set()

    async def first_cursor(self, device: DeviceKey, seq: Seq, seen: UnixMs) -> None:
        """Write a device's first cursor, and wait for the attempt. Args: see `keep_cursor`.

        It cannot wait like later ones: after a crash the device would start at the end of the log again, past events
        that it got and did not acknowledge.
        """
        self._schedule.keep_first_cursor(device, seq, seen)
        if self.stopped.is_set():
            return
        self.work.set()
        await self._writer.first_cursors_tried.wait()

    # Work between two batches.

    async def run_exclusive(self, job: Job[T], work: str = SYNC, *, hurried: bool = False) -> T:
        """Run a job on the writing connection between two batches, and return its result.

        Args:
            job: may take some milliseconds, because senders wait meanwhile.
            work: the name of this work in the record of stalls.
            hurried: whether it runs in the next turn; otherwise at the pace of background work.

        Raises:
            sqlite3.Error: raised by the job, or the writer has stopped.
            OSError: raised by the job.
        """
        if self.stopped.is_set():
            # The job would never run.
            raise sqlite3.OperationalError("the relay has stopped")
        request = self.background.ask(job, work, hurried=hurried)
        self.work.set()
        try:
            await request.done.wait()
        finally:
            self.background.withdraw(request)
        (outcome,) = request.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def rest(self, seconds: float) -> None:
        """Rest after a portion of long work that took `seconds`, as background work does while people send."""
        if trio.current_time() < self._schedule.quiet_at:
            await trio.sleep(rest_after(seconds, self._tuning.rest_factor))

    async def keep_snapshot(self) -> None:
        """Write the whole state, as of now or later, a portion at a time, and wait for the end.

        Raises:
            RelayError: it cannot be written, or the writer has stopped.
        """
        if self.stopped.is_set():
            raise RelayError.unavailable()
        wanted = self.background.want_snapshot()
        self.work.set()
        await wanted.wait()
        if self.background.snapshot_failed:
            raise RelayError.storage_full() if self.background.snapshot_full else RelayError.unavailable()

    async def client_keys(self, keys: Sequence[int]) -> dict[ClientKey, StoredMessage | None]:
        """Find the messages with these client keys: facts of the kind `ClientKey`."""
        return await fact_lookup.client_keys(self._reading, keys, self.idempotency_keys)

    # The full-text index.

    @property
    def index_behind(self) -> int:
        """How many entries are not in the full-text index yet."""
        return self._schedule.index_behind

    @property
    def index_remaking(self) -> bool:
        """Whether the full-text index is being rebuilt."""
        return self.background.index.remaking

    @property
    def index_losses(self) -> int:
        """How many times the full-text index was found damaged since the start."""
        return self.background.index.losses

    async def begin_index(self) -> bool:
        """Start to rebuild the full-text index from the messages, a portion at a time.

        Returns:
            Whether it can be rebuilt, as far as that is known after some seconds: damaged pages of the old one may be
            in the way.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        index = self.background.index
        await self.run_exclusive(lambda _writing: index.begin(), "index", hurried=True)
        with trio.move_on_after(EMPTYING_SECONDS):
            await index.emptied.wait()
        return not index.beyond_rebuilding

    def suspect_index(self, error: sqlite3.Error) -> None:
        """Start to rebuild the full-text index, which is damaged according to this error of a search."""
        self.background.suspect_index(error)
        self.work.set()
