"""What may be appended to the log: a request, who makes it, when, and any id that had to be made up for it.

A command holds all that the decision about it needs (ARCHITECTURE.md, "Room to grow"). Plain data.
"""

import msgspec

from relay.core.model.changes import Hook
from relay.keys import NO_USER, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import Attachment, ChatType

ADMIN = NO_USER
"""The actor of what an admin does on the machine itself."""


class Command(msgspec.Struct, frozen=True, gc=False):
    """One thing somebody wants changed."""

    at: UnixMs
    """When it came in, Unix milliseconds; stamped once."""
    user: UserKey
    """The key of who asks, `ADMIN` for an admin on the machine."""
    device: int
    """The key of the device it came from, 0 for none."""
    request: msgspec.Struct
    """The request's payload as on the wire, or one of the control socket's."""
    origin: int = 0
    """The number of the connection it came through; it decides nothing."""
    generated_id: str = ""
    """An id that the relay gives: a group's, or a message's client id where the client gave none."""
    importer: bool = False
    """Whether an import says it, on behalf of `user`: the role that permissions ask for. Nothing else may set it."""


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
    """Write an entry that means nothing in a chat: its `seq` is the event id of a chat list that was held back."""

    chat: int


class PruneChats(msgspec.Struct, frozen=True):
    """Retention takes what was said out of chats: their unread counts follow, before it is removed."""

    chats: tuple[tuple[int, MessageId], ...]
    """Of each chat its key and the last message id that goes."""


class PruneHistory(msgspec.Struct, frozen=True):
    """Retention is about to remove messages and marks up to an entry; `PruneChats` sees to the chats after it."""

    seq: Seq


class NoteRestore(msgspec.Struct, frozen=True):
    """A backup was put in place: event ids go on above `last`, which no device can have seen yet."""

    last: MessageId
    end_invites: bool = False
    """Whether no invite of the backup's lets anybody in."""


class TrustClock(msgspec.Struct, frozen=True):
    """An admin says that the machine's clock is right: the log goes on from the command's time, back too."""


class MakeInvite(msgspec.Struct, frozen=True, kw_only=True):
    """Let somebody sign in once, by a code of which the log gets the hash only."""

    code_hash: str
    expires_at: UnixMs
    """Unix milliseconds."""
    user_id: str | None = None
    name: str | None = None
    chat_id: str | None = None


class UseInvite(msgspec.Struct, frozen=True):
    """Somebody signs in by an invite; `generated_id` is the id they get where they are no user yet."""

    code_hash: str
    label: str
    token_hash: str


class RevokeInvites(msgspec.Struct, frozen=True):
    """Let nobody in any more by these invites, which their codes' hashes name."""

    code_hashes: tuple[str, ...]


class SignUp(msgspec.Struct, frozen=True):
    """Somebody picks a name and is in, where that is open to all; `generated_id` is the id they get."""

    name: str
    label: str
    token_hash: str


class SetPassword(msgspec.Struct, frozen=True):
    """A user signs in with this password from now on, an argon2 hash; empty for with none."""

    user_id: str
    hash: str
    sign_out: bool = False
    """Whether all devices of theirs are signed out but the one that asks."""


class RevokeDevices(msgspec.Struct, frozen=True):
    """All devices of a user sign in no more, but the one that asks; nor does anybody by an invite for the user."""

    user_id: str


class AddFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file was uploaded and its content is on disk."""

    id: str
    digest: str
    name: str
    mimetype: str
    size: int
    width: int | None
    height: int | None
    loose: UnixMs
    """Until when some message must hold it, Unix milliseconds."""


class ForgetFiles(msgspec.Struct, frozen=True):
    """Files that nothing seems to hold may go, where nothing does."""

    ids: tuple[str, ...]


class AddDevice(msgspec.Struct, frozen=True):
    """A device signs in from now on; of its token the log gets the hash only."""

    user: UserKey
    label: str
    token_hash: str
    hook: Hook | None = None


class ImportUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user comes from elsewhere, as they are there: one who is disabled there never signs in here."""

    id: str
    name: str
    created_at: UnixMs
    """When they came to be there, Unix milliseconds."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False


class ImportChat(msgspec.Struct, frozen=True, kw_only=True):
    """A chat comes from elsewhere with the people that it has there; `generated_id` is the id of a group or channel."""

    type: ChatType
    name: str
    owner: str | None
    """Who owns it, as a relay's export says."""
    founder: str | None
    """Who made it, where an export says no more: they own it if they can run it."""
    admins: list[str]
    participants: list[str]
    """Who is in it; the longest first, for one of them may inherit it."""
    created_at: UnixMs
    photo_url: str | None = None


class Original(msgspec.Struct, frozen=True, gc=False):
    """A message that came from elsewhere, by what it is known by: its author's key and its client id."""

    author: UserKey
    client_id: str


class ImportMessage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A message comes from elsewhere. Its author need not be a member, nor able to write there now."""

    chat: int
    client_id: str
    said_at: UnixMs
    """When it was said there, Unix milliseconds; the log's own time may be later."""
    text: str | None = None
    attachments: list[Attachment] | None = None
    reply_to: Original | None = None


class ImportChange(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An edit or a deletion comes from elsewhere; the message has its newest text already."""

    chat: int
    client_id: str
    said_at: UnixMs
    original: Original
    deleted: bool


class ImportClearing(msgspec.Struct, frozen=True):
    """The user has cleared a dialog elsewhere, up to a message."""

    chat: int
    upto: Original
