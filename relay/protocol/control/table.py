"""Every request of the control socket: its name, its payload and its answer."""

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
from relay.protocol.request_type import AnyRequestType, RequestType, StreamType
from relay.protocol.requests import Accepted, Invitation

USER_ADD = RequestType("user.add", AddUser, UserInfo)
USER_LIST = RequestType("user.list", Empty, list[UserInfo])
USER_SHOW = RequestType("user.show", OneUser, UserInfo)
USER_CHANGE = RequestType("user.change", ChangeUser, UserInfo)
DEVICE_ADD = RequestType("device.add", AddDeviceRequest, Token)
DEVICE_LIST = RequestType("device.list", ListDevices, list[DeviceInfo])
DEVICE_REVOKE = RequestType("device.revoke", RevokeDevice, DeviceInfo)
DEVICE_REVOKE_ALL = RequestType("device.revokeAll", RevokeDevicesRequest, Revoked)
HOOK_ADD = RequestType("hook.add", AddHook, HookInfo)
HOOK_LIST = RequestType("hook.list", Empty, list[HookInfo])
HOOK_REMOVE = RequestType("hook.remove", RemoveHook, HookInfo)
EXPORT = StreamType("export", Export, Exported, Record)
IMPORT_USER = RequestType("import.user", UserImport, ImportResult)
IMPORT_CHAT = RequestType("import.chat", ChatImport, ImportResult)
IMPORT_FILE = RequestType("import.file", FileImport, FileImportResult)
IMPORT_PICTURE = RequestType("import.picture", PictureImport, Empty)
IMPORT_MESSAGES = RequestType("import.messages", MessagesImport, list[MessageImportResult])
IMPORT_END = RequestType("import.end", Empty, Empty)
CHAT_CREATE = RequestType("chat.create", MakeChat, ChatInfo)
CHAT_LIST = RequestType("chat.list", Empty, list[ChatInfo])
CHAT_SHOW = RequestType("chat.show", OneChat, ChatInfo)
CHAT_ADD = RequestType("chat.add", ChatUsers, ChatInfo)
CHAT_REMOVE = RequestType("chat.remove", ChatUsers, ChatInfo)
CHAT_UPDATE = RequestType("chat.update", UpdateGroup, ChatInfo)
CHAT_DELETE = RequestType("chat.delete", OneChat, Empty)
PRUNE = RequestType("prune", Prune, Pruned)
CLOCK_TRUST = RequestType("clock.trust", Empty, ClockTrustResult)
REINDEX = RequestType("reindex", Empty, Empty)
CONFIG_SHOW = RequestType("config.show", Empty, list[SettingInfo])
STATUS_SHOW = RequestType("status.show", Empty, Status)
SAY = RequestType("say", Say, Accepted)
WATCH = StreamType("watch", Watch, Empty, EntryInfo)
AUDIT_LIST = RequestType("audit.list", Audit, list[EntryInfo])
TEMPORARY_TOKEN = RequestType("lend", TemporaryTokenRequest, TemporaryToken)
INVITE = RequestType("invite", AddInvite, Invitation)
INVITE_LIST = RequestType("invite.list", Empty, list[InviteInfo])
INVITE_REVOKE = RequestType("invite.revoke", InviteRevocation, list[InviteInfo])
USER_PASSWORD = RequestType("user.password", SetPasswordRequest, Revoked)

CONTROL: dict[str, AnyRequestType] = {
    kind.name: kind
    for kind in (
        USER_ADD,
        USER_LIST,
        USER_SHOW,
        USER_CHANGE,
        DEVICE_ADD,
        DEVICE_LIST,
        DEVICE_REVOKE,
        DEVICE_REVOKE_ALL,
        HOOK_ADD,
        HOOK_LIST,
        HOOK_REMOVE,
        EXPORT,
        IMPORT_USER,
        IMPORT_CHAT,
        IMPORT_FILE,
        IMPORT_PICTURE,
        IMPORT_MESSAGES,
        IMPORT_END,
        CHAT_CREATE,
        CHAT_LIST,
        CHAT_SHOW,
        CHAT_ADD,
        CHAT_REMOVE,
        CHAT_UPDATE,
        CHAT_DELETE,
        PRUNE,
        CLOCK_TRUST,
        REINDEX,
        CONFIG_SHOW,
        STATUS_SHOW,
        SAY,
        WATCH,
        AUDIT_LIST,
        TEMPORARY_TOKEN,
        INVITE,
        INVITE_LIST,
        INVITE_REVOKE,
        USER_PASSWORD,
    )
}
"""Every request of the control socket, by `payloadType`."""


READING_REQUESTS = {
    name for name in CONTROL if name.rpartition(".")[2] in ("list", "show", "lend", "say", "watch", "messages")
}
"""Requests that change nothing that an admin is responsible for."""
LISTING_REQUESTS = {name for name in CONTROL if name.rpartition(".")[2] in ("list", "show", "export")}
"""Requests that only read: a store that cannot be written answers them, too."""
