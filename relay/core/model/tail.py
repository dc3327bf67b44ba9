"""The latest messages of a chat, kept in memory to decide the receipts that soon follow. Plain data."""

from sys import getsizeof

from relay.keys import MessageId, UserKey

CHAT_TAIL_MESSAGES = 1_024
"""Messages kept per chat: receipts come some tenths of a second later and should find the messages they cover."""
ALL_TAIL_BYTES = 16 * 2**20
"""Bytes that the messages of all chats together hold: some 70,000 with a client id of usual length. A bound on the
number of tails would be worse: with one busy chat more than that, each tail would be gone before its next receipt, and
every receipt would need a look-up in the store."""
MESSAGE_BYTES = 144
"""Bytes of a message in a tail besides its client id: its id, its place and a pair."""
TAIL_BYTES = 400
"""Bytes of a tail besides its messages, including its place among the tails."""


class Tail:
    """The latest messages of a chat: id, author and client id."""

    __slots__ = ("held", "messages", "since")

    def __init__(self, since: MessageId) -> None:
        self.messages: dict[MessageId, tuple[UserKey, str]] = {}
        self.held = TAIL_BYTES
        """The bytes that all this holds."""
        self.since = since
        """Every undeleted message from this id on is in `messages`."""

    def add(self, message_id: MessageId, author: UserKey, client_id: str, most: int) -> None:
        """Add the chat's next message, and drop the oldest where there is one too many.

        Args:
            message_id: its id, one more than the last.
            author: its author's key.
            client_id: its client id.
            most: messages that the tail may hold.
        """
        messages = self.messages
        messages[message_id] = (author, client_id)
        self.held += MESSAGE_BYTES + getsizeof(client_id)
        if len(messages) > most:
            self._drop_oldest()

    def remove(self, message_id: MessageId) -> None:
        """Remove a message that was deleted, if it is here."""
        message = self.messages.pop(message_id, None)
        if message is not None:
            self.held -= MESSAGE_BYTES + getsizeof(message[1])

    def shorten(self) -> None:
        """Drop the older half."""
        for _ in range((len(self.messages) + 1) // 2):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        # Do not look for the dictionary's first key: that would skip all deleted keys each time.
        oldest = self.since
        while oldest not in self.messages:
            oldest += 1
        self.remove(oldest)
        self.since = oldest + 1
