"""The queue in front of the writer: the waiting commands, their maximum number, and the next batch.

Bounded in number and in bytes: when it is full, callers wait in `room` and their sockets are not read. Knows the limits
of a batch; no SQL and no disk.
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
"""Takes the answer to a command: its outcome, or the refusal."""


class PendingCommand(msgspec.Struct, frozen=True, gc=False):
    """A command that waits for its answer."""

    command: Command
    answer: Answer[Any]
    """Any: takes the outcome of this command; `append` has checked the types."""
    since: float
    """When it came (trio's time). Commands of one read, or from the duration of one batch, share the time of the
    first."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """The commands of one transaction."""

    pending: list[PendingCommand]
    sends: int
    """How many of them came from the queue; the others are deferred commands."""
    size: int
    """About how many bytes they had on arrival."""
    needs_own_batch: bool
    """Whether it is one command that needs a batch of its own."""


def _ignore(_answer: object) -> None:
    """Drop an answer that no caller waits for."""


class CommandQueue:
    """Commands on their way to the writer."""

    def __init__(self, engine: DecisionEngine, collect: Callable[[], None], tuning: LogTuning) -> None:
        """Begin empty.

        Args:
            engine: knows which commands need a batch of their own.
            collect: adds the commands that `expect_deferred` announced, see `DeferredCommands`.
            tuning: the limits of the queue and of a batch.
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
        """When to retry deferred commands that could not be written (trio's time)."""
        self.stopped = trio.Event()
        """Set when all commands that were waiting at `stop` are written."""
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

        Called once per read and not per command, because the read takes the memory.

        Args:
            size: bytes read; an upper bound for the commands in them.
            now: trio's time.
        """
        self._bytes = self._bytes + size if self.waiting or self.barred else size
        self._now = now

    def append(self, command: Command[Outcome], answer: Answer[Outcome] = _ignore) -> bool:
        """Queue a command to be decided and written.

        Args:
            command: the command.
            answer: called with the outcome when it is on disk.

        Returns:
            Whether it waits for the next batch. After a stop it does not, since it was answered at once.
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
        """Queue a command to be written a moment later. It replaces one with the same key and a shorter reach.

        Args:
            key: names the thing that the command moves, such as one receipt of one user in one chat.
            reach: how far it moves that; the command that reaches further is kept.
            command: the command.
        """
        if not self.deferred:
            self.work.set()
        self.deferred.add(DeferredCommand(key, reach, command), trio.current_time())

    def expect_deferred(self) -> None:
        """Collect deferred commands a moment later: acknowledgements until then become one command per chat."""
        if not self.deferred:
            self.work.set()
        self.deferred.expect(trio.current_time())

    # The writer.

    def take(self) -> Batch:
        """Take the next batch: all waiting commands, up to one that needs a batch of its own or is too large."""
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
        """Take all waiting commands, to refuse them."""
        waiting, self.waiting = self.waiting, []
        self._bytes = 0
        self._make_room()
        return waiting

    def _make_room(self) -> None:
        """Wake the callers that wait in `room`."""
        if self._room is not None and not self.full:
            self._room.set()
            self._room = None

    def _next_batch(self) -> tuple[int, bool]:
        """Count the waiting commands for the next batch; return also whether it is a command that stands alone."""
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
        """Take the deferred commands to commit with a batch of `count`."""
        try:
            return self.deferred.take(count, now, flush=self.stopping and now >= self.retry_at)
        except Exception:
            # A bug in collecting them must not end the writer.
            logger.exception("acknowledgements could not be handled; the relay goes on")
            self.deferred.expect(now)
            return []

    def _retry(self, deferred: DeferredCommand, answer: object) -> None:
        """Take the answer to a deferred command: if it could not be written, it is retried."""
        if isinstance(answer, RelayError) and answer.error.code in ("storage_full", "unavailable"):
            self.retry_at = trio.current_time() + self._tuning.deferred_retry_seconds
            self.deferred.add(deferred, self.retry_at)
