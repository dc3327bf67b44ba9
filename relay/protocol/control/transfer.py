"""The admin requests of `relay export` and `relay import`."""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from relay.protocol.base import MAX_SAFE_INTEGER, ClientMessageId, Date, Id, Name, NewId, Text, Timestamp, Url, Wire
from relay.protocol.objects import Attachment, ChatType

Origin = Annotated[str, msgspec.Meta(min_length=3, max_length=256, pattern=r"^[a-z]+:")]
"""The origin of a user or a chat: the other system's name, a colon, and the id there."""
Origins = Annotated[tuple[Origin, ...], msgspec.Meta(max_length=1_000)]


class Export(Wire, frozen=True, kw_only=True):
    """`relay export`; with `files` also the digest of each file's content."""

    files: bool = False


class Record(Wire, frozen=True, kw_only=True):
    """A line of an export. `type` determines its fields; times are Unix milliseconds."""

    type: Literal["relay", "user", "chat", "message", "file", "edit", "delete", "clear"]
    at: Timestamp
    """When the object was exported, created or sent."""
    format: int | None = None
    version: str | None = None
    id: str | None = None
    name: str | None = None
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    origins: tuple[str, ...] = ()
    """The origins of an imported user or group, such as `slack:U024BE7LH`."""
    picture: str | None = None
    """The id of the picture of a user or group; a `file` record describes it."""
    kind: ChatType | None = None
    owner: str | None = None
    admins: list[str] | None = None
    participants: list[str] | None = None
    """The members of a chat; for a message in a dialog, which has no id, the two users."""
    chat: str | None = None
    sender: str | None = None
    client_message_id: str | None = None
    text: str | None = None
    attachments: list[Attachment] | None = None
    edited_at: Timestamp | None = None
    deleted: bool = False
    """Whether the message was deleted; a `delete` record follows."""
    reply_to: str | None = None
    """The client id of the message that this one replies to."""
    reply_sender: str | None = None
    """The author of that message."""
    original: str | None = None
    """The client id of the message that an `edit` or a `delete` changed, or of the last one that a `clear` cleared;
    None if nothing that was cleared is left."""
    original_sender: str | None = None
    size: int | None = None
    """The bytes of a file."""
    digest: str | None = None
    """The SHA-256 of the content of a file, in hexadecimal."""


class Exported(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """The number of objects in an export."""

    users: int
    chats: int
    messages: int
    unreadable: Sequence[tuple[int, int]] = ()
    """The first and the last event id of each part of the log that could not be read, and so is not in it."""


Expected = Literal["", "new", "here", "known"]
"""The relay's earlier answer about a user or chat of an import: `new`, not here; `here`, the one with this id;
`known`, the one with this id and one of these origins. The relay refuses the import if that has changed. Empty: no
check."""


class UserImport(Wire, frozen=True, kw_only=True):
    """A user to import. With `dry` nothing changes, and the answer tells what would."""

    id: NewId
    name: Name
    at: Date
    """The time of the log entry, unless the log is already past it."""
    created_at: Date | None = None
    """When the user was created; `at` if that is unknown."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    origins: Origins = ()
    """Their ids in other systems. A user here with one of these is the same, whatever the `id` says."""
    same: bool = False
    """Whether the admin says that they are the user here with this id, although that user has another origin."""
    expected: Expected = ""
    dry: bool = False


class Newcomer(Wire, frozen=True, kw_only=True):
    """A user who is not here yet: an import would create them."""

    id: Id
    bot: bool = False
    disabled: bool = False
    removed: bool = False


class ChatImport(Wire, frozen=True, kw_only=True):
    """A chat to import. A repeated import finds a group by its id, and a dialog by its two users.

    `owner` is the owner in the source, `founder` the user who created the chat if no owner is known.
    """

    id: NewId | None = None
    kind: ChatType = "group"
    name: Name | None = None
    owner: Id | None = None
    founder: Id | None = None
    admins: list[Id] = msgspec.field(default_factory=list)
    participants: list[Id] = msgspec.field(default_factory=list)
    keeper: Id | None = None
    """The admin's choice of an owner, if no member of a group can sign in: then they join it."""
    newcomers: list[Newcomer] = msgspec.field(default_factory=list)
    """With `dry`: its people who would have been imported before it, and the user who would have its id."""
    at: Date
    created_at: Date | None = None
    photo_url: Url | None = None
    """A file that was imported before."""
    origins: Origins = ()
    """As for a user."""
    same: bool = False
    """As for a user."""
    expected: Expected = ""
    """As for a user."""
    dry: bool = False


class ImportResult(Wire, frozen=True, kw_only=True):
    """Whether the object was new, and its id here."""

    added: bool
    id: str | None = None
    known: bool = False
    """Whether it is here under one of its `origins`, whatever its name."""
    taken: bool = False
    """With `dry`: whether another one of the same system has its id, so that it needs another."""
    gone: bool = False
    """Whether the object was here before and was deleted."""
    bare: bool = False
    """Whether it is a user of this import who may get a picture: they have none, are not removed, and are new or come
    from an interrupted attempt."""
    namesake: str | None = None
    """The name of the user or group here, if it may be a different one: only its id or origin matches."""
    kept: bool = False
    """Whether it is a new group that only its `keeper` can own."""
    absent: int = 0
    """The number of participants who are not in the existing chat, and are not added to it."""


class FileImport(Wire, frozen=True, kw_only=True):
    """A piece of a file to import, for a message that follows."""

    sender: Id
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    size: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
    """Bytes of the whole file."""
    data: bytes = b""
    """The next piece; Base64 in JSON."""
    first: bool = True
    more: bool = False
    """Whether more pieces follow."""
    at: Date
    dry: bool = False
    before: Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)] = 0
    """With `dry`: bytes of the same sender's files that would be stored before."""
    url: Url | None = None
    """The address of a file that is stored elsewhere. Nothing is stored: the relay only says whether it takes such."""


class FileImportResult(Wire, frozen=True, kw_only=True):
    """The attachment, once the file is complete."""

    attachment: Attachment | None = None


class PictureImport(Wire, frozen=True, kw_only=True):
    """The picture to set for a user: a file that was imported before."""

    user: Id
    url: Url


class MessageReference(Wire, frozen=True, kw_only=True):
    """A message, named by its author and its client id."""

    sender: Id
    client_message_id: ClientMessageId


class MessageImport(Wire, frozen=True, kw_only=True):
    """A message, edit, deletion or clearing to import.

    `chat` is the id of a group; a dialog is named by its `participants`.
    """

    kind: Literal["new", "edit", "delete", "clear"] = "new"
    chat: str = ""
    participants: list[Id] = msgspec.field(default_factory=list)
    sender: Id
    client_message_id: ClientMessageId = "-"
    text: Text | None = None
    attachments: list[Attachment] | None = None
    at: Date
    reply_to: MessageReference | None = None
    original: MessageReference | None = None
    """The message that an edit or deletion changes, or the last one that was cleared; None if none of those is left."""


class MessagesImport(Wire, frozen=True, kw_only=True):
    """Messages in the order in which they were sent. With `dry` the answer tells which are here already."""

    messages: Annotated[list[MessageImport], msgspec.Meta(max_length=1_000)]
    dry: bool = False


class MessageImportResult(Wire, frozen=True, kw_only=True):
    """The id of an imported message and whether it is new, or why it was not imported."""

    message_id: int = 0
    added: bool = False
    reply_lost: bool = False
    """Whether it was a reply to a message that is not here, and was imported without the quote."""
    error: str = ""
