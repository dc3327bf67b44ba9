"""What every source of an import yields: users, chats and messages in the relay's terms, messages in order of sending.

A source counts what it leaves behind. Touches no files and no relay.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol

from relay.protocol.base import BLANK, INVISIBLE
from relay.protocol.objects import Attachment, ChatType

LONGEST_KEY = 128
"""Characters of a message's client id (`protocol.base.ClientMessageId`)."""
TEXT = 65_536
"""Characters of a message (`protocol.base.Text`)."""


class NotUnderstood(Exception):
    """The source cannot be imported; the text says why."""


class SourceFile(NamedTuple):
    """A file of a message, or a picture of a user or chat."""

    name: str
    size: int
    pieces: Callable[[], Iterator[bytes]]
    """Yields the content from the beginning; raises `NotUnderstood` if it is damaged."""
    key: str = ""
    """Its id in the source, if several messages may share it."""
    sender: str = ""
    """Who uploaded it, if not the sender of the message."""
    known: Attachment | None = None
    """The attachment as the message has it, in a relay's export."""

    def read(self) -> bytes:
        """Read all of the content."""
        return b"".join(self.pieces())


class SourceUser(NamedTuple):
    """A user to import."""

    id: str
    name: str
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    at: int | None = None
    """When the user was made, Unix milliseconds; None if the source does not say."""
    picture: SourceFile | None = None


class SourceChat(NamedTuple):
    """A chat to import."""

    key: str
    """The name by which messages of the source refer to it."""
    id: str
    """The id of a group or channel here; empty for a dialog, which its two people identify."""
    name: str
    kind: ChatType
    owner: str | None
    """The owner, if the source says so."""
    founder: str | None
    """Who made it, if the source names no owner."""
    admins: list[str]
    participants: list[str]
    at: int | None = None
    picture: SourceFile | None = None


Named = tuple[str, str]
"""A message by its author and its key."""


class SourceMessage(NamedTuple):
    """A message to import, or its edit, deletion or clearing."""

    at: int
    """Unix milliseconds."""
    key: str
    """Its client id, which is the same in every import."""
    sender: str
    room: str
    """Its chat's key."""
    text: str
    answers: Named | None = None
    files: tuple[SourceFile, ...] = ()
    kind: Literal["new", "edit", "delete", "clear"] = "new"
    original: Named | None = None
    """The message that an edit or a deletion changes."""
    deleted: bool = False
    """Whether the message was deleted and has no content."""


class Source(Protocol):
    """A source that can be imported."""

    left: Counter[str]
    """Counts of what was left behind, by its description."""
    start: int
    """When the oldest event of the source happened, Unix milliseconds."""

    def people(self) -> Iterator[SourceUser]:
        """Yield all users."""

    def rooms(self) -> Iterator[SourceChat]:
        """Yield all chats that can be imported. The others are counted in `left`, with their messages."""

    def messages(self) -> Iterator[SourceMessage]:
        """Yield all messages, in the order they were sent."""


def fit_name(name: str) -> str:
    """Make a valid name: one line, not too long. Return an empty text if nothing visible is left."""
    in_one_line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", name)
    fitting = re.sub(f"[{INVISIBLE}]", "", in_one_line).strip()[:128]
    return fitting if re.search(f"[^{BLANK}]", fitting) else ""


def fit_id(name: str, taken: set[str]) -> str:
    """Make a user id from a name: the nearest valid one, with a number if it is taken."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:56] or "user"
    user_id, number = plain, 1
    while user_id in taken:
        number += 1
        user_id = f"{plain}-{number}"
    taken.add(user_id)
    return user_id


def fit_key(key: str) -> str:
    """Make a client id from the source's id of a message. A long one keeps its beginning and a hash of all of it."""
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 33]}-{blake2b(key.encode(), digest_size=16).hexdigest()}"


def dialog_kind(people: Sequence[str]) -> ChatType:
    """Return the kind of a conversation of two people, or of one."""
    return "dialog" if len(people) == 2 else "favorites"
