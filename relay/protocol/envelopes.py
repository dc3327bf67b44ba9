"""The frames themselves: PROTOCOL.md, section 2. Each wraps a payload that is decoded by its own type later."""

from typing import Any

import msgspec

from relay.protocol.base import Timestamp, Wire
from relay.protocol.errors import Error


def _empty() -> msgspec.Raw:
    return msgspec.Raw(b"{}")


class Request(Wire, frozen=True, kw_only=True, tag_field="type", tag="request"):
    """A client asks for something; `id` is its own and only echoed."""

    id: str | int
    timestamp: int | float | None = None
    payload_type: str
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)


class ClientEvent(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """A client says something unasked; public clients say `payloadType` for `eventType`."""

    timestamp: int | float | None = None
    event_type: str | None = None
    payload_type: str | None = None
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)


class Ack(Wire, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """A client has a durable event; a string id is accepted."""

    id: int | str


class Response(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """The relay's one answer to a request: `payload`, or `error` in its place.

    `more` says that there is more than this page holds; `next` is where the next page begins.
    """

    id: str | int
    timestamp: Timestamp
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)
    more: bool | None = None
    next: str | None = None
    error: Error | None = None


class OutgoingResponse(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """A response as the relay sends it: encoded in one go with its payload."""

    id: str | int
    timestamp: Timestamp
    payload: Any
    more: bool | None = None
    next: str | None = None


class ErrorResponse(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """A response as the relay sends it where there is an error in place of the payload."""

    id: str | int
    timestamp: Timestamp
    error: Error


class Event(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """The relay tells a client; only durable events carry an `id`."""

    id: int | None = None
    timestamp: Timestamp
    event_type: str
    payload: msgspec.Raw


class OutgoingEvent(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """An event as the relay sends it: encoded in one go with its payload."""

    id: int | None = None
    timestamp: Timestamp
    event_type: str
    payload: Any


class ErrorFrame(Wire, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """A frame of the client's could not be understood."""

    timestamp: Timestamp
    error: Error


ClientFrame = Request | ClientEvent | Ack
ServerFrame = Response | Event | ErrorFrame
