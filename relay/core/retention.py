"""Removing what is too old or too much, and what was said in chats that are gone: slowly, while the relay runs.

Decides when and what; the log's writer does it, a little between two batches.
"""

import logging
import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial

import trio

from relay.core import snapshot
from relay.core.asking import decided
from relay.core.clock import RelayClock
from relay.core.commands import ADMIN, Command, PruneHistory
from relay.core.state import State
from relay.protocol.errors import RelayError
from relay.settings import Retention as Kept
from relay.store import chores, queries
from relay.store.database import Connection
from relay.store.log import Log

logger = logging.getLogger(__name__)

DAY = 86_400_000
"""Milliseconds of a day."""
EVERY = 3_600.0
"""Seconds between two looks at what is too old."""
STEP = 2_000
"""Of how many entries at a time unread counts are seen to."""
SHARE = 20
"""Of a store that is too large the oldest of this many parts goes at a time."""


class Retention:
    """What is kept, and for how long."""

    def __init__(self, state: State, log: Log, reading: Connection, clock: RelayClock, kept: Kept) -> None:
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock
        self._kept = kept
        self.freeing: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Gives what frees the disk room to work in; see `Room.freeing`."""

    async def run(self) -> None:
        """Look after it, for ever."""
        while True:
            try:
                async with self.freeing():
                    await self.erase_gone()
                    await self.prune()
            except (sqlite3.Error, RelayError) as error:
                # Where the disk is full people must still be able to read.
                logger.warning("cannot remove old messages now: %s", error)
            await trio.sleep(EVERY)

    async def erase_gone(self) -> None:
        """Erase what was said in chats that are gone."""
        gone = [chat.key for chat in self._state.chats.values() if chat.gone]
        for chat in await queries.chats_with_entries(self._reading, gone) if gone else ():
            while await self._log.chore(partial(chores.erase_chat, chat=chat)):
                pass

    async def prune(self, *, days: int | None = None, max_bytes: int | None = None) -> int:
        """Remove what is older than so many days, then the oldest until the store is small enough.

        Args:
            days: those of the settings where none is given; 0 for any age.
            max_bytes: likewise, in bytes.

        Returns:
            How many entries were removed.

        Raises:
            RelayError, sqlite3.Error: the store cannot be written.
        """
        days = self._kept.days if days is None else days
        max_bytes = self._kept.max_bytes if max_bytes is None else max_bytes
        removed = 0
        if days and self._clock.credible():
            now = self._clock()
            removed += await self._remove(await queries.last_before(self._reading, now - days * DAY, now))
        while max_bytes and await queries.size(self._reading) > max_bytes:
            first = await queries.first_prunable(self._reading)
            gone = await self._remove(first + (self._state.seq - first) // SHARE) if first else 0
            removed += gone
            if not gone:
                break
        if removed:
            while await self._log.chore(chores.give_back):
                pass
            logger.info("removed %d old entries", removed)
        return removed

    async def _remove(self, upto: int) -> int:
        first = await queries.first_prunable(self._reading)
        if not first or first > upto:
            return 0
        # The writer reads what goes to see what of it was unread, and others wait for it: some at a time.
        for step in (*range(max(self._state.pruned, first) + STEP, upto, STEP), upto):
            await decided(self._log, Command(self._clock(), ADMIN, 0, PruneHistory(step)))
        await self._log.chore(lambda writing: chores.keep_base(writing, snapshot.whole(self._state)))
        removed = 0
        while gone := await self._log.chore(partial(chores.remove_history, upto=upto)):
            removed += gone
        return removed
