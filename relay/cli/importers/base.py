"""The interface of every source: users, chats and messages in the relay's terms, with the messages in the order sent.

A source counts the objects that it leaves behind. Knows neither the file system nor a relay.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

from relay.protocol.base import fit_filename
from relay.protocol.objects import Attachment, ChatType
from relay.unicode.unseen import one_line

KEY_CHARACTERS = 128
"""Maximum characters of a message's client id (`protocol.base.ClientMessageId`)."""
TEXT_CHARACTERS = 65_536
"""Maximum characters of a message (`protocol.base.Text`)."""
NAME_CHARACTERS = 128
"""Maximum characters of the name of a user or a chat (`protocol.base.Name`)."""
ADDRESS_CHARACTERS = 2_048
"""Maximum characters of an address in the text of a message."""
ORIGIN_CHARACTERS = 256
"""Maximum characters of an origin (`protocol.control.transfer.Origin`)."""

UNKNOWN_MEMBERS = "members of channels who are in no list of users and wrote nothing"
"""The description of members of whom only an id is known."""


class NotUnderstood(Exception):
    """A source that cannot be imported; its text says why."""


class SourceFile(NamedTuple):
    """A file in a message, or the picture of a user or a chat."""

    name: str
    size: int
    pieces: Callable[[], Iterator[bytes]]
    """Reads its content from the beginning; raises `NotUnderstood` if that is damaged."""
    key: str = ""
    """Identifies it in the source, where several messages may use it."""
    sender: str = ""
    """The id of the uploader, if that is not the author of the message."""
    known: Attachment | None = None
    """The attachment in the message, in a relay's own export; `link` makes one that is stored elsewhere."""
    digest: str = ""
    """The SHA-256 of its content, if the export says it."""

    @property
    def elsewhere(self) -> str:
        """Its address, valid or not, if it has no content in the source; empty otherwise."""
        return self.known.url if self.known is not None and not self.known.is_here else ""

    def read(self) -> bytes:
        """Read all of its content."""
        return b"".join(self.pieces())


def link(attachment: Attachment) -> SourceFile:
    """Describe an attachment that names a file elsewhere, which messages pass on unchanged."""
    return SourceFile(attachment.filename, 0, lambda: iter(()), known=attachment)


class SourceUser(NamedTuple):
    """A user that the source describes."""

    id: str
    """Identifies them in the source, in its chats and messages."""
    name: str
    wish: str = ""
    """Their name there, from which their id here is made; empty if that is `id`."""
    origins: tuple[str, ...] = ()
    """Their ids in this system and others; see `core.model.entities.User`."""
    fixed: bool = False
    """Whether these never change and are unique; names are neither."""
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    at: int | None = None
    """When the account was made, Unix milliseconds; None if the source does not say."""
    picture: SourceFile | None = None


class SourceChat(NamedTuple):
    """A chat that the source describes."""

    key: str
    """Identifies it in the source, in its messages."""
    id: str
    """The id that a group or channel should get here; empty for a dialog, which is identified by its participants."""
    name: str
    kind: ChatType
    owner: str | None
    """The owner, if the source names one."""
    founder: str | None
    """The creator, if the source names no owner."""
    admins: list[str]
    participants: list[str]
    at: int | None = None
    picture: SourceFile | None = None
    origins: tuple[str, ...] = ()
    """As for a user."""


Reference = tuple[str, str]
"""A message by its author and its client id."""


class SourceMessage(NamedTuple):
    """A message, or an edit, a deletion or a clearing."""

    at: int
    """Unix milliseconds."""
    key: str
    """Its client id: the same at each import."""
    sender: str
    chat: str
    """The key of its chat."""
    text: str
    reply_to: Reference | None = None
    """The message that it replies to."""
    files: tuple[SourceFile, ...] = ()
    kind: Literal["new", "edit", "delete", "clear"] = "new"
    original: Reference | None = None
    """The message that an edit or a deletion changes."""
    deleted: bool = False
    """Whether it was deleted, and so has no content."""


class Source(Protocol):
    """Something that can be imported."""

    left: Counter[str]
    """How much stays behind, by description."""
    inferred: Counter[str]
    """How many chats have no list of members in the source, by a description of what their members come from."""
    start: int
    """The date of the oldest record, Unix milliseconds; 0 if there is none."""

    def users(self) -> Iterator[SourceUser]:
        """Return all users."""

    def chats(self) -> Iterator[SourceChat]:
        """Return all chats that can be imported; others are counted in `left`, with their messages."""

    def messages(self) -> Iterator[SourceMessage]:
        """Return all messages in the order they were sent."""


def fit_name(name: str) -> str:
    """Make a valid name: in one line, and not too long. Empty if nothing visible is left."""
    return one_line(name, NAME_CHARACTERS)


def in_place_of(filename: str, address: str = "") -> str:
    """Make the line that stands in a message's text in place of a file that stays behind.

    Args:
        filename: its name in the source.
        address: its address, if it is stored elsewhere.
    """
    shown = one_line(address, ADDRESS_CHARACTERS)
    return f"\n(file: {fit_filename(filename)}{f', {shown}' if shown else ''})"


def fit_id(name: str) -> str:
    """Make a valid id from a name; several names may get the same one."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:56] or "user"


def with_hash(id_: str, key: str) -> str:
    """Make a unique id from its beginning and a hash of its owner's key in the source."""
    return f"{id_[:40]}-{blake2b(key.encode(), digest_size=6).hexdigest()}"


def fit_origin(system: str, key: str) -> str:
    """Make an origin from the key of a user or chat in a system."""
    origin = f"{system}:{key}"
    if len(origin) <= ORIGIN_CHARACTERS:
        return origin
    return f"{origin[: ORIGIN_CHARACTERS - 33]}-{blake2b(key.encode(), digest_size=16).hexdigest()}"


def fit_key(key: str) -> str:
    """Make a valid client id from a key of the source: a long one becomes its beginning and a hash of the whole."""
    if len(key) <= KEY_CHARACTERS:
        return key
    return f"{key[: KEY_CHARACTERS - 33]}-{blake2b(key.encode(), digest_size=16).hexdigest()}"


def dialog_kind(participants: Sequence[str]) -> ChatType:
    """Tell the type of a conversation of two people, or of one with themselves."""
    return "dialog" if len(participants) == 2 else "favorites"
