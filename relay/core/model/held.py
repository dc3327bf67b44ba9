"""How much memory an entry holds: everything in it counts, since a bound on one of its fields bounds none. Pure."""

from sys import getsizeof

import msgspec

from relay.store.entry import FEW_AUTHORS, Entry

ENTRY_BYTES = 1_024
"""The entry itself, its numbers, and a client id of 128 characters at four bytes each."""
AUTHOR_BYTES = 64
"""An author's place in `Entry.by_author`, which is filled later."""


def held_bytes(entry: Entry) -> int:
    """Count the bytes that an entry holds, as Python holds them: a text with an emoji takes four for each character.

    Once for each entry, so few calls for one that has a text at most.
    """
    size = ENTRY_BYTES
    if entry.message:
        size += getsizeof(entry.message)
    if entry.extra:
        size += getsizeof(entry.extra)
    if entry.attachments:
        size += _deep(entry.attachments)
    if entry.reply_to is not None:
        size += _deep(entry.reply_to)
    if entry.forwarded:
        size += getsizeof(entry.forwarded)
    if entry.covered[1:]:
        # A single one is the entry's own message, which is counted already.
        authors = len(entry.covered)
        size += _deep(entry.covered) + (AUTHOR_BYTES * authors if authors > FEW_AUTHORS else 0)
    return size


def _deep(value: object) -> int:
    """Count the bytes of a value and of all in it."""
    size = getsizeof(value)
    if isinstance(value, (list, tuple)):
        for one in value:
            size += _deep(one)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            size += _deep(getattr(value, name))
    return size
