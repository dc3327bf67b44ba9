"""The objects that events and responses carry: PROTOCOL.md, section 8."""

from typing import Annotated, Literal

import msgspec

from relay.protocol.base import (
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

ChatType = Literal["dialog", "group", "channel", "favorites", "ai"]
MessageStatus = Literal["read", "unread", "undelivered", "deleted"]
MessageKind = Literal["new", "edit", "delete"]
Size = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""Bytes, or pixels of one side of a picture."""


class AttachmentMeta(Wire, frozen=True, kw_only=True):
    """What is known of an attachment's content; which fields are there depends on its type."""

    extension: str | None = None
    mimetype: str | None = None
    width: Size | None = None
    height: Size | None = None
    duration: float | None = None
    size: Size


class Attachment(Wire, frozen=True, kw_only=True):
    """A file, an image or a video that a message holds."""

    type: Literal["file", "image", "video"]
    id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    filename: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    url: Url
    meta: AttachmentMeta

    @property
    def is_elsewhere(self) -> bool:
        """Whether it lies elsewhere, by its address: the relay passes it on as it came."""
        return self.url.startswith(("http://", "https://"))


MAX_ATTACHMENTS = 32
"""Attachments that a message may have."""
Attachments = Annotated[list[Attachment], msgspec.Meta(max_length=MAX_ATTACHMENTS)]


class ReplyTo(Wire, frozen=True, kw_only=True):
    """The message that is answered, as it is now: a deleted one has no text."""

    message_id: MessageId
    client_message_id: ClientMessageId
    message: str | None = None
    sender: Id
    created_at: Timestamp


class Original(Wire, frozen=True, kw_only=True):
    """Which message an edit or a deletion changes."""

    original_message_id: MessageId


class Delivering(Wire, frozen=True, kw_only=True):
    """When one member of a group got and read a message."""

    user_id: Id
    dlvrd: Timestamp | None = None
    read: Timestamp | None = None


class Message(Wire, frozen=True, kw_only=True):
    """A message of a chat's history, with its newest text."""

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
    """A user as other users see them. `bot` marks one that is a program."""

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
    """What is particular to a chat's type: a dialog names the peer, a group its people."""

    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    verified: bool | None = None
    last_seen: Timestamp | None = None
    owner: Id | None = None
    admins: list[Id] | None = None
    participants: list[Profile] | None = None
    created_at: Timestamp | None = None


class Chat(Wire, frozen=True, kw_only=True):
    """One chat in full, as one member sees it."""

    chat_id: Id
    type: ChatType
    name: str
    photo_url: str | None = None
    last_message_id: int | None = None
    missed: int
    first_missed: ClientMessageId | None = None
    meta: ChatMeta


class ChatListItem(Wire, frozen=True, kw_only=True):
    """One line of the chat list, as one member sees it."""

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
    "Attachment",
    "AttachmentMeta",
    "Attachments",
    "Chat",
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
