"""What the log amounts to, as records: users, devices, invites, chats and their members. Plain data."""

import msgspec

from relay.core.model import changes
from relay.keys import NO_USER, ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import ChatType

BLOCK = 4_096
"""Bytes that a file counts for at least: it takes that much of a disk, and an entry that stays."""


def quota_bytes(size: int) -> int:
    """Bytes that a file of a size counts for."""
    return max(size, BLOCK)


class User(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A person or a program that may talk here."""

    key: UserKey
    id: str
    name: str
    photo_url: str | None = None
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    created_at: UnixMs = 0
    stored: int = 0
    """Bytes that the files count for which they have uploaded: see `quota_bytes`."""
    password: str = ""
    """The argon2 hash of what they sign in with, if they do."""


class Invite(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A way in for one, once; see `changes.InviteMade`."""

    code_hash: str
    expires_at: UnixMs
    user: UserKey = NO_USER
    name: str = ""
    chat: str = ""
    by: UserKey = NO_USER
    used: bool = False


class Device(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One thing a user signs in from, known by the hash of its token."""

    key: DeviceKey
    user: UserKey
    label: str
    token_hash: str
    created_at: UnixMs = 0
    revoked_at: UnixMs = 0
    hook: changes.Hook | None = None
    """What a hook is for; it may do nothing else."""


class Member(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One user in one chat. Message ids of 0 mean none."""

    admin: bool = False
    joined: MessageId = 0
    """The chat's last message id when the user joined."""
    joined_seq: Seq = 0
    dlvrd: MessageId = 0
    """Up to here the user's devices have everything."""
    read: MessageId = 0
    """Up to here the user has read everything."""
    seen: int = 0
    """How many of the chat's counted messages are no news to this user: read, or their own."""
    cleared: MessageId = 0
    """Up to here the user has cleared the chat for themselves."""
    hidden: bool = False
    counts_from: MessageId = 0
    """The chat's last message id when the user was enabled again."""

    @property
    def read_upto(self) -> int:
        """Up to here nothing is unread to this user: read, or cleared."""
        return max(self.read, self.cleared)

    @property
    def dlvrd_upto(self) -> int:
        """Up to here nothing is to be delivered to this user: their devices have it, or it was cleared."""
        return max(self.dlvrd, self.cleared)


class Chat(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A chat and its people. What is said in it stays in the log."""

    key: ChatKey
    id: str | None = None
    type: ChatType
    name: str = ""
    photo_url: str | None = None
    owner: UserKey
    created_at: UnixMs = 0
    gone: bool = False
    last_message_id: MessageId = 0
    last_seq: Seq = 0
    newest: MessageId = 0
    """The `message_id` of the latest message that is neither an edit nor a deletion."""
    newest_at: UnixMs = 0
    newest_by: int = 0
    newest_deleted: bool = False
    pruned: int = 0
    """Up to this message id history was removed."""
    count: int = 0
    """Messages sent less those deleted: a member's unread ones are this less what they have seen."""
