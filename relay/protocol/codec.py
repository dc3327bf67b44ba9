"""Encodes and decodes frames. A frame is decoded once, then its payload by the payload's own type.

Knows the wire types and msgspec, nothing else.
"""

import re
from typing import NamedTuple, TypeVar

import msgspec

from relay.protocol.base import PATTERN_MEANINGS, Encodable
from relay.protocol.envelopes import (
    ClientFrame,
    ErrorFrame,
    ErrorResponse,
    Event,
    OutgoingEvent,
    OutgoingResponse,
    Request,
    ServerFrame,
)
from relay.protocol.errors import Error, RelayError
from relay.protocol.events import CLIENT_EVENTS, SERVER_EVENTS, ServerPayload
from relay.protocol.requests import REQUESTS

T = TypeVar("T")

PONG = b'{"event":"pong"}'
"""The answer to any text frame that is not a JSON object (PROTOCOL.md, section 2)."""

encode = msgspec.json.Encoder().encode

_client_frames: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_frames: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_requests: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {
    name: msgspec.json.Decoder(kind.payload) for name, kind in REQUESTS.items()
}
_client_events: dict[str, msgspec.json.Decoder[msgspec.Struct]] = {
    name: msgspec.json.Decoder(kind) for name, kind in CLIENT_EVENTS.items()
}
_server_events: dict[str, msgspec.json.Decoder[ServerPayload]] = {
    name: msgspec.json.Decoder(kind) for name, kind in SERVER_EVENTS.items()
}

_WHERE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_SURROGATES = re.compile(
    rb"""(?P<whole>\\\\ | \\u[dD][89abAB]..\\u[dD][c-fC-F]..) | \\u[dD][89a-fA-F][0-9a-fA-F]{2}""", re.VERBOSE
)
"""Matches escaped backslashes and surrogate pairs (`whole`), otherwise lone surrogates."""
_NUL = rb"\u0000"
_BACKSLASH = ord("\\")
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What msgspec raises at JSON that cannot be decoded."""
_OURS = ("Expected ", "Invalid enum value ")
"""How msgspec's texts begin that describe our own types; all others are said in our words."""
_WORDS = (
    (re.compile(r"malformed: .*\(byte (\d+)\)$"), r"JSON is malformed at byte \1"),
    (re.compile("truncated"), "JSON ends too early"),
    (re.compile("out of range"), "the number is too large"),
    (re.compile("base64"), "Base64 is expected"),
    (re.compile("utf-8", re.IGNORECASE), "UTF-8 is expected"),
)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`$")


def explain(error: msgspec.DecodeError | UnicodeDecodeError, within: str = "", whole: str = "frame") -> RelayError:
    """Turn a decoding error into a `bad_request` that names the field and the expected value.

    Args:
        error: the error of msgspec.
        within: the path of the decoded part within the frame, for instance `payload`.
        whole: what to name if no field of it is wrong.
    """
    text = str(error)
    where = _WHERE.search(text)
    path = ""
    if where:
        text, path = text[: where.start()], where["path"]
    path = f"{within}{path}" if within else path.removeprefix(".")
    missing = _MISSING.match(text)
    if missing:
        return RelayError.bad_field(f"{path}.{missing['field']}".removeprefix("."), "this field is required")
    return RelayError.bad_field(path or whole, _in_our_words(text))


def _in_our_words(text: str) -> str:
    """Say what a text of msgspec says, in the terms of this protocol."""
    if text.startswith(_OURS):
        for pattern, meaning in PATTERN_MEANINGS.items():
            text = text.replace(f"`str` matching regex {pattern!r}", meaning)
        return text[:1].lower() + text[1:]
    for found, words in ((pattern.search(text), words) for pattern, words in _WORDS):
        if found is not None:
            return found.expand(words)
    return "this is not what is expected here"


def printable(text: str) -> str:
    """Replace the bytes of a path that are not UTF-8 by their numbers in hexadecimal, so that it can be sent."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return whole_characters(text)


def whole_characters(text: str) -> str:
    """Join the halves of surrogate pairs, and replace each lone one by U+FFFD, so that a text can be sent and stored.

    For texts made here, from code points or from JSON within JSON; frames use `replace_lone_surrogates`.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def replace_lone_surrogates(frame: bytes) -> bytes:
    """Replace each lone surrogate by U+FFFD. JavaScript sends them when it cuts a text, and JSON allows them.

    How to treat them is up to the receiver (RFC 8259, section 8.2).
    """
    return _SURROGATES.sub(lambda found: found["whole"] or rb"\ufffd", frame)


def is_keepalive(frame: bytes) -> bool:
    """Return whether a text frame is a keepalive: anything but a JSON object (PROTOCOL.md, section 2)."""
    return frame[:1] != b"{" and frame.lstrip()[:1] != b"{"


def decode_client_frame(frame: bytes) -> ClientFrame:
    """Decode a frame of a client.

    Raises:
        RelayError: `bad_request`, naming the field.
    """
    try:
        return _client_frames.decode(frame)
    except UNDECODABLE as error:
        mended = replace_lone_surrogates(frame)
        if mended != frame:
            return decode_client_frame(mended)
        raise explain(error) from None
    except RecursionError:
        raise RelayError.bad_field("frame", "nested too deeply") from None


def decode_server_frame(frame: bytes) -> ServerFrame:
    """Decode a frame of the relay, for clients.

    Raises:
        RelayError: `bad_request`, naming the field.
    """
    try:
        return _server_frames.decode(frame)
    except UNDECODABLE as error:
        raise explain(error) from None


def decode_payload(decoder: msgspec.json.Decoder[T], payload: msgspec.Raw) -> T:
    """Decode a payload by its type.

    Raises:
        RelayError: `bad_request`, naming the field.
    """
    try:
        decoded = decoder.decode(payload)
    except UNDECODABLE as error:
        raise explain(error, "payload") from None
    except RecursionError:
        raise RelayError.bad_field("payload", "nested too deeply") from None
    raw = bytes(payload)
    # SQLite would cut a text at a NUL. Most texts have no escape at all, and one byte is found faster than six.
    if _BACKSLASH in raw and _NUL in raw:
        _refuse_nul(msgspec.to_builtins(decoded), "payload")
    return decoded


def _refuse_nul(value: object, path: str) -> None:
    if isinstance(value, str) and "\0" in value:
        raise RelayError.bad_field(path, "text without NUL characters (\\u0000) is expected")
    if isinstance(value, dict):
        for field, inner in value.items():
            _refuse_nul(inner, f"{path}.{field}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _refuse_nul(inner, f"{path}[{index}]")


def decode_request(request: Request) -> msgspec.Struct:
    """Decode a request's payload by its `payloadType`.

    Raises:
        RelayError: `unknown_request`, or `bad_request` naming the field.
    """
    decoder = _requests.get(request.payload_type)
    if decoder is None:
        known = ", ".join(sorted(_requests))
        raise RelayError("unknown_request", f"payloadType: {request.payload_type[:64]!r} is none of {known}")
    return decode_payload(decoder, request.payload)


def decode_client_event(name: str, payload: msgspec.Raw) -> msgspec.Struct:
    """Decode a client event's payload.

    Raises:
        RelayError: `bad_request`, naming the field.
    """
    decoder = _client_events.get(name)
    if decoder is None:
        raise RelayError.bad_field("eventType", f"{name[:64]!r} is none of {', '.join(sorted(_client_events))}")
    return decode_payload(decoder, payload)


def decode_event(event: Event) -> ServerPayload:
    """Decode the payload of an event of the relay by its `eventType`, for clients.

    Raises:
        RelayError: `bad_request`, the event is not part of this protocol.
    """
    decoder = _server_events.get(event.event_type)
    if decoder is None:
        raise RelayError.bad_field("eventType", f"{event.event_type[:64]!r} is unknown")
    return decode_payload(decoder, event.payload)


def event(name: str, timestamp: int, payload: Encodable, event_id: int | None = None) -> bytes:
    """Encode an event of the relay.

    Args:
        name: the `eventType`.
        timestamp: Unix milliseconds.
        payload: the event's Struct.
        event_id: the `seq` of a durable event; None for one that is not in the log.
    """
    return encode(OutgoingEvent(id=event_id, timestamp=timestamp, event_type=name, payload=payload))


class Page(NamedTuple):
    """A payload that is one page of several.

    `more` tells whether others follow, and `next` is the cursor of the next one. Without a `next` the client continues
    after the last item of the page.
    """

    payload: Encodable
    next: str | None
    more: bool = False


def response(request_id: str | int, timestamp: int, payload: Encodable) -> bytes:
    """Encode the response to a request.

    Args:
        request_id: the request's `id`.
        timestamp: Unix milliseconds.
        payload: the answer; a `Page` also has the cursor of the next one.
    """
    if type(payload) is Page:
        more = True if payload.more or payload.next is not None else None
        return encode(
            OutgoingResponse(id=request_id, timestamp=timestamp, payload=payload.payload, more=more, next=payload.next)
        )
    return encode(OutgoingResponse(id=request_id, timestamp=timestamp, payload=payload))


def refusal(request_id: str | int, timestamp: int, error: Error) -> bytes:
    """Encode an error as the response to a request.

    Args:
        request_id: the id of the request; empty if it has none.
        timestamp: Unix milliseconds.
        error: the error.
    """
    return encode(ErrorResponse(id=request_id, timestamp=timestamp, error=error))


def error_frame(timestamp: int, error: Error) -> bytes:
    """Encode the answer to a frame that is not a valid envelope."""
    return encode(ErrorFrame(timestamp=timestamp, error=error))
