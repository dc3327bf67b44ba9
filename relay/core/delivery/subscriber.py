"""One connection as the hub sees it: its user and device, its place in the log, and its acknowledgements.

No sockets: frames go to an `Outlet`, and a `ClientConnection` catches up or closes.
"""

from typing import Protocol

import msgspec

from relay.core.delivery.replay import ReadAhead
from relay.core.limits.share import Share
from relay.core.rules.visibility import LostChat
from relay.core.tuning import LimitsTuning
from relay.keys import NO_CHAT, ChatKey, DeviceKey, MessageId, Seconds, Seq, UserKey

MAX_UNACKNOWLEDGED = 32_768
"""Maximum events whose acknowledgement is awaited: a client may never acknowledge."""

MAX_OWN_ENTRIES = 4_096
"""Maximum entries of its own that a connection remembers while it is behind; beyond it, all earlier ones of its device
count as its own."""

LIST_SECONDS = 1.0
"""A connection gets its chat list, or changes of it, at most once in this many seconds."""

ALLOWANCE_STEP = 2_048
"""Unacknowledged events that a connection may have without asking for more, and for which it asks at a time."""


class Outlet(Protocol):
    """The way out of a subscriber's frames."""

    @property
    def waiting(self) -> tuple[int, float]:
        """Waiting bytes, and since when the peer has not kept up (trio's time; 0.0 if it does)."""

    def put(self, frame: bytes) -> None:
        """Queue a frame; nothing is sent before `flush`."""

    def offer(self, frame: bytes) -> bool:
        """Queue an event unless too much waits already; return whether it was queued."""

    def flush(self) -> None:
        """Send as many queued frames as possible without waiting."""


class ClientConnection(Protocol):
    """The connection that a subscriber belongs to."""

    def start_catch_up(self) -> None:
        """Start to read missed entries from the log, once the queued frames have gone out."""

    def close(self, code: int, reason: str) -> None:
        """End the connection with a close code (PROTOCOL.md, section 1)."""


class AwaitedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that a device has to acknowledge, and what the acknowledgement means; one object for all recipients."""

    seq: Seq
    chat: ChatKey
    message_id: MessageId
    """The message that it delivers; 0 for none."""
    since: Seq = 0
    """For a chat list: the first change it covers, if that is not `seq`; it is acknowledged too. Else 0."""


class Subscriber:
    """One device's connection."""

    __slots__ = (
        "_allowance",
        "_frozen",
        "_latest",
        "_most_own_entries",
        "_most_unacknowledged",
        "_unacknowledged",
        "ack_pending",
        "acked_up_to",
        "appeared",
        "chats_as_of",
        "connected_seq",
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
        "own_entries",
        "position",
        "sent",
        "share",
        "user",
        "version",
    )

    def __init__(
        self,
        number: int,
        user: UserKey,
        device: DeviceKey,
        outlet: Outlet,
        connection: ClientConnection,
        position: Seq,
        version: int = 1,
        share: Share | None = None,
        *,
        most_unacknowledged: int = MAX_UNACKNOWLEDGED,
        most_own_entries: int = MAX_OWN_ENTRIES,
    ) -> None:
        self.number = number
        # At the second number it asks its user's share for more.
        self._most_unacknowledged, self._allowance = most_unacknowledged, min(most_unacknowledged, ALLOWANCE_STEP)
        self._most_own_entries = most_own_entries
        self.user = user
        self.device = device
        self.outlet = outlet
        self.connection = connection
        self.position = position
        """While it is not live: it needs no entry up to this `seq` any more."""
        self.connected_seq = position
        """The last `seq` when it connected."""
        self.own_entries: set[Seq] = set()
        """Entries that it caused itself while it was not live. The log records devices, but not their connections."""
        self.lookahead = ReadAhead()
        """The entries read ahead for it while it catches up."""
        self.live = False
        """Whether it gets events as they happen; otherwise they are read from the log."""
        self.foreground = True
        self.chats_as_of = 0
        """The last chat list was current as of this `seq`: the client knows older changes."""
        self.version = version
        """The version of the protocol: 2 gets changes of the chat list, 1 the whole list."""
        self.share = share or Share(LimitsTuning())
        """Its user's share, over all their connections."""
        self.sent = position
        """No event sent so far has a `seq` above this one."""
        self.owed: dict[ChatKey, LostChat | None] = {}
        """Chats that changed in the list since it was last sent, each with how it was lost if the last change was a
        loss."""
        self.owed_since = 0
        """The `seq` of the first of these changes."""
        self.appeared: set[ChatKey] = set()
        """Changed chats that the device does not know yet: they are sent before anything else."""
        self.gone: set[ChatKey] = set()
        """Changed chats that the user has left and the device still has."""
        self.listed_at = float("-inf")
        """When the list or its changes were last sent, by the hub's clock."""
        self.listing: list[ChatKey] = []
        """Chats on pages of a list that the client has not asked for yet, in the order of the list."""
        self.listing_after: str | None = None
        """The `after` that requests them."""
        self.ack_pending = False
        """Whether it has acknowledgements that are not applied yet."""
        self.acked_up_to: dict[ChatKey, MessageId] = {}
        """The highest message that these acknowledge, by chat."""
        self._unacknowledged: dict[Seq, AwaitedEvent] = {}
        """Events sent and not acknowledged yet, in the order of `seq`."""
        self._latest = position
        """The highest acknowledged `seq`."""
        self._frozen = False

    @property
    def cursor(self) -> Seq:
        """The highest `seq` up to which nothing is outstanding; entries for other users count as acknowledged.

        Computed on demand, because acknowledgements are much more frequent.
        """
        first = next(iter(self._unacknowledged), None)
        return self._latest if first is None else first - 1

    @property
    def unacknowledged(self) -> int:
        """The number of events sent and not acknowledged yet."""
        return len(self._unacknowledged)

    def event(self, frame: bytes, awaited: AwaitedEvent) -> None:
        """Send a durable event, or fall behind if too much waits already."""
        # This runs once for each member of a group, so it makes only one call to the outlet.
        if self.appeared or not self.outlet.offer(frame):
            self.fall_behind(awaited.seq - 1)
            return
        seq = self.sent = awaited.seq
        if self._frozen or len(self._unacknowledged) >= self._allowance:
            self._await(awaited)
        else:
            self._unacknowledged[seq] = awaited

    def replayed(self, frame: bytes, awaited: AwaitedEvent) -> None:
        """Send a durable event, however much waits already."""
        self.outlet.put(frame)
        self.sent = awaited.seq
        self._await(awaited)

    def _await(self, awaited: AwaitedEvent) -> None:
        unacknowledged = self._unacknowledged
        if len(unacknowledged) >= self._allowance and not self._may_await_more():
            # Too many to track: the cursor stays here for good, and a replay starts from it.
            self._latest = self.cursor
            self._frozen = True
            unacknowledged.clear()
        if not self._frozen:
            unacknowledged[awaited.seq] = awaited

    def _may_await_more(self) -> bool:
        if len(self._unacknowledged) >= self._most_unacknowledged or not self.share.may_await_more:
            return False
        self._allowance = min(self._most_unacknowledged, len(self._unacknowledged) + ALLOWANCE_STEP)
        return True

    def settle_allowance(self) -> int:
        """Give back the unused part of the allowance of unacknowledged events, and return the rest."""
        self._allowance = min(self._most_unacknowledged, max(ALLOWANCE_STEP, len(self._unacknowledged)))
        return self._allowance

    def fall_behind(self, position: Seq) -> None:
        """Stop live events: entries after `position` are read from the log."""
        self.live = False
        self.position = position
        self.connection.start_catch_up()

    def note_own(self, seq: Seq) -> None:
        """Remember an entry of this connection that its replay will meet."""
        if len(self.own_entries) >= self._most_own_entries:
            self.connected_seq = seq
            self.own_entries.clear()
        self.own_entries.add(seq)

    def go_live(self, position: Seq) -> None:
        """Begin live events: everything up to `position` was replayed."""
        self.position = position
        self.live = True
        self.own_entries.clear()

    def acknowledge(self, seq: Seq) -> AwaitedEvent | None:
        """Take an acknowledgement; return the event that it is for, None if none is awaited."""
        awaited = self._unacknowledged.pop(seq, None)
        if awaited is not None and awaited.since:
            self._unacknowledged.pop(awaited.since, None)
        if awaited is not None and seq > self._latest:
            self._latest = seq
        return awaited

    # The chat list.

    def owe_list(self, seq: Seq, chat: ChatKey, *, appears: bool, loss: LostChat | None = None) -> None:
        """Note that an entry changed a chat in this user's list, in the order of the log.

        Args:
            seq: the entry's.
            chat: the chat's key.
            appears: whether the chat is new in the list.
            loss: how the chat left the list, if it did.
        """
        if not self.owed or seq < self.owed_since:
            self.owed_since = seq
            # Until the list is sent, acknowledgements of later events must not move the cursor past this entry.
            if not self._frozen:
                self._unacknowledged[seq] = AwaitedEvent(seq, NO_CHAT, 0)
        if appears or loss is not None:
            self.owed[chat] = loss
        else:
            self.owed.setdefault(chat, None)
        if loss is not None and chat in self.appeared:
            self.appeared.discard(chat)
        elif loss is not None:
            self.gone.add(chat)
        if appears and chat in self.gone:
            self.gone.discard(chat)
        elif appears:
            self.appeared.add(chat)

    def owe_count(self, seq: Seq, chat: ChatKey) -> None:
        """Note that an entry changed the unread count of a chat, also while entries before it are still replayed.

        Args:
            seq: the entry's.
            chat: the chat's key.
        """
        if self.live:
            self.owe_list(seq, chat, appears=False)
            return
        # Replayed entries have lower ids: if this entry were awaited before them, it would move the cursor past all of
        # them.
        if not self.owed:
            self.owed_since = seq
        self.owed.setdefault(chat, None)

    def list_due(self, now: Seconds) -> bool:
        """Return whether the list has changes to send and the last ones were sent long enough ago."""
        return bool(self.owed) and now - self.listed_at >= LIST_SECONDS

    def list_fits(self, now: Seconds) -> bool:
        """Return whether to send the list as the event `position`: no event has that id or a later one."""
        return self.sent < self.position >= self.owed_since and (bool(self.appeared) or self.list_due(now))

    def begin_list(self, as_of: int, now: Seconds) -> tuple[dict[ChatKey, LostChat | None], Seq]:
        """Count the list as sent.

        Args:
            as_of: the `seq` at which it was current.
            now: monotonic seconds.

        Returns:
            The chats that it covers, each with how it was lost (see `owed`), and the `seq` of the first change.
        """
        chats, since = self.owed, self.owed_since
        self.owed = {}
        self.appeared.clear()
        self.gone.clear()
        self.owed_since = 0
        self.listed_at = now
        if self.version == 1:
            self.chats_as_of = as_of
        return chats, since
