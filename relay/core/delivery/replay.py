"""Pages of the log for devices that catch up, read on a connection of their own, one page per user at a time.

A page merges the user's chats, each read ahead by its index. Entries of other chats cost nothing, however old the
cursor is.
"""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from heapq import merge
from itertools import islice
from typing import NamedTuple

import trio

from relay.core.limits.turns import Turns
from relay.core.model import changes
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, MessageId, Seq, UserKey
from relay.store.entry import Entry
from relay.store.queries import replay
from relay.store.queries.replay import CHANGES_CHAT
from relay.store.sqlite.database import Connection


class ReplayPage(NamedTuple):
    """Entries in order, and the `seq` up to which the log was searched."""

    entries: list[Entry]
    upto: Seq


class _Source:
    """The known next entries of a chat, or of the changes of chat lists."""

    __slots__ = ("known", "seqs")

    def __init__(self, position: Seq) -> None:
        self.seqs: deque[Seq] = deque()
        self.known = position
        """All its entries up to this `seq` are in `seqs`, or were."""

    def skip(self, position: Seq) -> None:
        seqs = self.seqs
        while seqs and seqs[0] <= position:
            seqs.popleft()
        self.known = max(self.known, position)


class ReadAhead:
    """The entries read ahead for one device that catches up, kept from page to page."""

    __slots__ = ("_sources",)

    def __init__(self) -> None:
        self._sources: dict[ChatKey, _Source] = {}

    def clear(self) -> None:
        """Drop everything: the end of the log is reached."""
        self._sources = {}

    async def page(
        self,
        connection: Connection,
        position: Seq,
        upto: Seq,
        ends: Mapping[ChatKey, Seq],
        listed: int = 0,
        *,
        count: int,
        least: int,
    ) -> tuple[list[Seq], int]:
        """Find the next entries.

        Args:
            connection: one that reads.
            position: the last `seq` that the device has.
            upto: the last `seq` of interest.
            ends: the last `seq` of each source, by its key; it may be higher than the last entry there is.
            listed: the `seq` up to which changes of chat lists are known to the device.
            count: entries at most.
            least: entries read ahead per chat at least, however many chats there are.

        Returns:
            The entries' `seq`, ascending, and the `seq` up to which there are no others.
        """
        # Forget chats that the user has left; chats that they have joined begin here.
        sources = self._sources = {key: self._sources.get(key) or _Source(position) for key in ends}
        for source in sources.values():
            source.skip(position)
        sources[CHANGES_CHAT].skip(listed)
        short = [
            (key, source.known)
            for key, source in sources.items()
            if not source.seqs and source.known < min(ends[key], upto)
        ]
        if short:
            most = max(least, min(count, 2 * count // len(short)))
            for key, seqs in (await replay.ahead(connection, short, upto, most)).items():
                sources[key].seqs.extend(seqs)
                sources[key].known = seqs[-1] if len(seqs) == most else upto
        horizon = min((source.known for key, source in sources.items() if source.known < ends[key]), default=upto)
        horizon = min(horizon, upto)
        found: list[Seq] = []
        for seq in islice(merge(*(source.seqs for source in sources.values() if source.seqs)), count):
            if seq > horizon:
                break
            found.append(seq)
        return found, found[-1] if len(found) == count else horizon


class Replays:
    """Reads pages of the log."""

    def __init__(self, reading: Connection, tuning: DeliveryTuning) -> None:
        self._tuning = tuning
        self._reading = reading
        self.turns = Turns()
        self._next = trio.StrictFIFOLock()

    @asynccontextmanager
    async def turn(self, user: UserKey) -> AsyncIterator[None]:
        """Wait for the connection, one device of a user after another; within the block pages need no further wait."""
        async with self.turns.of(user), self._next:
            yield

    async def page(
        self,
        ahead: ReadAhead,
        position: Seq,
        upto: Seq,
        ends: Mapping[ChatKey, Seq],
        listed: int,
        users: Mapping[UserKey, replay.Named],
    ) -> ReplayPage:
        """Read the next page, in the user's `turn`.

        Args:
            ahead: the entries read ahead for this device.
            position: the last `seq` that it has.
            upto: the last `seq` of interest.
            ends: the last `seq` of each chat of the user with entries after `position`, and of `CHANGES_CHAT`.
            listed: the `seq` up to which changes of chat lists are known to the device.
            users: users by key, for the names in answers.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        tuning = self._tuning
        seqs, end = await ahead.page(
            self._reading,
            position,
            upto,
            ends,
            listed,
            count=tuning.replay_page_entries,
            least=tuning.replay_read_ahead_entries,
        )
        if not seqs:
            return ReplayPage([], end)
        entries, more = await replay.entries(self._reading, seqs, users)
        return ReplayPage([one for one in entries if changes.is_readable(one)], entries[-1].seq if more else end)

    async def oldest_undelivered(self, user: UserKey, chats: Sequence[tuple[ChatKey, MessageId]]) -> Seq | None:
        """See `replays.oldest_undelivered`."""
        async with self.turn(user):
            return await replay.oldest_undelivered(self._reading, user, chats)

    async def reached(
        self, user: UserKey, chats: Sequence[tuple[ChatKey, MessageId]], after: Seq, upto: Seq
    ) -> Sequence[tuple[ChatKey, MessageId]]:
        """See `replays.reached`."""
        async with self.turn(user):
            return await replay.reached(self._reading, user, chats, after, upto)
