"""The admin requests about users, their devices, and how they sign in."""

from typing import Annotated, Literal

import msgspec

from relay.outcomes import ChangedDevice, ChangedUser, Decidable
from relay.protocol.base import Id, Name, NewId, Timestamp, Wire
from relay.protocol.control.common import NameOrId


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


class DeviceInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A device as an admin, or its own user, sees it."""

    device_id: int
    user_id: str
    label: str
    created_at: Timestamp
    revoked_at: Timestamp | None = None
    last_seen: Timestamp | None = None
    online: bool = False


class Token(Wire, frozen=True, kw_only=True):
    """The token of a new device, which is shown only once."""

    device_id: int
    user_id: str
    token: str


class AddUser(Wire, Decidable[ChangedUser], frozen=True, kw_only=True):
    """`relay user add`."""

    id: NewId
    name: Name | None = None
    admin: bool = False
    bot: bool = False


class ChangeUser(Wire, Decidable[ChangedUser], frozen=True, kw_only=True):
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


class AddDeviceRequest(Wire, frozen=True, kw_only=True):
    """`relay device add`."""

    user_id: Id
    label: Annotated[str, msgspec.Meta(max_length=128)] = ""


class ListDevices(Wire, frozen=True, kw_only=True):
    """`relay device list`: of one user, or of all."""

    user_id: Id | None = None


class RevokeDevice(Wire, Decidable[ChangedDevice], frozen=True, kw_only=True):
    """`relay device revoke`."""

    device_id: int


class RevokeDevicesRequest(Wire, frozen=True, kw_only=True):
    """`relay device revoke --all`: every device of a user."""

    user_id: Id


class Revoked(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The number of devices that were signed out."""

    count: int


class AddInvite(Wire, frozen=True, kw_only=True):
    """`relay invite add`; with `new` a user who does not exist is created."""

    user_id: NewId
    name: Name | None = None
    chat_id: NameOrId | None = None
    new: bool = False


class InviteInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """An invite that is neither used nor expired, as an admin sees it; its code is not kept."""

    id: str
    """The first digits of its code's hash."""
    user_id: str | None = None
    """None for a person who is not a user yet."""
    name: str | None = None
    """The future name of such a person."""
    chat_id: str | None = None
    made_by: str
    expires_at: Timestamp
    state: Literal["open", "userDisabled", "makerMayNot"] = "open"
    """Only an open one can be used. The others are open again once their user or their maker has regained the right."""


class InviteRevocation(Wire, frozen=True, kw_only=True):
    """`relay invite revoke`: one invite by its id, or all for a user."""

    id: Annotated[str, msgspec.Meta(min_length=4, max_length=64)] | None = None
    user_id: Id | None = None


class SetPasswordRequest(Wire, frozen=True, kw_only=True):
    """`relay user password`; an empty password removes it."""

    id: Id
    password: Annotated[str, msgspec.Meta(max_length=1_024)]
    sign_out: bool = False
    """Whether their devices have to sign in again."""


class TemporaryTokenRequest(Wire, frozen=True, kw_only=True):
    """`relay tail --as`: a token for a user, and the id of the chat that the command names."""

    id: Id
    chat: NameOrId | None = None


class TemporaryToken(Wire, frozen=True, kw_only=True):
    """A URL and a token by which a command on this machine acts as a user, for a day."""

    url: str
    token: str
    chat_id: str | None = None
    """The wire's id of the requested chat."""
