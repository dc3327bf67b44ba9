"""Changes to chats, users and devices as the log keeps them: the `extra` of entries from kind CHATS on.

Each names all that applying it needs, so that the state follows from the entries alone. Plain data.
"""

from typing import Literal

import msgspec

from relay.keys import NO_USER, ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey


class Change(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag_field="change"):
    """Common to all."""


class ChatMade(Change, frozen=True, tag="chatMade", kw_only=True):
    """A chat came to be. Members are user keys; the id is that of a group or channel."""

    type: Literal["dialog", "group", "channel", "favorites"]
    id: str | None = None
    name: str = ""
    photo_url: str | None = None
    owner: UserKey
    members: list[UserKey]
    created_at: UnixMs = 0
    """When it came to be elsewhere, Unix milliseconds; 0 for now."""


class ChatUpdated(Change, frozen=True, tag="chatUpdated", kw_only=True):
    """A group or channel has another name, picture or set of admins."""

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


class ChatDeleted(Change, frozen=True, tag="chatDeleted"):
    """A group or channel is gone for all who were in it."""

    users: list[UserKey]


class ChatHidden(Change, frozen=True, tag="chatHidden"):
    """One user cleared a dialog or their notes: what was said until `upto` is gone for them."""

    user: UserKey
    upto: MessageId
    marks_kept: bool = False
    """Whether their marks stay where they were. Older relays moved them up to here, as if all had been read."""


class ChatShown(Change, frozen=True, tag="chatShown"):
    """A cleared dialog is back in a user's list, since there is something new in it."""

    users: list[UserKey]


class UserAdded(Change, frozen=True, tag="userAdded", kw_only=True):
    """A user came to be."""

    key: UserKey
    id: str
    name: str
    bot: bool = False
    admin: bool = False
    created_at: UnixMs = 0
    """When they came to be elsewhere, Unix milliseconds; 0 for now."""


class UserChanged(Change, frozen=True, tag="userChanged", kw_only=True):
    """A user has another name, picture or standing; what is not named stays."""

    key: UserKey
    name: str | None = None
    photo_url: str | None = None
    admin: bool | None = None
    disabled: bool | None = None
    removed: bool | None = None
    counts_from: list[tuple[ChatKey, MessageId]] = []
    """Of each chat of somebody who is enabled again, its key and last message id: later ones wait for their marks."""


class Hook(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """What makes a device a hook of one chat: it posts there, or what happens there is posted to it."""

    chat: str
    """As the device's user calls it."""
    url: str = ""
    """Where events are posted to; empty for a hook that things are posted through."""
    secret: str = ""
    """What events are signed with."""


class DeviceAdded(Change, frozen=True, tag="deviceAdded", kw_only=True):
    """A device may sign in: of its token only the SHA-256 is kept, in hexadecimal."""

    key: DeviceKey
    user: UserKey
    label: str
    token_hash: str
    hook: Hook | None = None


class DeviceRevoked(Change, frozen=True, tag="deviceRevoked"):
    """A device may not sign in any more."""

    key: DeviceKey


class PrunedChat(msgspec.Struct, frozen=True, array_like=True):
    """What retention took out of one chat: all up to a message.

    Of each member who had not read it: how many messages are left unread.
    """

    chat: ChatKey
    upto: MessageId
    unread: list[tuple[UserKey, int]]


class HistoryPruned(Change, frozen=True, tag="historyPruned"):
    """Retention removed what was said up to an entry."""

    seq: Seq
    chats: list[PrunedChat]


class BackupRestored(Change, frozen=True, tag="backupRestored"):
    """A backup took the place of a store; event ids go on far above those that devices have seen."""

    last: MessageId


class ClockTrusted(Change, frozen=True, tag="clockTrusted"):
    """An admin said that the machine's clock was right: timestamps go on from this entry's, which may be earlier."""

    before: int
    """The log's last time until then, Unix milliseconds."""


class InviteMade(Change, frozen=True, tag="inviteMade", kw_only=True):
    """Somebody may sign in once: of the code only the SHA-256 is kept, in hexadecimal."""

    code_hash: str
    expires_at: UnixMs
    """Unix milliseconds."""
    user: UserKey = NO_USER
    """Whom it is for; 0 for somebody who is not a user yet."""
    name: str = ""
    """What such a one is called, until they say otherwise."""
    chat: str = ""
    """Where they land: a group or channel, which they join, or a user to talk to."""
    by: UserKey = NO_USER
    """Who made it: it ends with their right to invite. 0 for the machine's admin, and in older entries."""


class InviteUsed(Change, frozen=True, tag="inviteUsed"):
    """An invite let its user in, or was revoked, and lets nobody in any more."""

    code_hash: str
    revoked: bool = False


class PasswordSet(Change, frozen=True, tag="passwordSet"):
    """A user signs in with this password from now on, an argon2 hash; empty for with none."""

    user: UserKey
    hash: str


class FileAdded(Change, frozen=True, tag="fileAdded", kw_only=True):
    """A file was uploaded; see `StoredFile`."""

    id: str
    digest: str
    user: UserKey
    name: str
    mimetype: str
    size: int
    width: int | None = None
    height: int | None = None
    loose: UnixMs


class ForgottenFile(msgspec.Struct, frozen=True, rename="camel"):
    """A file that nothing holds any more, and whose it was."""

    id: str
    digest: str
    user: UserKey
    size: int


class FilesForgotten(Change, frozen=True, tag="filesForgotten"):
    """Files went that nothing held any more."""

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
    | UserChanged
    | DeviceAdded
    | DeviceRevoked
    | HistoryPruned
    | BackupRestored
    | ClockTrusted
    | InviteMade
    | InviteUsed
    | PasswordSet
    | FileAdded
    | FilesForgotten
)

decode = msgspec.json.Decoder(AnyChange).decode


def encode(change: Change) -> str:
    """As kept in the log."""
    return msgspec.json.encode(change).decode()
