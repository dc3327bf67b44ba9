"""What one user holds of the relay at a time, over all their connections: bytes, unfinished messages, a turn to read.

A limit of one connection is no limit of one user, who may have many. In memory only; knows no sockets.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

WAITING_BYTES = 4 * 2**20
"""Bytes that may wait for one user in all outboxes before more of their requests are taken up."""
PIECES_BYTES = 2 * 2**20
"""Bytes of unfinished messages that one user's connections may hold together."""
COMMANDS_PER_BATCH = 64
"""Commands of one user's that go into one batch of the log's writer, about: others wait until a batch is decided."""
LOOKED_UP_WEIGHT = 8
"""What a command counts as for which the writer first looks something up in the log."""
ALL_PIECES_BYTES = 32 * 2**20
"""The same for everybody's connections: beyond it, who holds most has to let go."""


class Holder(Protocol):
    """A connection that holds something."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in its outbox."""

    def abort(self) -> None:
        """End, since it holds too much of an unfinished message."""


class Share:
    """What one user holds; there as long as one of their connections is."""

    def __init__(self) -> None:
        self.turn = trio.Lock()
        """Held while something is read for this user: one reads at a time, so that others wait for one at most."""
        self.changing = trio.Lock()
        """Held while a request of this user is under way that keeps the writer by itself."""
        self.listing = trio.Lock()
        """Held while a chat list is made as an event for this user: one at a time, however many devices wait."""
        self.holders: set[Holder] = set()
        self.pieces: Counter[Holder] = Counter()
        """Bytes of unfinished messages, by connection."""
        self.pieces_bytes = 0
        self.batch = 0
        self.commands = 0
        """Commands that were appended for the writer's batch of that number."""
        self._progress: trio.Event | None = None

    @property
    def crowded(self) -> bool:
        """Whether too much waits for this user."""
        return sum(holder.waiting_bytes for holder in self.holders) >= WAITING_BYTES

    def note_progress(self) -> None:
        """Something that waited has gone out, or was given up."""
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    async def room(self) -> None:
        """Wait until not too much waits any more."""
        while self.crowded:
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()


class Shares:
    """The shares of all who are connected."""

    def __init__(self) -> None:
        self._shares: dict[int, Share] = {}
        self.pieces_bytes = 0
        """Bytes of everybody's unfinished messages."""

    def __len__(self) -> int:
        return len(self._shares)

    @contextmanager
    def of(self, user: int, holder: Holder) -> Iterator[Share]:
        """Give a user's share to one of their connections, until it ends."""
        share = self._shares.setdefault(user, Share())
        share.holders.add(holder)
        try:
            yield share
        finally:
            self.hold(share, holder, 0)
            share.holders.discard(holder)
            share.note_progress()
            if not share.holders:
                del self._shares[user]

    def hold(self, share: Share, holder: Holder, size: int) -> None:
        """Note how many bytes of an unfinished message a connection holds; end one where that is too much.

        Where one user's are too many, the connection that holds most of them ends; where everybody's are, that of the
        user who holds most.
        """
        more = size - share.pieces[holder]
        share.pieces_bytes += more
        self.pieces_bytes += more
        if size:
            share.pieces[holder] = size
        else:
            del share.pieces[holder]
        if more <= 0:
            return
        if self.pieces_bytes > ALL_PIECES_BYTES:
            share = max(self._shares.values(), key=lambda one: one.pieces_bytes)
        elif share.pieces_bytes <= PIECES_BYTES:
            return
        ((largest, _),) = share.pieces.most_common(1)
        self.hold(share, largest, 0)
        largest.abort()
