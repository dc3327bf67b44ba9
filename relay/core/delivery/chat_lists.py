"""Chat lists, encoded: whole (version 1), in pages, or one change (version 2) (PROTOCOL.md, sections 4 and 10).

One list is made at a time, a few chats per turn, so that a change in a large group does not stall the relay while all
its members fetch their lists.
"""

from collections.abc import Mapping, Sequence

import msgspec
import trio

from relay.core.delivery import chat_views
from relay.core.delivery.presence import Presence
from relay.core.delivery.subscriber import Subscriber
from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.rules.visibility import LostChat
from relay.core.tuning import DeliveryTuning
from relay.keys import ChatKey, UnixMs, UserKey
from relay.protocol import codec, events
from relay.protocol.base import Encodable
from relay.protocol.errors import RelayError
from relay.store.queries import history
from relay.store.sqlite.database import Connection

SLICE_CHATS = 16
"""Chats of a list that are encoded before other tasks get a turn."""
MAX_CHANGES = 256
"""Maximum changed chats that are named one by one; beyond it the client gets `chatsStale` and fetches the list
again."""
CONCURRENT_LISTS = 1
"""Chat lists that are made at a time."""


class ChatLists:
    """Makes the chat lists of all users."""

    def __init__(self, state: State, reading: Connection, presence: Presence, tuning: DeliveryTuning) -> None:
        self._state = state
        self._reading = reading
        self._presence = presence
        self._tuning = tuning
        self.concurrent = trio.CapacityLimiter(CONCURRENT_LISTS)

    async def whole(self, user: UserKey) -> msgspec.Raw:
        """Encode a user's whole chat list."""
        lines, _ = await self._lines(user, chat_views.listed(self._state, user))
        return msgspec.Raw(b"[" + b",".join(lines) + b"]")

    async def page(self, subscriber: Subscriber, after: str | None) -> codec.Page:
        """Encode a page of a user's chat list.

        The order of the first page holds for all pages: new messages would move chats from one page to another.

        Args:
            subscriber: the connection that asks.
            after: the `next` of the page before; None for the first page.

        Raises:
            RelayError: `after` is not a valid cursor.
        """
        state, user = self._state, subscriber.user
        chats = chat_views.listed(state, user)
        if after is not None and after == subscriber.listing_after:
            present: dict[ChatKey, tuple[Chat, Member]] = {chat.key: (chat, member) for chat, member in chats}
            chats = [present[key] for key in subscriber.listing if key in present]
        elif after is not None:
            # The cursor is from an earlier connection, or was used before: go by the chats' present positions.
            last = _parse_place(after)
            chats = [one for one in chats if chat_views.list_position(one[0]) < last]
        most = self._tuning.list_page_chats
        places = [chat_views.list_position(chat) for chat, _ in chats[:most]]
        lines, shown = await self._lines(user, chats[:most], self._tuning.list_page_bytes)
        payload = msgspec.Raw(b"[" + b",".join(lines) + b"]")
        if shown == len(chats):
            return codec.Page(payload, None)
        at, key = places[shown - 1]
        subscriber.listing_after = f"{at:x}.{key:x}"
        subscriber.listing = [chat.key for chat, _ in chats[shown:]]
        return codec.Page(payload, subscriber.listing_after)

    async def changes(
        self, user: UserKey, changed: Mapping[ChatKey, LostChat | None] | None
    ) -> list[tuple[str, Encodable]]:
        """Make the version 2 events that describe how chats changed in a user's list.

        Args:
            user: the owner of the list.
            changed: the chats, each with the way it was lost (None: not lost, or unknown); None if it is unknown which
                ones changed.

        Returns:
            Event types and payloads, at least one.
        """
        state = self._state
        if changed is None or len(changed) > MAX_CHANGES:
            return [("chatsStale", events.ChatsStale())]
        present: dict[ChatKey, tuple[Chat, Member]] = {chat.key: (chat, member) for chat, member in state.listed(user)}
        lines, _ = await self._lines(user, [present[key] for key in changed if key in present])
        made: list[tuple[str, Encodable]] = [("chat", {"item": msgspec.Raw(line)}) for line in lines]
        made += [
            ("chatGone", chat_views.gone(state, user, state.chats[key], loss))
            for key, loss in changed.items()
            if key in state.chats and key not in present
        ]
        return made or [("chatsStale", events.ChatsStale())]

    async def _lines(
        self, user: UserKey, chats: Sequence[tuple[Chat, Member]], most: int | None = None
    ) -> tuple[list[bytes], int]:
        """Encode lines of a chat list, a few at a time.

        Args:
            user: the owner of the list.
            chats: the chats to encode.
            most: bytes after which to stop, once there is one line.

        Returns:
            The lines, and the number of chats that they cover.
        """
        state, presence = self._state, self._presence
        lines: list[bytes] = []
        size = 0

        def is_member(chat: Chat, member: Member) -> bool:
            """Return whether the user is still in a chat: they may have been removed during a wait."""
            return state.members[chat.key].get(user) is member

        async with self.concurrent:
            wanted = chat_views.wanted_texts(state, user, [one for one in chats if is_member(*one)])
            texts = await history.chat_texts(self._reading, user, wanted)
            for count, (chat, member) in enumerate(chats):
                if count % SLICE_CHATS == SLICE_CHATS - 1:
                    # Charge without waiting: a wait here would delay everybody's lists.
                    await trio.lowlevel.checkpoint()
                if not is_member(chat, member):
                    continue
                line = codec.encode(chat_views.list_item(state, user, chat, member, texts.get(chat.key), presence))
                if most is not None and lines and size + len(line) > most:
                    return lines, count
                lines.append(line)
                size += len(line) + 1
        return lines, len(chats)


def _parse_place(after: str) -> tuple[UnixMs, ChatKey]:
    """Parse the cursor of a page of the chat list.

    Raises:
        RelayError: it is not a valid cursor.
    """
    at, _, key = after.partition(".")
    try:
        return int(at, 16), ChatKey(int(key, 16))
    except ValueError:
        raise RelayError.bad_field("payload.after", "the `next` of the page before is expected") from None
