"""Numbers of the network side that were found by measuring: time limits for clients, and sizes of queues.

They are not settings, see `core/tuning.py`. Pure.
"""

import msgspec


class NetTuning(msgspec.Struct, kw_only=True):
    """The numbers of a server."""

    tls_handshake_seconds: float = 10.0
    """How long a TLS handshake may take."""
    head_seconds: float = 10.0
    """How long a request's head may take to arrive."""
    body_seconds: float = 30.0
    """How long a body may pause; a body that takes longer in total must keep to `TRANSFER_BYTES_PER_SECOND`."""
    waiting_connections_per_address: int = 1_024
    """Maximum new connections of one address that wait for its turn on the event loop; more are closed at once."""
    anonymous_places_per_address: int = 64
    """Places per address for requests without a valid token; a whole office may share one address."""
    place_seconds: float = 5.0
    """How long a request waits for a place."""
    queue_seconds: float = 30.0
    """How long an anonymous request waits for its turn among those of its address: enough for a hundred people behind
    one address who open the page for the first time at once."""
    requests_per_second: float = 100.0
    """Requests per second of one address. A first visit of the page makes thirty, a later one three."""
    burst_requests: float = 400.0
    """Requests of one address at once."""
    outbox_bytes: int = 262_144
    """Maximum bytes waiting for one WebSocket; beyond it, live events are refused and replayed from the log later."""
    room_again_seconds: float = 10.0
    """Seconds without a rejected connection after which there is room again."""
    unacknowledged_events: int = 1_024
    """Replayed events that may be unacknowledged before the replay pauses. Requests of the client are answered after
    these at the latest."""
