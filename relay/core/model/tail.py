"""The latest messages of a chat in memory: receipts that come a moment later are decided by them. Plain data."""

from relay.keys import MessageId, UserKey

TAIL_LENGTH = 1_024
"""Messages of one chat: marks come some tenths of a second later, and what they cover should still be here."""
TAIL_MESSAGES = 65_536
"""Messages that all tails together may hold. A number of tails would do less: with one more busy chat than
that, each would be gone before its next mark, and every mark would be looked up in the store."""


class Tail:
    """The latest messages of a chat as marks see them: who wrote them, under which client id."""

    __slots__ = ("messages", "since")

    def __init__(self, since: MessageId) -> None:
        self.messages: dict[MessageId, tuple[UserKey, str]] = {}
        self.since = since
        """Every undeleted message from this id on is in `messages`."""

    def add(self, message_id: MessageId, author: UserKey, client_id: str) -> bool:
        """Take the chat's next message; give whether it is longer by it."""
        messages = self.messages
        messages[message_id] = (author, client_id)
        if len(messages) <= TAIL_LENGTH:
            return True
        self._forget_oldest()
        return False

    def shorten(self) -> int:
        """Forget the older half; gives how many messages that was."""
        half = (len(self.messages) + 1) // 2
        for _ in range(half):
            self._forget_oldest()
        return half

    def _forget_oldest(self) -> None:
        # Not the first of the dictionary: what was taken out before it would be passed over each time.
        oldest = self.since
        while oldest not in self.messages:
            oldest += 1
        del self.messages[oldest]
        self.since = oldest + 1
