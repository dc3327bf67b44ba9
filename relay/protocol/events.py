"""The payloads of events: those of the relay (PROTOCOL.md, section 4) and those of clients (section 5)."""

from typing import Literal

from relay.protocol.base import ClientMessageId, Id, MessageId, Timestamp, Wire
from relay.protocol.objects import Attachments, ChatListItem, MessageStatus, ReplyTo


class NewEvent(Wire, frozen=True, kw_only=True):
    """A message was sent. `missed` counts the unread messages of the recipient in this chat, with this one."""

    chat_id: Id
    sender: Id | None = None
    sender_name: str | None = None
    message_id: MessageId
    client_message_id: ClientMessageId
    message: str | None = None
    attachments: Attachments | None = None
    reply_to: ReplyTo | None = None
    timestamp: Timestamp | None = None
    missed: int
    status: MessageStatus


class EditEvent(Wire, frozen=True, kw_only=True):
    """A message was edited. `message_id` is the number of the edit, `original_message_id` that of the message."""

    chat_id: Id
    message_id: MessageId
    original_message_id: MessageId
    client_message_id: ClientMessageId
    message: str | None = None
    attachments: Attachments | None = None
    timestamp: Timestamp


class DeleteEvent(Wire, frozen=True, kw_only=True):
    """A message was deleted. `message_id` is the number of the deletion."""

    chat_id: Id
    message_id: MessageId
    original_message_id: MessageId


class Delivered(Wire, frozen=True, kw_only=True):
    """A delivery receipt: a user's devices have the recipient's messages up to this one."""

    chat_id: Id
    user_id: Id
    message_id: MessageId
    client_message_id: ClientMessageId
    timestamp: Timestamp


class Read(Wire, frozen=True, kw_only=True):
    """A read receipt: a user has read the recipient's messages up to this one. Their own devices get `missed`, too."""

    chat_id: Id
    user_id: Id
    message_id: MessageId
    client_message_id: ClientMessageId
    timestamp: Timestamp
    missed: int | None = None


class Online(Wire, frozen=True, kw_only=True):
    """A user who shares a chat with the recipient is online."""

    user_id: Id


class Offline(Wire, frozen=True, kw_only=True):
    """A user who shares a chat with the recipient is offline."""

    user_id: Id


class Typing(Wire, frozen=True, kw_only=True):
    """A user is typing, or has stopped."""

    user_id: Id
    chat_id: Id | None = None
    stop: bool | None = None


class ChatChanged(Wire, frozen=True, kw_only=True):
    """Version 2: a chat was added to the recipient's list, or changed."""

    item: ChatListItem


class ChatGone(Wire, frozen=True, kw_only=True):
    """Version 2: a chat was removed from the recipient's list: they left or were removed, or it was deleted.

    `title` is its name at that time; `by` did it. Unknown fields are absent.
    """

    chat_id: Id
    title: str | None = None
    by: Id | None = None
    by_name: str | None = None
    reason: Literal["removed", "left", "deleted"] | None = None


class ChatsStale(Wire, frozen=True, kw_only=True):
    """Version 2: too many chats changed for single events; the recipient should request its list again."""


class DeviceSignedIn(Wire, frozen=True, kw_only=True):
    """Version 2: another device of the recipient has signed in."""

    device_id: int
    label: str
    timestamp: Timestamp


ChatList = list[ChatListItem]
"""The payload of `chats`: the recipient's whole list, the most recent chat first."""


class ClientTyping(Wire, frozen=True, kw_only=True):
    """The client's `typing`: the user types in a chat, or has stopped."""

    chat_id: Id
    stop: bool | None = None


class ClientOffline(Wire, frozen=True, kw_only=True):
    """The device goes to the background."""


ServerPayload = (
    NewEvent
    | ChatList
    | EditEvent
    | DeleteEvent
    | Delivered
    | Read
    | Online
    | Offline
    | Typing
    | ChatChanged
    | ChatGone
    | ChatsStale
    | DeviceSignedIn
)
"""The payload of an event of the relay."""

SERVER_EVENTS: dict[str, type[ServerPayload]] = {
    "new": NewEvent,
    "chats": ChatList,
    "edit": EditEvent,
    "delete": DeleteEvent,
    "dlvrd": Delivered,
    "read": Read,
    "online": Online,
    "offline": Offline,
    "typing": Typing,
    "chat": ChatChanged,
    "chatGone": ChatGone,
    "chatsStale": ChatsStale,
    "device": DeviceSignedIn,
}
"""The payload type of each event of the relay, by `eventType`."""

DURABLE_EVENTS = frozenset({"new", "chats", "edit", "delete", "dlvrd", "read", "chat", "chatGone", "chatsStale"})
"""Events that have an id, are acknowledged and replayed (PROTOCOL.md, section 4)."""

CLIENT_EVENTS: dict[str, type[Wire]] = {"typing": ClientTyping, "offline": ClientOffline}
"""The payload type of each event of a client, by `eventType`."""
