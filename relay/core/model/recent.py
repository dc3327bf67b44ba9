"""The latest entries of the log, in memory: a replay that reaches them goes on live without a gap.

An edit or a deletion also amends the earlier entries it concerns, so that nothing outdated is sent.
"""

from collections import deque
from collections.abc import Collection, Sequence
from itertools import islice

from relay.core.model.amending import amend_entry
from relay.core.model.held import held_bytes
from relay.core.model.state import State
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, MessageId, Seq
from relay.store import kinds
from relay.store.entry import Entry

_DECODED = (kinds.NEW, kinds.EDIT, kinds.DLVRD, kinds.READ)
"""Kinds whose `extra` nothing reads once the entry is made."""


class RecentEntries:
    """The end of the log, up to date with all later edits and deletions."""

    def __init__(self, state: State, tuning: DeliveryTuning) -> None:
        self._state = state
        self._tuning = tuning
        self.entries: deque[Entry] = deque()
        """In the order of the log, without gaps, up to the log's last entry."""
        self._bytes = 0
        """Bytes that they hold: the sum of `Entry.held`."""
        self._changes: deque[tuple[Seq, ChatKey, MessageId]] = deque()
        """The latest edits and deletions: `seq`, chat, and the message that they change."""
        self._changes_complete_after = 0
        """Every edit and deletion after this `seq` is in `_changes`."""

    def add(self, entry: Entry) -> None:
        """Add an entry that is on disk, and drop the oldest if there are too many."""
        entries = self.entries
        if entry.kind in _DECODED:
            # Other fields have the same content: keeping both would take twice the room.
            entry.extra = None
        entry.held = held_bytes(entry)
        entries.append(entry)
        self._bytes += entry.held
        if entry.kind in (kinds.EDIT, kinds.DELETE):
            self._changes.append((entry.seq, entry.chat, entry.target))
            if len(self._changes) > self._tuning.recent_entries:
                self._changes_complete_after = self._changes.popleft()[0]
            for one in entries:
                if one.chat == entry.chat and amend_entry(one, entry):
                    self._bytes -= one.held
                    one.held = held_bytes(one)
                    self._bytes += one.held
        while len(entries) > self._tuning.recent_entries or self._bytes > self._tuning.recent_bytes:
            self._bytes -= entries.popleft().held

    def after(self, seq: Seq) -> list[Entry] | None:
        """Return all entries after `seq`; None if some of them are no longer in memory."""
        entries = self.entries
        if seq >= self._state.seq:
            return []
        if not entries or entries[0].seq > seq + 1:
            return None
        return list(islice(entries, seq + 1 - entries[0].seq, None))

    def refresh(self, entries: Sequence[Entry], since: Seq) -> bool:
        """Amend entries that were read from the log when its last `seq` was `since`.

        The user who changed a message has the answer already: nothing sent afterwards may be older than the change.

        Returns:
            Whether everything after `since` is still in memory; otherwise the entries have to be read again.
        """
        recent = self.entries
        if self._state.seq == since:
            return True
        if not recent or recent[0].seq > since + 1:
            return False
        for change in islice(recent, since + 1 - recent[0].seq, None):
            if change.kind in (kinds.EDIT, kinds.DELETE):
                for one in entries:
                    if one.chat == change.chat:
                        amend_entry(one, change)
        return True

    def changes_since(self, messages: Collection[tuple[ChatKey, MessageId]], since: Seq) -> list[Entry] | None:
        """Return the edits and deletions of these messages after `since`, for an answer that was read before them.

        Args:
            messages: pairs of chat and message id.
            since: the last `seq` when they were read.

        Returns:
            The changes, in their order; None if some are no longer in memory; the answer has to be read again.
        """
        if since >= self._changes_complete_after:
            for seq, chat, target in reversed(self._changes):
                if seq <= since:
                    return []
                if (chat, target) in messages:
                    break
            else:
                return []
        entries = self.after(since)
        if entries is None:
            return None
        changes = [one for one in entries if one.kind in (kinds.EDIT, kinds.DELETE)]
        return [one for one in changes if (one.chat, one.target) in messages]
