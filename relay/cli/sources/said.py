"""What every source gives: people, chats and messages in the relay's terms, the messages in the order they were sent.

Each counts what it has to leave behind. No files, and no relay.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from relay.protocol.base import BLANK, UNSEEN

TEXT = 65_536
"""Characters of a message (`protocol.base.Text`)."""


class NotUnderstood(Exception):
    """What is wrong with what is to be imported."""


class Person(NamedTuple):
    """A user to be."""

    id: str
    name: str
    bot: bool = False
    admin: bool = False
    disabled: bool = False


class Room(NamedTuple):
    """A group or channel to be."""

    id: str
    name: str
    kind: str
    owner: str
    admins: list[str]
    participants: list[str]


class Enclosed(NamedTuple):
    """A file that a message holds."""

    name: str
    size: int
    read: Callable[[], bytes]


class Said(NamedTuple):
    """A message to be."""

    at: int
    """Unix milliseconds."""
    key: str
    """Its client id: the same whenever it is imported."""
    sender: str
    room: str
    """A group's id; empty in a dialog."""
    people: tuple[str, ...]
    """The two people of a dialog, or one of notes to self."""
    text: str
    answers: str = ""
    """The key of the message that is answered."""
    files: tuple[Enclosed, ...] = ()


class Source(Protocol):
    """Something that can be imported."""

    left: Counter[str]
    """What was left behind, and how much of it."""
    start: int
    """When the oldest of it happened, Unix milliseconds."""

    def people(self) -> Iterator[Person]:
        """All users."""

    def rooms(self) -> Iterator[Room]:
        """All groups and channels."""

    def messages(self) -> Iterator[Said]:
        """All messages, in the order they were sent."""


def fit_name(name: str) -> str:
    """Make of a name one that may be: in one line, and not too long. Nothing where nothing is left to see."""
    in_one_line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", name)
    fitting = re.sub(f"[{UNSEEN}]", "", in_one_line).strip()[:128]
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
