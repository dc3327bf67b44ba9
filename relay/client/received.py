"""The relay's frames in the form that a caller gets, without fields of newer relays."""

import logging
from typing import Generic, NamedTuple, TypeVar

import msgspec

from relay.protocol import codec
from relay.protocol.envelopes import Event, ServerFrame
from relay.protocol.errors import RelayError
from relay.protocol.events import SERVER_EVENTS, ServerPayload

logger = logging.getLogger(__name__)

T_co = TypeVar("T_co", covariant=True)


class Received(NamedTuple):
    """One event. `id` is None for events that are never replayed; `protocol.events` has the payload's type."""

    id: int | None
    timestamp: int
    name: str
    payload: ServerPayload


class UnknownEvent(NamedTuple):
    """An event that this client does not know: it is acknowledged, but not passed on."""

    id: int | None


class AnswerPage(NamedTuple, Generic[T_co]):
    """A response that may be one page of several."""

    payload: T_co
    more: bool
    next: str | None
    """The start of the next page: `after` of `users` and `chat`, `before` of `search`."""


class UnreadableResponse(NamedTuple):
    """A response of which only the envelope can be read."""

    id: str
    failure: RelayError


class _AnyError(msgspec.Struct):
    code: str = ""
    message: str = ""


class _AnyFrame(msgspec.Struct):
    """The fields of every frame; a newer relay may add others."""

    type: str = ""
    id: str | int | None = None
    error: _AnyError | None = None


def read_frame(frame: bytes) -> ServerFrame | UnreadableResponse | None:
    """Decode a frame of the relay; None if this client does not know its kind.

    Args:
        frame: the frame, JSON in UTF-8.
    """
    try:
        return codec.decode_server_frame(frame)
    except RelayError as error:
        try:
            found = msgspec.json.decode(frame, type=_AnyFrame)
        except msgspec.DecodeError:
            found = _AnyFrame()
        if found.type == "response" and found.id is not None:
            said = f"{found.error.message} ({found.error.code})" if found.error else f"it cannot be read: {error}"
            return UnreadableResponse(str(found.id), RelayError("internal", f"the relay's response: {said}"))
        logger.debug("left out a frame of the relay that this client does not know: %s", error)
        return None


def read_event(event: Event) -> Received | UnknownEvent:
    """Decode the payload of an event.

    Args:
        event: the event as it came.
    """
    try:
        payload = codec.decode_event(event)
    except RelayError as error:
        # An event that is newer than this client is not an error. A malformed one of a known kind may be skipped.
        level = logging.WARNING if event.event_type in SERVER_EVENTS else logging.DEBUG
        logger.log(level, "left out the event %s of the relay: %s", event.id or "without an id", error)
        return UnknownEvent(event.id)
    return Received(event.id, event.timestamp, event.event_type, payload)
