"""Changes to chats, users and devices as the log keeps them, in entries from kind CHATS on.

Each contains everything needed to apply it, so that the state follows from the entries alone. Plain data.
"""

from typing import Literal

import msgspec

from relay.keys import NO_USER, ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.store.entry import Entry, note_unreadable
from relay.store.kinds import FIRST_CHANGE


class Change(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag_field="change"):
    """The base of all changes."""


class ChatMade(Change, frozen=True, tag="chatMade", kw_only=True):
    """A chat was created; `id` is that of a group or channel, None for a dialog."""

    type: Literal["dialog", "group", "channel", "favorites"]
    id: str | None = None
    name: str = ""
    photo_url: str | None = None
    owner: UserKey
    members: list[UserKey]
    created_at: UnixMs = 0
    """When an imported chat was created elsewhere; 0 for now."""
    origins: tuple[str, ...] = ()
    """Its ids in other systems: see `entities.User.origins`."""


class ChatUpdated(Change, frozen=True, tag="chatUpdated", kw_only=True):
    """A group or channel got another name, picture or set of admins; None leaves it as it is."""

    name: str | None = None
    photo_url: str | None = None
    admins: list[UserKey] | None = None


class MembersAdded(Change, frozen=True, tag="membersAdded"):
    """Users joined a group or channel."""

    users: list[UserKey]


class MembersRemoved(Change, frozen=True, tag="membersRemoved", kw_only=True):
    """Users left a group or channel or were removed; `owner` is the new owner where the old one left."""

    users: list[UserKey]
    owner: UserKey | None = None
    name: str = ""
    """The chat's name then, for a notice that may come much later; empty in older entries."""


class ChatDeleted(Change, frozen=True, tag="chatDeleted"):
    """A group or channel was deleted; `users` were its members."""

    users: list[UserKey]
    name: str = ""
    """The chat's name then; empty in older entries."""


class ChatHidden(Change, frozen=True, tag="chatHidden"):
    """One user cleared a dialog or their notes: messages up to `upto` are gone for them."""

    user: UserKey
    upto: MessageId
    marks_kept: bool = False
    """Whether their receipts stay in place. Older relays moved them to `upto`, as if everything had been read."""


class ChatShown(Change, frozen=True, tag="chatShown"):
    """A cleared dialog is back in the lists of these users: there is a new message in it."""

    users: list[UserKey]


class UserAdded(Change, frozen=True, tag="userAdded", kw_only=True):
    """A user was added."""

    key: UserKey
    id: str
    name: str
    bot: bool = False
    admin: bool = False
    created_at: UnixMs = 0
    """When an imported user was added elsewhere; 0 for now."""
    origins: tuple[str, ...] = ()
    """Their ids in other systems: see `entities.User.origins`."""


class OriginsAdded(Change, frozen=True, tag="originsAdded", kw_only=True):
    """An import found that a user (`key`), or the chat of the entry, has these ids in other systems."""

    key: UserKey = NO_USER
    origins: tuple[str, ...]


class UserChanged(Change, frozen=True, tag="userChanged", kw_only=True):
    """A user got another name, picture or status; None leaves it as it is."""

    key: UserKey
    name: str | None = None
    photo_url: str | None = None
    admin: bool | None = None
    disabled: bool | None = None
    removed: bool | None = None
    counts_from: list[tuple[ChatKey, MessageId]] = []
    """The last message id of each chat of a user who was enabled again. Only later messages wait for their receipts."""


class Hook(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """The settings of a device that is a hook of one chat: incoming (it posts there) or outgoing (it gets events)."""

    chat: str
    """The chat's id as the device's user sees it."""
    url: str = ""
    """Where events are posted; empty for an incoming hook."""
    secret: str = ""
    """The key that signs events."""


class DeviceAdded(Change, frozen=True, tag="deviceAdded", kw_only=True):
    """A device may sign in; `token_hash` is the SHA-256 of its token, in hexadecimal."""

    key: DeviceKey
    user: UserKey
    label: str
    token_hash: str
    hook: Hook | None = None


class DeviceRevoked(Change, frozen=True, tag="deviceRevoked"):
    """A device was signed out permanently."""

    key: DeviceKey


class PrunedChat(msgspec.Struct, frozen=True, array_like=True):
    """Retention removed all messages of one chat up to `upto`.

    `unread` maps each member who had not read all of them to the number of messages left unread.
    """

    chat: ChatKey
    upto: MessageId
    unread: list[tuple[UserKey, int]]


class HistoryPruned(Change, frozen=True, tag="historyPruned"):
    """Retention is removing the messages and receipts up to entry `seq`."""

    seq: Seq
    chats: list[PrunedChat]


class BackupRestored(Change, frozen=True, tag="backupRestored"):
    """A backup was restored: event ids go on far above `last`, which no device has seen."""

    last: MessageId


class ClockTrusted(Change, frozen=True, tag="clockTrusted"):
    """An admin said that the machine's clock is right: timestamps go on from this entry's, which may be earlier."""

    before: int
    """The log's last time before."""


class ClockStepped(Change, frozen=True, tag="clockStepped"):
    """The log's time went ahead because its clock was behind: see `core.clock.steps.Step`."""

    since: UnixMs
    before: UnixMs
    by: int


class InviteMade(Change, frozen=True, tag="inviteMade", kw_only=True):
    """An invite was made; `code_hash` is the SHA-256 of its code, in hexadecimal."""

    code_hash: str
    expires_at: UnixMs
    user: UserKey = NO_USER
    """The user that it is for; 0 for a new one."""
    name: str = ""
    """A new user's name, until they change it."""
    chat: str = ""
    """Its destination: a group or channel to join, or a user to talk to."""
    by: UserKey = NO_USER
    """Its maker; the invite ends with their right to invite. 0 for the machine's admin and in older entries."""
    made_at: UnixMs = 0
    """0 in older entries."""


class InviteUsed(Change, frozen=True, tag="inviteUsed"):
    """An invite was used or revoked, and cannot be used any more."""

    code_hash: str
    revoked: bool = False


class PasswordSet(Change, frozen=True, tag="passwordSet"):
    """A user has a new password; `hash` is its argon2 hash, empty for none."""

    user: UserKey
    hash: str


class FileAdded(Change, frozen=True, tag="fileAdded", kw_only=True):
    """A file was uploaded; for the fields see `StoredFile`."""

    id: str
    digest: str
    user: UserKey
    name: str = ""
    """Only as it is made: the log's entry does not keep it (`store/log/batch.py`)."""
    mimetype: str
    size: int
    width: int | None = None
    height: int | None = None
    loose: UnixMs


class ForgottenFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file that no message uses any more, and its uploader."""

    id: str
    digest: str
    user: UserKey
    size: int


class FilesForgotten(Change, frozen=True, tag="filesForgotten"):
    """Files that no message used were deleted."""

    files: list[ForgottenFile]


AnyChange = (
    ChatMade
    | ChatUpdated
    | MembersAdded
    | MembersRemoved
    | ChatDeleted
    | ChatHidden
    | ChatShown
    | UserAdded
    | OriginsAdded
    | UserChanged
    | DeviceAdded
    | DeviceRevoked
    | HistoryPruned
    | BackupRestored
    | ClockTrusted
    | ClockStepped
    | InviteMade
    | InviteUsed
    | PasswordSet
    | FileAdded
    | FilesForgotten
)

decode = msgspec.json.Decoder(AnyChange).decode


def change_of(entry: Entry) -> AnyChange:
    """Read the change that an entry of kind CHATS or a later kind records."""
    change: AnyChange = decode(entry.extra or "")
    return change


def is_readable(entry: Entry) -> bool:
    """Tell whether what an entry of the log records can be read, which a failing disk may have changed.

    It has been applied to the state; for a device that catches up, or in the audit, it is left out.
    """
    if entry.kind < FIRST_CHANGE:
        return True
    try:
        change_of(entry)
    except msgspec.DecodeError:
        note_unreadable()
        return False
    return True


def encode(change: Change) -> str:
    """Write a change as the log keeps it."""
    return msgspec.json.encode(change).decode()
