"""Retention: removes old messages, and what nobody may see any more, slowly while the relay runs.

Decides when to remove what; the log's writer removes it, a portion at a time between two batches.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import NamedTuple, TypeVar

import trio

from relay.core.clock.clock import RelayClock
from relay.core.files.uploads import FileRelease
from relay.core.model import changes, snapshot
from relay.core.model.state import State
from relay.core.rules import visibility
from relay.core.rules.commands import ADMIN, PruneChats, PruneHistory
from relay.core.submit import submit
from relay.core.tuning import RetentionTuning
from relay.keys import NO_DEVICE, ChatKey, MessageId, Seq
from relay.settings import RetentionSection as Settings
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import Entry
from relay.store.files.disk_full import is_full
from relay.store.log.log import Log
from relay.store.portion import Portion
from relay.store.queries import prunable, storage
from relay.store.sqlite.database import Connection
from relay.store.upkeep import free_space, removal, snapshot_rows

logger = logging.getLogger(__name__)

T = TypeVar("T")

DAY_MS = 86_400_000
"""Milliseconds per day."""
REMEMBERED_MS = 7 * DAY_MS
"""Maximum age of the idempotency key of a removed message (`removed` in the store's schema)."""
FORGOTTEN_KEYS = 500
"""Older idempotency keys removed at a time."""
MIN_SHARES = 20
"""A store that is too large loses 1/20 of its history, the oldest, before the size is checked again."""
MAX_SHARES = 1_000
"""The smallest such part, 1/1000, if little has to go."""
WORK = "prune"


async def _give_back(spare: int, writing: Connection, count: int) -> bool:
    return await free_space.give_back(writing, count, spare)


Freeing = Callable[[], AbstractAsyncContextManager[None]]
"""Makes a context that may use the disk's reserve; see `DiskRoom.freeing`."""


class PruneResult(NamedTuple):
    """The result of a prune."""

    removed: int
    """Entries."""
    bytes: int
    """Bytes in use once the full-text index is merged."""
    too_large: bool
    """Whether that is over the limit: the rest is not history, or came after the prune began."""


class Retention:
    """Removes the history that the settings do not keep."""

    def __init__(
        self,
        state: State,
        log: Log,
        reading: Connection,
        clock: RelayClock,
        settings: Settings,
        freeing: Freeing,
        tuning: RetentionTuning,
        released: FileRelease,
    ) -> None:
        self._state = state
        self._log = log
        self._reading = reading
        self._clock = clock
        self._settings = settings
        self._turn = trio.Lock()
        self._tuning = tuning
        self._rows = Portion.of(tuning.rows)
        self._members = Portion.of(tuning.members)
        self._pages = Portion(64, least=16, most=4_096)
        self._freeing = freeing
        self._released = released
        self._due: set[ChatKey] = set()
        """Chats of which nobody may see something any more since the last look."""
        self._erased: dict[ChatKey, MessageId] = {}
        """Up to where chats that still exist were erased since the start."""
        self._noted = trio.Event()

    def note(self, entry: Entry) -> None:
        """Note an entry that changes a chat or a user: what nobody may see after it is erased at once."""
        if entry.kind == kinds.CHATS:
            self._due.add(entry.chat)
        elif isinstance(change := changes.change_of(entry), changes.UserChanged) and change.removed:
            self._due |= self._state.chats_of[change.key]
        else:
            return
        self._noted.set()

    async def run(self) -> None:
        """Remove old history every `period_seconds`, and what nobody may see any more at once, forever."""
        while True:
            async with self._freeing() if self._settings.days or self._settings.max_bytes else nullcontext():
                await self.erase_unseen(list(self._state.chats))
                await self.prune()
            await self.forget_removed()
            due = trio.current_time() + self._tuning.period_seconds
            while await self._noted_before(due):
                chats, self._due = list(self._due), set()
                await self.erase_unseen(chats)

    async def _noted_before(self, due: float) -> bool:
        with trio.move_on_at(due):
            await self._noted.wait()
            self._noted = trio.Event()
            return True
        return False

    async def forget_removed(self) -> None:
        """Remove the idempotency keys of removed messages once no client can still send them again."""
        if not self._clock.credible():
            return
        before = self._clock.stamp_at(self._clock() - REMEMBERED_MS)
        places = await prunable.removed_before(self._reading, before)
        for at in range(0, len(places), FORGOTTEN_KEYS):
            some = places[at : at + FORGOTTEN_KEYS]
            await self._log.run_exclusive(partial(removal.forget_removed, places=some, before=before), WORK)

    async def erase_unseen(self, chats: Sequence[ChatKey]) -> None:
        """Erase the messages of deleted chats, and the contents of those that everybody in a chat has cleared.

        Args:
            chats: the chats to look at.
        """
        gone = [chat for chat in chats if self._state.chats[chat].gone]
        for chat in await prunable.chats_with_entries(self._reading, gone) if gone else ():
            await self._erase(chat)
        for chat in chats:
            await self._erase_cleared(chat)
        # Their files, and the pictures of deleted chats and removed users, are in use no more.
        self._released.note()

    async def _erase(self, chat: ChatKey) -> None:
        while await self._portion(self._rows, lambda writing, count: removal.erase_chat(writing, chat, count)):
            pass

    async def _erase_cleared(self, key: ChatKey) -> None:
        chat = self._state.chats[key]
        after, upto = max(chat.pruned, self._erased.get(key, 0)), visibility.unseen_upto(self._state, chat)
        if after >= upto:
            return
        while after := await self._portion(self._rows, partial(removal.erase_cleared, key, after, upto)):
            self._erased[key] = after
        self._erased[key] = upto

    async def prune(self, *, days: int | None = None, max_bytes: int | None = None) -> PruneResult:
        """Remove messages older than a number of days, then the oldest ones until the store is small enough.

        A prune removes nothing that came after it began, so it ends. Only one runs at a time. It first completes the
        unfinished part of an earlier prune.

        Args:
            days: the age in days, by default the setting's. 0 means any age.
            max_bytes: the size in bytes, by default the setting's. 0 means any size.

        Raises:
            RelayError, sqlite3.Error: the store cannot be written.
        """
        days = self._settings.days if days is None else days
        max_bytes = self._settings.max_bytes if max_bytes is None else max_bytes
        async with self._turn:
            return await self._prune(days, max_bytes)

    async def _prune(self, days: int, max_bytes: int) -> PruneResult:
        limit, removed = self._state.seq, 0
        first = await prunable.first_prunable(self._reading, 0)
        prepared = False
        due = min(limit, max(await self._too_old(days), self._state.pruned))
        index, left, _size = await storage.index_use(self._reading)
        text_bytes = index / max(1, self._texts() + left)
        size = await self._lasting(text_bytes)
        while first and first <= limit:
            if due < first and max_bytes and size > max_bytes:
                share = min(1 / MIN_SHARES, max((size - max_bytes) / size, 1 / MAX_SHARES))
                due = Seq(first + int((limit - first) * share))
            if due < first:
                break
            if not prepared:
                await self.keep_state()
                prepared = True
            part = min(due, first + self._tuning.part_entries - 1)
            removed += await self.remove_entries(first, part)
            first = await prunable.first_prunable(self._reading, part)
            size = await self._lasting(text_bytes)
        if removed:
            await self._give_back(0)
            logger.info("removed %d old entries", removed)
        too_large = bool(max_bytes) and size > max_bytes
        if too_large:
            logger.warning(
                "the store has %d bytes in use and may have %d: nothing that is left is history that can be removed",
                size,
                max_bytes,
            )
        return PruneResult(removed, size, too_large)

    async def _lasting(self, text_bytes: float) -> int:
        """Estimate the bytes in use, without the bytes that merging the full-text index will free.

        Args:
            text_bytes: bytes that one text takes in the index, as of the beginning of the prune.
        """
        index, _left, size = await storage.index_use(self._reading)
        return size - max(0, index - int(self._texts() * text_bytes))

    def _texts(self) -> int:
        """Estimate how many texts there are; each is in the full-text index."""
        return sum(chat.last_message_id - chat.pruned for chat in self._state.chats.values())

    async def _too_old(self, days: int) -> int:
        """Find the last entry older than a number of days, if the clock is credible; 0 for none."""
        if not days or not self._clock.credible():
            return 0
        now = self._clock()
        return await prunable.last_before(self._reading, self._clock.stamp_at(now - days * DAY_MS), now)

    async def remove_entries(self, first: Seq, upto: Seq) -> int:
        """Remove messages and receipts between two entries, and return how many there were."""
        # First record how far this part goes: if it is interrupted, the next prune goes equally far in all chats.
        await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, PruneHistory(upto)))
        await self._adjust_unread(first, upto)
        removed, after = 0, first - 1
        while gone := await self._portion(self._rows, partial(removal.remove_history, after, upto)):
            removed, after = removed + len(gone), gone[-1]
            await self._give_back(self._tuning.spare_pages)
        return removed

    async def _give_back(self, spare: int) -> None:
        """Return free pages to the file system, except for some spare ones."""
        if await storage.free_pages(self._reading) > spare:
            while await self._portion(self._pages, partial(_give_back, spare)):
                pass

    async def _adjust_unread(self, first: Seq, upto: Seq) -> None:
        """Adjust unread counts chat by chat; other commands use the writer in between."""
        last = dict(await prunable.last_messages(self._reading, first - 1, upto))
        step: list[tuple[ChatKey, MessageId]] = []
        weight, most = 0, self._tuning.step_messages_and_members
        for chat, message_id in sorted(last.items()):
            at, members = self._state.chats[chat].pruned, len(self._state.members[chat])
            while at < message_id:
                # A step has a chat once, with at most as many messages as fill the step.
                part = min(message_id, at + most)
                step.append((chat, part))
                weight += part - at + members
                at = part
                if weight >= most:
                    await self._prune_chats(step)
                    step, weight = [], 0
        if step:
            await self._prune_chats(step)

    async def _prune_chats(self, step: list[tuple[ChatKey, MessageId]]) -> None:
        began = trio.current_time()
        await submit(self._log, Command(self._clock(), ADMIN, NO_DEVICE, PruneChats(tuple(step))))
        await self._log.rest(trio.current_time() - began)

    async def keep_state(self) -> None:
        """Rewrite the snapshot and the base, so that neither needs the earlier entries."""
        await self._log.keep_snapshot()
        await self._write_base()

    async def _write_base(self) -> None:
        """Write the whole state as the base of the log, in portions; the previous base is valid until the end."""
        number = await self._log.run_exclusive(snapshot_rows.begin_base, WORK)
        rounds = snapshot.Round(self._state, snapshot.DirtyRows.everything(self._state))
        start = rounds.start._asdict()
        while not rounds.over:
            # Take them in the writer's turn, so that the rows agree with the entries on disk.
            await self._portion(
                self._members, lambda writing, count: snapshot_rows.add_base(writing, number, rounds.take(count))
            )
        await self._log.run_exclusive(partial(snapshot_rows.end_base, number=number, start=start), WORK)
        while await self._portion(
            self._pages, lambda writing, count: snapshot_rows.clear_bases(writing, max(1, count // 64))
        ):
            pass

    async def _portion(self, portion: Portion, job: Callable[[Connection, int], Awaitable[T]]) -> T:
        """Have the writer do a portion, and adapt the size of the next one."""

        async def timed(writing: Connection) -> T:
            while True:
                began, count = trio.current_time(), portion.size
                try:
                    done = await job(writing, count)
                    break
                except sqlite3.OperationalError as error:
                    # Erasing an entry writes it once more, so on a full disk fewer go at a time.
                    if not is_full(error) or not portion.shrink():
                        raise
            portion.took(trio.current_time() - began)
            return done

        return await self._log.run_exclusive(timed, WORK)
