"""What an admin may ask through the control socket: the same envelopes as on the wire, another table.

The command line speaks these; each is one thing an admin does (ARCHITECTURE.md, "The command line").
"""

from typing import Annotated, Any, Literal

import msgspec

from relay.protocol.base import ClientMessageId, Date, Id, Name, NewId, Text, Timestamp, Url, Users, Wire
from relay.protocol.objects import Attachment, ChatType
from relay.protocol.requests import Accepted, Invitation, RequestType

Value = bool | int | float | str | list[str]
"""A setting's, or a detail's."""

NameOrId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""A chat by its id or by its name, a user by their id."""


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


class ChatInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
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


class RevokeDevices(Wire, frozen=True, kw_only=True):
    """`relay device revoke --all`: every device of a user."""

    user_id: Id


class Revoked(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """How many devices were signed out."""

    count: int


class RemoveHook(Wire, frozen=True, kw_only=True):
    """`relay hook remove`."""

    device_id: int


class AddHook(Wire, frozen=True, kw_only=True):
    """`relay hook add`: for a group, by its id or name, or for a user; without `url` one to post through."""

    chat: NameOrId
    name: Name = "Hook"
    user_id: Id | None = None
    add: bool = False
    """Whether the user is let into the chat who is not in it, and made an admin of a channel that they only read."""
    url: Url | None = None


class HookInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A hook as an admin sees it."""

    device_id: int
    user_id: str
    chat: str
    url: str | None = None
    """Where events are posted to; for a new one to post through its own address, this once."""
    secret: str | None = None
    """What events are signed with; of a new one only."""
    direction: Literal["in", "out"]
    created_at: Timestamp
    problem: str | None = None
    """Why nothing goes through it just now."""


class MakeChat(Wire, frozen=True, kw_only=True):
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
    """All of them, besides the owner."""


class Empty(Wire, frozen=True, kw_only=True):
    """A request that says it all by its name."""


class Prune(Wire, frozen=True, kw_only=True):
    """`relay prune`: what the settings say where nothing is given."""

    days: Annotated[int, msgspec.Meta(ge=0)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=0)] | None = None


class Pruned(Wire, frozen=True, kw_only=True):
    """How many entries were removed, and how large the store is."""

    removed: int
    bytes: int = 0
    """What the store has in use now."""
    too_large: bool = False
    """Whether that is more than it may be: what is left is no history, or came since the prune began."""


class SettingInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """A setting in force, and where its value comes from: `default`, a file, a variable or an option."""

    key: str
    value: Value
    source: str
    unit: str = ""
    default: Value
    at_start: bool = False


class Say(Wire, frozen=True, kw_only=True):
    """`relay send`: a message of a user's, from the machine itself. A group may be called by its name."""

    user_id: Id
    chat_id: NameOrId
    message: Text
    client_message_id: ClientMessageId


class Watch(Wire, frozen=True, kw_only=True):
    """`relay tail`: what happens from now on, in one chat or in all, without what was said unless asked for."""

    chat: str | None = None
    texts: bool = False


class Audit(Wire, frozen=True, kw_only=True):
    """`relay audit`: the latest changes to users, devices, groups and history, newest first."""

    actor: str | None = None
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 50
    before: int | None = None


class EntryInfo(Wire, frozen=True, kw_only=True):
    """An entry of the log as an admin reads it."""

    id: int
    timestamp: Timestamp
    event_type: str
    actor: str
    chat: str | None = None
    """A group's id, or a dialog's two users with a `~` between."""
    chat_name: str | None = None
    message_id: int | None = None
    original_message_id: int | None = None
    message: str | None = None
    characters: int | None = None
    attachments: int | None = None
    change: str | None = None
    details: dict[str, Value] | None = None
    missed: int | None = None
    """How many entries were left out before this one, since nobody read fast enough."""


class Export(Wire, frozen=True, kw_only=True):
    """`relay export`: everything, and with `files` where the content of each file is."""

    files: bool = False


class Record(Wire, frozen=True, kw_only=True):
    """A line of an export. `type` says which of the fields are there; times are Unix milliseconds."""

    type: Literal["relay", "user", "chat", "message", "file", "edit", "delete", "clear"]
    at: Timestamp
    """When it was exported, made or sent."""
    format: int | None = None
    version: str | None = None
    id: str | None = None
    name: str | None = None
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    picture: str | None = None
    """The id of a user's, or a group's, picture: a `file` record says more of it."""
    kind: ChatType | None = None
    owner: str | None = None
    admins: list[str] | None = None
    participants: list[str] | None = None
    """Of a chat; of a message in a dialog, which has no id."""
    chat: str | None = None
    sender: str | None = None
    client_message_id: str | None = None
    text: str | None = None
    attachments: list[Attachment] | None = None
    edited_at: Timestamp | None = None
    deleted: bool = False
    """Whether a message was deleted: a `delete` record follows."""
    reply_to: str | None = None
    """The client id of the message that is answered."""
    reply_sender: str | None = None
    """Who wrote that."""
    original: str | None = None
    """The client id of the message that an `edit` or a `delete` changed."""
    original_sender: str | None = None
    size: int | None = None
    """Of a file, in bytes."""
    digest: str | None = None
    """The SHA-256 of a file's content, in hexadecimal."""


class Exported(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """How much an export holds."""

    users: int
    chats: int
    messages: int


class UserImport(Wire, frozen=True, kw_only=True):
    """A user who comes from elsewhere; with `dry` nothing changes, the answer tells what would."""

    id: NewId
    name: Name
    at: Date
    """The time that the log gets for it, if that is not over already."""
    created_at: Date | None = None
    """When they came to be there; `at` where nobody knows."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    dry: bool = False


class ChatImport(Wire, frozen=True, kw_only=True):
    """A chat that comes from elsewhere: a group or channel is known by its id when it comes again, a dialog by its two.

    `owner` is who owns it there, `founder` who made it where no owner is known.
    """

    id: NewId | None = None
    kind: ChatType = "group"
    name: Name | None = None
    owner: Id | None = None
    founder: Id | None = None
    admins: list[Id] = msgspec.field(default_factory=list)
    participants: list[Id] = msgspec.field(default_factory=list)
    able: list[Id] = msgspec.field(default_factory=list)
    """With `dry`: which of them could sign in, by what the source says."""
    at: Date
    created_at: Date | None = None
    photo_url: Url | None = None
    """A file that has come in."""
    dry: bool = False


class ImportResult(Wire, frozen=True, kw_only=True):
    """Whether it was new, and under which id it is here."""

    added: bool
    id: str | None = None
    gone: bool = False
    """Whether it was here, and was deleted."""
    bare: bool = False
    """Whether it is a user who came in as this one and has no picture: an import ended before it could bring that."""
    namesake: str | None = None
    """The name of the user who has this id here, where they may be somebody else: they did not come in as this one."""
    absent: int = 0
    """How many of its people are not in the chat that is here already, and stay out of it."""


class FileImport(Wire, frozen=True, kw_only=True):
    """A piece of a file that comes from elsewhere, for a message that comes next."""

    sender: Id
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    """Bytes of the whole."""
    data: bytes = b""
    """The next piece, Base64 as JSON has it."""
    first: bool = True
    more: bool = False
    """Whether other pieces follow."""
    at: Date
    dry: bool = False
    before: Annotated[int, msgspec.Meta(ge=0)] = 0
    """With `dry`: bytes of the sender's that would come before it."""


class FileImportResult(Wire, frozen=True, kw_only=True):
    """The file as a message holds it, once it is whole."""

    attachment: Attachment | None = None


class PictureImport(Wire, frozen=True, kw_only=True):
    """The picture of a user, a file that has come in."""

    user: Id
    url: Url


class MessageReference(Wire, frozen=True, kw_only=True):
    """A message by its author and its client id."""

    sender: Id
    client_message_id: ClientMessageId


class MessageImport(Wire, frozen=True, kw_only=True):
    """What was said elsewhere, or edited, deleted or cleared.

    `chat` is a group's id; a dialog is named by its `participants`.
    """

    kind: Literal["new", "edit", "delete", "clear"] = "new"
    chat: str = ""
    participants: list[Id] = msgspec.field(default_factory=list)
    sender: Id
    client_message_id: ClientMessageId = "-"
    text: Text | None = None
    attachments: list[Attachment] | None = None
    at: Date
    reply_to: MessageReference | None = None
    original: MessageReference | None = None
    """What an edit or a deletion changes."""


class MessagesImport(Wire, frozen=True, kw_only=True):
    """Some of them, in the order they were sent; with `dry` the answer tells which are here already."""

    messages: Annotated[list[MessageImport], msgspec.Meta(max_length=1_000)]
    dry: bool = False


class MessageImportResult(Wire, frozen=True, kw_only=True):
    """A message's id and whether it is new, or why it stays behind."""

    message_id: int = 0
    added: bool = False
    reply_lost: bool = False
    """Whether it answers a message that is not here, and came in as one that answers none."""
    error: str = ""


class SlowReader(Wire, frozen=True, kw_only=True):
    """A connection that does not keep up."""

    user_id: str
    device_id: int
    bytes: int
    seconds: float


class LongestWait(Wire, frozen=True, kw_only=True):
    """The longest that a send waited for its answer in the last hour."""

    ms: float
    cause: str
    """What took most of it: sync, checkpoint, prune, index, snapshot, filing or loop."""
    seconds_ago: float


class UserConnections(Wire, frozen=True, kw_only=True):
    """How many connections a user has."""

    user_id: str
    connections: int


class Status(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """What goes on in a relay that runs. Rates are over the last 10 seconds."""

    version: str
    pid: int
    data: str
    url: str | None = None
    listening: list[str] = msgspec.field(default_factory=list)
    """Each address where it listens, HOST:PORT; 0.0.0.0 and [::] stand for all of the machine's."""
    public_url: str = ""
    trusted_proxies: list[str] = msgspec.field(default_factory=list)
    uptime: float
    """Seconds."""
    connections: int
    max_connections: int | None = None
    wanted_connections: int | None = None
    """What `limits.connections` says; more than `max_connections` where the process may have too few descriptors."""
    most_connections: UserConnections | None = None
    """Who has most of them, where anybody has more than one."""
    users: int
    users_online: int
    chats: int
    messages_per_second: float
    deliveries_per_second: float
    requests_per_second: float
    median_lag: int | None = None
    """Milliseconds from a message's coming in to its going out: half of the latest batches took no longer."""
    high_lag: int | None = None
    """Likewise, but 99 of 100."""
    batch_size: float
    commit_ms: float
    longest_wait: LongestWait | None = None
    """None where nothing was sent in the last hour."""
    writing_for: float = 0.0
    """Seconds that a write has been under way for, 0 where none is: more than a few means that the disk is slow."""
    write_failing: bool
    write_failures: int
    sign_in_failures: int = 0
    """Sign-ins that failed since the start."""
    outbox_bytes: int
    slow_readers: list[SlowReader]
    last_event: int
    store_bytes: int
    wal_bytes: int
    disk_free: int
    disk_seconds_left: float | None = None
    memory_bytes: int
    cpu: float
    """Share of one core."""
    disk_full: bool = False
    """Whether people can only read, since the disk has no more room than is set aside."""
    reserve_bytes: int = 0
    """What is set aside on the disk."""
    clock_ahead: float = 0.0
    """Seconds that the machine's clock is ahead of the relay's time while nothing vouches for it, else 0."""
    index_behind: int = 0
    """Entries that are not in the full-text index yet."""
    index_remaking: bool = False
    """Whether the full-text index is being made once more, since it was damaged or an admin asked for it."""
    log_ahead: float = 0.0
    """Seconds that the log's last time is ahead of the machine's clock, where that is more than an hour, else 0."""


class ClockTrusted(Wire, frozen=True, kw_only=True):
    """`relay clock trust`: the log's time is the machine's, this one, from now on."""

    timestamp: Timestamp


class TemporaryToken(Wire, frozen=True, kw_only=True):
    """A way for a command on this machine to talk as a user, for a day."""

    url: str
    token: str


class Invite(Wire, frozen=True, kw_only=True):
    """`relay invite`: `new` makes a user where there is none of that id."""

    user_id: NewId
    name: Name | None = None
    chat_id: Id | None = None
    new: bool = False


class InviteInfo(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """An open invite as an admin sees it; its code is not kept."""

    id: str
    """The first digits of its code's hash."""
    user_id: str | None = None
    """None for somebody who is no user yet."""
    name: str | None = None
    """What such a person will be called."""
    chat_id: str | None = None
    made_by: str
    expires_at: Timestamp


class InviteRevocation(Wire, frozen=True, kw_only=True):
    """`relay invite revoke`: one invite by its id, or all that are for a user."""

    id: Annotated[str, msgspec.Meta(min_length=4, max_length=64)] | None = None
    user_id: Id | None = None


class SetPassword(Wire, frozen=True, kw_only=True):
    """`relay user password`; an empty one takes it away."""

    id: Id
    password: Annotated[str, msgspec.Meta(max_length=1_024)]
    sign_out: bool = False
    """Whether their devices have to sign in again."""


CONTROL: dict[str, RequestType] = {
    "user.add": RequestType(AddUser, UserInfo),
    "user.list": RequestType(Empty, list[UserInfo]),
    "user.show": RequestType(OneUser, UserInfo),
    "user.change": RequestType(ChangeUser, UserInfo),
    "device.add": RequestType(AddDevice, Token),
    "device.list": RequestType(ListDevices, list[DeviceInfo]),
    "device.revoke": RequestType(RevokeDevice, DeviceInfo),
    "device.revokeAll": RequestType(RevokeDevices, Revoked),
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
    "clock.trust": RequestType(Empty, ClockTrusted),
    "reindex": RequestType(Empty, Empty),
    "config.show": RequestType(Empty, list[SettingInfo]),
    "status.show": RequestType(Empty, Status),
    "say": RequestType(Say, Accepted),
    "watch": RequestType(Watch, Empty),
    "audit.list": RequestType(Audit, list[EntryInfo]),
    "lend": RequestType(OneUser, TemporaryToken),
    "invite": RequestType(Invite, Invitation),
    "invite.list": RequestType(Empty, list[InviteInfo]),
    "invite.revoke": RequestType(InviteRevocation, list[InviteInfo]),
    "user.password": RequestType(SetPassword, Revoked),
}
"""Every request of the control socket, by `payloadType`."""

ITEMS: dict[str, Any] = {"watch": EntryInfo, "export": Record}
"""Of the requests that give much: the type of the items that come before the response, an event each."""

READING = {name for name in CONTROL if name.rpartition(".")[2] in ("list", "show", "lend", "say", "watch", "messages")}
"""Those that change nothing of an admin's concern."""
