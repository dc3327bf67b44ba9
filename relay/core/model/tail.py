"""The latest messages of a chat, kept in memory to decide the receipts that soon follow. Plain data."""

from relay.keys import MessageId, UserKey

CHAT_TAIL_MESSAGES = 1_024
"""Messages kept per chat: receipts come some tenths of a second later and should find the messages they cover."""
ALL_TAIL_MESSAGES = 65_536
"""Messages kept of all chats together. A bound on the number of tails would be worse: with one busy chat too many, each
tail would be gone before its next receipt, and every receipt would need a look-up in the store."""


class Tail:
    """The latest messages of a chat: id, author and client id."""

    __slots__ = ("messages", "since")

    def __init__(self, since: MessageId) -> None:
        self.messages: dict[MessageId, tuple[UserKey, str]] = {}
        self.since = since
        """Every undeleted message from this id on is in `messages`."""

    def add(self, message_id: MessageId, author: UserKey, client_id: str, most: int) -> bool:
        """Add the chat's next message.

        Args:
            message_id: its id, one more than the last.
            author: its author's key.
            client_id: its client id.
            most: messages that the tail may hold.

        Returns:
            Whether the tail has grown; otherwise the oldest message was dropped.
        """
        messages = self.messages
        messages[message_id] = (author, client_id)
        if len(messages) <= most:
            return True
        self._drop_oldest()
        return False

    def shorten(self) -> int:
        """Drop the older half, and return how many messages that was."""
        half = (len(self.messages) + 1) // 2
        for _ in range(half):
            self._drop_oldest()
        return half

    def _drop_oldest(self) -> None:
        # Do not look for the dictionary's first key: that would skip all deleted keys each time.
        oldest = self.since
        while oldest not in self.messages:
            oldest += 1
        del self.messages[oldest]
        self.since = oldest + 1
