"""What every wire Struct and field type has in common. Knows msgspec only."""

from typing import Annotated

import msgspec


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A JSON object of the protocol: camelCase on the wire, snake_case here, absent fields left out.

    Unknown fields are ignored (PROTOCOL.md, section 2).
    """


Text = Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
"""The text of a message, in characters."""

INVISIBLE = r"\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
"""What no name holds: line ends, controls of direction, and what cannot be seen but the two joiners, which are part of
how some languages and emoji are written."""
BLANK = r"\s\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0"
"""What a name may hold, and not alone."""
NAME = rf"^(?=.*[^{BLANK}])[^\x00-\x1f\x7f-\x9f{INVISIBLE}]{{1,128}}$(?!\n)"
NEW_ID = r"^[A-Za-z0-9_.-]{1,64}$(?!\n)"
"""Both end as JSON Schema's patterns do; Python's `$` alone would let a line break follow."""

PATTERN_MEANINGS = {
    NAME: "1 to 128 characters in one line that can be seen, without controls of the direction",
    NEW_ID: "1 to 64 of `A-Z a-z 0-9 _ . -`",
}
"""What the patterns ask for, as people say it."""

Name = Annotated[str, msgspec.Meta(pattern=NAME)]
"""What people call a user or a chat."""

Url = Annotated[str, msgspec.Meta(max_length=2_048)]

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""A user id or a chat id as a client names it (section 3)."""

NewId = Annotated[str, msgspec.Meta(pattern=NEW_ID)]
"""An id that is about to exist (section 3)."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly, and that the store has room for."""

MessageId = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE_INTEGER)]
"""Counts 1, 2, 3 and so on within one chat (section 3)."""

ClientMessageId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""The sender's own id of a message, a UUID by custom (section 3)."""

Timestamp = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""Unix milliseconds."""

LATEST_DATE = 253_402_128_000_000 - 1
"""The last date that ISO 8601 and all programs here can write in any time zone: in 9999, but for its last two days."""

Date = Annotated[int, msgspec.Meta(ge=0, le=LATEST_DATE)]
"""When something was said or made elsewhere, in Unix milliseconds: what one may claim, and others are shown."""

Users = Annotated[list[Id], msgspec.Meta(max_length=10_000)]
