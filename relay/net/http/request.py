"""One request: its head, checked for anything that a proxy and the relay could interpret differently, and its body."""

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

import h11
import msgspec
import trio

from relay.net.http.idle import Timeout
from relay.net.http.response import HttpError
from relay.protocol import codec

JSON_BYTES = 16_384
"""The largest JSON body."""
JSON_SECONDS = 10.0
"""How long a JSON body may take to arrive."""

ONCE = frozenset({b"authorization", b"origin"})
"""Headers that decide about access. If one came twice, a proxy and the relay could each trust another value."""

T = TypeVar("T")


class AmbiguousHead(ValueError):
    """A head that a proxy and the relay could read differently; its text says why."""


class HttpRequest:
    """One request of a client."""

    def __init__(
        self,
        event: h11.Request,
        peer: str,
        piece: Callable[[], Awaitable[bytes]],
        timeout: Timeout = trio.move_on_after,
    ) -> None:
        """Read the head.

        Args:
            event: the head, as h11 parsed it.
            peer: the address at the other end of the connection, which may be a proxy's.
            piece: reads the next piece of the body; see `HttpRequest.piece`.
            timeout: see `IdleConnections`.

        Raises:
            AmbiguousHead: the target or the headers are ambiguous.
        """
        self.event = event
        self.method = event.method.decode("latin-1")
        self.headers = _joined(event)
        """Each header once, names in lower case."""
        self.host, self.path, query = _target(event.target.decode("latin-1"), self.header(b"host") or "")
        self.query = parse_qs(query)
        self.peer = peer
        self._piece = piece
        self._timeout = timeout

    def header(self, name: bytes) -> str | None:
        """Return a header's value, None without one; `name` is in lower case."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def content_length(self) -> int | None:
        """The length of the body in bytes; None if it is sent in chunks."""
        if b"transfer-encoding" in self.headers:
            return None
        return int(self.headers.get(b"content-length", b"0"))

    async def piece(self) -> bytes:
        """Read the next piece of the body; empty at its end.

        Raises:
            HttpError: the body stalls or is malformed.
            Disconnected: the client disconnected.
        """
        return await self._piece()

    async def body(self, most: int, seconds: float) -> bytes:
        """Read the whole body.

        Args:
            most: the maximum number of bytes.
            seconds: how long it may take to arrive, not counting the relay's own stalls.

        Raises:
            HttpError: it is too large, too slow or malformed.
            Disconnected: the client disconnected.
        """
        too_large = HttpError(413, "too_large", f"the body is over {most} bytes")
        if (self.content_length or 0) > most:
            raise too_large
        content = bytearray()
        with self._timeout(seconds) as timeout:
            while piece := await self.piece():
                content += piece
                if len(content) > most:
                    raise too_large
        if timeout.cancelled_caught:
            raise HttpError(408, "bad_request", f"the body did not come within {seconds:.0f} s")
        return bytes(content)

    async def json(self, kind: type[T]) -> T:
        """Read a JSON body of at most `JSON_BYTES`.

        Args:
            kind: the msgspec type to decode it as.

        Raises:
            HttpError: the body is too large, too slow, or does not match the type.
        """
        content = await self.body(JSON_BYTES, JSON_SECONDS)
        try:
            return msgspec.json.decode(content, type=kind)
        except codec.UNDECODABLE as error:
            raise HttpError.of(codec.explain(error, "body")) from None
        except RecursionError:
            raise HttpError(400, "bad_request", "body: nested too deeply") from None


def _joined(event: h11.Request) -> dict[bytes, bytes]:
    """Combine headers of the same name (RFC 9110, section 5.3; cookies: RFC 6265, section 5.4).

    Raises:
        AmbiguousHead: a header of `ONCE` is repeated, or the body's length is given in two ways.
    """
    headers: dict[bytes, bytes] = {}
    for name, value in event.headers:
        if name not in headers:
            headers[name] = value
        elif name in ONCE:
            raise AmbiguousHead(f"the header {name.decode()} is there twice")
        else:
            headers[name] += (b"; " if name == b"cookie" else b", ") + value
    if b"transfer-encoding" in headers and (b"content-length" in headers or event.http_version < b"1.1"):
        # If a proxy trusted one of them and the relay the other, the rest would be read as another client's request.
        raise AmbiguousHead("Transfer-Encoding goes neither with Content-Length nor with HTTP/1.0")
    return headers


def _target(target: str, host: str) -> tuple[str, str, str]:
    """Split a request target (RFC 9112, section 3.2) into host, path and query.

    Raises:
        AmbiguousHead: it is no address, or names another host than the `Host` header does.
    """
    if not target.startswith("/") and "://" in target:
        try:
            absolute = urlsplit(target)
        except ValueError:
            raise AmbiguousHead("the target is not an address") from None
        if absolute.netloc.lower() != host.lower():
            raise AmbiguousHead("the target is for another host than the Host header")
        return host, absolute.path or "/", absolute.query
    path, _, query = target.partition("?")
    return host, path, query
