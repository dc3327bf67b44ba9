"""Commands: a request, who makes it and when, and an id that was generated for it.

A command has everything that deciding it needs (ARCHITECTURE.md, "Room to grow"). Plain data, which waits for the
log's writer.
"""

from typing import Generic

import msgspec

from relay.keys import DeviceKey, UnixMs, UserKey
from relay.outcomes import Decidable, Outcome_co


class Command(msgspec.Struct, Generic[Outcome_co], frozen=True, gc=False):
    """One request to change something."""

    at: UnixMs
    """When it was received; stamped once."""
    user: UserKey
    """The user who asks; `NO_USER` for an admin on the machine."""
    device: DeviceKey
    """The device that it came from, `NO_DEVICE` for none."""
    request: Decidable[Outcome_co]
    """The request's payload as on the wire, or one of the control socket's."""
    origin: int = 0
    """The number of the connection that it came through; no rule looks at it."""
    generated_id: str = ""
    """An id that the relay generated: of a group, a user, or a message without a client id."""
    importer: bool = False
    """Whether an import makes it on behalf of `user`; permissions take this as a role. Nothing else may set it."""
