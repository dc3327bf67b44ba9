"""Responses: a body or a part of a file, JSON, or an error. Plain data, no I/O."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

import trio

from relay.protocol import codec
from relay.protocol.base import Encodable
from relay.protocol.errors import ErrorCode, RelayError

Headers = Sequence[tuple[bytes, bytes]]

STATUS: dict[ErrorCode, int] = {
    "bad_request": 400,
    "unknown_request": 404,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "storage_full": 507,
    "unavailable": 503,
    "internal": 500,
}
"""The HTTP status for each error of the protocol."""


class HttpError(Exception):
    """A request is refused: a status and a code for programs, a sentence for people."""

    def __init__(
        self, status: int, code: ErrorCode, message: str, *headers: tuple[bytes, bytes], **more: Encodable
    ) -> None:
        """Make an error.

        Args:
            status: the HTTP status.
            code: the code of PROTOCOL.md, section 2.
            message: the sentence for people.
            headers: further headers of the response.
            more: further members of its JSON object.
        """
        super().__init__(message)
        self.status = status
        self.error = RelayError(code, message).error
        self.headers = headers
        self.more = more
        """Further members of the response's JSON object, besides `error`."""

    @classmethod
    def of(cls, error: RelayError) -> "HttpError":
        """Convert an error of the protocol into an HTTP error."""
        wait = error.error.retry_after
        after = [] if wait is None else [(b"Retry-After", b"%d" % -(-wait // 1_000))]
        refused = cls(STATUS[error.error.code], error.error.code, error.error.message, *after)
        refused.error = error.error
        return refused


class FilePart(NamedTuple):
    """A range of a file, sent as a body."""

    path: str
    start: int
    """Offset of the first byte."""
    length: int
    while_allowed: Callable[[], AbstractContextManager[trio.CancelScope]] = trio.CancelScope
    """Makes a scope that is cancelled when the client loses the right to the file."""


class HttpResponse(NamedTuple):
    """One response."""

    status: int
    headers: Headers = ()
    body: bytes | FilePart = b""


def json_response(value: Encodable, status: int = 200, headers: Headers = ()) -> HttpResponse:
    """Make a response with a JSON object that no cache keeps.

    Args:
        value: encoded by the protocol's codec.
        status: the HTTP status.
        headers: further headers.
    """
    fixed = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    return HttpResponse(status, [*fixed, *headers], codec.encode(value))


def error_response(error: HttpError) -> HttpResponse:
    """Make the response that reports an error."""
    return json_response({**error.more, "error": error.error}, error.status, error.headers)
