"""Changes of chat lists that live subscribers have not got yet, and when each gets them (PROTOCOL.md, section 4).

A list needs texts from the log, so a subscriber that gets one falls behind and catches up. A subscriber that has just
got a list gets the next one a moment later, with all changes until then.
"""

from collections.abc import Callable

from relay.core.delivery import list_readers
from relay.core.delivery.subscriber import Subscriber
from relay.core.model.state import State
from relay.keys import ChatKey, Seconds, Seq, UserKey
from relay.store.entry import Entry


class ListChanges:
    """The live subscribers that wait for a chat list."""

    def __init__(self, state: State, time: Callable[[], Seconds]) -> None:
        """Begin with nobody waiting.

        Args:
            state: the state, which has each entry before it is noted here.
            time: monotonic seconds.
        """
        self._state = state
        self._time = time
        self._owed: dict[Subscriber, None] = {}

    @property
    def pending(self) -> bool:
        """Whether a subscriber waits for a list from `tick`."""
        return bool(self._owed)

    def forget(self, subscriber: Subscriber) -> None:
        """Forget a subscriber that is gone."""
        self._owed.pop(subscriber, None)

    def note(self, subscriber: Subscriber, entry: Entry, change: list_readers.ListChange) -> None:
        """Note that an entry changed the list of a live subscriber, and let it catch up if it gets the list at once.

        Args:
            subscriber: a live subscriber.
            entry: the entry, of kind CHATS or USER.
            change: what `list_change` reads from it.
        """
        if self.owe(subscriber, entry, change):
            subscriber.fall_behind(entry.seq - 1)

    def owe(self, subscriber: Subscriber, entry: Entry, change: list_readers.ListChange) -> bool:
        """Note that an entry changed a subscriber's list.

        Args:
            subscriber: the subscriber.
            entry: the entry, of kind CHATS or USER.
            change: what `list_change` reads from it.

        Returns:
            Whether it gets the list at once.
        """
        user = subscriber.user
        appears, loss = user in change.appears_for, change.loss if user in change.goes_for else None
        for chat in list_readers.changed_chats(self._state, entry, user):
            subscriber.owe_list(entry.seq, chat, appears=appears, loss=loss)
        if subscriber.list_due(self._time()):
            return True
        self._owed[subscriber] = None
        return False

    def note_count(self, subscriber: Subscriber, seq: Seq, chat: ChatKey) -> None:
        """Note that an entry changed the unread count of a chat, which a subscriber gets with the next list.

        Args:
            subscriber: the subscriber.
            seq: the entry.
            chat: the chat's key.
        """
        subscriber.owe_count(seq, chat)
        self._owed[subscriber] = None

    def tick(self, now: Seconds) -> list[tuple[UserKey, ChatKey]]:
        """Let subscribers get their list that have waited long enough.

        Args:
            now: monotonic seconds.

        Returns:
            Users whose list needs an event id of its own, each with a changed chat (`NO_CHAT` for a name).
        """
        without_id: list[tuple[UserKey, ChatKey]] = []
        seq = self._state.seq
        for subscriber in list(self._owed):
            if not subscriber.owed:
                del self._owed[subscriber]
            elif subscriber.live and subscriber.list_due(now):
                if subscriber.sent < seq:
                    # The list gets the id of the last entry, which was not an event for this subscriber.
                    subscriber.fall_behind(seq)
                else:
                    without_id.append((subscriber.user, next(iter(subscriber.owed))))
        return without_id
