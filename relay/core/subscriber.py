"""One connection as the hub sees it: whose it is, how far along the log it is, what it has acknowledged.

No sockets: where frames go is an `Outlet`, whose it is a `Connection`.
"""

from typing import Protocol

import msgspec

from relay.core.replaying import Ahead

UNACKNOWLEDGED = 32_768
"""Events whose acknowledgement is awaited; a client that never acknowledges costs no more than these."""


class Outlet(Protocol):
    """Where a subscriber's frames go."""

    @property
    def full(self) -> bool:
        """Whether it is time to stop putting events in."""

    @property
    def waiting(self) -> tuple[int, float]:
        """How many bytes wait, and since when the peer has not kept up (trio's time, 0.0 where it does)."""

    def put(self, frame: bytes) -> None:
        """Queue a frame; nothing is sent before `flush`."""

    def flush(self) -> None:
        """Send what is queued, as far as that goes without waiting."""


class Connection(Protocol):
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


class Subscriber:
    """One device's connection."""

    __slots__ = (
        "_frozen",
        "_latest",
        "_unacknowledged",
        "arrived",
        "chats_as_of",
        "connection",
        "device",
        "foreground",
        "live",
        "lookahead",
        "number",
        "outlet",
        "position",
        "reached",
        "unsettled",
        "user",
    )

    def __init__(
        self, number: int, user: int, device: int, outlet: Outlet, connection: Connection, position: int
    ) -> None:
        self.number = number
        self.user = user
        self.device = device
        self.outlet = outlet
        self.connection = connection
        self.position = position
        """While it is not live: the last `seq` that was looked at for it."""
        self.arrived = position
        """The last `seq` before it was here."""
        self.lookahead = Ahead()
        """What was read ahead of the log for it, while it catches up."""
        self.live = False
        """Whether events come as they happen; else they are read from the log."""
        self.foreground = True
        self.chats_as_of = 0
        """The `seq` that the last chat list sent was true at: older changes to it need no telling."""
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
        if self.outlet.full:
            self.fall_behind(receipt.seq - 1)
        else:
            self.replayed(frame, receipt)

    def replayed(self, frame: bytes, receipt: Receipt) -> None:
        """Send a durable event, whatever waits already."""
        self.outlet.put(frame)
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

    def acknowledge(self, seq: int) -> Receipt | None:
        """Take an acknowledgement; give what it is the receipt of, None where nothing waits for it."""
        receipt = self._unacknowledged.pop(seq, None)
        if receipt is not None and seq > self._latest:
            self._latest = seq
        return receipt
