"""Every request of the control socket: its name, its payload and its answer."""

from typing import Any

from relay.protocol.control.accounts import (
    AddDeviceRequest,
    AddInvite,
    AddUser,
    ChangeUser,
    DeviceInfo,
    InviteInfo,
    InviteRevocation,
    ListDevices,
    OneUser,
    Revoked,
    RevokeDevice,
    RevokeDevicesRequest,
    SetPasswordRequest,
    TemporaryToken,
    TemporaryTokenRequest,
    Token,
    UserInfo,
)
from relay.protocol.control.chats import (
    AddHook,
    ChatInfo,
    ChatUsers,
    HookInfo,
    MakeChat,
    OneChat,
    RemoveHook,
    Say,
    UpdateGroup,
)
from relay.protocol.control.common import Empty
from relay.protocol.control.operation import (
    Audit,
    ClockTrustResult,
    EntryInfo,
    Prune,
    Pruned,
    SettingInfo,
    Status,
    Watch,
)
from relay.protocol.control.transfer import (
    ChatImport,
    Export,
    Exported,
    FileImport,
    FileImportResult,
    ImportResult,
    MessageImportResult,
    MessagesImport,
    PictureImport,
    Record,
    UserImport,
)
from relay.protocol.requests import Accepted, Invitation, RequestType

CONTROL: dict[str, RequestType] = {
    "user.add": RequestType(AddUser, UserInfo),
    "user.list": RequestType(Empty, list[UserInfo]),
    "user.show": RequestType(OneUser, UserInfo),
    "user.change": RequestType(ChangeUser, UserInfo),
    "device.add": RequestType(AddDeviceRequest, Token),
    "device.list": RequestType(ListDevices, list[DeviceInfo]),
    "device.revoke": RequestType(RevokeDevice, DeviceInfo),
    "device.revokeAll": RequestType(RevokeDevicesRequest, Revoked),
    "hook.add": RequestType(AddHook, HookInfo),
    "hook.list": RequestType(Empty, list[HookInfo]),
    "hook.remove": RequestType(RemoveHook, HookInfo),
    "export": RequestType(Export, Exported),
    "import.user": RequestType(UserImport, ImportResult),
    "import.chat": RequestType(ChatImport, ImportResult),
    "import.file": RequestType(FileImport, FileImportResult),
    "import.picture": RequestType(PictureImport, Empty),
    "import.messages": RequestType(MessagesImport, list[MessageImportResult]),
    "import.end": RequestType(Empty, Empty),
    "chat.create": RequestType(MakeChat, ChatInfo),
    "chat.list": RequestType(Empty, list[ChatInfo]),
    "chat.show": RequestType(OneChat, ChatInfo),
    "chat.add": RequestType(ChatUsers, ChatInfo),
    "chat.remove": RequestType(ChatUsers, ChatInfo),
    "chat.update": RequestType(UpdateGroup, ChatInfo),
    "chat.delete": RequestType(OneChat, Empty),
    "prune": RequestType(Prune, Pruned),
    "clock.trust": RequestType(Empty, ClockTrustResult),
    "reindex": RequestType(Empty, Empty),
    "config.show": RequestType(Empty, list[SettingInfo]),
    "status.show": RequestType(Empty, Status),
    "say": RequestType(Say, Accepted),
    "watch": RequestType(Watch, Empty),
    "audit.list": RequestType(Audit, list[EntryInfo]),
    "lend": RequestType(TemporaryTokenRequest, TemporaryToken),
    "invite": RequestType(AddInvite, Invitation),
    "invite.list": RequestType(Empty, list[InviteInfo]),
    "invite.revoke": RequestType(InviteRevocation, list[InviteInfo]),
    "user.password": RequestType(SetPasswordRequest, Revoked),
}
"""Every request of the control socket, by `payloadType`."""


ITEMS: dict[str, Any] = {"watch": EntryInfo, "export": Record}
"""The types of the items that streaming requests send before their response, as one event each."""


READING = {name for name in CONTROL if name.rpartition(".")[2] in ("list", "show", "lend", "say", "watch", "messages")}
"""Requests that change nothing an admin is responsible for."""
