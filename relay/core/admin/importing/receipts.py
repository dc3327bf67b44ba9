"""Read receipts of an import: imported messages count as read for members without other unread messages in the chat.

A receipt covers everything before it, so it must not reach a message sent here during the import.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence

from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import commands
from relay.keys import NO_CHAT, NO_DEVICE, ChatKey, MessageId, UserKey
from relay.outcomes import Imported
from relay.protocol.errors import RelayError
from relay.protocol.requests import Nothing
from relay.store.command import Command

AppendCommands = Callable[[Sequence[Command]], Awaitable[object]]
"""Appends commands to the log and waits until they are on disk."""
BATCH_RECEIPTS = 256
"""Receipts appended together."""


class ImportReceipts:
    """Read positions in the chats of an import that is under way."""

    def __init__(self, state: State, append: AppendCommands) -> None:
        self._state = state
        self._append = append
        self._progress: dict[ChatKey, ChatProgress] = {}

    async def begin(self, chats: Iterable[ChatKey]) -> None:
        """Note the unread messages of chats before messages are imported into them."""
        for key in chats:
            chat = self._state.chats.get(key)
            if chat is None:
                continue
            progress = self._progress.get(key)
            if progress is not None and progress.last != chat.last_message_id:
                # A user has written since: that message must stay unread.
                await self._mark_read(key, progress)
                progress = None
            if progress is None:
                self._progress[key] = self._begin(chat)

    def _begin(self, chat: Chat) -> "ChatProgress":
        progress = ChatProgress(chat.last_message_id)
        for user, member in self._state.members[chat.key].items():
            unread = self._state.missed(chat, user)
            if unread:
                progress.behind[user] = (unread, max(member.read_upto, member.joined))
            else:
                progress.caught_up.append(user)
        return progress

    def note(self, command: Command, answer: Imported | Nothing | RelayError) -> None:
        """Note the outcome of an imported message, edit or deletion."""
        progress = self._progress.get(getattr(command.request, "chat", NO_CHAT))
        if progress is None or not isinstance(answer, Imported):
            return
        if answer.added:
            # A message sent here meanwhile breaks the sequence of ids.
            if answer.message_id == progress.last + 1:
                progress.last = answer.message_id
        elif progress.behind and answer.counted and answer.message_id <= progress.first:
            progress.repeated.setdefault(command.user, set()).add(answer.message_id)

    async def end(self) -> list[ChatKey]:
        """Append the receipts of all chats.

        Returns:
            The keys of these chats.
        """
        chats, self._progress = self._progress, {}
        for key, progress in chats.items():
            await self._mark_read(key, progress)
        return list(chats)

    async def _mark_read(self, key: ChatKey, progress: "ChatProgress") -> None:
        members = self._state.members.get(key, {})
        mark = commands.MarkRead(key, progress.last)
        readers = [user for user in progress.readers() if user in members] if progress.last else []
        for start in range(0, len(readers), BATCH_RECEIPTS):
            at = self._state.at
            batch = [
                Command(at, user, NO_DEVICE, mark, importer=True) for user in readers[start : start + BATCH_RECEIPTS]
            ]
            await self._append(batch)


class ChatProgress:
    """A chat of the import: the members whose only unread messages come from this import."""

    def __init__(self, last: MessageId) -> None:
        self.first = last
        """The chat's last message id when the import came to it."""
        self.last = last
        """The id up to which everything after `first` is imported."""
        self.caught_up: list[UserKey] = []
        """Members who had nothing unread."""
        self.behind: dict[UserKey, tuple[int, MessageId]] = {}
        """For each other member, how many messages were unread, and after which message id."""
        self.repeated: dict[UserKey, set[MessageId]] = {}
        """By author, the ids of messages that an earlier attempt of the import had brought."""

    def readers(self) -> list[UserKey]:
        """List the members for whom the import may mark its messages as read."""
        everybody = sorted(message_id for ids in self.repeated.values() for message_id in ids)
        caught_up = list(self.caught_up)
        for user, (unread, after) in self.behind.items():
            own = sum(message_id > after for message_id in self.repeated.get(user, ()))
            if len(everybody) - bisect_right(everybody, after) - own == unread:
                # All unread messages came with an earlier attempt of this import.
                caught_up.append(user)
        return caught_up
