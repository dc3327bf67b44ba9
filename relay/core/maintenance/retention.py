"""Removing what is too old or too much, and what was said in chats that are gone: slowly, while the relay runs.

Decides when and what; the log's writer does it, a little between two batches.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import NamedTuple, TypeVar

import trio

from relay.core.clock.clock import RelayClock
from relay.core.model import snapshot
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN, Command, PruneChats, PruneHistory
from relay.core.rules.submit import submit
from relay.protocol.errors import RelayError
from relay.settings import RetentionSection as Kept
from relay.store.log import maintenance
from relay.store.log.log import Log
from relay.store.portion import Portion
from relay.store.queries import prunable, storage
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

T = TypeVar("T")

DAY = 86_400_000
"""Milliseconds of a day."""
KNOWN = 7 * DAY
"""How old a removed message is at most whose client id is still known (`removed` in the store's schema)."""
FORGOTTEN = 500
"""Client ids forgotten at a time, of such messages that are older."""
EVERY = 3_600.0
"""Seconds between two looks at what is too old."""
SEEN = 20_000
"""Entries looked through at a time for the chats that lose something."""
STEP = 500
"""Of how many messages and members at a time unread counts are seen to."""
SHARE = 20
"""Of a store that is too large one of this many parts goes at a time, the oldest."""
FINEST = 1_000
"""Where less is too much, one of this many parts at least."""
SPARE = 4_096
"""Pages without use that may gather while a prune goes on: SQLite walks through the list of all of them to take one
off the end of the file, so a prune that gave everything back at its end would take a time that grows with the square.
"""
WORK = "prune"


async def _give_back(spare: int, writing: Connection, count: int) -> bool:
    return await maintenance.give_back(writing, count, spare)


class PruneResult(NamedTuple):
    """What a prune did."""

    removed: int
    """Entries."""
    bytes: int
    """What the store has in use once its full-text index is merged."""
    too_large: bool
    """Whether that is more than it may be: what is left is no history, or came since the prune began."""


class Retention:
    """What is kept, and for how long."""

    def __init__(self, state: State, log: Log, reading: Connection, clock: RelayClock, kept: Kept) -> None:
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock
        self._kept = kept
        self._turn = trio.Lock()
        self._rows = Portion(40, least=20, most=1_000)
        self._members = Portion(500, least=200, most=5_000)
        self._pages = Portion(64, least=16, most=4_096)
        self.freeing: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Gives what frees the disk room to work in; see `Room.freeing`."""

    async def run(self) -> None:
        """Look after it, for ever."""
        while True:
            try:
                async with self.freeing() if self._kept.days or self._kept.max_bytes else nullcontext():
                    await self.erase_gone()
                    await self.prune()
                await self.forget_removed()
            except (sqlite3.Error, RelayError) as error:
                # Where the disk is full people must still be able to read.
                logger.warning("cannot remove old messages now: %s", error)
            await trio.sleep(EVERY)

    async def forget_removed(self) -> None:
        """Forget the client ids of removed messages once nobody can be about to send them again."""
        if not self._clock.credible():
            return
        before = self._clock() - KNOWN
        places = await prunable.removed_before(self._reading, before)
        for at in range(0, len(places), FORGOTTEN):
            some = places[at : at + FORGOTTEN]
            await self._log.run_exclusive(partial(maintenance.forget_removed, places=some, before=before), WORK)

    async def erase_gone(self) -> None:
        """Erase what was said in chats that are gone."""
        gone = [chat.key for chat in self._state.chats.values() if chat.gone]
        for chat in await prunable.chats_with_entries(self._reading, gone) if gone else ():
            await self._erase(chat)

    async def _erase(self, chat: int) -> None:
        while await self._portion(self._rows, lambda writing, count: maintenance.erase_chat(writing, chat, count)):
            pass

    async def prune(self, *, days: int | None = None, max_bytes: int | None = None) -> PruneResult:
        """Remove what is older than so many days, then the oldest until the store is small enough.

        Of what comes after it began it removes nothing, so it ends; one at a time. What an earlier one began to remove
        and did not end, since it was cut off, goes first.

        Args:
            days: those of the settings where none is given; 0 for any age.
            max_bytes: likewise, in bytes.

        Raises:
            RelayError, sqlite3.Error: the store cannot be written.
        """
        days = self._kept.days if days is None else days
        max_bytes = self._kept.max_bytes if max_bytes is None else max_bytes
        async with self._turn:
            return await self._prune(days, max_bytes)

    async def _prune(self, days: int, max_bytes: int) -> PruneResult:
        limit, removed = self._state.seq, 0
        first = await prunable.first_prunable(self._reading, 0)
        kept = False
        upto = min(limit, max(await self._too_old(days), self._state.pruned))
        index, left, _size = await storage.index_use(self._reading)
        text_bytes = index / max(1, self._texts() + left)
        size = await self._lasting(text_bytes)
        while first and first <= limit:
            if upto < first and max_bytes and size > max_bytes:
                share = min(1 / SHARE, max((size - max_bytes) / size, 1 / FINEST))
                upto = first + int((limit - first) * share)
            if upto < first:
                break
            if not kept:
                await self._keep()
                kept = True
            removed += await self._remove(first, upto)
            first = await prunable.first_prunable(self._reading, upto)
            size = await self._lasting(text_bytes)
        if removed:
            await self._give_back(0)
            logger.info("removed %d old entries", removed)
        too_large = bool(max_bytes) and size > max_bytes
        if too_large:
            logger.warning(
                "the store has %d bytes in use and may have %d: what is left is no history that could be removed",
                size,
                max_bytes,
            )
        return PruneResult(removed, size, too_large)

    async def _lasting(self, text_bytes: float) -> int:
        """Give the bytes in use without those that the full-text index gives back once it is merged.

        Args:
            text_bytes: what one text takes there, as it was when the prune began.
        """
        index, _left, size = await storage.index_use(self._reading)
        return size - max(0, index - int(self._texts() * text_bytes))

    def _texts(self) -> int:
        """Give about how many texts there are; each is in the full-text index."""
        return sum(chat.last_message_id - chat.pruned for chat in self._state.chats.values())

    async def _too_old(self, days: int) -> int:
        """Find the last entry that is older than so many days, as far as the clock can be believed; 0 for none."""
        if not days or not self._clock.credible():
            return 0
        now = self._clock()
        return await prunable.last_before(self._reading, now - days * DAY, now)

    async def _remove(self, first: int, upto: int) -> int:
        """Remove messages and marks between two entries; gives how many there were."""
        # First how far it goes: whoever comes after one that was cut off goes on to there, in all chats alike.
        await submit(self._log, Command(self._clock(), ADMIN, 0, PruneHistory(upto)))
        await self._see_to_unread(first, upto)
        removed, after = 0, first - 1
        while gone := await self._portion(self._rows, partial(maintenance.remove_history, after, upto)):
            removed, after = removed + len(gone), gone[-1]
            await self._give_back(SPARE)
        return removed

    async def _give_back(self, spare: int) -> None:
        """Give pages without use back to the file system, all but so many."""
        if await storage.free_pages(self._reading) > spare:
            while await self._portion(self._pages, partial(_give_back, spare)):
                pass

    async def _see_to_unread(self, first: int, upto: int) -> None:
        """Have unread counts follow, chat after chat: the writer looks at what goes, and others wait for it."""
        last: dict[int, int] = {}
        for after in range(first - 1, upto, SEEN):
            found = await prunable.last_messages(self._reading, after, min(after + SEEN, upto))
            for chat, message_id in found:
                last[chat] = max(message_id, last.get(chat, 0))
        step: list[tuple[int, int]] = []
        weight = 0
        for chat, message_id in sorted(last.items()):
            at, members = self._state.chats[chat].pruned, len(self._state.members[chat])
            while at < message_id:
                # So many messages of one chat fill a step, so that none has a chat twice.
                part = min(message_id, at + STEP)
                step.append((chat, part))
                weight += part - at + members
                at = part
                if weight >= STEP:
                    await self._prune_chats(step)
                    step, weight = [], 0
        if step:
            await self._prune_chats(step)

    async def _prune_chats(self, step: list[tuple[int, int]]) -> None:
        began = trio.current_time()
        await submit(self._log, Command(self._clock(), ADMIN, 0, PruneChats(tuple(step))))
        await self._log.rest(trio.current_time() - began)

    async def _keep(self) -> None:
        """Let neither the snapshot nor the base need what was said until now."""
        await self._log.keep_snapshot()
        await self._keep_base()

    async def _keep_base(self) -> None:
        """Keep the whole state as where the log's history begins, a little at a time; until then the last one holds."""
        number = await self._log.run_exclusive(maintenance.begin_base, WORK)
        rounds = snapshot.Round(self._state, snapshot.DirtyRows.everything(self._state))
        start = rounds.start._asdict()
        while not rounds.over:
            # Taken in the writer's turn: what the rows say is on disk.
            await self._portion(
                self._members, lambda writing, count: maintenance.add_base(writing, number, rounds.take(count))
            )
        await self._log.run_exclusive(partial(maintenance.end_base, number=number, start=start), WORK)
        while await self._portion(
            self._pages, lambda writing, count: maintenance.clear_bases(writing, max(1, count // 64))
        ):
            pass

    async def _portion(self, portion: Portion, job: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Have the writer do a portion, and learn how large the next may be."""

        async def timed(writing: Connection) -> T:
            while True:
                began, count = trio.current_time(), portion.size
                try:
                    done = await job(writing, count)
                    break
                except sqlite3.OperationalError as error:
                    # What is erased is written once more before it is gone: a full disk takes less of it at a time.
                    if error.sqlite_errorcode != sqlite3.SQLITE_FULL or not portion.shrink():
                        raise
            portion.took(trio.current_time() - began)
            return done

        return await self._log.run_exclusive(timed, WORK)
