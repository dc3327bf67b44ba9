"""The resources that one user holds at a time, over all their connections: bytes, unfinished messages, locks.

A limit per connection would be useless: a user may have many. In memory only; knows no sockets.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio

from relay.core.tuning import LimitsTuning
from relay.keys import UserKey

COMMANDS_PER_BATCH = 64
"""About how many commands of one user go into one batch of the log's writer: everybody waits until it is decided."""
LOOKED_UP_WEIGHT = 8
"""The number of commands that one counts as if the writer has to look something up in the log."""


class Holder(Protocol):
    """A connection, as its user's share sees it."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait in its outbox."""

    def settle_allowance(self) -> int:
        """Give back the unused part of its allowance of unacknowledged events, and return the rest."""

    def abort(self) -> None:
        """Close: it holds too much of an unfinished message."""


class Share:
    """The resources that one user holds; it lives as long as one of their connections."""

    def __init__(self, tuning: LimitsTuning) -> None:
        self._tuning = tuning
        self.answering = trio.Lock()
        """Held while a request of this user reads: one at a time, so that others wait for one at most."""
        self.changing = trio.Lock()
        """Held while a request of this user occupies the writer alone."""
        self.listing = trio.Lock()
        """Held while a chat list is made as an event for this user: one at a time, however many devices wait."""
        self.holders: set[Holder] = set()
        self.pieces: Counter[Holder] = Counter()
        """Bytes of unfinished messages, by connection."""
        self.pieces_bytes = 0
        self.batch = 0
        self.commands = 0
        """Commands appended to the writer's batch with the number `batch`."""
        self._progress: trio.Event | None = None

    @property
    def crowded(self) -> bool:
        """Whether too many bytes wait for this user."""
        return sum(holder.waiting_bytes for holder in self.holders) >= self._tuning.waiting_bytes

    @property
    def may_await_more(self) -> bool:
        """Whether more events may wait for acknowledgements of this user, over all their connections."""
        return sum(holder.settle_allowance() for holder in self.holders) < self._tuning.unacknowledged_events

    def note_progress(self) -> None:
        """Note that waiting bytes were sent or given up."""
        if self._progress is not None:
            self._progress.set()
            self._progress = None

    async def room(self) -> None:
        """Wait until there is room in the user's outboxes."""
        while self.crowded:
            if self._progress is None:
                self._progress = trio.Event()
            await self._progress.wait()


class Shares:
    """The shares of all connected users."""

    def __init__(self, tuning: LimitsTuning) -> None:
        self._tuning = tuning
        self._shares: dict[UserKey, Share] = {}
        self.pieces_bytes = 0
        """Bytes of everybody's unfinished messages."""

    def __len__(self) -> int:
        return len(self._shares)

    @contextmanager
    def of(self, user: UserKey, holder: Holder) -> Iterator[Share]:
        """Give a connection its user's share, until it ends."""
        share = self._shares.setdefault(user, Share(self._tuning))
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
        """Note how many bytes of an unfinished message a connection holds, and close one if there are too many.

        The connection that holds most is closed: this user's, or if all users together hold too much, that of the user
        who holds most.

        Args:
            share: the user's share.
            holder: the connection.
            size: bytes that it holds now; 0 once the message is whole.
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
        if self.pieces_bytes > self._tuning.all_pieces_bytes:
            share = max(self._shares.values(), key=lambda one: one.pieces_bytes)
        elif share.pieces_bytes <= self._tuning.pieces_bytes or len(share.pieces) == 1:
            # A single message may be as large as `limits.frame_bytes`: if it were closed, the client would only send it
            # again.
            return
        ((largest, _),) = share.pieces.most_common(1)
        self.hold(share, largest, 0)
        largest.abort()
