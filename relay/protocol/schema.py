"""The protocol as an AsyncAPI 3.0 document, generated from the Structs so that the two always agree."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from relay import __version__
from relay.protocol.base import JsonValue
from relay.protocol.envelopes import Ack, ClientEvent, ErrorFrame, Event, Request, Response
from relay.protocol.events import CLIENT_EVENTS, DURABLE_EVENTS, SERVER_EVENTS
from relay.protocol.requests import REQUESTS

VERSIONS = ("1", "2")
"""The versions of the protocol; a client names its version when it connects (`/ws?v=2`)."""

_REFERENCE = "#/components/schemas/{name}"


class _DocumentedMessage(NamedTuple):
    """A message of the document."""

    envelope: type
    payload: type | None
    """None if there is only the envelope."""
    title: str
    fixed: dict[str, str]
    """The fields of the envelope that distinguish this message from others."""


def asyncapi() -> dict[str, JsonValue]:
    """Generate the document."""
    messages: dict[str, _DocumentedMessage] = {}

    def message(name: str, envelope: type, payload: type, title: str, **fixed: str) -> None:
        messages[name] = _DocumentedMessage(envelope, payload, title, fixed)

    for name, kind in REQUESTS.items():
        message(f"request.{name}", Request, kind.payload, f"a client asks for {name}", payloadType=name)
        message(f"response.{name}", Response, kind.response, f"the relay answers {name}")
    for name, payload in CLIENT_EVENTS.items():
        message(f"client.{name}", ClientEvent, payload, f"a client sends {name}", eventType=name)
    for name, event in SERVER_EVENTS.items():
        durable = "acknowledged and replayed" if name in DURABLE_EVENTS else "never replayed"
        message(f"event.{name}", Event, event, f"the relay sends {name}: {durable}", eventType=name)
    for name, envelope, title in (
        ("ack", Ack, "a client acknowledges a durable event"),
        ("error", ErrorFrame, "a frame is not a valid envelope"),
    ):
        messages[name] = _DocumentedMessage(envelope, None, title, {})
    types = [kind for one in messages.values() for kind in (one.envelope, one.payload) if kind is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REFERENCE)
    by_type = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "chat-relay",
            "version": __version__,
            "description": "The protocol between a client and the relay over the WebSocket.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "lan": {
                "host": "{host}",
                "protocol": "ws",
                "variables": {"host": {"default": "relay.local:8765"}},
                "security": [{"type": "http", "scheme": "bearer"}],
            }
        },
        "channels": {
            "relay": {
                "address": "/ws",
                "bindings": {
                    "ws": {
                        "query": {
                            "type": "object",
                            "properties": {
                                "v": {"type": "string", "enum": [*VERSIONS], "default": VERSIONS[0]},
                                "after": {"type": "integer", "description": "the last event id that the client has"},
                            },
                        }
                    }
                },
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": _operations(messages),
        "components": {
            "messages": {name: _message(one, by_type) for name, one in messages.items()},
            "schemas": components,
        },
    }


def _message(message: _DocumentedMessage, by_type: dict[int, dict[str, JsonValue]]) -> JsonValue:
    narrowed: dict[str, JsonValue] = {field: {"const": value} for field, value in message.fixed.items()}
    if message.payload is not None:
        narrowed["payload"] = by_type[id(message.payload)]
    parts: list[JsonValue] = [by_type[id(message.envelope)]]
    if narrowed:
        parts.append({"properties": narrowed})
    return {
        "title": message.title,
        "contentType": "application/json",
        "payload": {"allOf": parts} if len(parts) > 1 else parts[0],
    }


def _operations(messages: Iterable[str]) -> dict[str, JsonValue]:
    channel: JsonValue = {"$ref": "#/channels/relay"}

    def named(name: str) -> JsonValue:
        return {"$ref": f"#/channels/relay/messages/{name}"}

    operations: dict[str, JsonValue] = {
        name: {
            "action": "receive",
            "channel": channel,
            "messages": [named(f"request.{name}")],
            "reply": {"channel": channel, "messages": [named(f"response.{name}")]},
            "x-repeatable": kind.repeatable,
        }
        for name, kind in REQUESTS.items()
    }
    operations["clientEvents"] = {
        "action": "receive",
        "channel": channel,
        "messages": [named(name) for name in messages if name.startswith("client.") or name == "ack"],
    }
    operations["relayEvents"] = {
        "action": "send",
        "channel": channel,
        "messages": [named(name) for name in messages if name.startswith("event.") or name == "error"],
    }
    return operations
