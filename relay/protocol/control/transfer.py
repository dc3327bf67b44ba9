"""The admin requests of `relay export` and `relay import`."""

from typing import Annotated, Literal

import msgspec

from relay.protocol.base import ClientMessageId, Date, Id, Name, NewId, Text, Timestamp, Url, Wire
from relay.protocol.objects import Attachment, ChatType


class Export(Wire, frozen=True, kw_only=True):
    """`relay export`: everything, and with `files` where the content of each file is."""

    files: bool = False


class Record(Wire, frozen=True, kw_only=True):
    """A line of an export. `type` says which of the fields are there; times are Unix milliseconds."""

    type: Literal["relay", "user", "chat", "message", "file", "edit", "delete", "clear"]
    at: Timestamp
    """When it was exported, made or sent."""
    format: int | None = None
    version: str | None = None
    id: str | None = None
    name: str | None = None
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    picture: str | None = None
    """The id of a user's, or a group's, picture: a `file` record says more of it."""
    kind: ChatType | None = None
    owner: str | None = None
    admins: list[str] | None = None
    participants: list[str] | None = None
    """Of a chat; of a message in a dialog, which has no id."""
    chat: str | None = None
    sender: str | None = None
    client_message_id: str | None = None
    text: str | None = None
    attachments: list[Attachment] | None = None
    edited_at: Timestamp | None = None
    deleted: bool = False
    """Whether a message was deleted: a `delete` record follows."""
    reply_to: str | None = None
    """The client id of the message that is answered."""
    reply_sender: str | None = None
    """Who wrote that."""
    original: str | None = None
    """The client id of the message that an `edit` or a `delete` changed."""
    original_sender: str | None = None
    size: int | None = None
    """Of a file, in bytes."""
    digest: str | None = None
    """The SHA-256 of a file's content, in hexadecimal."""


class Exported(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """How much an export holds."""

    users: int
    chats: int
    messages: int


class UserImport(Wire, frozen=True, kw_only=True):
    """A user who comes from elsewhere; with `dry` nothing changes, the answer tells what would."""

    id: NewId
    name: Name
    at: Date
    """The time that the log gets for it, if that is not over already."""
    created_at: Date | None = None
    """When they came to be there; `at` where nobody knows."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    dry: bool = False


class Newcomer(Wire, frozen=True, kw_only=True):
    """A user who is not here yet: an import would bring them."""

    id: Id
    bot: bool = False
    disabled: bool = False
    removed: bool = False


class ChatImport(Wire, frozen=True, kw_only=True):
    """A chat that comes from elsewhere: a group or channel is known by its id when it comes again, a dialog by its two.

    `owner` is who owns it there, `founder` who made it where no owner is known.
    """

    id: NewId | None = None
    kind: ChatType = "group"
    name: Name | None = None
    owner: Id | None = None
    founder: Id | None = None
    admins: list[Id] = msgspec.field(default_factory=list)
    participants: list[Id] = msgspec.field(default_factory=list)
    newcomers: list[Newcomer] = msgspec.field(default_factory=list)
    """With `dry`: those of its people who would have been imported before it, and whoever would have its id."""
    at: Date
    created_at: Date | None = None
    photo_url: Url | None = None
    """A file that has come in."""
    dry: bool = False


class ImportResult(Wire, frozen=True, kw_only=True):
    """Whether it was new, and under which id it is here."""

    added: bool
    id: str | None = None
    gone: bool = False
    """Whether it was here, and was deleted."""
    bare: bool = False
    """Whether it is a user who came in as this one and has no picture: an import ended before it could bring that."""
    namesake: str | None = None
    """The name of the user who has this id here, where they may be somebody else: they did not come in as this one."""
    absent: int = 0
    """How many of its people are not in the chat that is here already, and stay out of it."""


class FileImport(Wire, frozen=True, kw_only=True):
    """A piece of a file that comes from elsewhere, for a message that comes next."""

    sender: Id
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    size: Annotated[int, msgspec.Meta(ge=0)]
    """Bytes of the whole."""
    data: bytes = b""
    """The next piece, Base64 as JSON has it."""
    first: bool = True
    more: bool = False
    """Whether other pieces follow."""
    at: Date
    dry: bool = False
    before: Annotated[int, msgspec.Meta(ge=0)] = 0
    """With `dry`: bytes of the sender's that would come before it."""


class FileImportResult(Wire, frozen=True, kw_only=True):
    """The file as a message holds it, once it is whole."""

    attachment: Attachment | None = None


class PictureImport(Wire, frozen=True, kw_only=True):
    """The picture of a user, a file that has come in."""

    user: Id
    url: Url


class MessageReference(Wire, frozen=True, kw_only=True):
    """A message by its author and its client id."""

    sender: Id
    client_message_id: ClientMessageId


class MessageImport(Wire, frozen=True, kw_only=True):
    """What was said elsewhere, or edited, deleted or cleared.

    `chat` is a group's id; a dialog is named by its `participants`.
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
    """What an edit or a deletion changes."""


class MessagesImport(Wire, frozen=True, kw_only=True):
    """Some of them, in the order they were sent; with `dry` the answer tells which are here already."""

    messages: Annotated[list[MessageImport], msgspec.Meta(max_length=1_000)]
    dry: bool = False


class MessageImportResult(Wire, frozen=True, kw_only=True):
    """A message's id and whether it is new, or why it stays behind."""

    message_id: int = 0
    added: bool = False
    reply_lost: bool = False
    """Whether it answers a message that is not here, and came in as one that answers none."""
    error: str = ""
