"""Deferred commands: written a moment later, one per key, a few at a time. Pure: the time is an argument.

Acknowledgements of devices come here. A receipt for each message would cost as much as the message. One for all
messages of a moment, committed with the next messages, costs next to nothing.
"""

from collections.abc import Callable, Hashable
from itertools import islice
from typing import NamedTuple

from relay.keys import Seconds
from relay.store.command import Command

DEFER_SECONDS = 0.15
"""Seconds until they are committed with the next batch; after the same time again without a batch, they form their
own."""
COMMANDS_WITH_BATCH = 16
"""How many go with a small batch, whose senders wait for them; a larger batch takes as many as it has commands."""
COMMANDS_ALONE = 256
"""How many go into a batch of their own."""


class DeferredCommand(NamedTuple):
    """A command that may wait."""

    key: Hashable
    """Its subject; only one command per key waits."""
    reach: int
    """How far it reaches. Acknowledgements come in any order, and the furthest one stays."""
    command: Command


class DeferredCommands:
    """The waiting commands, and when they are due."""

    def __init__(self, collect: Callable[[], None]) -> None:
        """Begin empty.

        Args:
            collect: called when commands announced by `expect` are due; it adds them.
        """
        self._collect = collect
        self._waiting: dict[Hashable, DeferredCommand] = {}
        self._expected = False
        self._since = 0.0

    def __bool__(self) -> bool:
        return self._expected or bool(self._waiting)

    @property
    def held(self) -> bool:
        """Whether any command is queued. Announced ones (see `expect`) do not count."""
        return bool(self._waiting)

    def add(self, deferred: DeferredCommand, now: Seconds) -> None:
        """Queue a command, unless one of the same key reaches as far. It is due `DEFER_SECONDS` after `now`."""
        if not self:
            self._since = now
        known = self._waiting.get(deferred.key)
        if known is None or known.reach < deferred.reach:
            self._waiting[deferred.key] = deferred

    def expect(self, now: Seconds) -> None:
        """Announce commands: they are collected when they are due."""
        if not self:
            self._since = now
        self._expected = True

    def drop(self) -> int:
        """Drop all waiting commands, including announced ones; return how many were queued."""
        count = len(self._waiting)
        self._waiting.clear()
        self._expected = False
        return count

    @property
    def alone_at(self) -> float:
        """When the waiting commands form a batch of their own; infinity if none wait."""
        return self._since + 2 * DEFER_SECONDS if self else float("inf")

    def take(self, count: int, now: Seconds, *, flush: bool = False) -> list[DeferredCommand]:
        """Remove and return the commands that are due.

        Args:
            count: commands in the batch that they go with; 0 if they form their own.
            now: the time.
            flush: whether to take all of them.
        """
        if not self or not (flush or now >= self._since + DEFER_SECONDS):
            return []
        if self._expected and not self._waiting:
            self._expected = False
            self._collect()
        most = max(COMMANDS_WITH_BATCH, count) if count else COMMANDS_ALONE
        taken = list(islice(self._waiting.values(), most))
        for deferred in taken:
            del self._waiting[deferred.key]
        # The rest are due with the next batch; expected commands start to wait now.
        self._since = now - DEFER_SECONDS if self._waiting else now
        return taken
