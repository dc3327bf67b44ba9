"""The log and its one writer: what waits is decided as a batch, committed in one transaction, and only then told.

The promise of order: entries are applied, told and answered in the order of their `seq`, after they are on
disk, and nothing else is in between. Knows the database and, through `DecisionEngine`, what decides; no sockets.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from relay.protocol.errors import RelayError
from relay.store.entry import Amendment, ClientKey, Entry, Fact, Facts
from relay.store.idempotency import IdempotencyKeys
from relay.store.log.background import Background, Job
from relay.store.log.batch import prepare
from relay.store.log.bound_parameters import BoundParameters
from relay.store.log.deferred import DeferredCommand, DeferredCommands
from relay.store.log.schedule import INDEX_LAG, Cursors, SideWrites, WriteSchedule
from relay.store.log.stalls import LOOP, SLOW_TURN, SYNC, Stalls
from relay.store.portion import rest_after
from relay.store.queries import lookups
from relay.store.sqlite.database import Connection
from relay.store.sqlite.schema import MIGRATIONS
from relay.store.sqlite.statements import Statement
from relay.store.sqlite.wal import Wal

logger = logging.getLogger(__name__)

T = TypeVar("T")
Answer = Callable[[object], None]
"""Takes what a command is answered with: a payload, or a `RelayError`."""

ROOM = 4_096
"""Commands that may wait; from there on whoever appends has to wait as well."""
ROOM_BYTES = 4 << 20
"""What they may have come in, in bytes; likewise."""
BATCH_BYTES = 1 << 20
"""What goes into one batch, in bytes, where that is more than one command: a batch is in memory several times over."""
RETRY = 1.0
"""Seconds until what could not be written and can wait is tried again."""
CROWD = 8
"""Commands in a batch after which the next one waits for those who have something to say just now."""
TURNS = 3
"""Turns of the loop that it takes them: news of sockets, who waits for it, and what they read."""
TELLING = 0.004
"""Seconds in which those whom a batch concerns are told before others have their turn."""
LOOK_UPS = 16
"""How often a batch may ask for more facts before it is given up."""


class Decided(Protocol):
    """One command's outcome."""

    @property
    def entries(self) -> list[Entry]:
        """What is to be written."""

    @property
    def answer(self) -> object:
        """What is answered then."""


class Drafted(Protocol):
    """A batch's outcome, before it is on disk."""

    @property
    def decisions(self) -> Sequence[Decided]:
        """One a command, in their order."""

    @property
    def amendments(self) -> list[Amendment]:
        """Messages that change."""

    @property
    def unknown(self) -> list[Fact]:
        """What has to be looked up first."""


class DecisionEngine(Protocol):
    """What decides, and what takes effect afterwards."""

    @property
    def stands_alone(self) -> Callable[[Any], bool]:
        """Tells whether a command needs a batch of its own."""

    def decide(self, batch: Sequence[Any], facts: Facts) -> Drafted:
        """Decide a batch; changes nothing."""

    def weight(self, command: Any) -> int:
        """About how many bytes a command came in; asked only where there is much."""

    def charge(self, batch: Sequence[Any], seconds: float) -> None:
        """Note that the writer was kept for so many seconds by these commands alone, and not by a commit all share."""

    def apply(self, entry: Entry) -> Iterator[None] | None:
        """Let an entry that is on disk take effect and publish it.

        Returns:
            What is left of that in steps, between which others may have their turn; None if nothing is.
        """

    def batch_done(self) -> None:
        """A batch is over: what it had to say can go out."""

    def snapshot(self, count: int) -> dict[str, Any]:
        """See `background.Keeps`."""

    def snapshot_over(self, *, written: bool) -> None:
        """See `background.Keeps`."""


class WriterFigures:
    """What the writer has done since it started, for `relay status` and the metrics."""

    __slots__ = ("batches", "commands", "commit_seconds", "entries", "failures", "last_batch")

    def __init__(self) -> None:
        self.batches = 0
        self.commands = 0
        self.entries = 0
        self.failures = 0
        self.commit_seconds = 0.0
        self.last_batch = 0


class _Pending(msgspec.Struct, frozen=True, gc=False):
    command: Any
    answer: Answer
    since: float
    """When it came; within one read, or while a batch is under way, the time of the first of them."""


class _Turns(trio.abc.Instrument):
    """Watches how long each turn of the event loop takes: meanwhile nobody else gets theirs."""

    def __init__(self, stalls: Stalls) -> None:
        self._stalls = stalls
        self._began = time.perf_counter()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio hands it over
        self._began = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002
        seconds = time.perf_counter() - self._began
        if seconds > SLOW_TURN:
            now = trio.current_time()
            self._stalls.turned(now - seconds, now)


_TOUCH = Statement(f"PRAGMA user_version = {len(MIGRATIONS)}")


async def _touch(connection: Connection) -> None:
    # Says what the file says already, and yet is a commit: the smallest proof that the file can be written.
    await connection.execute(_TOUCH)


def _text_of(entries: Sequence[Entry]) -> int:
    """How many characters of text entries have."""
    return sum(len(entry.message) for entry in entries if entry.message)


def _nobody(_answer: object) -> None:
    """Take an answer that nobody waits for."""


class Log:
    """The narrow door: everything that changes goes through `append`."""

    def __init__(
        self, writing: Connection, reading: Connection, wal: Wal, rules: DecisionEngine, cursors: Cursors
    ) -> None:
        self.figures = WriterFigures()
        self.stalls = Stalls()
        self.wal = wal
        self.deferred = DeferredCommands()
        self.stopped = trio.Event()
        """Set once all that waited at `stop` is written."""
        self._writing = writing
        self._reading = reading
        self._engine = rules
        self._waiting: list[_Pending] = []
        self._barred: list[_Pending] = []
        """Commands that may write nothing just now: see `spare`."""
        self._held = 0
        self._taken = 0
        self._looked_up = 0.0
        """Seconds in which facts were looked up for the batch that is written just now."""
        self._bound = BoundParameters()
        self._schedule = WriteSchedule(cursors)
        self._first_tried = trio.Event()
        self._idempotency_keys = IdempotencyKeys()
        self._background = Background(
            writing, rules, self._schedule, self._idempotency_keys, self._bound, self.stalls, wal
        )
        self._now = 0.0
        self._sends = 0
        self._busy_since: float | None = None
        self._work = trio.Event()
        self._room = trio.Event()
        self.batch = 0
        """The number of the batch that is collected just now."""
        self._next: trio.Event | None = None
        self.stopping = False
        """Whether a stop was asked for: nothing new should be taken up."""
        self.failing = False
        """Whether the last write failed."""
        self.disk_full = False
        """Whether it failed because the disk is full."""
        self._refuses: Callable[[Any], bool] | None = None

    @property
    def full(self) -> bool:
        """Whether whoever appends should wait for `room` first."""
        return len(self._waiting) + len(self._barred) >= ROOM or self._held >= ROOM_BYTES

    @property
    def busy_since(self) -> float | None:
        """Since when the store has been at what the writer asked of it; None while the writer waits for nothing."""
        return self._background.busy_since if self._busy_since is None else self._busy_since

    async def next_batch(self) -> None:
        """Wait until the batch that is collected just now is taken up."""
        if self._next is None:
            self._next = trio.Event()
        await self._next.wait()

    async def room(self) -> None:
        """Wait until not too much waits any more."""
        while self.full:
            await self._room.wait()

    def note_read(self, size: int, now: float) -> None:
        """Note that so many bytes were read from a connection: what is appended for them came in no more than that.

        Once a read and not once a command, since reading them is what costs memory and is done by the read.
        """
        self._held = self._held + size if self._waiting or self._barred else size
        self._now = now

    def append(self, command: Any, answer: Answer = _nobody) -> bool:
        """Have a command decided and written; its answer comes when it is on disk.

        Returns:
            Whether it waits for the next batch; one that comes after the stop was answered at once.
        """
        if self.stopping and self.stopped.is_set():
            answer(RelayError.unavailable())
            return False
        barred = self._refuses is not None and self._refuses(command)
        waiting = self._barred if barred else self._waiting
        if not waiting:
            self._work.set()
            self._now = trio.current_time()
        waiting.append(_Pending(command, answer, self._now))
        return True

    def append_deferred(self, key: object, reach: int, command: Any) -> None:
        """Have a command written a moment later, in place of one of the same key that reaches less far."""
        if not self.deferred:
            self._work.set()
        self.deferred.add(DeferredCommand(key, reach, command), trio.current_time())

    def expect_deferred(self) -> None:
        """Have `deferred.collect` called a moment later: acknowledgements until then become one command a chat."""
        if not self.deferred:
            self._work.set()
        self.deferred.expect(trio.current_time())

    @property
    def cursors(self) -> Cursors:
        """Every device's cursor."""
        return self._schedule.cursors

    def keep_cursor(self, device: int, seq: int, seen: int) -> None:
        """Have a device's cursor written sometime soon. It never goes back."""
        self._schedule.keep_cursor(device, seq, seen, trio.current_time())
        self._work.set()

    async def run_exclusive(self, job: Job[T], work: str = SYNC, *, hurried: bool = False) -> T:
        """Have something done on the writing connection between two batches, and wait for it.

        Args:
            job: does it; some milliseconds long, as those who send wait meanwhile.
            work: what it is called where somebody waited for it.
            hurried: whether it is done in the next turn; else it keeps the pace of what is done in the background.

        Raises:
            sqlite3.Error: what it failed with, or the writer has stopped.
        """
        if self.stopped.is_set():
            # Nobody would ever do it.
            raise sqlite3.OperationalError("the relay has stopped")
        asked = self._background.ask(job, work, hurried=hurried)
        self._work.set()
        try:
            await asked.done.wait()
        finally:
            self._background.withdraw(asked)
        if isinstance(asked.outcome[0], Exception):
            raise asked.outcome[0]
        return asked.outcome[0]  # type: ignore[no-any-return]

    async def rest(self, seconds: float) -> None:
        """Wait after a portion of long work that took so many seconds, as the background does."""
        if trio.current_time() < self._schedule.quiet_at:
            await trio.sleep(rest_after(seconds))

    async def keep_snapshot(self) -> None:
        """Have the whole state written as it is now or later, a little at a time, and wait for it.

        Raises:
            RelayError: it cannot be written, or the writer has stopped.
        """
        if self.stopped.is_set():
            raise RelayError.unavailable()
        wanted = self._background.want_snapshot()
        self._work.set()
        await wanted.wait()
        if self._background.snapshot_failed:
            raise RelayError.storage_full() if self._background.snapshot_full else RelayError.unavailable()

    async def client_keys(self, keys: Sequence[int]) -> Facts:
        """Find which messages have these client keys (facts of the kind `ClientKey`)."""
        return await lookups.client_keys(self._reading, keys, self._idempotency_keys)

    async def probe(self) -> bool:
        """Wait until the writer, in its turn, has committed one page; give whether it could."""
        try:
            await self.run_exclusive(_touch, hurried=True)
        except sqlite3.Error:
            return False
        return True

    async def first_cursor(self, device: int, seq: int, seen: int) -> None:
        """Have a device's first cursor written, and wait until that was tried.

        It cannot wait as later ones do: after a crash the device would start at the end of the log again,
        past what it has been sent and has not acknowledged.
        """
        self._schedule.keep_first_cursor(device, seq, seen)
        if self.stopped.is_set():
            return
        self._work.set()
        await self._first_tried.wait()

    def stop(self) -> None:
        """Let `run` return once everything that waits is written."""
        self.stopping = True
        self._background.snapshot_failed = False
        self._work.set()

    @property
    def index_behind(self) -> int:
        """How many entries are not in the full-text index."""
        return self._background.index_behind

    @property
    def index_remaking(self) -> bool:
        """Whether the full-text index is being made once more."""
        return self._background.index_remaking

    @property
    def index_losses(self) -> int:
        """How often the full-text index was found damaged since the start."""
        return self._background.index_losses

    async def begin_index(self) -> None:
        """Have the full-text index made once more from the messages, a portion at a time.

        Raises:
            sqlite3.Error: the store cannot be written.
        """
        await self.run_exclusive(lambda _writing: self._background.begin_index(), "index", hurried=True)

    def suspect_index(self, error: sqlite3.Error) -> None:
        """Have the full-text index made from the beginning: somebody who read it found it damaged."""
        self._background.suspect_index(error)
        self._work.set()

    def try_again(self) -> None:
        """Take the store for one that can be written, until a write fails: something has changed."""
        self.failing = False

    @property
    def writable(self) -> bool:
        """Whether what people send is taken in, as far as the last write tells."""
        return not self.failing and self._refuses is None

    @property
    def thrifty(self) -> bool:
        """Whether only what is needed is written; see `spare`."""
        return self._background.thrifty

    def spare(self, refuses: Callable[[Any], bool] | None) -> None:
        """Write only what is needed from now on, or all again.

        Args:
            refuses: tells which commands are answered `storage_full`, unless nothing has to be written for their
                answer: what was done already was promised the same answer. None ends it.
        """
        self._refuses = refuses
        self._background.thrifty = refuses is not None
        self._work.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, until stopped."""
        last, indexed = await lookups.ends(self._reading)
        left_over = not indexed and await lookups.index_left_over(self._reading)
        self._schedule.begin(last, indexed, trio.current_time(), left_over=left_over)
        # An upgrade had it made once more, or a stop came while it was.
        self._background.index_remaking = left_over or last - indexed > INDEX_LAG
        self._idempotency_keys.load(*await lookups.unfiled(self._reading))
        turns = _Turns(self.stalls)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.wal.run, self._pause, self._wake)
            trio.lowlevel.add_instrument(turns)
            task_status.started()
            try:
                await self._run()
            finally:
                trio.lowlevel.remove_instrument(turns)
            nursery.cancel_scope.cancel()

    def _wake(self) -> None:
        self._work.set()

    async def _pause(self, job: Job[None]) -> None:
        await self.run_exclusive(job, "checkpoint", hurried=True)

    async def _run(self) -> None:
        crowded = False
        while True:
            if not (self._waiting or self._barred or self._background.hurried or self.stopping):
                self._work = trio.Event()
                with trio.move_on_at(min(self._next_side_write(), self._background.next_at())):
                    await self._work.wait()
            if crowded:
                # A batch twice as large costs each of its commands less.
                for _ in range(TURNS):
                    await trio.lowlevel.checkpoint()
            if self._barred:
                await self._answer_barred()
            batch = self._take()
            if batch:
                self._schedule.started(trio.current_time())
            crowded = len(batch) >= CROWD
            if batch or self._side_writes_due():
                await self._write(batch)
            await self._background.work(last=self.stopping)
            await self._slow_down()
            if self.stopping and not (self._waiting or self._barred or batch or self._left()):
                self.stopped.set()
                self._first_tried.set()
                return

    def _left(self) -> bool:
        """Whether a stop has to wait for something still."""
        return self._side_writes_due() or self._background.waited_for

    async def _slow_down(self) -> None:
        """Keep the write-ahead log in its bounds where readers do not let it begin again."""
        now = trio.current_time()
        seconds = self.wal.look(now)
        if seconds and not self.stopping:
            await trio.sleep(seconds)
            self.stalls.worked("checkpoint", now, trio.current_time())

    def _next_side_write(self) -> float:
        return min(self.deferred.alone_at, self._schedule.next_at(marks_held=self.deferred.held))

    def _side_writes_due(self) -> bool:
        if self.stopping:
            return (bool(self.deferred or self._schedule.left) and not self.failing) or self._background.unkept
        return trio.current_time() >= self._next_side_write()

    def _take(self) -> list[_Pending]:
        """Take what waits: all of it, up to a command that needs a batch of its own, or is too much."""
        self.batch += 1
        if self._next is not None:
            self._next.set()
            self._next = None
        waiting = self._waiting
        count, held = self._next_batch(), self._held
        self._sends = count
        if count == len(waiting):
            self._waiting = []
            self._held = 0
        else:
            self._held = held * (len(waiting) - count) // len(waiting)
            self._waiting = waiting[count:]
            del waiting[count:]
        self._taken = held - self._held if count else 0
        if not self._room.is_set() and not self.full:
            self._room.set()
            self._room = trio.Event()
        if not (count and self._engine.stands_alone(waiting[0].command)):
            now = self._now = trio.current_time()
            waiting += [
                _Pending(deferred.command, partial(self._retry, deferred), now)
                for deferred in self._take_deferred(count)
            ]
        return waiting

    def _next_batch(self) -> int:
        """How many of those that wait make the next batch."""
        alone, weight = self._engine.stands_alone, self._engine.weight
        much = self._held > BATCH_BYTES
        size = 0
        for count, item in enumerate(self._waiting):
            if alone(item.command):
                return count or 1
            if much:
                size += weight(item.command)
                if size > BATCH_BYTES and count:
                    return count
        return len(self._waiting)

    def _take_deferred(self, count: int) -> list[DeferredCommand]:
        """Take the deferred commands that go along with a batch of `count`."""
        try:
            return self.deferred.take(count, trio.current_time(), flush=self.stopping)
        except Exception:
            # A fault of ours where they are collected: as below, it must not end the writer.
            logger.exception("acknowledgements could not be seen to; the relay goes on")
            self.deferred.expect(trio.current_time())
            return []

    def _retry(self, deferred: DeferredCommand, answer: object) -> None:
        """Take the answer to a deferred command: what could not be written is tried again."""
        if isinstance(answer, RelayError) and answer.error.code in ("storage_full", "unavailable"):
            self.deferred.add(deferred, trio.current_time() + RETRY)

    async def _write(self, batch: list[_Pending]) -> None:
        """Write one batch and what rides along with it."""
        tried, self._first_tried = self._first_tried, trio.Event()
        side_writes = self._schedule.take(
            len(batch),
            trio.current_time(),
            marks_held=self.deferred.held,
            last=self.stopping and not self._waiting,
        )
        try:
            await self._write_batch(batch, side_writes)
        finally:
            tried.set()

    async def _write_batch(self, batch: list[_Pending], side_writes: SideWrites) -> None:
        """Decide and commit one batch, then let it take effect. A batch that fails changes nothing."""
        started = self._busy_since = trio.current_time()
        self._looked_up = 0.0
        alone = bool(batch) and self._engine.stands_alone(batch[0].command)
        try:
            with trio.CancelScope(shield=True):
                draft, entries, wrote, side_writes = await self._commit([item.command for item in batch], side_writes)
        except sqlite3.Error as error:
            self._busy_since = None
            await self._failed(batch, side_writes, error)
            return
        except Exception:
            self._busy_since = None
            # A fault of ours, before anything was written: it must not end the writer, and with it everybody's chat.
            logger.exception("%d requests could not be decided and are refused; the relay goes on", len(batch))
            self._refuse(batch, side_writes, RelayError.internal())
            return
        self._busy_since = None
        written = trio.current_time()
        self.stalls.worked(SYNC, started, written)
        if alone or self._looked_up:
            self._engine.charge([item.command for item in batch], written - started if alone else self._looked_up)
        if wrote:
            self._succeeded(len(batch), written - started, side_writes)
        if entries:
            self._idempotency_keys.note(entries)
            self._schedule.entries_written(len(entries), entries[-1].seq, _text_of(entries))
            self.figures.entries += len(entries)
        if wrote:
            self._background.wrote(indexed=bool(side_writes.indexed), amended=bool(draft.amendments))
        await self._let_take_effect(batch, draft.decisions)
        if self._sends:
            now = trio.current_time()
            self.stalls.worked(LOOP, written, now)
            self.stalls.waited(batch[0].since, now)

    async def _let_take_effect(self, batch: list[_Pending], decisions: Sequence[Decided]) -> None:
        """Apply what is on disk, tell it and answer, in the order of the log."""
        apply, now = self._engine.apply, time.perf_counter
        began = now()
        for item, decision in zip(batch, decisions, strict=True):
            if now() - began > TELLING:
                # Those who have something to say need not wait until all are told.
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

    async def _commit(
        self, commands: list[Any], side_writes: SideWrites
    ) -> tuple[Drafted, list[Entry], bool, SideWrites]:
        """Decide, and write what there is to write; gives all entries, whether anything was written, and what rode."""
        losses = self._background.index_losses

        async def commit() -> tuple[Drafted, list[Entry], bool, SideWrites]:
            # A batch that brings a lost index further would have to bring all of it.
            rides = side_writes if self._background.index_losses == losses else side_writes._replace(indexed=0)
            return *await self._decide_and_write(commands, rides), rides

        return await self._background.despite_index(commit)

    async def _decide_and_write(
        self, commands: list[Any], side_writes: SideWrites
    ) -> tuple[Drafted, list[Entry], bool]:
        facts: Facts = {}
        for _ in range(LOOK_UPS):
            draft = self._engine.decide(commands, facts)
            entries = [entry for decision in draft.decisions for entry in decision.entries]
            unknown = draft.unknown or self._repeated(entries, facts)
            if unknown:
                began = trio.current_time()
                facts.update(await lookups.look_up(self._reading, unknown, self._idempotency_keys))
                self._looked_up += trio.current_time() - began
                continue
            if not (entries or side_writes):
                return draft, entries, False
            statement, parameters = prepare(entries, draft.amendments, side_writes)
            self._bound.note(statement, self._taken)
            try:
                await self._writing.execute(statement, parameters)
            except sqlite3.IntegrityError:
                # The table of client keys refuses one it has: somebody repeats a message, so see which are known.
                keys = [entry.client_key for entry in entries if entry.client_key is not None]
                known = await lookups.client_keys(self._reading, keys, self._idempotency_keys)
                if all(facts.get(key, key) == value for key, value in known.items()):
                    raise
                facts.update(known)
                continue
            return draft, entries, True
        raise sqlite3.IntegrityError("a batch asked for more facts without end")

    def _repeated(self, entries: Sequence[Entry], facts: Facts) -> list[Fact]:
        """Which client ids of a draft were used lately, and are not known to be those of messages that are gone."""
        return [fact for key in self._idempotency_keys.among(entries) if (fact := ClientKey(key)) not in facts]

    def _succeeded(self, commands: int, seconds: float, side_writes: SideWrites) -> None:
        if self.failing:
            logger.info("the store can be written again")
        self.failing = self.disk_full = False
        figures = self.figures
        figures.batches += 1
        figures.commands += commands
        figures.commit_seconds += seconds
        figures.last_batch = commands
        self._schedule.written(side_writes, trio.current_time())

    async def _failed(self, batch: list[_Pending], side_writes: SideWrites, error: sqlite3.Error) -> None:
        self.figures.failures += 1
        if not self.failing:
            logger.error("the store cannot be written: %s (%s)", error, getattr(error, "sqlite_errorname", "?"))
        self.failing = True
        self.disk_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        self._schedule.not_written(side_writes, trio.current_time())
        await self._answer_unwritten(batch, RelayError.storage_full() if self.disk_full else RelayError.unavailable())

    async def _answer_barred(self) -> None:
        """Answer commands that may write nothing just now."""
        barred, self._barred = self._barred, []
        if not self._waiting:
            self._held = 0
        if not self._room.is_set() and not self.full:
            self._room.set()
            self._room = trio.Event()
        await self._answer_unwritten(barred, RelayError.storage_full())

    async def _answer_unwritten(self, batch: list[_Pending], refusal: RelayError) -> None:
        """Refuse commands for which something has to be written, and answer the others: repeats of what was done."""
        answers: list[object] = [refusal] * len(batch)
        try:
            with trio.CancelScope(shield=True):
                answers = await self._decide_unwritten([item.command for item in batch], refusal)
        except sqlite3.Error as error:
            logger.warning("the store cannot be read: %s", error)
        except Exception:
            logger.exception("%d requests could not be decided and are refused; the relay goes on", len(batch))
        for item, answer in zip(batch, answers, strict=True):
            item.answer(answer)
        self._engine.batch_done()

    async def _decide_unwritten(self, commands: list[Any], refusal: RelayError) -> list[object]:
        facts: Facts = {}
        for _ in range(LOOK_UPS):
            # Each by itself: nothing that another one would have led to may count.
            drafts = [self._engine.decide([command], facts) for command in commands]
            unknown = [fact for draft in drafts for fact in draft.unknown or self._unsure(draft, facts)]
            if not unknown:
                return [
                    refusal if decision.entries else decision.answer for draft in drafts for decision in draft.decisions
                ]
            facts.update(await lookups.look_up(self._reading, unknown, self._idempotency_keys))
        return [refusal] * len(commands)

    def _unsure(self, draft: Drafted, facts: Facts) -> list[Fact]:
        """Which client ids of a draft are not known to be new: here no insert refuses those that are not."""
        return [
            fact
            for decision in draft.decisions
            for entry in decision.entries
            if entry.client_key is not None and (fact := ClientKey(entry.client_key)) not in facts
        ]

    def _refuse(self, batch: list[_Pending], side_writes: SideWrites, refusal: RelayError) -> None:
        """Take back what was to be written, and say so to who waits for it."""
        self._schedule.not_written(side_writes, trio.current_time())
        for item in batch:
            item.answer(refusal)
        self._engine.batch_done()
