"""An invalid frame is answered with the wrong field and the expected value."""

from typing import Any

import pytest

from relay.protocol import codec
from relay.protocol.envelopes import Ack, ClientEvent, Request
from relay.protocol.errors import Error, RelayError
from relay.protocol.requests import REQUESTS

FILE = {"type": "file", "id": "f", "filename": "a", "url": "/files/f", "meta": {"size": 1}}


def decode(frame: bytes) -> None:
    decoded = codec.decode_client_frame(frame)
    if isinstance(decoded, Request):
        codec.decode_request(decoded)
    elif isinstance(decoded, ClientEvent):
        codec.decode_client_event(decoded.event_type or "", decoded.payload)


def answer(frame: bytes) -> Error:
    with pytest.raises(RelayError) as caught:
        decode(frame)
    return caught.value.error


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        (b"{}", "type"),
        (b'{"type":"nonsense"}', "type"),
        (b'{"type":7}', "type"),
        (b'{"type":"request"}', "id"),
        (b'{"type":"request","id":null,"payloadType":"chats"}', "id"),
        (b'{"type":"request","id":1.5,"payloadType":"chats"}', "id"),
        (b'{"type":"request","id":[],"payloadType":"chats"}', "id"),
        (b'{"type":"request","id":"1"}', "payloadType"),
        (b'{"type":"request","id":"1","payloadType":7}', "payloadType"),
        (b'{"type":"request","id":"1","timestamp":"now","payloadType":"chats"}', "timestamp"),
        (b'{"type":"ack"}', "id"),
        (b'{"type":"ack","id":true}', "id"),
        (b'{"type":"event","eventType":7}', "eventType"),
        (b'{"type":"event","eventType":"singing"}', "eventType"),
        (b'{"type":"event","eventType":"typing"}', "payload.chatId"),
        (b'{"type":"event","eventType":"typing","payload":{"chatId":"User2","stop":"yes"}}', "payload.stop"),
        (b'{"type":"response","id":"1","timestamp":1}', "type"),
        (b'{"type":"request","id":"1","payloadType":"chats","payload":7}', "payload"),
        (b'{"type":"request","id":"1","payloadType":"chats","payload":null}', "payload"),
        (b"{", "frame"),
        (b'{"type":"ack","id":1}}', "frame"),
        (b"{type:1}", "frame"),
        (b'{"type":"ack","id":1} {}', "frame"),
        (b'{"type":"request","id":"1","payloadType":"chats","payload":' + b"[" * 100_000, "frame"),
    ],
)  # fmt: skip
def test_a_bad_envelope_names_its_field(frame: bytes, field: str) -> None:
    error = answer(frame)
    assert error.code == "bad_request"
    assert error.message.partition(":")[0] == field
    assert error.message.partition(": ")[2]


NEW = {"chatId": "User2", "clientMessageId": "1", "message": "Hello"}


@pytest.mark.parametrize(
    ("name", "payload", "field"),
    [
        ("new", {}, "chatId"),
        ("new", {**NEW, "chatId": ""}, "chatId"),
        ("new", {**NEW, "chatId": "u" * 65}, "chatId"),
        ("new", {**NEW, "chatId": 7}, "chatId"),
        ("new", {"chatId": "User2", "message": "Hello"}, "clientMessageId"),
        ("new", {**NEW, "clientMessageId": ""}, "clientMessageId"),
        ("new", {**NEW, "clientMessageId": "c" * 129}, "clientMessageId"),
        ("new", {**NEW, "message": ["Hello"]}, "message"),
        ("new", {**NEW, "message": "x" * 65_537}, "message"),
        ("new", {**NEW, "message": "a\0b"}, "message"),
        ("new", {**NEW, "clientMessageId": "a\0b"}, "clientMessageId"),
        ("new", {**NEW, "replyTo": 0}, "replyTo"),
        ("new", {**NEW, "replyTo": "3"}, "replyTo"),
        ("new", {**NEW, "replyTo": 2**53}, "replyTo"),
        ("new", {**NEW, "attachments": {}}, "attachments"),
        ("new", {**NEW, "attachments": [FILE] * 33}, "attachments"),
        ("new", {**NEW, "attachments": [FILE, {**FILE, "type": "song"}]}, "attachments[1].type"),
        ("new", {**NEW, "attachments": [{**FILE, "filename": ""}]}, "attachments[0].filename"),
        ("new", {**NEW, "attachments": [{**FILE, "filename": "a\0b"}]}, "attachments[0].filename"),
        ("new", {**NEW, "attachments": [{**FILE, "meta": {}}]}, "attachments[0].meta.size"),
        ("new", {**NEW, "attachments": [{**FILE, "meta": {"size": -1}}]}, "attachments[0].meta.size"),
        ("new", {**NEW, "attachments": [{**FILE, "meta": {"size": 2**53}}]}, "attachments[0].meta.size"),
        ("edit", {"chatId": "User2", "message": "x"}, "originalMessageId"),
        ("edit", {"chatId": "User2", "originalMessageId": 0, "message": "x"}, "originalMessageId"),
        ("delete", {"chatId": "User2", "originalMessageId": "7"}, "originalMessageId"),
        ("dlvrd", {"chatId": "User2", "messageId": 0}, "messageId"),
        ("read", {"chatId": "User2", "messageId": 2**53}, "messageId"),
        ("messages", {"chatId": "User2", "count": 0}, "count"),
        ("messages", {"chatId": "User2", "count": 501}, "count"),
        ("messages", {"chatId": "User2", "startId": 0}, "startId"),
        ("messages", {"chatId": "User2", "endId": 2**64}, "endId"),
        ("chat", {}, "chatId"),
        ("users", {"count": 501}, "count"),
        ("users", {"query": 7}, "query"),
        ("createChat", {"type": "dialog", "name": "x", "participants": []}, "type"),
        ("createChat", {"type": "group", "participants": []}, "name"),
        ("createChat", {"type": "group", "name": "", "participants": []}, "name"),
        ("createChat", {"type": "group", "name": "x"}, "participants"),
        ("createChat", {"type": "group", "name": "x", "participants": ["User2", 7]}, "participants[1]"),
        ("updateChat", {"chatId": "g", "admins": "User2"}, "admins"),
        ("addParticipants", {"chatId": "g"}, "participants"),
        ("removeParticipants", {"participants": []}, "chatId"),
        ("leaveChat", {}, "chatId"),
        ("deleteChat", {}, "chatId"),
        ("profile", {"name": ""}, "name"),
        ("profile", {"name": "\u2028"}, "name"),
        ("profile", {"name": "a\tb"}, "name"),
        ("profile", {"photoUrl": "x" * 2049}, "photoUrl"),
    ],
)  # fmt: skip
def test_a_bad_payload_names_its_field(name: str, payload: dict[str, Any], field: str) -> None:
    error = answer(codec.encode({"type": "request", "id": "1", "payloadType": name, "payload": payload}))
    assert error.code == "bad_request"
    assert error.message.partition(":")[0] == f"payload.{field}"


def test_an_unknown_request_is_answered_with_the_known_ones() -> None:
    error = answer(b'{"type":"request","id":"1","payloadType":"fly","payload":{}}')
    assert error.code == "unknown_request"
    assert error.message.startswith("payloadType: 'fly'")
    for name in REQUESTS:
        assert name in error.message


def test_the_expected_value_is_described() -> None:
    error = answer(b'{"type":"request","id":"1","payloadType":"new","payload":{"chatId":7}}')
    assert error.message == "payload.chatId: expected `str`, got `int`"
    assert answer(b"{}").message == "type: this field is required"
    assert answer(b"{nonsense}").message.startswith("frame: JSON is malformed")


@pytest.mark.parametrize("text", ["\\\\u0000", "u0000", "\\u00e0\\u0001"])
def test_escaped_text_that_looks_like_a_nul_is_accepted(text: str) -> None:
    frame = (
        b'{"type":"request","id":"1","payloadType":"new","payload":{"chatId":"a","clientMessageId":"1","message":"%s"}}'
    )
    request = codec.decode_client_frame(frame % text.encode())
    assert isinstance(request, Request)
    codec.decode_request(request)


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (r"x\ud83d", "x\ufffd"),
        (r"\uDE00x", "\ufffdx"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\ude00\ud83d", "\ufffd\ufffd"),
        (r"\\ud83d \\\ud83d", "\\ud83d \\\ufffd"),
        (r"\ud83d\u0041", "\ufffdA"),
    ],
)
def test_a_lone_surrogate_is_replaced_and_the_rest_accepted(said: str, taken: str) -> None:
    payload = f'{{"chatId":"a","clientMessageId":"c","message":"{said}"}}'
    frame = f'{{"type":"request","id":"1","payloadType":"new","payload":{payload}}}'
    decoded = codec.decode_client_frame(frame.encode())
    assert isinstance(decoded, Request)
    assert codec.decode_request(decoded).message == taken  # type: ignore[attr-defined]


def test_a_lone_surrogate_in_an_invalid_frame_is_refused_once() -> None:
    assert answer(rb'{"type":"request","id":"\ud83d"').message.startswith("frame: ")


@pytest.mark.parametrize("frame", [b"ping", b"", b" ", b"7", b"[1]", b'"{}"', b"null", b"true", "\u2764".encode()])
def test_text_that_is_not_a_json_object_is_a_keepalive(frame: bytes) -> None:
    assert codec.is_keepalive(frame)


@pytest.mark.parametrize("frame", [b"{}", b" {", b'\n\t {"type":"ack","id":1}'])
def test_text_that_begins_as_a_json_object_is_not_a_keepalive(frame: bytes) -> None:
    assert not codec.is_keepalive(frame)


@pytest.mark.parametrize("event_id", [b"23", b'"23"'])
def test_the_id_of_an_ack_may_be_a_string(event_id: bytes) -> None:
    assert codec.decode_client_frame(b'{"type":"ack","id":%s}' % event_id) in (Ack(id=23), Ack(id="23"))
