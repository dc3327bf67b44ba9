"""Pages of answers, bounded in bytes: built item by item, each encoded once, and the cursor of the next page.

Pure: no I/O. The bound is in PROTOCOL.md, section 5.
"""

from collections.abc import Iterable

import msgspec

from relay.keys import Seq
from relay.protocol import codec, objects
from relay.protocol.base import Encodable
from relay.protocol.codec import Page
from relay.protocol.errors import RelayError

_SEQ = "s"


class PageMaker:
    """Takes items of a list as long as there is room, and at least one."""

    def __init__(self, room: int) -> None:
        """Begin an empty page.

        Args:
            room: bytes that the items may have together.
        """
        self._whole = self._room = room
        self._items: list[msgspec.Raw] = []
        self.full = False
        """Whether an item did not fit."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._whole - self._room

    def add(self, item: Encodable) -> bool:
        """Add an item; return whether it fitted. After one that did not, no other is added."""
        if self.full:
            return False
        encoded = codec.encode(item)
        self._room -= len(encoded) + 1
        if self._room < 0 and self._items:
            self.full = True
            return False
        self._items.append(msgspec.Raw(encoded))
        return True

    def add_all(self, items: Iterable[Encodable]) -> None:
        """Add items up to the first that does not fit."""
        for item in items:
            if not self.add(item):
                return

    def made(self, *, more: bool, after: str | None = None, upwards: bool = True) -> Page:
        """Return the page.

        Args:
            more: whether the list has more items than were offered.
            after: the cursor of the next page.
            upwards: whether the items were added in the order of the page; otherwise the page reverses them.
        """
        more = more or self.full
        return Page(self._items if upwards else self._items[::-1], after if more else None, more)


def chat(whole: objects.ChatDetails, most: int, after: str | None = None) -> Page | objects.ChatDetails:
    """Return a chat with as many of its participants as there is room for.

    Args:
        whole: the chat with all of them; up to some hundreds fit, and it is returned unchanged.
        most: bytes of a page.
        after: the id after which the page begins, in the order of ids.
    """
    people = whole.meta.participants or []
    if after is None and len(people) * MAX_PROFILE_BYTES <= most:
        return whole
    people = sorted((one for one in people if after is None or one.id > after), key=lambda one: one.id)
    room = PageMaker(
        most
        - len(codec.encode(msgspec.structs.replace(whole, meta=msgspec.structs.replace(whole.meta, participants=[]))))
    )
    room.add_all(people)
    shown = people[: len(room)]
    meta = msgspec.structs.replace(whole.meta, participants=shown)
    more = len(shown) < len(people)
    return Page(msgspec.structs.replace(whole, meta=meta), shown[-1].id if more else None, more)


MAX_PROFILE_BYTES = 4_096
"""Maximum bytes of a participant: an id, a name, the address of a photo."""


def cursor(seq: Seq) -> str:
    """Make the cursor for the items before an entry."""
    return f"{_SEQ}{seq}"


def seq_of(text: str) -> int:
    """Read a `cursor`. It only says where to go on; visibility depends on the user who asks.

    Raises:
        RelayError: `bad_request`, it is not a cursor of this relay.
    """
    number = text.removeprefix(_SEQ)
    if not text.startswith(_SEQ) or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise RelayError.bad_field("payload.before", "a time in milliseconds, or the `next` of a page, is expected")
    return int(number)
