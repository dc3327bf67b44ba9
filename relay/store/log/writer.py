"""The one writer: it decides a batch, commits it in one transaction, and only then applies, publishes and answers it.

Order: entries are applied, published and answered in the order of their `seq`, after they are on disk, with no
entry of another batch in between. A batch that fails changes nothing in memory.
"""

import logging
import sqlite3
import time
from collections.abc import Sequence
from functools import partial

import trio

from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.damage import is_damage
from relay.store.decision_engine import Decided, DecisionEngine, Drafted
from relay.store.entry import ClientKey, Entry, Facts, keys_to_look_up, text_length
from relay.store.files.disk_full import is_full
from relay.store.files.store_location import explain
from relay.store.idempotency import IdempotencyKeys
from relay.store.log.background import Background
from relay.store.log.batch import prepare
from relay.store.log.bound_parameters import BoundParameters
from relay.store.log.command_queue import Batch, CommandQueue, PendingCommand
from relay.store.log.schedule import SideWrites, WriteSchedule
from relay.store.log.stalls import LOOP, SYNC, Stalls
from relay.store.log.tuning import LogTuning
from relay.store.queries import fact_lookup
from relay.store.refusals import StoreFaults
from relay.store.sqlite.database import Connection
from relay.store.sqlite.wal import Wal

logger = logging.getLogger(__name__)

CROWD_COMMANDS = 8
"""After a batch of at least this many commands, the writer yields to the event loop so that the next one can grow.

Measured: batches are then twice as large, and dialogs carry a quarter more messages per second."""
CROWD_YIELDS = 3
"""How many times it yields: one pass to poll the sockets, one to wake their readers, one for these to append."""
MAX_LOOKUPS = 16
"""How often a batch may ask for more facts before it fails."""
STOP_RETRY_SECONDS = 3.0
"""Seconds after which a stop gives up on a failing store. Less than the time that connections have to close."""


class WriterFigures:
    """The writer's counters since the start, for `relay status` and the metrics."""

    __slots__ = ("batches", "commands", "commit_seconds", "entries", "failures", "last_batch")

    def __init__(self) -> None:
        self.batches = 0
        self.commands = 0
        self.entries = 0
        self.failures = 0
        self.commit_seconds = 0.0
        self.last_batch = 0


class Writer:
    """Writes the queued commands, and lets the background work run between two batches."""

    def __init__(
        self,
        queue: CommandQueue,
        writing: Connection,
        reading: Connection,
        wal: Wal,
        engine: DecisionEngine,
        schedule: WriteSchedule,
        idempotency_keys: IdempotencyKeys,
        bound: BoundParameters,
        background: Background,
        stalls: Stalls,
        tuning: LogTuning,
    ) -> None:
        self.figures = WriterFigures()
        self.failing_since: float | None = None
        """Since when writes fail (trio's time); None if the last one did not."""
        self.faults = StoreFaults()
        self.disk_full = False
        """Whether it failed because the disk is full."""
        self.busy_since: float | None = None
        """Since when the store has been working on a batch (trio's time); None while it is not."""
        self.first_cursors_tried = trio.Event()
        """Set after the next attempt to write, which includes the first cursors."""
        self._queue = queue
        self._writing = writing
        self._reading = reading
        self._wal = wal
        self._engine = engine
        self._schedule = schedule
        self._idempotency_keys = idempotency_keys
        self._bound = bound
        self._background = background
        self._stalls = stalls
        self._tuning = tuning
        self._lookup_seconds = 0.0
        """Seconds spent on looking up facts for this batch."""

    async def run(self) -> None:
        """Write until all commands that were waiting at the stop are written."""
        queue, background = self._queue, self._background
        crowded = False
        background_at = background.next_at()
        while True:
            if not (queue.waiting or queue.barred or background.hurried):
                await self._rest(background_at)
            if crowded:
                # In a batch twice as large, each command costs less.
                for _ in range(CROWD_YIELDS):
                    await trio.lowlevel.checkpoint()
            if queue.barred:
                await self._answer_unwritten(queue.take_barred(), RelayError.storage_full())
            batch = queue.take()
            if batch.pending:
                self._schedule.started(trio.current_time())
            crowded = len(batch.pending) >= CROWD_COMMANDS
            if batch.pending or self.side_writes_due():
                await self._write(batch)
            await self._slow_down()
            background_at = background.next_at()
            if queue.stopping or trio.current_time() >= background_at:
                await background.work(last=queue.stopping)
                await self._slow_down()
                background_at = background.next_at()
            if queue.stopping and self._ends(batch):
                queue.stopped.set()
                self.first_cursors_tried.set()
                return

    def _ends(self, batch: Batch) -> bool:
        """Return whether a stop is complete after this batch: everything is written, or given up."""
        queue = self._queue
        if self._stop_is_over():
            self._abandon()
            return True
        return not (queue.waiting or queue.barred or batch.pending or self._left())

    async def _rest(self, background_at: float) -> None:
        """Wait until there is something to do; at a stop, until the next retry."""
        queue = self._queue
        if not queue.stopping:
            until = min(self._next_side_write(), background_at)
        elif queue.deferred.held and trio.current_time() < queue.retry_at:
            until = queue.retry_at
        else:
            return
        queue.work = trio.Event()
        with trio.move_on_at(until):
            await queue.work.wait()

    # Timing.

    @property
    def failing(self) -> bool:
        """Whether the last write failed."""
        return self.failing_since is not None

    def side_writes_due(self) -> bool:
        """Return whether something besides a batch has to be written now."""
        if self._queue.stopping:
            left = bool(self._queue.deferred or self._schedule.left)
            return (left and not self.failing) or self._background.unkept
        return trio.current_time() >= self._next_side_write()

    def _next_side_write(self) -> float:
        deferred = self._queue.deferred
        return min(deferred.alone_at, self._schedule.next_at(marks_held=deferred.held))

    def _left(self) -> bool:
        """Return whether a stop has to wait for something."""
        return self.side_writes_due() or self._queue.deferred.held or self._background.waited_for

    def _stop_is_over(self) -> bool:
        """Return whether a stop has tried long enough to write to a failing store."""
        if self.failing_since is None:
            return False
        return trio.current_time() >= max(self.failing_since, self._queue.stopping_since) + STOP_RETRY_SECONDS

    def _abandon(self) -> None:
        """Refuse all waiting commands: the store fails, and a stop must end."""
        refusal = RelayError.storage_full() if self.disk_full else RelayError.unavailable()
        for item in (*self._queue.take_barred(), *self._queue.take_waiting()):
            item.answer(refusal)
        self._background.abandon()
        acknowledgements = self._queue.deferred.drop()
        if acknowledgements:
            logger.warning(
                "the store cannot be written: %d acknowledgements are lost, and their events are sent again after the"
                " next start",
                acknowledgements,
            )

    async def _slow_down(self) -> None:
        """Wait if readers keep the write-ahead log from restarting, so that it does not grow without bound."""
        now = trio.current_time()
        seconds = self._wal.look(now)
        if seconds and not self._queue.stopping:
            await trio.sleep(seconds)
            self._stalls.worked("checkpoint", now, trio.current_time())

    # One batch.

    async def _write(self, batch: Batch) -> None:
        """Write one batch with its side writes."""
        tried, self.first_cursors_tried = self.first_cursors_tried, trio.Event()
        side_writes = self._schedule.take(
            len(batch.pending),
            trio.current_time(),
            marks_held=self._queue.deferred.held,
            last=self._queue.stopping and not self._queue.waiting,
        )
        try:
            await self._write_batch(batch, side_writes)
        finally:
            tried.set()

    async def _write_batch(self, batch: Batch, side_writes: SideWrites) -> None:
        """Decide and commit one batch, then apply it. A batch that fails changes nothing."""
        started = self.busy_since = trio.current_time()
        self._lookup_seconds = 0.0
        pending = batch.pending
        try:
            with trio.CancelScope(shield=True):
                draft, entries, wrote, side_writes = await self._commit(batch, side_writes)
        except sqlite3.Error as error:
            self.busy_since = None
            await self._failed(pending, side_writes, error)
            return
        except Exception:
            self.busy_since = None
            # A bug, before anything was written: it must not end the writer, and with it the relay.
            logger.exception("%d requests could not be decided and are refused; the relay goes on", len(pending))
            self._refuse(pending, side_writes, RelayError.internal())
            return
        self.busy_since = None
        written = trio.current_time()
        self._stalls.worked(SYNC, started, written)
        if batch.needs_own_batch or self._lookup_seconds:
            seconds = written - started if batch.needs_own_batch else self._lookup_seconds
            self._engine.charge([item.command for item in pending], seconds)
        if wrote:
            self._succeeded(len(pending), written - started, side_writes)
        if entries:
            self._idempotency_keys.note(entries)
            self._schedule.entries_written(len(entries), entries[-1].seq, text_length(entries))
            self.figures.entries += len(entries)
        if wrote:
            self._background.index.wrote(indexed=bool(side_writes.indexed), amended=bool(draft.amendments))
            if draft.amendments:
                self._wal.erased()
        await self._apply(pending, draft.decisions)
        if batch.sends:
            now = trio.current_time()
            self._stalls.worked(LOOP, written, now)
            self._stalls.waited(pending[0].since, now)

    async def _apply(self, pending: list[PendingCommand], decisions: Sequence[Decided]) -> None:
        """Apply, publish and answer the entries on disk, in the order of the log."""
        apply, now, seconds = self._engine.apply, time.perf_counter, self._tuning.publish_seconds
        began = now()
        for item, decision in zip(pending, decisions, strict=True):
            if now() - began > seconds:
                # Other senders need not wait until a large batch is published completely.
                self._engine.batch_done()
                await trio.lowlevel.cancel_shielded_checkpoint()
                began = now()
            for entry in decision.entries:
                rest = apply(entry)
                if rest is not None:
                    for _ in rest:
                        self._engine.batch_done()
                        await trio.lowlevel.cancel_shielded_checkpoint()
            item.answer(decision.answer)
        self._engine.batch_done()

    async def _commit(self, batch: Batch, side_writes: SideWrites) -> tuple[Drafted, list[Entry], bool, SideWrites]:
        """Decide a batch and write it; if a page is damaged, try to do without the full-text index.

        Returns: the draft, all its entries, whether anything was written, and the written side writes.
        """
        commands = [item.command for item in batch.pending]
        try:
            return *await self._decide_and_write(commands, batch.size, side_writes), side_writes
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
        side_writes = self._schedule.without_index(side_writes, trio.current_time())
        write = partial(self._decide_and_write, commands, batch.size, side_writes)
        return *await self._background.index.despite_damage(write), side_writes

    async def _decide_and_write(
        self, commands: list[Command], size: int, side_writes: SideWrites
    ) -> tuple[Drafted, list[Entry], bool]:
        facts: Facts = {}
        for _ in range(MAX_LOOKUPS):
            draft = self._engine.decide(commands, facts)
            entries = [entry for decision in draft.decisions for entry in decision.entries]
            unknown = draft.unknown
            if not unknown and (repeated := self._idempotency_keys.among(entries)):
                # These were sent again recently, unless their messages are known to be gone.
                unknown = [fact for key in repeated if (fact := ClientKey(key)) not in facts]
            if unknown:
                began = trio.current_time()
                facts.update(await fact_lookup.look_up(self._reading, unknown, self._idempotency_keys))
                self._lookup_seconds += trio.current_time() - began
                continue
            if not (entries or side_writes):
                return draft, entries, False
            statement, parameters = prepare(entries, draft.amendments, side_writes)
            self._bound.note(statement, size)
            try:
                await self._writing.execute(statement, parameters)
            except sqlite3.IntegrityError as error:
                # The table of client keys refuses a duplicate: a message was sent again, so look up which one.
                keys = [entry.client_key for entry in entries if entry.client_key is not None]
                known = await fact_lookup.client_keys(self._reading, keys, self._idempotency_keys)
                if all(facts.get(key, key) == value for key, value in known.items()):
                    raise explain(error) from None
                facts.update(known.items())
                continue
            return draft, entries, True
        raise sqlite3.IntegrityError("a batch asked for more facts without end")

    def _succeeded(self, commands: int, seconds: float, side_writes: SideWrites) -> None:
        if self.failing_since is not None:
            self.faults.written()
            self.failing_since, self.disk_full = None, False
        figures = self.figures
        figures.batches += 1
        figures.commands += commands
        figures.commit_seconds += seconds
        figures.last_batch = commands
        self._schedule.written(side_writes, trio.current_time())

    # Failed writes.

    async def _failed(self, pending: list[PendingCommand], side_writes: SideWrites, error: sqlite3.Error) -> None:
        self.figures.failures += 1
        answer = self.faults.unwritten(error)
        if self.failing_since is None:
            self.failing_since = trio.current_time()
        self.disk_full = is_full(error)
        self._schedule.not_written(side_writes, trio.current_time())
        await self._answer_unwritten(pending, answer)

    async def _answer_unwritten(self, pending: list[PendingCommand], refusal: RelayError) -> None:
        """Refuse commands that need a write, and answer the others, which repeat earlier ones."""
        answers: list[object] = [refusal] * len(pending)
        try:
            with trio.CancelScope(shield=True):
                answers = await self._decide_unwritten([item.command for item in pending], refusal)
        except sqlite3.Error as error:
            self.faults.unread(error, "requests that may be repeats")
        except Exception:
            logger.exception("%d requests could not be decided and are refused; the relay goes on", len(pending))
        for item, answer in zip(pending, answers, strict=True):
            item.answer(answer)
        self._engine.batch_done()

    async def _decide_unwritten(self, commands: list[Command], refusal: RelayError) -> list[object]:
        facts: Facts = {}
        for _ in range(MAX_LOOKUPS):
            # Decide each by itself: a command must not depend on a refused one.
            drafts = [self._engine.decide([command], facts) for command in commands]
            # Without an insert, no table refuses a client key that was used before.
            unknown = [
                fact
                for draft in drafts
                for fact in draft.unknown
                or keys_to_look_up((entry for decision in draft.decisions for entry in decision.entries), facts)
            ]
            if not unknown:
                return [
                    refusal if decision.entries else decision.answer for draft in drafts for decision in draft.decisions
                ]
            facts.update(await fact_lookup.look_up(self._reading, unknown, self._idempotency_keys))
        return [refusal] * len(commands)

    def _refuse(self, pending: list[PendingCommand], side_writes: SideWrites, refusal: RelayError) -> None:
        """Return the side writes to the schedule, and refuse the commands."""
        self._schedule.not_written(side_writes, trio.current_time())
        for item in pending:
            item.answer(refusal)
        self._engine.batch_done()
