"""Commands: a request, its user, its time, and an id that was generated for it.

A command contains everything needed to decide it (ARCHITECTURE.md, "Room to grow"). Plain data, which waits for the
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
    """The number of the connection that it came through; no rule uses it."""
    generated_id: str = ""
    """An id that the relay generated: of a group, a user, or a message without a client id."""
    importer: bool = False
    """Whether an import makes it on behalf of `user`, which permissions treat as a role. Only imports may set it."""
