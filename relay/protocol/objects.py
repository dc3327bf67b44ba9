"""The objects in events and responses: PROTOCOL.md, section 8."""

from typing import Annotated, Literal

import msgspec

from relay.protocol.base import (
    FILENAME_CHARACTERS,
    MAX_SAFE_INTEGER,
    ClientMessageId,
    Id,
    MessageId,
    Name,
    Text,
    Timestamp,
    Url,
    Users,
    Wire,
)
from relay.unicode import addresses

ChatType = Literal["dialog", "group", "channel", "favorites", "ai"]
MessageStatus = Literal["read", "unread", "undelivered", "deleted"]
MessageKind = Literal["new", "edit", "delete"]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""Bytes, or pixels of one side of a picture."""


FILES_PATH = "/files/"
"""The path of files; an address that begins with it names a file of this relay."""


class AttachmentMeta(Wire, frozen=True, kw_only=True):
    """The properties of an attachment, depending on its type."""

    extension: str | None = None
    mimetype: str | None = None
    width: Size | None = None
    height: Size | None = None
    duration: float | None = None
    size: Size


class Attachment(Wire, frozen=True, kw_only=True):
    """A file, image or video of a message."""

    type: Literal["file", "image", "video"]
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=FILENAME_CHARACTERS)]
    url: Url
    meta: AttachmentMeta

    @property
    def is_here(self) -> bool:
        """Whether its URL names a file of this relay."""
        return self.url.startswith(FILES_PATH)

    @property
    def is_elsewhere(self) -> bool:
        """Whether its URL is an absolute http(s) address: the relay only passes it on."""
        return addresses.parse(self.url) is not None


MAX_ATTACHMENTS = 32
"""Attachments that a message may have."""
Attachments = Annotated[list[Attachment], msgspec.Meta(max_length=MAX_ATTACHMENTS)]


class ReplyTo(Wire, frozen=True, kw_only=True):
    """The message that a reply refers to, in its current version: a deleted one has no text."""

    message_id: MessageId
    client_message_id: ClientMessageId
    message: str | None = None
    sender: Id
    created_at: Timestamp


class Original(Wire, frozen=True, kw_only=True):
    """The message that an edit or deletion changes."""

    original_message_id: MessageId


class Delivering(Wire, frozen=True, kw_only=True):
    """When a member of a group received and read a message."""

    user_id: Id
    dlvrd: Timestamp | None = None
    read: Timestamp | None = None


class Message(Wire, frozen=True, kw_only=True):
    """A message of the history, with its latest text."""

    message_id: MessageId
    client_message_id: ClientMessageId
    chat_id: Id | None = None
    sender: Id
    message: str | None = None
    attachments: Attachments | None = None
    reply_to: ReplyTo | None = None
    forwarded: str | None = None
    status: MessageStatus
    type: MessageKind
    payload: Original | None = None
    created_at: Timestamp
    updated_at: Timestamp | None = None
    deleted_at: Timestamp | None = None
    delivering: list[Delivering] | None = None


class Profile(Wire, frozen=True, kw_only=True):
    """A user as others see them. `bot` marks a program."""

    id: Id
    name: str
    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    avatar_url: str | None = None
    verified: bool | None = None
    last_seen: Timestamp | None = None
    bot: bool | None = None


class ChatMeta(Wire, frozen=True, kw_only=True):
    """The properties that depend on the type of a chat: a dialog has the other user, a group its members."""

    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    verified: bool | None = None
    last_seen: Timestamp | None = None
    owner: Id | None = None
    admins: list[Id] | None = None
    participants: list[Profile] | None = None
    created_at: Timestamp | None = None


class ChatDetails(Wire, frozen=True, kw_only=True):
    """A chat with all its details, as one member sees it."""

    chat_id: Id
    type: ChatType
    name: str
    photo_url: str | None = None
    last_message_id: int | None = None
    missed: int
    first_missed: ClientMessageId | None = None
    meta: ChatMeta


class ChatListItem(Wire, frozen=True, kw_only=True):
    """An item of the chat list, as one member sees it."""

    type: ChatType
    id: Id
    name: str
    photo_url: str | None = None
    last_message_text: str
    last_message_time: Timestamp
    last_message_author: Id | None = None
    last_message_status: MessageStatus
    last_message_id: int
    missed: int | None = None
    first_missed: ClientMessageId | None = None
    verified: bool | None = None
    is_mine: bool
    last_seen: Timestamp | None = None


__all__ = [
    "FILES_PATH",
    "Attachment",
    "AttachmentMeta",
    "Attachments",
    "ChatDetails",
    "ChatListItem",
    "ChatMeta",
    "ChatType",
    "Delivering",
    "Message",
    "MessageKind",
    "MessageStatus",
    "Name",
    "Original",
    "Profile",
    "ReplyTo",
    "Text",
    "Users",
]
