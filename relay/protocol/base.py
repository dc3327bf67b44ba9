"""The base class and the field types of all wire Structs. Knows msgspec, and which characters are visible."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from relay.unicode.tables import HIDDEN, UNSEEN
from relay.unicode.unseen import one_line


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True, gc=False):
    """A JSON object of the protocol: camelCase on the wire, snake_case here, absent fields left out.

    Unknown fields are ignored (PROTOCOL.md, section 2).
    """


if TYPE_CHECKING:
    JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
    """JSON without a type of ours, such as the posts of other programs."""
    Encodable = object
    """Any value that can be encoded."""
else:
    # Any: msgspec takes neither recursive types for the fields of a Struct nor `object`.
    JsonValue = Encodable = Any

FRAME_BYTES_HEADER = b"x-relay-frame-bytes"
"""The header by which the handshake's answer names `limits.frame_bytes` (section 1)."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]
"""The text of a message, in characters."""

NAME_PATTERN = rf"^(?=.*[^{UNSEEN}])[^{HIDDEN}]{{1,128}}$(?!\n)"
NEW_ID = r"^[A-Za-z0-9_.-]{1,64}$(?!\n)"
"""Both patterns end as JSON Schema requires; Python's `$` alone would allow a final line break."""

PATTERN_MEANINGS = {
    NAME_PATTERN: "1 to 128 characters in one line that can be seen, without hidden ones",
    NEW_ID: "1 to 64 of `A-Z a-z 0-9 _ . -`",
}
"""The patterns in words, for error messages."""

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
"""The display name of a user or chat."""

FILENAME_CHARACTERS = 255
"""Maximum characters of an attachment's name."""

Url = Annotated[str, msgspec.Meta(max_length=2_048)]

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""The id of a user or chat, as a client names it (PROTOCOL.md, section 3)."""

NewId = Annotated[str, msgspec.Meta(pattern=NEW_ID)]
"""The id of a user or chat that is to be created (PROTOCOL.md, section 3)."""

MAX_SAFE_INTEGER = 2**53 - 1
"""The largest integer that every JSON parser reads exactly, and that fits into the store."""

MessageId = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAFE_INTEGER)]
"""A message's number within its chat: 1, 2, 3 and so on (PROTOCOL.md, section 3)."""

ClientMessageId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""The idempotency key of a message, chosen by its sender; by custom a UUID (PROTOCOL.md, section 3)."""

Timestamp = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAFE_INTEGER)]
"""Unix milliseconds."""

LATEST_DATE_MS = 253_402_128_000_000 - 1
"""The latest date that ISO 8601 and all programs can write in any time zone: two days before the end of 9999."""

Date = Annotated[int, msgspec.Meta(ge=0, le=LATEST_DATE_MS)]
"""A date that an import claims and that people see, in Unix milliseconds."""

Users = Annotated[list[Id], msgspec.Meta(max_length=10_000)]


def fit_filename(name: str) -> str:
    """Make a file's name fit to stand beside other text: in one line, nothing hidden; `file` if nothing is left."""
    return one_line(name, FILENAME_CHARACTERS) or "file"
