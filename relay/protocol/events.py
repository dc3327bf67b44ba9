"""The payloads of the events: those of the relay (PROTOCOL.md, section 4) and those of a client (section 5)."""

from relay.protocol.base import ClientMessageId, Id, MessageId, Timestamp, Wire
from relay.protocol.objects import Attachments, ChatListItem, MessageStatus, ReplyTo


class New(Wire, frozen=True, kw_only=True):
    """A message was sent. `missed` counts the recipient's unread ones, this one included."""

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


class Edit(Wire, frozen=True, kw_only=True):
    """A message was edited: `message_id` is the edit's own, `original_message_id` what it changes."""

    chat_id: Id
    message_id: MessageId
    original_message_id: MessageId
    client_message_id: ClientMessageId
    message: str | None = None
    attachments: Attachments | None = None
    timestamp: Timestamp


class Delete(Wire, frozen=True, kw_only=True):
    """A message was deleted: `message_id` is the deletion's own."""

    chat_id: Id
    message_id: MessageId
    original_message_id: MessageId


class Delivered(Wire, frozen=True, kw_only=True):
    """Somebody's devices got the recipient's messages up to this one."""

    chat_id: Id
    user_id: Id
    message_id: MessageId
    client_message_id: ClientMessageId
    timestamp: Timestamp


class Read(Wire, frozen=True, kw_only=True):
    """Somebody read the recipient's messages up to this one; a reader's own devices get `missed` too."""

    chat_id: Id
    user_id: Id
    message_id: MessageId
    client_message_id: ClientMessageId
    timestamp: Timestamp
    missed: int | None = None


class Online(Wire, frozen=True, kw_only=True):
    """A user who shares a chat with the recipient has a device connected."""

    user_id: Id


class Offline(Wire, frozen=True, kw_only=True):
    """The last device of a user who shares a chat with the recipient went away."""

    user_id: Id


class Typing(Wire, frozen=True, kw_only=True):
    """A user is typing, or has stopped."""

    user_id: Id
    chat_id: Id | None = None
    stop: bool | None = None


class ChatChanged(Wire, frozen=True, kw_only=True):
    """Version 2: a chat appeared in the recipient's list or changed there."""

    item: ChatListItem


class ChatGone(Wire, frozen=True, kw_only=True):
    """Version 2: a chat is in the recipient's list no more."""

    chat_id: Id


class ChatsStale(Wire, frozen=True, kw_only=True):
    """Version 2: more changed than is told one by one: the recipient asks for its list again."""


class DeviceSignedIn(Wire, frozen=True, kw_only=True):
    """Version 2: another device of the recipient may sign in from now on."""

    device_id: int
    label: str
    timestamp: Timestamp


ChatList = list[ChatListItem]
"""The payload of `chats`: the recipient's whole list, the latest first."""


class ClientTyping(Wire, frozen=True, kw_only=True):
    """A client's own `typing`."""

    chat_id: Id
    stop: bool | None = None


class ClientOffline(Wire, frozen=True, kw_only=True):
    """This device goes to the background."""


SERVER_EVENTS: dict[str, type] = {
    "new": New,
    "chats": ChatList,
    "edit": Edit,
    "delete": Delete,
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
"""Payload type by `eventType`."""

DURABLE_EVENTS = frozenset({"new", "chats", "edit", "delete", "dlvrd", "read", "chat", "chatGone", "chatsStale"})
"""Those that carry an id, are acknowledged and replayed (section 4)."""

VERSION_2 = frozenset({"chat", "chatGone", "chatsStale", "device"})
"""Those that only a device is told which speaks version 2; all but `device` take the place of `chats`."""

CLIENT_EVENTS: dict[str, type[Wire]] = {"typing": ClientTyping, "offline": ClientOffline}
"""Payload type by `eventType` of what a client may say unasked."""
