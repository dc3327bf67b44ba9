"""Types that several admin requests share."""

from typing import Annotated

import msgspec

from relay.protocol.base import Wire

Value = bool | int | float | str | list[str]
"""The value of a setting, or of a detail of a log entry."""


NameOrId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""A chat by its id or name, or a user by id."""


class Empty(Wire, frozen=True, kw_only=True):
    """A request without parameters, or an answer without contents."""
