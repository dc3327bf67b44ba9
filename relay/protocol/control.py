"""What an admin may ask through the control socket: the same envelopes as on the wire, another table.

The command line speaks these; each is one thing an admin does (design.md, "The command line").
"""

from typing import Annotated, Literal

import msgspec

from relay.protocol.base import Id, Name, NewId, Timestamp, Users, Wire
from relay.protocol.requests import RequestType


class UserInfo(Wire, frozen=True, kw_only=True):
    """A user as an admin sees them."""

    id: str
    name: str
    bot: bool
    admin: bool
    disabled: bool
    online: bool
    devices: int
    chats: int
    created_at: Timestamp


class DeviceInfo(Wire, frozen=True, kw_only=True):
    """A device as an admin, or its own user, sees it."""

    device_id: int
    user_id: str
    label: str
    created_at: Timestamp
    revoked_at: Timestamp | None = None
    last_seen: Timestamp | None = None
    online: bool = False


class ChatInfo(Wire, frozen=True, kw_only=True):
    """A chat as an admin sees it: who is in it and how much was said, not what."""

    id: str
    type: str
    name: str
    owner: str
    admins: list[str]
    participants: list[str]
    messages: int
    created_at: Timestamp
    last_message_time: Timestamp | None = None


class Token(Wire, frozen=True, kw_only=True):
    """A new device's token, said once and never again."""

    device_id: int
    user_id: str
    token: str


class AddUser(Wire, frozen=True, kw_only=True):
    """`relay user add`."""

    id: NewId
    name: Name | None = None
    admin: bool = False
    bot: bool = False


class ChangeUser(Wire, frozen=True, kw_only=True):
    """`relay user rename`, `disable`, `enable`, `remove`."""

    id: Id
    name: Name | None = None
    photo_url: str | None = None
    admin: bool | None = None
    disabled: bool | None = None
    removed: bool | None = None


class OneUser(Wire, frozen=True, kw_only=True):
    """A request that names a user."""

    id: Id


class AddDevice(Wire, frozen=True, kw_only=True):
    """`relay device add`."""

    user_id: Id
    label: Annotated[str, msgspec.Meta(max_length=128)] = ""


class ListDevices(Wire, frozen=True, kw_only=True):
    """`relay device list`: of one user, or of all."""

    user_id: Id | None = None


class RevokeDevice(Wire, frozen=True, kw_only=True):
    """`relay device revoke`."""

    device_id: int


class MakeChat(Wire, frozen=True, kw_only=True):
    """`relay chat create`."""

    type: Literal["group", "channel"] = "group"
    name: Name
    owner: Id
    participants: Users = msgspec.field(default_factory=list)


class OneChat(Wire, frozen=True, kw_only=True):
    """A request that names a group or channel."""

    id: Id


class ChatUsers(Wire, frozen=True, kw_only=True):
    """`relay chat add` and `relay chat remove`."""

    id: Id
    participants: Users


class Empty(Wire, frozen=True, kw_only=True):
    """A request that says it all by its name."""


class Prune(Wire, frozen=True, kw_only=True):
    """`relay prune`: what the settings say where nothing is given."""

    days: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Pruned(Wire, frozen=True, kw_only=True):
    """How many entries were removed."""

    removed: int


class Lent(Wire, frozen=True, kw_only=True):
    """A way for a command on this machine to talk as a user, for a day."""

    url: str
    token: str


CONTROL: dict[str, RequestType] = {
    "user.add": RequestType(AddUser, UserInfo),
    "user.list": RequestType(Empty, list[UserInfo]),
    "user.show": RequestType(OneUser, UserInfo),
    "user.change": RequestType(ChangeUser, UserInfo),
    "device.add": RequestType(AddDevice, Token),
    "device.list": RequestType(ListDevices, list[DeviceInfo]),
    "device.revoke": RequestType(RevokeDevice, DeviceInfo),
    "chat.create": RequestType(MakeChat, ChatInfo),
    "chat.list": RequestType(Empty, list[ChatInfo]),
    "chat.show": RequestType(OneChat, ChatInfo),
    "chat.add": RequestType(ChatUsers, ChatInfo),
    "chat.remove": RequestType(ChatUsers, ChatInfo),
    "chat.delete": RequestType(OneChat, Empty),
    "prune": RequestType(Prune, Pruned),
    "lend": RequestType(OneUser, Lent),
}
"""Every request of the control socket, by `payloadType`."""
