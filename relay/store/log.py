"""The log and its one writer: what waits is decided as a batch, committed in one transaction, and only then told.

The promise of order: entries are applied, told and answered in the order of their `seq`, after they are on
disk, and nothing else is in between. Knows the database and, through `Rules`, what decides; no sockets.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

import msgspec
import trio

from relay.protocol.errors import RelayError
from relay.store import bound, chores, queries
from relay.store.bound import Bound
from relay.store.client_keys import ClientKeys
from relay.store.database import Connection
from relay.store.entry import Amendment, ClientKey, Entry, Fact, Facts
from relay.store.erasing import Erasing
from relay.store.errands import Cursors, Errands, Schedule
from relay.store.late import Late, LateCommand
from relay.store.schema import MIGRATIONS
from relay.store.statements import Statement
from relay.store.writing import forget, prepare

logger = logging.getLogger(__name__)

T = TypeVar("T")
Chore = Callable[[Connection], Awaitable[T]]
"""Something short to be done on the writing connection."""
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


class Rules(Protocol):
    """What decides, and what takes effect afterwards."""

    @property
    def stands_alone(self) -> Callable[[Any], bool]:
        """Tells whether a command needs a batch of its own."""

    def decide(self, batch: Sequence[Any], facts: Facts) -> Drafted:
        """Decide a batch; changes nothing."""

    def weight(self, command: Any) -> int:
        """About how many bytes a command came in; asked only where there is much."""

    def apply(self, entry: Entry) -> None:
        """Let an entry that is on disk take effect and tell whom it concerns."""

    def told(self) -> None:
        """A batch is over: what it had to say can go out."""

    def snapshot(self) -> dict[str, Any]:
        """What changed since the last snapshot, as the `snapshot` parameter of a batch."""

    def snapshot_failed(self) -> None:
        """The snapshot last given was not written."""


class Figures:
    """What the writer has done since it started, for `relay status` and the metrics."""

    __slots__ = ("batches", "commands", "commit_seconds", "entries", "failures", "last_batch")

    def __init__(self) -> None:
        self.batches = 0
        self.commands = 0
        self.entries = 0
        self.failures = 0
        self.commit_seconds = 0.0
        self.last_batch = 0


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    command: Any
    answer: Answer


_TOUCH = Statement(f"PRAGMA user_version = {len(MIGRATIONS)}")


async def _touch(connection: Connection) -> None:
    # Says what the file says already, and yet is a commit: the smallest proof that the file can be written.
    await connection.execute(_TOUCH)


def _nobody(_answer: object) -> None:
    """Take an answer that nobody waits for."""


class Log:
    """The narrow door: everything that changes goes through `append`."""

    def __init__(self, writing: Connection, reading: Connection, rules: Rules, cursors: Cursors) -> None:
        self.figures = Figures()
        self.late = Late()
        self.stopped = trio.Event()
        """Set once all that waited at `stop` is written."""
        self._writing = writing
        self._reading = reading
        self._rules = rules
        self._waiting: list[_Waiting] = []
        self._held = 0
        self._taken = 0
        self._bound = Bound()
        self._erasing = Erasing()
        self._errands = Schedule(cursors)
        self._first_tried = trio.Event()
        self._client_keys = ClientKeys()
        self._filing_from = 0.0
        self._chores: list[tuple[Chore[Any], trio.Event, list[Any]]] = []
        self._work = trio.Event()
        self._room = trio.Event()
        self._stopping = False
        self.failing = False
        """Whether the last write failed."""
        self.disk_full = False
        """Whether it failed because the disk is full."""
        self.refuses: Callable[[Any], bool] | None = None
        """While the disk lacks even the reserve: tells which commands are answered `storage_full` at once."""

    @property
    def full(self) -> bool:
        """Whether whoever appends should wait for `room` first."""
        return len(self._waiting) >= ROOM or self._held >= ROOM_BYTES

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for: nothing new should be taken up."""
        return self._stopping

    async def room(self) -> None:
        """Wait until not too much waits any more."""
        while self.full:
            await self._room.wait()

    def note_read(self, size: int) -> None:
        """Note that so many bytes were read from a connection: what is appended for them came in no more than that.

        Once a read and not once a command, since reading them is what costs memory and is done by the read.
        """
        self._held = self._held + size if self._waiting else size

    def append(self, command: Any, answer: Answer = _nobody) -> None:
        """Have a command decided and written; its answer comes when it is on disk."""
        if self.stopped.is_set():
            answer(RelayError.unavailable())
            return
        if self.refuses is not None and self.refuses(command):
            answer(RelayError.storage_full())
            return
        waiting = self._waiting
        if not waiting:
            self._work.set()
        waiting.append(_Waiting(command, answer))

    def append_late(self, key: object, reach: int, command: Any) -> None:
        """Have a command written a moment later, in place of one of the same key that reaches less far."""
        if not self.late:
            self._work.set()
        self.late.add(LateCommand(key, reach, command), trio.current_time())

    def expect_late(self) -> None:
        """Have `late.collect` called a moment later: what is acknowledged until then comes to one command a chat."""
        if not self.late:
            self._work.set()
        self.late.expect(trio.current_time())

    @property
    def cursors(self) -> Cursors:
        """Every device's cursor."""
        return self._errands.cursors

    def keep_cursor(self, device: int, seq: int, seen: int) -> None:
        """Have a device's cursor written sometime soon. It never goes back."""
        self._errands.keep_cursor(device, seq, seen, trio.current_time())
        self._work.set()

    async def chore(self, chore: Chore[T]) -> T:
        """Have something done on the writing connection between two batches, and wait for it.

        Raises:
            sqlite3.Error: what it failed with.
        """
        done, outcome = trio.Event(), list[Any]()
        self._chores.append((chore, done, outcome))
        self._work.set()
        await done.wait()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]  # type: ignore[no-any-return]

    async def probe(self) -> bool:
        """Wait until the writer, in its turn, has committed one page; give whether it could."""
        try:
            await self.chore(_touch)
        except sqlite3.Error:
            return False
        return True

    async def first_cursor(self, device: int, seq: int, seen: int) -> None:
        """Have a device's first cursor written, and wait until that was tried.

        It cannot wait as later ones do: after a crash the device would start at the end of the log again,
        past what it has been sent and has not acknowledged.
        """
        self._errands.keep_first_cursor(device, seq, seen)
        if self.stopped.is_set():
            return
        self._work.set()
        await self._first_tried.wait()

    def stop(self) -> None:
        """Let `run` return once everything that waits is written."""
        self._stopping = True
        self._work.set()

    def try_again(self) -> None:
        """Take the store for one that can be written, until a write fails: something has changed."""
        self.failing = False

    @property
    def writable(self) -> bool:
        """Whether what people send is taken in, as far as the last write tells."""
        return not self.failing and self.refuses is None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write, until stopped."""
        self._errands.begin(*await queries.ends(self._reading), trio.current_time())
        self._client_keys.load(*await queries.unfiled(self._reading))
        task_status.started()
        crowded = False
        while True:
            if not self._waiting and not self._chores and not self._stopping:
                self._work = trio.Event()
                with trio.move_on_at(min(self._next_errand(), self._next_tidying())):
                    await self._work.wait()
            if crowded:
                # A batch twice as large costs each of its commands less.
                for _ in range(TURNS):
                    await trio.lowlevel.checkpoint()
            batch = self._take()
            if batch:
                self._errands.started(trio.current_time())
            crowded = len(batch) >= CROWD
            if batch or self._errands_due():
                await self._write(batch)
            await self._file()
            await self._tidy()
            if self._chores:
                await self._do(*self._chores.pop(0))
            elif self._stopping and not self._waiting and not batch and not self._errands_due():
                self.stopped.set()
                self._first_tried.set()
                return

    def _next_errand(self) -> float:
        return min(self.late.alone_at, self._errands.next_at(marks_held=self.late.held))

    def _errands_due(self) -> bool:
        if self._stopping:
            return bool(self.late or self._errands.left) and not self.failing
        return trio.current_time() >= self._next_errand()

    def _take(self) -> list[_Waiting]:
        """Take what waits: all of it, up to a command that needs a batch of its own, or is too much."""
        waiting = self._waiting
        count, held = self._next_batch(), self._held
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
        if not (count and self._rules.stands_alone(waiting[0].command)):
            waiting += [_Waiting(late.command, partial(self._retry, late)) for late in self._take_late(count)]
        return waiting

    def _next_batch(self) -> int:
        """How many of those that wait make the next batch."""
        alone, weight = self._rules.stands_alone, self._rules.weight
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

    def _take_late(self, count: int) -> list[LateCommand]:
        """Take the late commands that go along with a batch of `count`."""
        try:
            return self.late.take(count, trio.current_time(), hurry=self._stopping)
        except Exception:
            # A fault of ours where they are collected: as below, it must not end the writer.
            logger.exception("acknowledgements could not be seen to; the relay goes on")
            self.late.expect(trio.current_time())
            return []

    def _retry(self, late: LateCommand, answer: object) -> None:
        """Take the answer to a late command: what could not be written is tried again."""
        if isinstance(answer, RelayError) and answer.error.code in ("storage_full", "unavailable"):
            self.late.add(late, trio.current_time() + RETRY)

    async def _write(self, batch: list[_Waiting]) -> None:
        """Write one batch and what rides along with it."""
        tried, self._first_tried = self._first_tried, trio.Event()
        errands = self._errands.take(
            len(batch),
            trio.current_time(),
            self._rules.snapshot,
            marks_held=self.late.held,
            last=self._stopping and not self._waiting,
        )
        try:
            await self._write_batch(batch, errands)
        finally:
            tried.set()

    async def _write_batch(self, batch: list[_Waiting], errands: Errands) -> None:
        """Decide and commit one batch, then let it take effect. A batch that fails changes nothing."""
        started = trio.current_time()
        try:
            with trio.CancelScope(shield=True):
                draft, entries, wrote = await self._commit([item.command for item in batch], errands)
        except sqlite3.Error as error:
            self._failed(batch, errands, error)
            return
        except Exception:
            # A fault of ours, before anything was written: it must not end the writer, and with it everybody's chat.
            logger.exception("%d requests could not be decided and are refused; the relay goes on", len(batch))
            self._refuse(batch, errands, RelayError.internal())
            return
        if wrote:
            self._succeeded(len(batch), trio.current_time() - started, errands)
        if entries:
            self._client_keys.note(entries)
            self._errands.entries_written(len(entries), entries[-1].seq)
            self.figures.entries += len(entries)
        if draft.amendments:
            self._erasing.doubt()
        apply = self._rules.apply
        for item, decision in zip(batch, draft.decisions, strict=True):
            for entry in decision.entries:
                apply(entry)
            item.answer(decision.answer)
        self._rules.told()

    async def _file(self) -> None:
        """Bring client keys from memory into their table, if it is time."""
        if self.failing or trio.current_time() < self._filing_from:
            return
        filing = self._client_keys.due()
        if filing is None:
            return
        try:
            with trio.CancelScope(shield=True):
                await chores.file_client_keys(self._writing, filing)
        except sqlite3.Error as error:
            # They stay in memory; the next batch finds out whether messages can be written.
            logger.warning("client ids cannot be brought into their table: %s", error)
            self._filing_from = trio.current_time() + RETRY
        else:
            self._client_keys.filed(filing)

    def _next_tidying(self) -> float:
        return min(self._next_freeing(), self._next_erasing())

    def _next_freeing(self) -> float:
        return self._errands.quiet_at + bound.PATIENCE if self._bound else float("inf")

    def _next_erasing(self) -> float:
        # The index is brought to the end of the log in quiet moments only, so that then it is one.
        return self._erasing.due_at if self._errands.indexed else float("inf")

    async def _tidy(self) -> None:
        """Do a little of what waits for quiet."""
        now = trio.current_time()
        if self._bound.too_much or now >= self._next_freeing():
            await self._forget()
        elif now >= self._next_erasing():
            await self._erase()

    async def _forget(self) -> None:
        """Have a statement let go of the texts that it wrote last."""
        try:
            with trio.CancelScope(shield=True):
                await forget(self._writing, self._bound.largest())
        except sqlite3.Error as error:
            # It lets go of them when it runs the next time.
            logger.debug("a statement keeps its texts for now: %s", error)

    async def _erase(self) -> None:
        """Bring texts that left the full-text index a little further out of its segments."""
        writing, erasing = self._writing, self._erasing
        try:
            with trio.CancelScope(shield=True):
                if not erasing.texts:
                    erasing.found(await chores.unmerged(writing))
                elif await chores.merge(writing, begin=not erasing.steps):
                    erasing.stepped()
                else:
                    await chores.note_merged(writing, erasing.texts)
                    erasing.done(trio.current_time())
        except sqlite3.Error as error:
            logger.warning("the full-text index cannot be merged: %s", error)
            erasing.failed(trio.current_time())

    async def _do(self, chore: Chore[Any], done: trio.Event, outcome: list[Any]) -> None:
        try:
            with trio.CancelScope(shield=True):
                outcome.append(await chore(self._writing))
        except sqlite3.Error as error:
            outcome.append(error)
        finally:
            self._erasing.doubt()
            done.set()

    async def _commit(self, commands: list[Any], errands: Errands) -> tuple[Drafted, list[Entry], bool]:
        """Decide, and write what there is to write; gives all entries, and whether anything was written."""
        facts: Facts = {}
        for _ in range(LOOK_UPS):
            draft = self._rules.decide(commands, facts)
            entries = [entry for decision in draft.decisions for entry in decision.entries]
            unknown = draft.unknown or self._repeated(entries, facts)
            if unknown:
                facts.update(await queries.look_up(self._reading, unknown, self._client_keys))
                continue
            if not (entries or errands):
                return draft, entries, False
            statement, parameters = prepare(entries, draft.amendments, errands)
            self._bound.note(statement, self._taken)
            try:
                await self._writing.execute(statement, parameters)
            except sqlite3.IntegrityError:
                # The table of client keys refuses one it has: somebody repeats a message, so see which are known.
                keys = [entry.client_key for entry in entries if entry.client_key is not None]
                known = await queries.client_keys(self._reading, keys, self._client_keys)
                if all(facts.get(key, key) == value for key, value in known.items()):
                    raise
                facts.update(known)
                continue
            return draft, entries, True
        raise sqlite3.IntegrityError("a batch asked for more facts without end")

    def _repeated(self, entries: Sequence[Entry], facts: Facts) -> list[Fact]:
        """Which client ids of a draft were used lately, and are not known to be those of messages that are gone."""
        return [fact for key in self._client_keys.among(entries) if (fact := ClientKey(key)) not in facts]

    def _succeeded(self, commands: int, seconds: float, errands: Errands) -> None:
        if self.failing:
            logger.info("the store can be written again")
        self.failing = self.disk_full = False
        figures = self.figures
        figures.batches += 1
        figures.commands += commands
        figures.commit_seconds += seconds
        figures.last_batch = commands
        self._errands.written(errands, trio.current_time())

    def _failed(self, batch: list[_Waiting], errands: Errands, error: sqlite3.Error) -> None:
        self.figures.failures += 1
        if not self.failing:
            logger.error("the store cannot be written: %s (%s)", error, getattr(error, "sqlite_errorname", "?"))
        self.failing = True
        self.disk_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        self._refuse(batch, errands, RelayError.storage_full() if self.disk_full else RelayError.unavailable())

    def _refuse(self, batch: list[_Waiting], errands: Errands, refusal: RelayError) -> None:
        """Take back what was to be written, and say so to who waits for it."""
        if errands.snapshot is not None:
            self._rules.snapshot_failed()
        self._errands.not_written(errands, trio.current_time())
        for item in batch:
            item.answer(refusal)
        self._rules.told()
