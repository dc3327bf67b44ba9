"""Every value that the types allow survives a round trip, under the names of PROTOCOL.md."""

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.protocol import base, codec, control, envelopes, errors, events, objects, requests
from tests.support.wire_strategies import JSON, wire

MODULES = (control, envelopes, errors, events, objects, requests)
STRUCTS: list[type[msgspec.Struct]] = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, base.Wire) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
@given(st.data())
@settings(max_examples=10)
def test_a_struct_survives_a_round_trip(kind: type[msgspec.Struct], data: st.DataObject) -> None:
    value = data.draw(wire(kind))
    encoded = codec.encode(value)
    decoded = msgspec.json.decode(encoded, type=kind)
    assert codec.encode(decoded) == encoded
    if not any(isinstance(getattr(value, field), msgspec.Raw) for field in value.__struct_fields__):
        assert decoded == value


@pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}")
def test_names_on_the_wire_are_camel_case(kind: type[msgspec.Struct]) -> None:
    for name, on_the_wire in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
        assert on_the_wire == re.sub(r"_(.)", lambda part: part[1].upper(), name)
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", on_the_wire)


@given(st.dictionaries(st.from_regex(r"x[A-Za-z]{0,5}", fullmatch=True), JSON, max_size=4))
def test_unknown_fields_are_ignored(unknown: dict[str, Any]) -> None:
    payload = {"chatId": "User2", "clientMessageId": "1", "message": "Hello"}
    frame = {"type": "request", "id": "req001", "payloadType": "new", "payload": {**unknown, **payload}, **unknown}
    request = codec.decode_client_frame(codec.encode(frame))
    assert isinstance(request, envelopes.Request)
    assert codec.decode_request(request) == requests.New(chat_id="User2", client_message_id="1", message="Hello")
    event = {
        "type": "event",
        "timestamp": 1,
        "eventType": "online",
        "payload": {**unknown, "userId": "User1"},
        **unknown,
    }
    told = codec.decode_server_frame(codec.encode(event))
    assert isinstance(told, envelopes.Event)
    assert codec.decode_event(told) == events.Online(user_id="User1")


def test_absent_fields_are_left_out() -> None:
    assert codec.encode(objects.Profile(id="User1", name="User One")) == b'{"id":"User1","name":"User One"}'


@pytest.mark.parametrize("field", ["eventType", "payloadType"])
def test_a_client_event_may_have_a_payload_type(field: str) -> None:
    frame = codec.decode_client_frame(codec.encode({"type": "event", field: "typing", "payload": {"chatId": "User2"}}))
    assert isinstance(frame, envelopes.ClientEvent)
    assert (frame.event_type or frame.payload_type) == "typing"


@given(st.binary(max_size=64) | st.text(max_size=64).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_raise_only_protocol_errors(data: bytes) -> None:
    for frame in (data, b'{"type":"request","id":"1","payloadType":"new","payload":%s}' % data):
        try:
            decoded = codec.decode_client_frame(frame)
            if isinstance(decoded, envelopes.Request):
                codec.decode_request(decoded)
        except errors.RelayError as error:
            # The error can be sent: its message can be encoded.
            codec.error_frame(1, error.error).decode()
