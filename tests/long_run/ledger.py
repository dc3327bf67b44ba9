"""The requests and events of a long run, in a few bytes per message.

Plain data: no I/O, no trio, no code of the relay. An hour of it fits into some tens of megabytes.
"""

from array import array
from dataclasses import dataclass, field
from hashlib import blake2b

NEW, EDIT, DELETE = 0, 1, 2
KINDS = ("new", "edit", "delete")

ASKED, ANSWERED, REFUSED = 0, 1, 2
"""The known outcome of a request: unknown, done, or refused and not repeated."""

_WORDS = "the quick brown fox jumps over a lazy dog while everybody reads along "
_RARE_LENGTHS = ((250, 4_000), (255, 20_000))
"""Texts numbered from this index on (of 256) have this length."""


def client_id(number: int) -> str:
    """Make the client message id of a request."""
    return f"m{number:x}"


def number_of(client_message_id: str) -> int:
    """Return the request of a client message id, -1 for a foreign id."""
    try:
        return int(client_message_id.removeprefix("m"), 16)
    except ValueError:
        return -1


def word_of(number: int) -> str:
    """Return the word by which a message can be searched for."""
    # It ends with a letter, because a search for a word also finds words that begin with it.
    return f"word{number % 997}x"


def text_of(number: int, version: int) -> str:
    """Make the text of a message or of one of its edits, which can be rebuilt from its own beginning."""
    head = f"{number:x}.{version:x} {word_of(number)} "
    dice = blake2b(head.encode(), digest_size=4).digest()
    length = 10 + dice[1] // 2
    for first, long in _RARE_LENGTHS:
        if dice[0] >= first:
            length = long + dice[1]
    return head + (_WORDS * (length // len(_WORDS) + 1))[:length]


def parse(text: str) -> tuple[int, int] | None:
    """Return the message and version of a text; None if it is not exactly such a text."""
    head, _, _ = text.partition(" ")
    number, _, version = head.partition(".")
    try:
        found = int(number, 16), int(version, 16)
    except ValueError:
        return None
    return found if text_of(*found) == text else None


@dataclass
class Stay:
    """One stay of a member in a chat, between message ids. An uncertain time has two bounds."""

    after: int
    """They joined at this message at the earliest: they may see only what follows it."""
    joined: int | None = None
    """They joined at this message at the latest; None while the answer is awaited."""
    until: int | None = None
    """They left at this message at the earliest; None while they are there."""
    left: int | None = None
    """They left at this message at the latest; None while they are there, or the answer is awaited."""

    def may_get(self, message_id: int) -> bool:
        """Return whether an event of this message may reach them."""
        return message_id > self.after and (self.left is None or message_id <= self.left)


@dataclass
class Chat:
    """One chat: its messages by id, its people, their receipts and their events."""

    key: int
    name: str
    type: str
    id: str = ""
    gone: bool = False
    owner: str = ""
    numbers: "array[int]" = field(default_factory=lambda: array("q", [-1]))
    """By message id: the number of the request that made it, -1 if unknown."""
    stays: dict[str, list[Stay]] = field(default_factory=dict)
    read: dict[str, int] = field(default_factory=dict)
    """By member: the message up to which `read` was answered."""
    read_asked: dict[str, int] = field(default_factory=dict)
    """By member: the message up to which `read` was ever requested; `ALL` for a whole chat."""
    read_perhaps: dict[str, int] = field(default_factory=dict)
    """By member: requests before this number may be read, too, because an answer to `read` was lost."""
    targets: dict[int, int] = field(default_factory=dict)
    """By message id: the request to delete it."""

    @property
    def last(self) -> int:
        """The highest known message id."""
        return len(self.numbers) - 1

    def number(self, message_id: int) -> int:
        """Return the number of the request that made a message; -1 if unknown, as for the last one of a history."""
        return self.numbers[message_id] if message_id <= self.last else -1

    def place(self, message_id: int, number: int) -> int:
        """Note the request of a message; return the one known before, or this one."""
        numbers = self.numbers
        while len(numbers) <= message_id:
            numbers.append(-1)
        if numbers[message_id] < 0:
            numbers[message_id] = number
        return numbers[message_id]

    def stay(self, user: str) -> Stay | None:
        """Return the stay of a member who is not about to leave."""
        stays = self.stays.get(user)
        return stays[-1] if stays and stays[-1].until is None else None

    def members(self) -> list[str]:
        """Name the present members."""
        return [user for user in self.stays if self.stay(user) is not None]

    def may_get(self, user: str, message_id: int) -> bool:
        """Return whether an event of a message may reach a person."""
        return any(stay.may_get(message_id) for stay in self.stays.get(user, ()))


ALL = 2**62
"""A receipt for everything."""


class Ledger:
    """All requests that add to a chat, by number; see `Chat` for their messages."""

    def __init__(self) -> None:
        self.kind = array("B")
        self.state = array("B")
        self.chat = array("I")
        self.device = array("I")
        self.user: list[str] = []
        self.message_id = array("I")
        self.at = array("q")
        self.seq = array("q")
        """The event id, 0 while nobody has got the event."""
        self.last_seq = 0
        """The highest known event id."""
        self.target = array("q")
        """The request of the message that this one changes, -1 for a new message."""
        self.version = array("H")
        """For an edit: its text version. For a message: the newest requested version."""
        self.last_edit = array("I")
        """For a message: the highest message id of its edits."""
        self.deleted = bytearray()
        """For a message: whether its deletion was answered or received as an event."""
        self.chats: list[Chat] = []

    def __len__(self) -> int:
        return len(self.kind)

    def open_chat(self, name: str, type_: str, members: list[str], *, joined: int | None = 0) -> Chat:
        """Add a chat with its first members."""
        chat = Chat(len(self.chats), name, type_, owner=members[0])
        for user in members:
            chat.stays[user] = [Stay(0, joined)]
        self.chats.append(chat)
        return chat

    def add(self, kind: int, chat: Chat, user: str, device: int, target: int = -1) -> int:
        """Note that a request is about to be made; return its number."""
        number = len(self.kind)
        self.kind.append(kind)
        self.state.append(ASKED)
        self.chat.append(chat.key)
        self.device.append(device)
        self.user.append(user)
        self.message_id.append(0)
        self.at.append(0)
        self.seq.append(0)
        self.target.append(target)
        self.last_edit.append(0)
        self.deleted.append(0)
        if kind == EDIT:
            self.version[target] += 1
            self.version.append(self.version[target])
        else:
            self.version.append(0)
        if kind == DELETE:
            chat.targets[self.message_id[target]] = number
        return number
