"""What a client gets from a relay: events, pages of answers, and the requests that wait for one."""

from typing import Any, NamedTuple

import msgspec
import trio

from relay.protocol.envelopes import Response


class Received(NamedTuple):
    """One event. `id` is None for events that are never replayed; `protocol.events` has the payload's type."""

    id: int | None
    timestamp: int
    name: str
    payload: Any


class AnswerPage(NamedTuple):
    """A response that may be one page of several."""

    payload: Any
    more: bool
    next: str | None
    """Where the next page begins: `after` of `users` and `chat`, `before` of `search`."""


class PendingRequest(msgspec.Struct):
    """A request until it is answered."""

    payload_type: str
    frame: bytes
    done: trio.Event
    sent: bool = False
    response: Response | None = None
    failure: Exception | None = None
