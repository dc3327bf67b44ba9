"""The payloads of requests and responses: the table of PROTOCOL.md, section 5."""

from typing import Annotated, Literal

import msgspec

from relay.outcomes import ChangedChat, ChangedUser, Decidable
from relay.protocol.base import ClientMessageId, Id, MessageId, Name, Text, Timestamp, Url, Users, Wire
from relay.protocol.objects import Attachments, ChatDetails, ChatListItem, Message, Profile
from relay.protocol.request_type import AnySocketRequestType, SocketRequestType

MAX_MESSAGE_CHARACTERS = 65_536
"""Maximum characters of a message."""
MAX_PAGE_ITEMS = 500
"""Maximum items of a page."""

Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""The cursor of the next page; opaque to clients."""
Count = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE_ITEMS)]


class Accepted(Wire, frozen=True, kw_only=True):
    """The response to requests that add an entry to a chat: its number and time."""

    message_id: MessageId
    timestamp: Timestamp
    client_message_id: ClientMessageId


class New(Wire, Decidable[Accepted], frozen=True, kw_only=True):
    """Send a message; it must have a text or attachments."""

    chat_id: Id
    client_message_id: ClientMessageId
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_CHARACTERS)] | None = None
    attachments: Attachments | None = None
    reply_to: MessageId | None = None


class Edit(Wire, Decidable[Accepted], frozen=True, kw_only=True):
    """Edit one's own message."""

    chat_id: Id
    original_message_id: MessageId
    message: Annotated[str, msgspec.Meta(max_length=MAX_MESSAGE_CHARACTERS)] | None = None
    attachments: Attachments | None = None
    client_message_id: ClientMessageId | None = None


class Delete(Wire, Decidable[Accepted], frozen=True, kw_only=True):
    """Delete a message; `message_id` is accepted for `original_message_id`."""

    chat_id: Id
    original_message_id: MessageId | None = None
    message_id: MessageId | None = None
    client_message_id: ClientMessageId | None = None


class Mark(Wire, frozen=True, kw_only=True):
    """`dlvrd` and `read`: a receipt up to a message, by default the last one of the chat."""

    chat_id: Id
    message_id: MessageId | None = None


class Messages(Wire, frozen=True, kw_only=True):
    """A page of the history; without ids the latest one."""

    chat_id: Id
    start_id: MessageId | None = None
    end_id: MessageId | None = None
    count: Count = 300


class ChatRequest(Wire, frozen=True, kw_only=True):
    """A request that names a chat only."""

    chat_id: Id


class ChatDetailsRequest(Wire, frozen=True, kw_only=True):
    """Get one chat. `after` is the `next` of a response that did not have all participants."""

    chat_id: Id
    after: Id | None = None


class Nothing(Wire, frozen=True, kw_only=True):
    """An empty object."""


class ChatsRequest(Wire, frozen=True, kw_only=True):
    """Get the chat list. `after` is the `next` of the previous page (version 2 only, which has pages)."""

    after: Annotated[str, msgspec.Meta(max_length=64)] | None = None


class UsersRequest(Wire, frozen=True, kw_only=True):
    """Search the directory of users. `after` is the last id of the previous page, or its `next`."""

    query: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    count: Count = 100
    after: Id | None = None


class Search(Wire, frozen=True, kw_only=True):
    """Search the messages of one's chats, or of one chat. `before` is a time, or the `next` of the previous page."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    chat_id: Id | None = None
    before: Timestamp | Cursor | None = None
    count: Count = 50


class CreateChat(Wire, Decidable[ChangedChat], frozen=True, kw_only=True):
    """Create a group or channel; the user becomes its owner."""

    type: Literal["group", "channel"]
    name: Name
    participants: Users
    photo_url: Url | None = None


class UpdateChat(Wire, Decidable[ChangedChat], frozen=True, kw_only=True):
    """Change the name, the picture or the admins of a group or channel."""

    chat_id: Id
    name: Name | None = None
    photo_url: Url | None = None
    admins: Users | None = None


class Participants(Wire, frozen=True, kw_only=True):
    """`addParticipants` and `removeParticipants`."""

    chat_id: Id
    participants: Users


class ProfileRequest(Wire, Decidable[ChangedUser], frozen=True, kw_only=True):
    """Change one's own profile; without fields only get it."""

    name: Name | None = None
    photo_url: Url | None = None


class Marked(Wire, frozen=True, kw_only=True):
    """The response to `dlvrd` and `read`; without a message if there was nothing to mark."""

    message_id: MessageId | None = None
    timestamp: Timestamp | None = None
    client_message_id: ClientMessageId | None = None
    missed: int | None = None


class RevokeDeviceRequest(Wire, frozen=True, kw_only=True):
    """Revoke one of one's own devices."""

    device_id: int


class Password(Wire, frozen=True, kw_only=True):
    """Set a new password; a user who has one gives it as `old`."""

    old: Annotated[str, msgspec.Meta(max_length=1_024)] | None = None
    new: Annotated[str, msgspec.Meta(max_length=1_024)]
    sign_out_others: bool = False


class PasswordChanged(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The number of other devices that were signed out."""

    signed_out: int


class InviteRequest(Wire, frozen=True, kw_only=True):
    """Make an invite, for a new user unless `user_id` is given. For admins."""

    name: Name | None = None
    user_id: Id | None = None
    chat_id: Id | None = None


class DeviceItem(Wire, frozen=True, kw_only=True):
    """One of one's own devices; `current` marks the one that sent the request."""

    device_id: int
    label: str
    created_at: Timestamp
    last_seen: Timestamp | None = None
    current: bool
    online: bool


class Invitation(Wire, frozen=True, kw_only=True):
    """The link of an invite, which is shown only once. `qr` has rows of modules, 1 for dark, without a quiet zone."""

    url: str
    code: str
    expires_at: Timestamp
    qr: list[str]


NEW = SocketRequestType("new", New, Accepted, repeatable=True)
EDIT = SocketRequestType("edit", Edit, Accepted, repeatable=True)
DELETE = SocketRequestType("delete", Delete, Accepted, repeatable=True)
DLVRD = SocketRequestType("dlvrd", Mark, Marked, repeatable=True)
READ = SocketRequestType("read", Mark, Marked, repeatable=True)
MESSAGES = SocketRequestType("messages", Messages, list[Message], repeatable=True)
CHAT = SocketRequestType("chat", ChatDetailsRequest, ChatDetails, repeatable=True)
CHATS = SocketRequestType("chats", ChatsRequest, list[ChatListItem], repeatable=True)
USERS = SocketRequestType("users", UsersRequest, list[Profile], repeatable=True)
SEARCH = SocketRequestType("search", Search, list[Message], repeatable=True)
CREATE_CHAT = SocketRequestType("createChat", CreateChat, ChatDetails, repeatable=False)
UPDATE_CHAT = SocketRequestType("updateChat", UpdateChat, ChatDetails, repeatable=True)
ADD_PARTICIPANTS = SocketRequestType("addParticipants", Participants, ChatDetails, repeatable=True)
REMOVE_PARTICIPANTS = SocketRequestType("removeParticipants", Participants, ChatDetails, repeatable=True)
LEAVE_CHAT = SocketRequestType("leaveChat", ChatRequest, Nothing, repeatable=False)
DELETE_CHAT = SocketRequestType("deleteChat", ChatRequest, Nothing, repeatable=False)
PROFILE = SocketRequestType("profile", ProfileRequest, Profile, repeatable=True)
DEVICES = SocketRequestType("devices", Nothing, list[DeviceItem], repeatable=True)
REVOKE_DEVICE = SocketRequestType("revokeDevice", RevokeDeviceRequest, Nothing, repeatable=True)
INVITE = SocketRequestType("invite", InviteRequest, Invitation, repeatable=False)
PASSWORD = SocketRequestType("password", Password, PasswordChanged, repeatable=False)

REQUESTS: dict[str, AnySocketRequestType] = {
    kind.name: kind
    for kind in (
        NEW,
        EDIT,
        DELETE,
        DLVRD,
        READ,
        MESSAGES,
        CHAT,
        CHATS,
        USERS,
        SEARCH,
        CREATE_CHAT,
        UPDATE_CHAT,
        ADD_PARTICIPANTS,
        REMOVE_PARTICIPANTS,
        LEAVE_CHAT,
        DELETE_CHAT,
        PROFILE,
        DEVICES,
        REVOKE_DEVICE,
        INVITE,
        PASSWORD,
    )
}
"""The types of every request, by `payloadType`."""

__all__ = ["REQUESTS", "Text"]
