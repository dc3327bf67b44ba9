"""The rows of the tables of requests: a request's name, its payload and its response."""

from typing import Generic, Protocol, TypeVar

import msgspec

from relay.protocol.base import Wire

PayloadT = TypeVar("PayloadT", bound=Wire)
"""Not covariant: a request is made with exactly its own payload."""
ResponseT = TypeVar("ResponseT")
ResponseT_co = TypeVar("ResponseT_co", covariant=True)
ItemT = TypeVar("ItemT")
ItemT_co = TypeVar("ItemT_co", covariant=True)


class AnyRequestType(Protocol):
    """The types of a request in a table of them, whatever its payload and response."""

    @property
    def name(self) -> str:
        """The `payloadType`."""

    @property
    def payload(self) -> type[Wire]:
        """The type of its payload."""

    @property
    def response(self) -> type[object]:
        """The type of its response's payload."""


class AnySocketRequestType(AnyRequestType, Protocol):
    """The same for a request on the WebSocket."""

    @property
    def repeatable(self) -> bool:
        """See `SocketRequestType`."""


class RequestType(msgspec.Struct, Generic[PayloadT, ResponseT_co], frozen=True):
    """The types of a request: its payload, and the payload of its response."""

    name: str
    """The `payloadType`."""
    payload: type[PayloadT]
    response: type[ResponseT_co]


class SocketRequestType(
    RequestType[PayloadT, ResponseT_co], Generic[PayloadT, ResponseT_co], frozen=True, kw_only=True
):
    """The types of a request on the WebSocket, and whether a client that lost its response may repeat it."""

    repeatable: bool
    """Whether it may be repeated: the second time it changes nothing more, and gets the same answer."""


class StreamType(RequestType[PayloadT, ResponseT_co], Generic[PayloadT, ResponseT_co, ItemT_co], frozen=True):
    """The types of a request that gets items before its response, each as an event."""

    item: type[ItemT_co]
