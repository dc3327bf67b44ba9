"""Types that several admin requests share."""

from typing import Annotated

import msgspec

from relay.protocol.base import Wire

Value = bool | int | float | str | list[str]
"""A setting's, or a detail's."""


NameOrId = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
"""A chat by its id or by its name, a user by their id."""


class Empty(Wire, frozen=True, kw_only=True):
    """A request that says it all by its name."""
