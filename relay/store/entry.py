"""What the log consists of: entries, and the few things that may change in one later.

Plain data: no SQL, no I/O, no rules.
"""

from typing import Any, NamedTuple

import msgspec

from relay.keys import ChatKey, DeviceKey, MessageId, Seq, UnixMs, UserKey
from relay.protocol.objects import Attachment, ReplyTo

REPLY_PREVIEW = 1_000
"""How much of a message stands in an answer to it, in characters."""


FEW = 8
"""Authors that are looked through one by one."""


class Covered(NamedTuple):
    """The highest message of one author that a mark newly covers."""

    author: UserKey
    message_id: MessageId
    client_id: str


class Entry(msgspec.Struct, gc=False):
    """One row of the log. `seq` is the event's id on the wire; keys of users, chats and devices are ours.

    The fields up to `extra` are columns. Those after it are not written with the row: they are looked up,
    when the entry is made and when it is read again, so that an event made from it shows what is true now.
    """

    seq: Seq
    kind: int
    chat: ChatKey
    message_id: MessageId
    actor: UserKey
    device: int
    at: UnixMs
    """Unix milliseconds; never goes backwards along the log."""
    target: int = 0
    """The message that an edit or a deletion changes, or that a new one replies to; 0 for none."""
    client_key: int | None = None
    """64 bits of a keyed hash of (chat, actor, client id): what makes a repeat known (PROTOCOL.md, section 3)."""
    client_id: str | None = None
    message: str | None = None
    extra: str | None = None
    """JSON: a message's attachments, the authors a mark covers, a change to chats, users or devices."""

    attachments: list[Attachment] | None = None
    reply_to: ReplyTo | None = None
    forwarded: str | None = None
    said_at: UnixMs = UnixMs(0)
    """When an imported message was said, Unix milliseconds, where that is not `at`; else 0."""
    deleted: bool = False
    covered: tuple[Covered, ...] = ()
    origin: int = 0
    """The number of the connection it came through, while it is fresh: that one has the answer already."""
    by_author: dict[int, Covered] | None = None
    """`covered` by author, once `covers` was asked for many."""

    def covers(self, author: int) -> Covered | None:
        """Find an author's highest message that this mark newly covers: each of a large group is asked for."""
        covered = self.covered
        if len(covered) <= FEW:
            return next((one for one in covered if one.author == author), None)
        if self.by_author is None:
            self.by_author = {one.author: one for one in covered}
        return self.by_author.get(author)


class Amendment(NamedTuple):
    """A message's row gets another text, or loses it: an edit or a deletion reached it."""

    chat: ChatKey
    message_id: MessageId
    changed: MessageId
    """The `message_id` of the edit or the deletion."""
    at: UnixMs
    message: str | None
    extra: str | None
    deleted: bool


class StoredMessage(NamedTuple):
    """What the rules may ask about a message that is already in the log."""

    chat: ChatKey
    message_id: MessageId
    kind: int
    author: UserKey
    client_id: str
    """Empty where retention removed the message: only its hash is kept."""
    at: UnixMs
    message: str | None
    deleted: bool
    changed: MessageId
    """The `message_id` of the last edit or of the deletion, 0 for none."""
    changed_at: UnixMs
    target: int
    extra: str | None
    device: int | None
    """The key of the device it came from, 0 for none; None where retention removed the message."""


class Extra(msgspec.Struct, rename="camel", omit_defaults=True):
    """What a message holds beside its text."""

    attachments: list[Attachment] | None = None
    forwarded: str | None = None
    said_at: UnixMs = UnixMs(0)
    """When an imported message was said, Unix milliseconds, where the log's time is another; else 0."""


class FactBase(msgspec.Struct, frozen=True, gc=False):
    """Something the rules ask of the log. Two that are alike in their fields are still of different kinds."""


class MessageAt(FactBase, frozen=True):
    """Fact: the message of that id (`StoredMessage`, or None)."""

    chat: ChatKey
    message_id: MessageId


class ClientKey(FactBase, frozen=True):
    """Fact: the message that has this client key (`StoredMessage`, or None), even if retention removed it lately."""

    client_key: int


class CoveredBy(FactBase, frozen=True):
    """Fact: for each author but the user their highest message in (after, upto] (tuple of `Covered`)."""

    chat: ChatKey
    user: UserKey
    after: MessageId
    upto: MessageId
    dialog: bool = False
    """Whether there is one other author at most."""


class UnreadAfter(FactBase, frozen=True):
    """Fact: how many messages not the user's own are in (after, upto] (int)."""

    chat: ChatKey
    user: UserKey
    after: MessageId
    upto: MessageId


class Prunable(FactBase, frozen=True):
    """Fact: which messages of each chat lie between two ids, deleted ones aside.

    (A dict from chat to a dict from author to message ids, ascending.)
    """

    chats: tuple[tuple[ChatKey, MessageId, MessageId], ...]
    """Of each chat its key, the message id that they come after, and the last."""


class FirstMark(FactBase, frozen=True):
    """Fact: the highest message up to that id that is not the user's own, and when the user first marked it.

    (`FirstReceipt`, or None.)
    """

    chat: ChatKey
    user: UserKey
    read: bool
    upto: MessageId


class FilesNamed(FactBase, frozen=True):
    """Fact: the files of these ids (a dict from id to `StoredFile`; one that is unknown is absent)."""

    ids: tuple[str, ...]


class LastSeen(FactBase, frozen=True):
    """Fact: when these devices last acknowledged something (a dict from device to Unix ms; absent for never)."""

    devices: tuple[DeviceKey, ...]


class StoredFile(NamedTuple):
    """What the store knows of an uploaded file."""

    id: str
    digest: str
    """The SHA-256 of its content, in hexadecimal."""
    user: UserKey
    """Who uploaded it."""
    name: str
    mimetype: str
    size: int
    width: int | None
    height: int | None
    loose: UnixMs
    """0 while a message holds it, else the time from which on it may go, Unix milliseconds."""
    holders: tuple[tuple[ChatKey, MessageId], ...]
    """The chats that hold it, and of each the last message that does."""


class FirstReceipt(NamedTuple):
    """When a message got its mark."""

    message_id: MessageId
    client_id: str
    at: UnixMs


Fact = MessageAt | ClientKey | CoveredBy | UnreadAfter | FirstMark | Prunable | FilesNamed | LastSeen
Facts = dict[Fact, Any]
