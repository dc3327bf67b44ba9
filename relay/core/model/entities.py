"""The records derived from the log: users, devices, invites, chats and their members. Plain data."""

from enum import Enum, auto

import msgspec

from relay.core.model import changes
from relay.keys import NO_USER, ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import ChatType

SHARED_TYPES = ("group", "channel")
"""The types of chats that have an id, a name, admins, and members who come and go."""
PEOPLE_OF_TYPE = {"dialog": 2, "favorites": 1}
"""How many members a chat has, for each type of chat that is identified by its members."""
BLOCK_BYTES = 4_096
"""The minimum bytes that a file counts as: its block on disk, and its entry in the log."""


def quota_bytes(size: int) -> int:
    """Return how many bytes of its user's quota a file takes.

    Args:
        size: the file's size in bytes.
    """
    return max(size, BLOCK_BYTES)


class User(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A person or a program that may use the relay."""

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
    """Used bytes of their quota: see `quota_bytes`."""
    password: str = ""
    """The argon2 hash of their password; empty for none."""
    origins: tuple[str, ...] = ()
    """The systems that they were imported from, each with their id there, like `slack:U024BE7LH`.

    An import recognises them by these ids, even after they were renamed here or there."""

    @property
    def picture(self) -> str | None:
        """The URL of the picture that others may see; None for a removed user."""
        return None if self.removed else self.photo_url


class InviteState(Enum):
    """Whether an invite can be used, and if not, why."""

    OPEN = auto()
    USED = auto()
    """Used, or revoked."""
    EXPIRED = auto()
    MAKER_MAY_NOT = auto()
    """Its maker may not invite at present."""
    USER_DISABLED = auto()
    """Its user may not sign in at present."""

    @property
    def is_final(self) -> bool:
        """Whether it can never be used again."""
        return self in (InviteState.USED, InviteState.EXPIRED)


class Invite(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """An invite, which lets one user in once; for the fields see `changes.InviteMade`."""

    code_hash: str
    expires_at: UnixMs
    user: UserKey = NO_USER
    name: str = ""
    chat: str = ""
    by: UserKey = NO_USER
    used: bool = False
    made_at: UnixMs = 0
    """0 if an earlier version made it."""


class Device(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A phone, a browser or a hook of a user, known by the hash of its token."""

    key: DeviceKey
    user: UserKey
    label: str
    token_hash: str
    created_at: UnixMs = 0
    revoked_at: UnixMs = 0
    hook: changes.Hook | None = None
    """Set for a hook, which may do nothing else."""


class Member(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """One user in one chat. Message ids of 0 mean none."""

    admin: bool = False
    joined: MessageId = 0
    """The chat's last message id when the user joined."""
    joined_seq: Seq = 0
    dlvrd: MessageId = 0
    """Everything up to this message id is delivered to the user's devices."""
    read: MessageId = 0
    """The user has read everything up to this message id."""
    seen: UnixMs = 0
    """How many of the chat's counted messages are not unread for this user: read, or their own."""
    cleared: MessageId = 0
    """The user has cleared the chat for themselves up to this message id."""
    hidden: bool = False
    counts_from: MessageId = 0
    """The chat's last message id when the user was enabled again."""

    @property
    def read_upto(self) -> int:
        """The message id up to which everything is read or cleared by this user."""
        return max(self.read, self.cleared)

    @property
    def dlvrd_upto(self) -> int:
        """The message id up to which everything is delivered to this user or cleared."""
        return max(self.dlvrd, self.cleared)


class Chat(msgspec.Struct, rename="camel", omit_defaults=True, kw_only=True):
    """A chat without its messages, which are in the log."""

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
    """The `message_id` of the latest message, edits and deletions aside."""
    newest_at: UnixMs = 0
    newest_by: UserKey = NO_USER
    newest_deleted: bool = False
    pruned: int = 0
    """Up to this message id history was removed."""
    count: int = 0
    """Messages sent, without deleted ones. Minus a member's `seen`, it is the member's unread count."""
    origins: tuple[str, ...] = ()
    """As for a user."""
