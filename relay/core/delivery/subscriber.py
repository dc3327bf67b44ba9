"""One connection as the hub sees it: whose it is, how far along the log it is, what it has acknowledged.

No sockets: where frames go is an `Outlet`, whose it is a `ClientConnection`.
"""

from typing import Protocol

import msgspec

from relay.core.delivery.replay import ReadAhead
from relay.core.limits.share import Share
from relay.keys import UserKey

UNACKNOWLEDGED = 32_768
"""Events whose acknowledgement is awaited; a client that never acknowledges costs no more than these."""

SAID = 4_096
"""Entries that a connection knows for its own while it is behind; beyond them it takes those of its device for them."""

LIST_PACE = 1.0
"""Seconds within which one connection is sent its chat list, or changes of it, once."""


class Outlet(Protocol):
    """Where a subscriber's frames go."""

    @property
    def waiting(self) -> tuple[int, float]:
        """How many bytes wait, and since when the peer has not kept up (trio's time, 0.0 where it does)."""

    def put(self, frame: bytes) -> None:
        """Queue a frame; nothing is sent before `flush`."""

    def offer(self, frame: bytes) -> bool:
        """Queue an event, unless too much waits already; tells whether it did."""

    def flush(self) -> None:
        """Send what is queued, as far as that goes without waiting."""


class ClientConnection(Protocol):
    """What a subscriber hangs on."""

    def behind(self) -> None:
        """Have what was missed read from the log, once what is queued has gone out."""

    def close(self, code: int, reason: str) -> None:
        """End the connection with a close code (PROTOCOL.md, section 1)."""


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What the acknowledgement of an event says; one for all who get it."""

    seq: int
    chat: int
    message_id: int
    """The message that counts as delivered then, 0 for none."""
    since: int = 0
    """Of a chat list: the first change it stands for, where that is not `seq`; acknowledged with it."""


class Subscriber:
    """One device's connection."""

    __slots__ = (
        "_frozen",
        "_latest",
        "_unacknowledged",
        "appeared",
        "arrived",
        "chats_as_of",
        "connection",
        "device",
        "foreground",
        "gone",
        "listed_at",
        "listing",
        "listing_after",
        "live",
        "lookahead",
        "number",
        "outlet",
        "owed",
        "owed_since",
        "position",
        "reached",
        "said",
        "sent",
        "share",
        "unsettled",
        "user",
        "version",
    )

    def __init__(
        self,
        number: int,
        user: int,
        device: int,
        outlet: Outlet,
        connection: ClientConnection,
        position: int,
        version: int = 1,
        share: Share | None = None,
    ) -> None:
        self.number = number
        self.user = UserKey(user)
        self.device = device
        self.outlet = outlet
        self.connection = connection
        self.position = position
        """While it is not live: the last `seq` that was looked at for it."""
        self.arrived = position
        """The last `seq` before it was here."""
        self.said: set[int] = set()
        """What it did itself while it was not live: the log tells devices apart, but not their connections."""
        self.lookahead = ReadAhead()
        """What was read ahead of the log for it, while it catches up."""
        self.live = False
        """Whether events come as they happen; else they are read from the log."""
        self.foreground = True
        self.chats_as_of = 0
        """The `seq` that the last chat list sent was true at: older changes to it need no telling."""
        self.version = version
        """Of the protocol: 2 is told which chats changed, 1 the whole list."""
        self.share = share or Share()
        """What its user holds over all their connections."""
        self.sent = position
        """The highest `seq` that was sent as an event, at least."""
        self.owed: dict[int, None] = {}
        """The chats that changed in the list since it was last sent."""
        self.owed_since = 0
        """The `seq` of the first of these changes."""
        self.appeared: set[int] = set()
        """Those of them that the device has not heard of: it does so before anything else is sent."""
        self.gone: set[int] = set()
        """Those of them that it thinks it has still."""
        self.listed_at = float("-inf")
        """When the list or changes of it were last sent."""
        self.listing: list[int] = []
        """The chats of a list that is asked for in pages which are still to come, in its order."""
        self.listing_after: str | None = None
        """What asks for them."""
        self.unsettled = False
        """Whether there were acknowledgements since `Service.settle` last saw to what they come to."""
        self.reached: dict[int, int] = {}
        """Of each chat the highest message that was acknowledged since then."""
        self._unacknowledged: dict[int, Receipt] = {}
        """By `seq`, in its order."""
        self._latest = position
        """The highest `seq` that was acknowledged."""
        self._frozen = False

    @property
    def cursor(self) -> int:
        """The last `seq` up to which all its events are acknowledged; what is no event of this user's counts as such.

        Found when it is asked for, which is once in a moment, and not with each acknowledgement.
        """
        first = next(iter(self._unacknowledged), None)
        return self._latest if first is None else first - 1

    @property
    def ahead(self) -> int:
        """How many events are sent and not acknowledged."""
        return len(self._unacknowledged)

    def event(self, frame: bytes, receipt: Receipt) -> None:
        """Send a durable event, or fall behind where too much waits already."""
        # Once for each member of a group: one call to the outlet, and none while few acknowledgements are awaited.
        if self.appeared or not self.outlet.offer(frame):
            self.fall_behind(receipt.seq - 1)
            return
        seq = self.sent = receipt.seq
        if self._frozen or len(self._unacknowledged) >= UNACKNOWLEDGED:
            self._await(receipt)
        else:
            self._unacknowledged[seq] = receipt

    def replayed(self, frame: bytes, receipt: Receipt) -> None:
        """Send a durable event, whatever waits already."""
        self.outlet.put(frame)
        self.sent = receipt.seq
        self._await(receipt)

    def _await(self, receipt: Receipt) -> None:
        unacknowledged = self._unacknowledged
        if len(unacknowledged) >= UNACKNOWLEDGED:
            # Nobody can say any more what is missing before here: the cursor stays, and a replay starts from it.
            self._latest = self.cursor
            self._frozen = True
            unacknowledged.clear()
        if not self._frozen:
            unacknowledged[receipt.seq] = receipt

    def fall_behind(self, position: int) -> None:
        """Take no more live events: what comes after `position` is read from the log."""
        self.live = False
        self.position = position
        self.connection.behind()

    def note_said(self, seq: int) -> None:
        """Remember that an entry is this connection's own, which is read from the log for it later."""
        if len(self.said) >= SAID:
            self.arrived = seq
            self.said.clear()
        self.said.add(seq)

    def go_live(self, position: int) -> None:
        """Take events as they happen: all up to `position` was looked at."""
        self.position = position
        self.live = True
        self.said.clear()

    def acknowledge(self, seq: int) -> Receipt | None:
        """Take an acknowledgement; give what it is the receipt of, None where nothing waits for it."""
        receipt = self._unacknowledged.pop(seq, None)
        if receipt is not None and receipt.since:
            self._unacknowledged.pop(receipt.since, None)
        if receipt is not None and seq > self._latest:
            self._latest = seq
        return receipt

    # The chat list.

    def owe_list(self, seq: int, chat: int, *, appears: bool, goes: bool) -> None:
        """Note that an entry changed a chat in this user's list, and that it was not told yet."""
        if not self.owed:
            self.owed_since = seq
            # Until it is told, what is acknowledged after it moves no cursor past it.
            if not self._frozen:
                self._unacknowledged[seq] = Receipt(seq, 0, 0)
        self.owed[chat] = None
        if goes and chat in self.appeared:
            self.appeared.discard(chat)
        elif goes:
            self.gone.add(chat)
        if appears and chat in self.gone:
            self.gone.discard(chat)
        elif appears:
            self.appeared.add(chat)

    def list_due(self, now: float) -> bool:
        """Whether changes of the list are owed and the last ones were sent long enough ago."""
        return bool(self.owed) and now - self.listed_at >= LIST_PACE

    def list_fits(self, now: float) -> bool:
        """Whether the list can be sent as the event `position`, and has to: no event has that id or one after it."""
        return self.sent < self.position >= self.owed_since and (bool(self.appeared) or self.list_due(now))

    def begin_list(self, as_of: int, now: float) -> tuple[list[int], int]:
        """Take the list for sent from here on; gives what it has to tell of, and since when that was owed.

        Args:
            as_of: the `seq` that it is true at.
            now: the time.
        """
        chats, since = list(self.owed), self.owed_since
        self.owed.clear()
        self.appeared.clear()
        self.gone.clear()
        self.owed_since = 0
        self.listed_at = now
        if self.version == 1:
            self.chats_as_of = as_of
        return chats, since
