"""What may be appended to the log: a request, who makes it, when, and any id that had to be made up for it.

A command holds all that the decision about it needs (ARCHITECTURE.md, "Room to grow"). Plain data.
"""

import msgspec

from relay.core.changes import Hook

ADMIN = 0
"""The actor of what an admin does on the machine itself."""


class Command(msgspec.Struct, frozen=True, gc=False):
    """One thing somebody wants changed."""

    at: int
    """When it came in, Unix milliseconds; stamped once."""
    user: int
    """The key of who asks, `ADMIN` for an admin on the machine."""
    device: int
    """The key of the device it came from, 0 for none."""
    request: msgspec.Struct
    """The request's payload as on the wire, or one of the control socket's."""
    origin: int = 0
    """The number of the connection it came through; it decides nothing."""
    made_up: str = ""
    """An id that the relay gives: a group's, or a message's client id where the client gave none."""
    imported: bool = False
    """Whether an import says that its user did this elsewhere."""


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
    message_id: int | None


class MarkRead(msgspec.Struct, frozen=True, gc=False):
    """`read`; `message_id` None for everything so far."""

    chat: int
    message_id: int | None


class SayNothing(msgspec.Struct, frozen=True):
    """Write an entry that means nothing in a chat: its `seq` is the event id of a chat list that was held back."""

    chat: int


class PruneChats(msgspec.Struct, frozen=True):
    """Retention takes what was said out of chats: their unread counts follow, before it is removed."""

    chats: tuple[tuple[int, int], ...]
    """Of each chat its key and the last message id that goes."""


class PruneHistory(msgspec.Struct, frozen=True):
    """Retention removes messages and marks up to an entry; `PruneChats` saw to all chats before."""

    seq: int


class NoteRestore(msgspec.Struct, frozen=True):
    """A backup was put in place: event ids go on above `last`, which no device can have seen yet."""

    last: int


class TrustClock(msgspec.Struct, frozen=True):
    """An admin says that the machine's clock is right: the log goes on from the command's time, back too."""


class MakeInvite(msgspec.Struct, frozen=True, kw_only=True):
    """Let somebody sign in once, by a code of which the log gets the hash only."""

    code_hash: str
    expires_at: int
    """Unix milliseconds."""
    user_id: str | None = None
    name: str | None = None
    chat_id: str | None = None


class UseInvite(msgspec.Struct, frozen=True):
    """Somebody signs in by an invite; `made_up` is the id they get where they are no user yet."""

    code_hash: str
    label: str
    token_hash: str


class SignUp(msgspec.Struct, frozen=True):
    """Somebody picks a name and is in, where that is open to all; `made_up` is the id they get."""

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
    """All devices of a user sign in no more, but the one that asks."""

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
    loose: int
    """Until when some message must hold it, Unix milliseconds."""


class ForgetFiles(msgspec.Struct, frozen=True):
    """Files that nothing seems to hold may go, where nothing does."""

    ids: tuple[str, ...]


class AddDevice(msgspec.Struct, frozen=True):
    """A device signs in from now on; of its token the log gets the hash only."""

    user: int
    label: str
    token_hash: str
    hook: Hook | None = None
