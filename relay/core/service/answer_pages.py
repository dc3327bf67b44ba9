"""Answers that end at so many bytes: put together item by item, each encoded once, and what asks for the next page.

Pure: no I/O. The bound is in PROTOCOL.md, section 5.
"""

from collections.abc import Iterable

import msgspec

from relay.protocol import codec, objects
from relay.protocol.codec import Page
from relay.protocol.errors import RelayError
from relay.store.queries.history import PAGE_BYTES

_SEQ = "s"


class PageMaker:
    """Takes the items of a list as long as there is room: one at least."""

    def __init__(self, room: int = PAGE_BYTES) -> None:
        self._whole = self._room = room
        self._items: list[msgspec.Raw] = []
        self.full = False
        """Whether an item had no room."""

    def __len__(self) -> int:
        return len(self._items)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._whole - self._room

    def add(self, item: object) -> bool:
        """Take an item; give whether there was room for it. After one that had none no other is taken."""
        if self.full:
            return False
        encoded = codec.encode(item)
        self._room -= len(encoded) + 1
        if self._room < 0 and self._items:
            self.full = True
            return False
        self._items.append(msgspec.Raw(encoded))
        return True

    def add_all(self, items: Iterable[object]) -> None:
        """Take items up to the first that has no room."""
        for item in items:
            if not self.add(item):
                return

    def made(self, *, more: bool, after: str | None = None, upwards: bool = True) -> Page:
        """Give the page.

        Args:
            more: whether there is more than what was to be added.
            after: what asks for the next page.
            upwards: whether the items came in the order that they stand in; in the opposite one else.
        """
        more = more or self.full
        return Page(self._items if upwards else self._items[::-1], after if more else None, more)


def chat(whole: objects.Chat, after: str | None = None) -> Page | objects.Chat:
    """Give a chat, of its participants as many as there is room for, by their ids from after one on where one is named.

    Only a chat of many thousands needs that; any other is given as it is.
    """
    people = whole.meta.participants or []
    if after is None and len(people) * LARGEST_PROFILE <= PAGE_BYTES:
        return whole
    people = sorted((one for one in people if after is None or one.id > after), key=lambda one: one.id)
    room = PageMaker(
        PAGE_BYTES
        - len(codec.encode(msgspec.structs.replace(whole, meta=msgspec.structs.replace(whole.meta, participants=[]))))
    )
    room.add_all(people)
    shown = people[: len(room)]
    meta = msgspec.structs.replace(whole.meta, participants=shown)
    more = len(shown) < len(people)
    return Page(msgspec.structs.replace(whole, meta=meta), shown[-1].id if more else None, more)


LARGEST_PROFILE = 4_096
"""Bytes that a participant takes at most: an id, a name, an address."""


def cursor(seq: int) -> str:
    """Make what asks for what comes before an entry."""
    return f"{_SEQ}{seq}"


def seq_of(text: str) -> int:
    """Read a `cursor`. It says where to go on and nothing else: what may be seen there depends on who asks.

    Raises:
        RelayError: `bad_request`, it is none of this relay's.
    """
    number = text.removeprefix(_SEQ)
    if not text.startswith(_SEQ) or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise RelayError.bad_field("payload.before", "a time in milliseconds, or the `next` of a page, is expected")
    return int(number)
