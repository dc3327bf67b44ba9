"""The pending requests of a client, and their fate when a connection ends.

No I/O. It also knows the maximum size of a frame, from the relay or from a closed connection.
"""

import time
import uuid
from collections.abc import Iterator, Mapping

import msgspec
import trio

from relay.client.failures import Unanswered
from relay.protocol import codec
from relay.protocol.base import FRAME_BYTES_HEADER, Wire
from relay.protocol.envelopes import Request, Response
from relay.protocol.errors import RelayError
from relay.protocol.requests import REQUESTS

SMALLEST_LIMIT_BYTES = 1_024
"""Every relay accepts a frame of this size (`limits.frame_bytes` is not lower), so it never ends a connection."""


class PendingRequest(msgspec.Struct, eq=False):
    """One request. Once it is `done`, `response` or `failure` has its outcome."""

    id: str
    name: str
    """The `payloadType`."""
    frame: bytes
    done: trio.Event
    sent: bool = False
    """Whether a relay may have it already."""
    response: Response | None = None
    failure: Exception | None = None

    @property
    def repeatable(self) -> bool:
        """Whether it may be repeated after it was sent; a request that this client does not know may not."""
        kind = REQUESTS.get(self.name)
        return kind is not None and kind.repeatable

    def fail(self, failure: Exception) -> None:
        """End without a response."""
        self.failure = failure
        self.done.set()


class PendingRequests:
    """All pending requests of one client, by id."""

    def __init__(self) -> None:
        self._waiting: dict[str, PendingRequest] = {}
        self._limit: int | None = None
        """Bytes of the largest frame that the relay accepts; None until it is known."""
        self._largest = 0
        """Bytes of the largest frame that was sent on this connection."""

    def add(self, name: str, payload: Wire) -> PendingRequest:
        """Add a request.

        Args:
            name: its `payloadType`.
            payload: its payload.

        Raises:
            RelayError: `too_large`, the relay does not accept such a frame.
        """
        request_id = str(uuid.uuid4())
        frame = codec.encode(
            Request(
                id=request_id,
                timestamp=time.time_ns() // 1_000_000,
                payload_type=name,
                payload=msgspec.Raw(codec.encode(payload)),
            )
        )
        if self._limit is not None and len(frame) > self._limit:
            raise _too_large(name, frame, f"this relay takes {self._limit}")
        pending = self._waiting[request_id] = PendingRequest(request_id, name, frame, trio.Event())
        return pending

    def remove(self, pending: PendingRequest) -> None:
        """Forget a request: its caller has stopped waiting."""
        self._waiting.pop(pending.id, None)

    def answered(self, response: Response) -> None:
        """Pass a response to its request, if a caller still waits for it."""
        pending = self._waiting.get(str(response.id))
        if pending is not None:
            pending.response = response
            pending.done.set()

    def failed(self, request_id: str, failure: Exception) -> None:
        """Fail the request with this id, if a caller still waits for it."""
        pending = self._waiting.get(request_id)
        if pending is not None:
            pending.fail(failure)

    def connected(self, headers: Mapping[bytes, bytes]) -> None:
        """Begin a connection; requests that its relay does not accept fail.

        Args:
            headers: those of the handshake's answer. An older relay does not state the maximum frame there.
        """
        self._largest = 0
        said = headers.get(FRAME_BYTES_HEADER, b"")
        if said.isdigit():
            self._limit = int(said)
            self._fail_larger(f"this relay takes {self._limit}")

    def note_sent(self, size: int) -> None:
        """Note that a frame of `size` bytes was sent on this connection."""
        self._largest = max(self._largest, size)

    def refused_as_too_big(self, reason: str) -> None:
        """Learn from a relay that closed the connection because of a frame's size (1009).

        The largest frame was certainly too big: sent again, it would end the next connection too.

        Args:
            reason: the relay's close reason.
        """
        if self._largest > SMALLEST_LIMIT_BYTES:
            self._limit = self._largest - 1
            self._fail_larger(f"the relay closed the connection: {reason or 'too big'}")

    def _fail_larger(self, why: str) -> None:
        assert self._limit is not None
        for pending in self._waiting.values():
            if len(pending.frame) > self._limit and not pending.done.is_set():
                pending.fail(_too_large(pending.name, pending.frame, why))

    def to_send(self) -> Iterator[bytes]:
        """Return the frames to send on a new connection, each right before it is sent.

        A request that must not be repeated fails if it was sent before.
        """
        for pending in list(self._waiting.values()):
            if pending.done.is_set():
                continue
            if pending.sent and not pending.repeatable:
                pending.fail(Unanswered(f"the connection was lost before the answer to {pending.name}"))
            else:
                pending.sent = True
                self.note_sent(len(pending.frame))
                yield pending.frame

    def end(self) -> None:
        """Release all callers: there will be no response."""
        for pending in self._waiting.values():
            pending.done.set()


def _too_large(name: str, frame: bytes, why: str) -> RelayError:
    return RelayError("too_large", f"{name}: this request has {len(frame)} bytes, {why}")
