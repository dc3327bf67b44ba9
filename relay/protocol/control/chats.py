"""The admin requests about groups, channels and hooks."""

from typing import Literal

import msgspec

from relay.outcomes import ChangedChat, Decidable
from relay.protocol.base import ClientMessageId, Id, Name, Text, Timestamp, Url, Users, Wire
from relay.protocol.control.common import NameOrId


class ChatInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A chat as an admin sees it: its members and the number of messages, but no texts."""

    id: str
    type: str
    name: str
    owner: str
    admins: list[str]
    participants: list[str]
    messages: int
    created_at: Timestamp
    last_message_time: Timestamp | None = None


class MakeChat(Wire, Decidable[ChangedChat], frozen=True, kw_only=True):
    """`relay chat create`."""

    type: Literal["group", "channel"] = "group"
    name: Name
    owner: Id
    participants: Users = msgspec.field(default_factory=list)
    admins: Users = msgspec.field(default_factory=list)


class OneChat(Wire, frozen=True, kw_only=True):
    """A request that names a group or channel."""

    id: NameOrId


class ChatUsers(Wire, frozen=True, kw_only=True):
    """`relay chat add` and `relay chat remove`."""

    id: NameOrId
    participants: Users


class UpdateGroup(Wire, frozen=True, kw_only=True):
    """`relay chat rename` and `relay chat admins`."""

    id: NameOrId
    name: Name | None = None
    admins: Users | None = None
    """All admins besides the owner."""


class Say(Wire, frozen=True, kw_only=True):
    """`relay send`: a message of a user, sent from the machine itself."""

    user_id: Id
    chat_id: NameOrId
    message: Text
    client_message_id: ClientMessageId


class AddHook(Wire, frozen=True, kw_only=True):
    """`relay hook add`: for a group, by id or name, or for a user. Without `url` the hook is incoming."""

    chat: NameOrId
    name: Name = "Hook"
    user_id: Id | None = None
    add: bool = False
    """Whether to add the user to the chat, and to make them an admin of a channel, if necessary."""
    url: Url | None = None


class RemoveHook(Wire, frozen=True, kw_only=True):
    """`relay hook remove`."""

    device_id: int


class HookInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A hook as an admin sees it."""

    device_id: int
    user_id: str
    name: str
    """The name of the user it acts as, which people see as the sender."""
    chat: str
    url: str | None = None
    """The URL to which events are posted; for a new incoming hook its own URL, which is shown only once."""
    secret: str | None = None
    """The key that signs the events; only for a new hook."""
    direction: Literal["in", "out"]
    created_at: Timestamp
    problem: str | None = None
    """Why the hook does not work at the moment."""
