"""What every source gives: people, chats and messages in the relay's terms, the messages in the order they were sent.

Each counts what it has to leave behind. No files, and no relay.
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
    """What is wrong with what is to be imported."""


class SourceFile(NamedTuple):
    """A file that a message holds, or that is a picture."""

    name: str
    size: int
    pieces: Callable[[], Iterator[bytes]]
    """Its content, from the beginning; raises `NotUnderstood` where that is damaged."""
    key: str = ""
    """What it is known by in the source, where several messages may hold it."""
    sender: str = ""
    """Who uploaded it, where that is not who wrote the message."""
    known: Attachment | None = None
    """What the message says of it, in a relay's export."""

    def read(self) -> bytes:
        """Give all of its content."""
        return b"".join(self.pieces())


class SourceUser(NamedTuple):
    """A user to be."""

    id: str
    name: str
    bot: bool = False
    admin: bool = False
    disabled: bool = False
    removed: bool = False
    at: int | None = None
    """When they came to be, Unix milliseconds; None where the source does not say."""
    picture: SourceFile | None = None


class SourceChat(NamedTuple):
    """A chat to be."""

    key: str
    """What its messages call it."""
    id: str
    """A group's or channel's id here; empty for a dialog, which its people name."""
    name: str
    kind: ChatType
    owner: str | None
    """Who owns it, where the source says so."""
    founder: str | None
    """Who made it, where it says no more."""
    admins: list[str]
    participants: list[str]
    at: int | None = None
    picture: SourceFile | None = None


Named = tuple[str, str]
"""A message by its author and its key."""


class SourceMessage(NamedTuple):
    """A message to be, or what became of one."""

    at: int
    """Unix milliseconds."""
    key: str
    """Its client id: the same whenever it is imported."""
    sender: str
    room: str
    """Its chat's key."""
    text: str
    answers: Named | None = None
    files: tuple[SourceFile, ...] = ()
    kind: Literal["new", "edit", "delete", "clear"] = "new"
    original: Named | None = None
    """What an edit or a deletion changes."""
    deleted: bool = False
    """Whether it has no content since it was deleted."""


class Source(Protocol):
    """Something that can be imported."""

    left: Counter[str]
    """What was left behind, and how much of it."""
    start: int
    """When the oldest of it happened, Unix milliseconds."""

    def people(self) -> Iterator[SourceUser]:
        """All users."""

    def rooms(self) -> Iterator[SourceChat]:
        """All chats that can come in; what cannot is counted in `left`, with its messages."""

    def messages(self) -> Iterator[SourceMessage]:
        """All messages, in the order they were sent."""


def fit_name(name: str) -> str:
    """Make of a name one that may be: in one line, and not too long. Nothing where nothing is left to see."""
    in_one_line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", name)
    fitting = re.sub(f"[{INVISIBLE}]", "", in_one_line).strip()[:128]
    return fitting if re.search(f"[^{BLANK}]", fitting) else ""


def fit_id(name: str, taken: set[str]) -> str:
    """Make a user id of a name: the nearest that may be one, with a number where it is taken."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-.")[:56] or "user"
    user_id, number = plain, 1
    while user_id in taken:
        number += 1
        user_id = f"{plain}-{number}"
    taken.add(user_id)
    return user_id


def fit_key(key: str) -> str:
    """Make a client id of what a source knows a message by: a long one keeps its beginning and a hash of all."""
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 33]}-{blake2b(key.encode(), digest_size=16).hexdigest()}"


def dialog_kind(people: Sequence[str]) -> ChatType:
    """What a conversation of two people is, or of one."""
    return "dialog" if len(people) == 2 else "favorites"
