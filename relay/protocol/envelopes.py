"""The envelopes of frames: PROTOCOL.md, section 2. The payload of each is decoded later, by its own type."""

import msgspec

from relay.protocol.base import Encodable, Timestamp, Wire
from relay.protocol.errors import Error


def _empty() -> msgspec.Raw:
    return msgspec.Raw(b"{}")


class Request(Wire, frozen=True, kw_only=True, tag_field="type", tag="request"):
    """A request of a client; the response echoes its `id`."""

    id: str | int
    timestamp: int | float | None = None
    payload_type: str
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)


class ClientEvent(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """An event of a client; public clients use `payloadType` in place of `eventType`."""

    timestamp: int | float | None = None
    event_type: str | None = None
    payload_type: str | None = None
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)


class Ack(Wire, frozen=True, kw_only=True, tag_field="type", tag="ack"):
    """A client acknowledges a durable event; its id may be a string."""

    id: int | str


class Response(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """The response to a request: a `payload`, or an `error` in its place.

    `more` tells whether the payload is one page of several; `next` is the cursor of the next page.
    """

    id: str | int
    timestamp: Timestamp
    payload: msgspec.Raw = msgspec.field(default_factory=_empty)
    more: bool | None = None
    next: str | None = None
    error: Error | None = None


class OutgoingResponse(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """A response for sending: encoded together with its payload."""

    id: str | int
    timestamp: Timestamp
    payload: Encodable
    more: bool | None = None
    next: str | None = None


class ErrorResponse(Wire, frozen=True, kw_only=True, tag_field="type", tag="response"):
    """A response for sending that has an error in place of its payload."""

    id: str | int
    timestamp: Timestamp
    error: Error


class Event(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """An event of the relay; only durable events have an `id`."""

    id: int | None = None
    timestamp: Timestamp
    event_type: str
    payload: msgspec.Raw


class OutgoingEvent(Wire, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """An event for sending: encoded together with its payload."""

    id: int | None = None
    timestamp: Timestamp
    event_type: str
    payload: Encodable


class ErrorFrame(Wire, frozen=True, kw_only=True, tag_field="type", tag="error"):
    """The answer to a frame that is not a valid envelope."""

    timestamp: Timestamp
    error: Error


ClientFrame = Request | ClientEvent | Ack
ServerFrame = Response | Event | ErrorFrame
