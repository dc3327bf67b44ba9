"""The queue in front of the writer: the commands that wait, how many may wait, and which make the next batch.

Bounded in number and in bytes: when it is full, callers wait in `room` and their sockets are not read. Knows what a
batch may hold; no SQL and no disk.
"""

import logging
from collections.abc import Callable, Hashable
from functools import partial
from typing import Any

import msgspec
import trio

from relay.keys import Seconds
from relay.outcomes import Outcome
from relay.protocol.errors import RelayError
from relay.store.command import Command
from relay.store.decision_engine import DecisionEngine
from relay.store.log.deferred import DeferredCommand, DeferredCommands
from relay.store.log.tuning import LogTuning

logger = logging.getLogger(__name__)

Answer = Callable[[Outcome | RelayError], None]
"""Takes the answer to a command: its outcome, or why it is refused."""


class PendingCommand(msgspec.Struct, frozen=True, gc=False):
    """A command that waits for its answer."""

    command: Command
    answer: Answer[Any]
    """Any: takes the outcome of this very command, as `append` has checked."""
    since: float
    """When it came (trio's time). Commands of one read, or of one batch's duration, share the time of the first."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The commands that one transaction commits."""

    pending: list[PendingCommand]
    sends: int
    """How many of them came from the queue; the others are deferred commands."""
    size: int
    """About how many bytes they came in."""
    needs_own_batch: bool
    """Whether it is one command that needs a batch of its own."""


def _ignore(_answer: object) -> None:
    """Drop an answer that no caller waits for."""


class CommandQueue:
    """Commands on their way to the writer."""

    def __init__(self, engine: DecisionEngine, collect: Callable[[], None], tuning: LogTuning) -> None:
        """Begin empty.

        Args:
            engine: tells what a batch may hold.
            collect: adds the commands that `expect_deferred` announced, see `DeferredCommands`.
            tuning: how much may wait, and be in a batch.
        """
        self.waiting: list[PendingCommand] = []
        """Commands for the next batches."""
        self.barred: list[PendingCommand] = []
        """Commands that must not write while the disk is full; see `Log.spare`."""
        self.refuses: Callable[[Command], bool] | None = None
        """Returns whether a command is barred; None while none is."""
        self.deferred = DeferredCommands(collect)
        self.work = trio.Event()
        """Set when the writer has something to do."""
        self.batch = 0
        """The number of the batch that is being collected."""
        self.stopping = False
        """Whether a stop was requested: callers should start nothing new."""
        self.stopping_since = 0.0
        """Since when (trio's time)."""
        self.retry_at = 0.0
        """When deferred commands that could not be written are tried again (trio's time)."""
        self.stopped = trio.Event()
        """Set when everything that waited at `stop` is written."""
        self._engine = engine
        self._tuning = tuning
        self._bytes = 0
        self._now = 0.0
        self._room: trio.Event | None = None
        self._next: trio.Event | None = None

    # Callers.

    @property
    def full(self) -> bool:
        """Whether callers should wait for `room` before they append."""
        return (
            len(self.waiting) + len(self.barred) >= self._tuning.queue_commands
            or self._bytes >= self._tuning.queue_bytes
        )

    async def room(self) -> None:
        """Wait until the queue is not full."""
        while self.full:
            if self._room is None:
                self._room = trio.Event()
            await self._room.wait()

    async def next_batch(self) -> None:
        """Wait until the writer takes the batch that is being collected."""
        if self._next is None:
            self._next = trio.Event()
        await self._next.wait()

    def note_read(self, size: int, now: Seconds) -> None:
        """Note one read of a connection, before its commands are appended.

        Called once a read and not once a command: it is the read that costs memory.

        Args:
            size: bytes read; the commands appended for them came in no more.
            now: trio's time.
        """
        self._bytes = self._bytes + size if self.waiting or self.barred else size
        self._now = now

    def append(self, command: Command[Outcome], answer: Answer[Outcome] = _ignore) -> bool:
        """Have a command decided and written.

        Args:
            command: what to decide.
            answer: called with the outcome when it is on disk.

        Returns:
            Whether it waits for the next batch. After the stop it does not: it was answered at once.
        """
        if self.stopping and self.stopped.is_set():
            answer(RelayError.unavailable())
            return False
        barred = self.refuses is not None and self.refuses(command)
        waiting = self.barred if barred else self.waiting
        if not waiting:
            self.work.set()
            self._now = trio.current_time()
        waiting.append(PendingCommand(command, answer, self._now))
        return True

    def append_deferred(self, key: Hashable, reach: int, command: Command) -> None:
        """Have a command written a moment later. It replaces one of the same key that reaches less far.

        Args:
            key: names what the command moves, as one mark of one user in one chat.
            reach: how far it moves that; the one that reaches further is kept.
            command: the command.
        """
        if not self.deferred:
            self.work.set()
        self.deferred.add(DeferredCommand(key, reach, command), trio.current_time())

    def expect_deferred(self) -> None:
        """Have deferred commands collected a moment later: acknowledgements until then become one command a chat."""
        if not self.deferred:
            self.work.set()
        self.deferred.expect(trio.current_time())

    # The writer.

    def take(self) -> Batch:
        """Take the next batch: all that waits, up to a command that needs a batch of its own or is too large."""
        self.batch += 1
        if self._next is not None:
            self._next.set()
            self._next = None
        waiting, before = self.waiting, self._bytes
        count, alone = self._next_batch()
        if count == len(waiting):
            self.waiting = []
            self._bytes = 0
        else:
            self._bytes = before * (len(waiting) - count) // len(waiting)
            self.waiting = waiting[count:]
            del waiting[count:]
        if self._room is not None:
            self._make_room()
        if not alone:
            now = self._now = trio.current_time()
            if self.deferred:
                waiting += [
                    PendingCommand(deferred.command, partial(self._retry, deferred), now)
                    for deferred in self._take_deferred(count, now)
                ]
        return Batch(waiting, count, before - self._bytes if count else 0, alone)

    def take_barred(self) -> list[PendingCommand]:
        """Take the commands that must not write."""
        barred, self.barred = self.barred, []
        if not self.waiting:
            self._bytes = 0
        self._make_room()
        return barred

    def take_waiting(self) -> list[PendingCommand]:
        """Take all commands that wait, to refuse them."""
        waiting, self.waiting = self.waiting, []
        self._bytes = 0
        self._make_room()
        return waiting

    def _make_room(self) -> None:
        """Wake those who wait in `room`."""
        if self._room is not None and not self.full:
            self._room.set()
            self._room = None

    def _next_batch(self) -> tuple[int, bool]:
        """Count the waiting commands that make the next batch; returns also whether it is one that stands alone."""
        needs_own_batch, weight = self._engine.needs_own_batch, self._engine.weight
        most = self._tuning.batch_bytes
        much = self._bytes > most
        size = 0
        for count, item in enumerate(self.waiting):
            if needs_own_batch(item.command):
                return (count, False) if count else (1, True)
            if much:
                size += weight(item.command)
                if size > most and count:
                    return count, False
        return len(self.waiting), False

    def _take_deferred(self, count: int, now: Seconds) -> list[DeferredCommand]:
        """Take the deferred commands that are committed with a batch of `count`."""
        try:
            return self.deferred.take(count, now, flush=self.stopping and now >= self.retry_at)
        except Exception:
            # A fault of ours where they are collected: it must not end the writer.
            logger.exception("acknowledgements could not be handled; the relay goes on")
            self.deferred.expect(now)
            return []

    def _retry(self, deferred: DeferredCommand, answer: object) -> None:
        """Take the answer to a deferred command: one that could not be written is tried again."""
        if isinstance(answer, RelayError) and answer.error.code in ("storage_full", "unavailable"):
            self.retry_at = trio.current_time() + self._tuning.deferred_retry_seconds
            self.deferred.add(deferred, self.retry_at)
