"""The AsyncAPI document: its references resolve, it has the whole protocol, and real frames match it."""

from collections.abc import Iterator
from typing import Any

import jsonschema
import msgspec
import pytest
from jsonschema.protocols import Validator

from relay.protocol.events import CLIENT_EVENTS, SERVER_EVENTS
from relay.protocol.requests import REQUESTS
from relay.protocol.schema import asyncapi
from tests.support.golden import GOLDEN

DOCUMENT: Any = asyncapi()
MESSAGE_OF = {
    "event-new": "event.new",
    "event-new-deleted": "event.new",
    "event-chats": "event.chats",
    "event-edit": "event.edit",
    "event-delete": "event.delete",
    "event-online": "event.online",
    "event-offline": "event.offline",
    "event-typing": "event.typing",
    "event-typing-stop": "event.typing",
    "event-dlvrd": "event.dlvrd",
    "event-read": "event.read",
    "event-read-own": "event.read",
    "request-new": "request.new",
    "response-new": "response.new",
    "response-nothing": "response.read",
    "error": "error",
    "client-typing": "client.typing",
    "ack": "ack",
}


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(reference: str) -> Any:
    assert reference.startswith("#/")
    node = DOCUMENT
    for part in reference[2:].split("/"):
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def validator(message: str) -> Validator:
    payload = DOCUMENT["components"]["messages"][message]["payload"]
    return jsonschema.Draft202012Validator({**payload, "components": DOCUMENT["components"]})


def test_schema_has_what_asyncapi_requires() -> None:
    assert DOCUMENT["asyncapi"].startswith("3.")
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    for server in DOCUMENT["servers"].values():
        assert server.keys() >= {"host", "protocol"}
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert "$ref" in operation["channel"]


def test_every_reference_resolves() -> None:
    found = set(references(DOCUMENT))
    assert found
    for reference in found:
        assert resolve(reference) is not None


def test_messages_of_operations_are_messages_of_the_channel() -> None:
    for operation in DOCUMENT["operations"].values():
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]:
            assert message["$ref"].startswith("#/channels/relay/messages/")


def test_schema_has_every_request_and_event() -> None:
    expected = {f"request.{name}" for name in REQUESTS} | {f"response.{name}" for name in REQUESTS}
    expected |= {f"event.{name}" for name in SERVER_EVENTS} | {f"client.{name}" for name in CLIENT_EVENTS}
    assert set(DOCUMENT["components"]["messages"]) == {*expected, "ack", "error"}
    assert set(DOCUMENT["operations"]) >= set(REQUESTS)
    sent = {message["$ref"].rpartition("/")[2] for message in DOCUMENT["operations"]["relayEvents"]["messages"]}
    assert sent >= {f"event.{name}" for name in SERVER_EVENTS}


@pytest.mark.parametrize("schema", DOCUMENT["components"]["schemas"])
def test_every_schema_is_valid(schema: str) -> None:
    jsonschema.Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][schema])


@pytest.mark.parametrize(("golden", "message"), MESSAGE_OF.items())
def test_real_frames_match_their_schema(golden: str, message: str) -> None:

    validator(message).validate(msgspec.json.decode(GOLDEN[golden]))


@pytest.mark.parametrize("message", ["event.edit", "event.online", "ack", "error"])
def test_invalid_frames_do_not_match(message: str) -> None:

    assert not validator(message).is_valid(msgspec.json.decode(GOLDEN["event-new"]))
