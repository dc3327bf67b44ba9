"""The requests that commands carry, besides those sent by clients and admins, and their answers. Plain data."""

import msgspec

from relay.core.model.changes import Hook
from relay.keys import NO_CHAT, NO_USER, ChatKey, MessageId, Seq, UnixMs, UserKey
from relay.outcomes import (
    ChangedChat,
    ChangedDevice,
    ChatImported,
    Decidable,
    DevicesRevoked,
    HookAdded,
    Imported,
    InvitesRevoked,
    SignedIn,
)
from relay.protocol.objects import Attachment, ChatType
from relay.protocol.requests import Accepted, Marked, Nothing

ADMIN = NO_USER
"""The actor of commands that an admin makes on the machine itself."""


class PostByHook(msgspec.Struct, Decidable[Accepted], frozen=True):
    """A program posts through an incoming hook, the command's device.

    `Command.generated_id` is the message's client id where the program gave no key.
    """

    chat_id: str
    key: str
    """The `Idempotency-Key`, or its hash if it is longer than a client id; empty for none."""
    message: str


class LeaveChat(msgspec.Struct, Decidable[Nothing], frozen=True):
    """`leaveChat`, which on the wire looks like `deleteChat`."""

    chat_id: str


class DeleteChat(msgspec.Struct, Decidable[Nothing], frozen=True):
    """`deleteChat`."""

    chat_id: str


class AddParticipants(msgspec.Struct, Decidable[ChangedChat], frozen=True):
    """`addParticipants`."""

    chat_id: str
    participants: list[str]


class RemoveParticipants(msgspec.Struct, Decidable[ChangedChat], frozen=True):
    """`removeParticipants`."""

    chat_id: str
    participants: list[str]


class MarkDelivered(msgspec.Struct, Decidable[Marked], frozen=True, gc=False):
    """`dlvrd`; a `message_id` of None means everything so far."""

    chat: ChatKey
    message_id: MessageId | None


class MarkRead(msgspec.Struct, Decidable[Marked], frozen=True, gc=False):
    """`read`; a `message_id` of None means everything so far."""

    chat: ChatKey
    message_id: MessageId | None


class ReserveSeq(msgspec.Struct, Decidable[Nothing], frozen=True):
    """Add an empty entry, whose `seq` becomes the event id of a delayed chat list."""

    chat: ChatKey


class PruneChats(msgspec.Struct, Decidable[Nothing], frozen=True):
    """Retention is about to remove messages from chats: correct their unread counts first."""

    chats: tuple[tuple[ChatKey, MessageId], ...]
    """Chat keys, each with the last message id that is removed."""


class PruneHistory(msgspec.Struct, Decidable[Nothing], frozen=True):
    """Retention is about to remove messages and receipts up to an entry; `PruneChats` for the chats follows."""

    seq: Seq


class NoteRestore(msgspec.Struct, Decidable[Nothing], frozen=True):
    """A backup was restored: event ids go on above `last`, which no device can have seen."""

    last: MessageId
    end_invites: bool = False
    """Whether to revoke the backup's invites."""


class TrustClock(msgspec.Struct, Decidable[Nothing], frozen=True):
    """An admin says that the machine's clock is right: the log goes on from the command's time, even if earlier."""


class StepClock(msgspec.Struct, Decidable[Nothing], frozen=True):
    """The clock was behind and is right now: see `core.clock.steps.Step`."""

    since: UnixMs
    before: UnixMs
    by: int


class MakeInvite(msgspec.Struct, Decidable[Nothing], frozen=True, kw_only=True):
    """Make an invite; the log gets only the hash of its code."""

    code_hash: str
    expires_at: UnixMs
    user_id: str | None = None
    name: str | None = None
    chat_id: str | None = None


class UseInvite(msgspec.Struct, Decidable[SignedIn], frozen=True):
    """Sign in by an invite; `generated_id` is the id of a new user."""

    code_hash: str
    label: str
    token_hash: str


class RevokeInvites(msgspec.Struct, Decidable[InvitesRevoked], frozen=True):
    """Revoke these invites, given by the hashes of their codes."""

    code_hashes: tuple[str, ...]


class SignUp(msgspec.Struct, Decidable[SignedIn], frozen=True):
    """Sign up by a name, if that is open to all; `generated_id` is the new user's id."""

    name: str
    label: str
    token_hash: str


class CheckedPassword(msgspec.Struct, frozen=True):
    """The user whose password was checked, and the hash. Only `Passwords.prove` makes it.

    Checking takes a while, and then the command waits. The rules refuse it if the user has another password by then.
    """

    user: UserKey
    hash: str
    """The argon2 hash that it was checked against; empty if the user had no password."""


class SignInByPassword(msgspec.Struct, Decidable[ChangedDevice], frozen=True):
    """Sign in by a password, which adds a device of the user. The log gets only the hash of its token."""

    checked: CheckedPassword
    label: str
    token_hash: str


class ChangePassword(msgspec.Struct, Decidable[DevicesRevoked], frozen=True):
    """Change one's own password; `hash` is the argon2 hash of the new one."""

    checked: CheckedPassword
    hash: str
    sign_out: bool = False
    """Whether to sign out all their other devices."""


class SetPassword(msgspec.Struct, Decidable[DevicesRevoked], frozen=True):
    """Set a user's password as an admin; `hash` is its argon2 hash, empty for none."""

    user_id: str
    hash: str
    sign_out: bool = False
    """Whether to sign out all their devices."""


class RevokeDevices(msgspec.Struct, Decidable[DevicesRevoked], frozen=True):
    """Sign out all other devices of a user, and revoke the invites for the user."""

    user_id: str


class AddFile(msgspec.Struct, Decidable[Attachment], frozen=True, kw_only=True):
    """Add a file whose content was uploaded and is on disk."""

    id: str
    digest: str
    name: str
    mimetype: str
    size: int
    width: int | None
    height: int | None
    loose: UnixMs
    """When it may be deleted if no message uses it."""


class ForgetFiles(msgspec.Struct, Decidable[list[str]], frozen=True):
    """Delete the files among these that no message uses."""

    ids: tuple[str, ...]
    """Those whose time is up."""
    replaced: tuple[str, ...] = ()
    """Those that go whatever their time is."""


class AddDevice(msgspec.Struct, Decidable[ChangedDevice], frozen=True):
    """Add a device as an admin; the log gets only the hash of its token."""

    user: UserKey
    label: str
    token_hash: str


class MakeHook(msgspec.Struct, Decidable[HookAdded], frozen=True, kw_only=True):
    """Make a hook as an admin; the log gets only the hash of its token.

    `generated_id` is the id of its bot if no user is named.
    """

    hook: Hook
    """Its chat: a group's, a channel's or a user's id."""
    token_hash: str
    user_id: str | None = None
    name: str = ""
    """The bot's name."""
    join: bool = False
    """Whether to add a named user to the chat if necessary, and make them an admin if only admins write there."""


class ImportUser(msgspec.Struct, Decidable[Nothing], frozen=True, kw_only=True):
    """Import a user as they are in the source. A user who is disabled there cannot sign in here."""

    id: str
    name: str
    created_at: UnixMs
    """When they were added in the source."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    origins: tuple[str, ...] = ()


class ImportOrigins(msgspec.Struct, Decidable[Nothing], frozen=True, kw_only=True):
    """Note the ids in other systems of a user or a chat that is here already."""

    user: UserKey = NO_USER
    chat: ChatKey = NO_CHAT
    origins: tuple[str, ...]


class ImportChat(msgspec.Struct, Decidable[ChatImported], frozen=True, kw_only=True):
    """Import a chat with its members; `generated_id` is the id of a group or channel."""

    type: ChatType
    name: str
    owner: str | None
    """Its owner, if a relay's export names one."""
    founder: str | None
    """Its creator, if the export does not name the owner. They own it if they can sign in."""
    admins: list[str]
    participants: list[str]
    """The members in order of joining, because one of them may become the owner."""
    created_at: UnixMs
    keeper: str | None = None
    """The user whom the admin named as owner of groups in which nobody can sign in."""
    photo_url: str | None = None
    origins: tuple[str, ...] = ()


class MessageByClientId(msgspec.Struct, frozen=True, gc=False):
    """The name of an imported message: its author and client id."""

    author: UserKey
    client_id: str


class ImportMessage(msgspec.Struct, Decidable[Imported], frozen=True, kw_only=True, gc=False):
    """Import a message. Its author need not be a member, nor be allowed to write there now."""

    chat: ChatKey
    client_id: str
    said_at: UnixMs
    """When it was sent in the source; the log's own time may be later."""
    text: str | None = None
    attachments: list[Attachment] | None = None
    reply_to: MessageByClientId | None = None


class ImportChange(msgspec.Struct, Decidable[Imported], frozen=True, kw_only=True, gc=False):
    """Import an edit or a deletion; the message has its newest text already."""

    chat: ChatKey
    client_id: str
    said_at: UnixMs
    original: MessageByClientId
    deleted: bool


class ImportClearing(msgspec.Struct, Decidable[Nothing], frozen=True):
    """Import a clearing: the user had cleared a dialog up to this message."""

    chat: ChatKey
    upto: MessageByClientId | None
    """None if nothing that the user cleared is there any more."""
