"""Commands: a request, who makes it and when, and an id that was generated for it.

A command has everything that deciding it needs (ARCHITECTURE.md, "Room to grow"). Plain data.
"""

import msgspec

from relay.core.model.changes import Hook
from relay.keys import NO_CHAT, NO_USER, ChatKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import Attachment, ChatType

ADMIN = NO_USER
"""The actor of what an admin does on the machine itself."""


class Command(msgspec.Struct, frozen=True, gc=False):
    """One request to change something."""

    at: UnixMs
    """When it was received; stamped once."""
    user: UserKey
    """Who asks; `ADMIN` for an admin on the machine."""
    device: int
    """The key of the device that it came from, 0 for none."""
    request: msgspec.Struct
    """The request's payload as on the wire, or one of the control socket's."""
    origin: int = 0
    """The number of the connection that it came through; no rule looks at it."""
    generated_id: str = ""
    """An id that the relay generated: of a group, a user, or a message without a client id."""
    importer: bool = False
    """Whether an import makes it on behalf of `user`; permissions take this as a role. Nothing else may set it."""


class PostByHook(msgspec.Struct, frozen=True):
    """A program posts through an incoming hook, the command's device.

    `Command.generated_id` is the message's client id where the program gave no key.
    """

    chat_id: str
    key: str
    """The `Idempotency-Key`, or a hash of one that is longer than a client id; empty for none."""
    message: str


class LeaveChat(msgspec.Struct, frozen=True):
    """`leaveChat`, which on the wire looks like `deleteChat`."""

    chat_id: str


class DeleteChat(msgspec.Struct, frozen=True):
    """`deleteChat`."""

    chat_id: str


class AddParticipants(msgspec.Struct, frozen=True):
    """`addParticipants`."""

    chat_id: str
    participants: list[str]


class RemoveParticipants(msgspec.Struct, frozen=True):
    """`removeParticipants`."""

    chat_id: str
    participants: list[str]


class MarkDelivered(msgspec.Struct, frozen=True, gc=False):
    """`dlvrd`; `message_id` None for everything so far."""

    chat: int
    message_id: MessageId | None


class MarkRead(msgspec.Struct, frozen=True, gc=False):
    """`read`; `message_id` None for everything so far."""

    chat: int
    message_id: MessageId | None


class ReserveSeq(msgspec.Struct, frozen=True):
    """Add an entry without a meaning, whose `seq` becomes the event id of a chat list that was delayed."""

    chat: int


class PruneChats(msgspec.Struct, frozen=True):
    """Retention is about to remove messages from chats: correct their unread counts first."""

    chats: tuple[tuple[int, MessageId], ...]
    """Chat keys, each with the last message id that is removed."""


class PruneHistory(msgspec.Struct, frozen=True):
    """Retention is about to remove messages and receipts up to an entry; `PruneChats` for the chats follows."""

    seq: Seq


class NoteRestore(msgspec.Struct, frozen=True):
    """A backup was restored: event ids go on above `last`, which no device can have seen yet."""

    last: MessageId
    end_invites: bool = False
    """Whether to revoke the backup's invites."""


class TrustClock(msgspec.Struct, frozen=True):
    """An admin says that the machine's clock is right: the log goes on from the command's time, even if earlier."""


class MakeInvite(msgspec.Struct, frozen=True, kw_only=True):
    """Make an invite; the log gets only the hash of its code."""

    code_hash: str
    expires_at: UnixMs
    user_id: str | None = None
    name: str | None = None
    chat_id: str | None = None


class DeviceUses(msgspec.Struct, frozen=True):
    """How a user's devices were used when a command was made that signs in one more."""

    connected: frozenset[int] = frozenset()
    """Keys of those that are connected: none of them gives way."""
    seen: dict[int, UnixMs] = {}
    """When the others were last connected, by key; absent for never."""


class UseInvite(msgspec.Struct, frozen=True):
    """Sign in by an invite; `generated_id` is the id of a new user."""

    code_hash: str
    label: str
    token_hash: str
    uses: DeviceUses = DeviceUses()
    """Of the user whom the invite is for."""


class RevokeInvites(msgspec.Struct, frozen=True):
    """Let nobody in any more by these invites, which their codes' hashes name."""

    code_hashes: tuple[str, ...]


class SignUp(msgspec.Struct, frozen=True):
    """Sign up by a name, where that is open to all; `generated_id` is the new user's id."""

    name: str
    label: str
    token_hash: str


class SetPassword(msgspec.Struct, frozen=True):
    """Set a user's password; `hash` is its argon2 hash, empty for none."""

    user_id: str
    hash: str
    sign_out: bool = False
    """Whether to sign out all their devices but the one that asks."""


class RevokeDevices(msgspec.Struct, frozen=True):
    """Sign out all devices of a user but the one that asks, and revoke the invites for the user."""

    user_id: str


class AddFile(msgspec.Struct, frozen=True, kw_only=True):
    """Add a file whose content was uploaded and is on disk."""

    id: str
    digest: str
    name: str
    mimetype: str
    size: int
    width: int | None
    height: int | None
    loose: UnixMs
    """From then on it may be deleted if no message holds it."""


class ForgetFiles(msgspec.Struct, frozen=True):
    """Delete those of these files that no message holds."""

    ids: tuple[str, ...]


class AddDevice(msgspec.Struct, frozen=True):
    """Add a device, or a hook; the log gets only the hash of its token."""

    user: UserKey
    label: str
    token_hash: str
    hook: Hook | None = None
    uses: DeviceUses = DeviceUses()
    """Of the user; for a hook they do not matter."""


class ImportUser(msgspec.Struct, frozen=True, kw_only=True):
    """Import a user as they are elsewhere: one who is disabled there cannot sign in here."""

    id: str
    name: str
    created_at: UnixMs
    """When they were added there."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    origins: tuple[str, ...] = ()


class ImportOrigins(msgspec.Struct, frozen=True, kw_only=True):
    """Note what other systems call a user or a chat that is here already."""

    user: UserKey = NO_USER
    chat: ChatKey = NO_CHAT
    origins: tuple[str, ...]


class ImportChat(msgspec.Struct, frozen=True, kw_only=True):
    """Import a chat with its members; `generated_id` is the id of a group or channel."""

    type: ChatType
    name: str
    owner: str | None
    """Who owns it, if a relay's export says so."""
    founder: str | None
    """Who made it, if the export says no more: they own it if they can sign in."""
    admins: list[str]
    participants: list[str]
    """The members; the longest first, for one of them may become the owner."""
    created_at: UnixMs
    photo_url: str | None = None
    origins: tuple[str, ...] = ()


class Original(msgspec.Struct, frozen=True, gc=False):
    """Names an imported message by its author and client id."""

    author: UserKey
    client_id: str


class ImportMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Import a message. Its author need not be a member, nor be able to write there now."""

    chat: int
    client_id: str
    said_at: UnixMs
    """When it was sent there; the log's own time may be later."""
    text: str | None = None
    attachments: list[Attachment] | None = None
    reply_to: Original | None = None


class ImportChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Import an edit or a deletion; the message has its newest text already."""

    chat: int
    client_id: str
    said_at: UnixMs
    original: Original
    deleted: bool


class ImportClearing(msgspec.Struct, frozen=True):
    """Import that the user had cleared a dialog up to a message."""

    chat: int
    upto: Original
