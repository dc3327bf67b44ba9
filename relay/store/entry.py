"""The entries of the log, later changes to them, and the facts that the rules look up.

Plain data: no SQL and no rules. It logs JSON that does not decode; no other I/O.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import msgspec

from relay.keys import ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import Attachment, ReplyTo
from relay.store.kinds import DELETE, EDIT, NEW

REPLY_PREVIEW_CHARACTERS = 1_000
"""Characters of a message that a reply quotes."""
FEW_AUTHORS = 8
"""Up to this many authors, a list is searched one by one."""

logger = logging.getLogger(__name__)

_pairs = msgspec.json.Decoder(list[tuple[UserKey, MessageId]]).decode


class Covered(NamedTuple):
    """The highest message of one author that a receipt newly covers."""

    author: UserKey
    message_id: MessageId
    client_id: str


class Entry(msgspec.Struct, gc=False):
    """One row of the log. `seq` is the event's id on the wire; the keys of users, chats and devices are internal.

    The fields up to `extra` are columns. Those after it are looked up when the entry is made and when it is read again,
    so that its event is current.
    """

    seq: Seq
    kind: int
    chat: ChatKey
    message_id: MessageId
    actor: UserKey
    device: DeviceKey
    at: UnixMs
    """Unix milliseconds; never goes backwards along the log."""
    target: int = 0
    """Its meaning depends on the kind.

    For a new message: the message that it replies to, or 0. For others read `subject_id` or `unread_after`.
    """
    client_key: int | None = None
    """The idempotency key: 64 bits of a keyed hash of (chat, actor, client id) (PROTOCOL.md, section 3)."""
    client_id: str | None = None
    message: str | None = None
    extra: str | None = None
    """Its meaning depends on the kind.

    JSON of a message's `Extra`, of a receipt's covered messages (`covered_ids`), of a change to chats, users or devices
    (`core.model.changes.change_of`); for a deletion, the author of the deleted message (`deleted_author`).
    None in memory where the fields below have it decoded.
    """

    attachments: list[Attachment] | None = None
    reply_to: ReplyTo | None = None
    forwarded: str | None = None
    said_at: UnixMs = UnixMs(0)
    """When an imported message was sent, if that is not `at`; else 0."""
    original_at: UnixMs = UnixMs(0)
    """For a deletion that was just made: `at` of the removed message, the only trace of its date."""
    deleted: bool = False
    covered: tuple[Covered, ...] = ()
    origin: int = 0
    """The number of the connection that sent it, while it is new: that connection gets a response, not an event."""
    by_author: dict[UserKey, Covered] | None = None
    """`covered` by author; filled by `covers` if there are many."""
    held: int = 0
    """The bytes that it is counted with while it is kept in memory (`core.model.recent`)."""

    @property
    def subject_id(self) -> MessageId:
        """The message that this is about: the edited or deleted one, else the entry's own."""
        return self.target if self.kind in (EDIT, DELETE) else self.message_id

    @property
    def unread_after(self) -> int:
        """For a read receipt: how many messages of the chat the reader has left unread."""
        return self.target

    @property
    def deleted_author(self) -> UserKey:
        """The author of the message that a deletion removed."""
        try:
            return UserKey(int(self.extra or 0))
        except ValueError:
            note_unreadable()
            return UserKey(0)

    @property
    def covered_ids(self) -> list[MessageId]:
        """The highest message of each author that a receipt newly covers."""
        try:
            return [id_ for _, id_ in _pairs(self.extra)] if self.extra else [self.message_id]
        except msgspec.DecodeError:
            note_unreadable()
            return [self.message_id]

    def covers(self, author: UserKey) -> Covered | None:
        """Find the highest message of an author that this receipt newly covers. Called for each member of a group."""
        covered = self.covered
        if len(covered) <= FEW_AUTHORS:
            return next((one for one in covered if one.author == author), None)
        if self.by_author is None:
            self.by_author = {one.author: one for one in covered}
        return self.by_author.get(author)


def covered_column(covered: Sequence[Covered]) -> str | None:
    """Write `Entry.covered_ids` as the log stores it; a single one is the entry's own message id."""
    if len(covered) <= 1:
        return None
    return msgspec.json.encode([(one.author, one.message_id) for one in covered]).decode()


def author_column(author: UserKey) -> str:
    """Write `Entry.deleted_author` as the log stores it."""
    return str(author)


class Amendment(NamedTuple):
    """A change to a message's row by an edit or a deletion."""

    chat: ChatKey
    message_id: MessageId
    changed: MessageId
    """The `message_id` of the edit or the deletion."""
    at: UnixMs
    message: str | None
    extra: str | None
    deleted: bool


class StoredMessage(NamedTuple):
    """The facts about a message in the log that the rules need."""

    chat: ChatKey
    message_id: MessageId
    kind: int
    author: UserKey
    client_id: str
    """Empty if retention removed the message and only the key is left."""
    at: UnixMs
    message: str | None
    deleted: bool
    changed: MessageId
    """The `message_id` of the last edit, or of the deletion; 0 for none."""
    changed_at: UnixMs
    target: int
    extra: str | None
    device: DeviceKey | None
    """The key of the device that sent it, 0 for none; None if retention removed the message."""

    @property
    def subject_id(self) -> MessageId:
        """The message that this is about: the edited or deleted one, else its own id."""
        return self.message_id if self.kind == NEW else self.target

    @property
    def details(self) -> "Extra":
        """The data of the message besides its text."""
        return read_extra(self.extra) if self.extra else Extra()


class Extra(msgspec.Struct, rename="camel", omit_defaults=True):
    """The data of a message besides its text."""

    attachments: list[Attachment] | None = None
    forwarded: str | None = None
    said_at: UnixMs = UnixMs(0)
    """When an imported message was sent, if the log's time differs; else 0."""

    def column(self) -> str | None:
        """Write it as the log stores it; None if there is only text."""
        if not (self.attachments or self.forwarded or self.said_at):
            return None
        return msgspec.json.encode(self).decode()


_extra = msgspec.json.Decoder(Extra).decode


def read_extra(column: str) -> Extra:
    """Read what a message has beside its text; nothing if a failing disk made it unreadable.

    Else one such row would end every answer, replay and export that it is in.
    """
    try:
        return _extra(column)
    except msgspec.DecodeError:
        note_unreadable()
        return Extra()


@cache
def note_unreadable() -> None:
    """Log that the store is damaged, once: the same row is read again and again."""
    logger.error(
        "the store is damaged: what an entry has beside its text cannot be read and is left out."
        " `relay check` names all such entries"
    )


class DeviceUses(NamedTuple):
    """The use of a user's devices at some moment."""

    connected: frozenset[DeviceKey] = frozenset()
    """Keys of the connected devices."""
    seen: Mapping[DeviceKey, UnixMs] = {}
    """When the others were last connected, by key; missing if never."""


class StoredFile(NamedTuple):
    """The store's data on an uploaded file."""

    id: str
    digest: str
    """The SHA-256 of its content, in hexadecimal."""
    user: UserKey
    """The uploader."""
    name: str
    mimetype: str
    size: int
    width: int | None
    height: int | None
    loose: UnixMs
    """0 while a message uses it, else the time from which it may be deleted."""
    holders: tuple[tuple[ChatKey, MessageId], ...]
    """The chats that use it, each with the last message that does."""


class FirstReceipt(NamedTuple):
    """When a message got its first receipt."""

    message_id: MessageId
    client_id: str
    at: UnixMs


if TYPE_CHECKING:
    import typing_extensions

    Value_co = typing_extensions.TypeVar("Value_co", covariant=True, default=object)
else:
    # Type checkers read a bare `Fact` as one of any value; see `relay.outcomes`.
    Value_co = TypeVar("Value_co", covariant=True)


class Fact(msgspec.Struct, Generic[Value_co], frozen=True, gc=False):
    """A fact that the rules look up, and the type of its value.

    Facts of different classes differ even if their fields are equal.
    """


class MessageAt(Fact[StoredMessage | None], frozen=True):
    """Fact: the message with this id, if there is one."""

    chat: ChatKey
    message_id: MessageId


class ClientKey(Fact[StoredMessage | None], frozen=True):
    """Fact: the message with this client key, if there is one; also one that retention removed recently."""

    client_key: int


class CoveredBy(Fact[tuple[Covered, ...]], frozen=True):
    """Fact: the highest message of each author but the user in (after, upto]."""

    chat: ChatKey
    user: UserKey
    after: MessageId
    upto: MessageId
    dialog: bool = False
    """Whether there is at most one other author."""


class UnreadAfter(Fact[int], frozen=True):
    """Fact: how many messages of others are in (after, upto]."""

    chat: ChatKey
    user: UserKey
    after: MessageId
    upto: MessageId


class Prunable(Fact[dict[ChatKey, dict[UserKey, list[MessageId]]]], frozen=True):
    """Fact: the messages of each chat between two ids, without deleted ones: by author, ascending."""

    chats: tuple[tuple[ChatKey, MessageId, MessageId], ...]
    """(chat key, message id before the first, last message id)."""


class FirstMark(Fact[FirstReceipt | None], frozen=True):
    """Fact: the highest message of others up to this id, and when the user first sent a receipt for it, if ever."""

    chat: ChatKey
    user: UserKey
    read: bool
    upto: MessageId


class FilesNamed(Fact[dict[str, StoredFile]], frozen=True):
    """Fact: the files with these ids, by id, without unknown ones."""

    ids: tuple[str, ...]


class DevicesInUse(Fact[DeviceUses], frozen=True):
    """Fact: how a user's devices are used.

    The engine knows this, not the store. It answers in the turn that decides the batch, because connections may change
    during any wait.
    """

    user: UserKey


Facts = dict[Fact, Any]
"""Values by facts. Any: each has its fact's type, which `DraftBuilder.fact` restores."""


def text_length(entries: Sequence[Entry]) -> int:
    """Count the characters of text in entries."""
    length = 0
    for entry in entries:
        if entry.message:
            length += len(entry.message)
    return length


def keys_to_look_up(entries: Iterable[Entry], facts: Facts) -> list[Fact]:
    """List the client keys of entries that the facts do not cover yet."""
    return [
        fact for entry in entries if entry.client_key is not None and (fact := ClientKey(entry.client_key)) not in facts
    ]
