"""`/metrics`: what the relay has done and is doing, as Prometheus reads it. Numbers only, of nobody in particular.

The client library is loaded when somebody asks for the first time.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from relay.core.relay import Relay
from relay.net.http import Answer, Lobby, Refused, Request
from relay.net.visitor import Visitor


class Metrics:
    """Reads the numbers off the relay when they are asked for."""

    def __init__(self, relay: Relay, lobby: Lobby) -> None:
        self._relay = relay
        self._lobby = lobby
        self._networks = [ipaddress.ip_network(one, strict=False) for one in relay.settings.http.metrics_from]
        self._registry: Any = None

    async def show(self, request: Request, _visitor: Visitor) -> Answer:
        """Answer `GET /metrics`."""
        # A proxy on this machine asks from here for somebody elsewhere.
        if not self._may_read(request.peer) or b"x-forwarded-for" in request.headers or b"forwarded" in request.headers:
            raise Refused(
                403, "forbidden", "the metrics are for this machine only; its admin can allow more as http.metrics_from"
            )
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        headers = [(b"Content-Type", CONTENT_TYPE_LATEST.encode()), (b"Cache-Control", b"no-store")]
        return Answer(200, headers, generate_latest(self._registry))

    def _may_read(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer.partition("%")[0])
        except ValueError:
            return peer == "local"
        return any(address in network for network in self._networks)

    def describe(self) -> Iterable[Any]:
        """Say nothing beforehand: the names are those that `collect` gives."""
        return ()

    def collect(self) -> Iterator[Any]:
        """Give each number with its name and meaning."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        relay = self._relay
        figures, subscribers = relay.log.figures, relay.hub.presence.subscribers
        for name, meaning, value in (
            ("relay_connections", "WebSocket connections that are open.", sum(map(len, subscribers.values()))),
            ("relay_users_online", "Users with a connection.", len(subscribers)),
            ("relay_users", "Users there are.", sum(not user.removed for user in relay.state.users.values())),
            (
                "relay_stored_bytes",
                "Bytes of files kept, as counted.",
                sum(user.stored for user in relay.state.users.values()),
            ),
            ("relay_http_waiting", "Connections that wait for a request.", len(self._lobby)),
            ("relay_store_failing", "1 while the store cannot be written.", int(not relay.log.writable)),
            ("relay_last_event", "The id of the last event in the log.", relay.state.seq),
        ):
            yield GaugeMetricFamily(name, meaning, value)
        for name, meaning, count in (
            ("relay_entries", "Entries written to the log.", figures.entries),
            ("relay_commands", "Commands decided.", figures.commands),
            ("relay_batches", "Transactions committed.", figures.batches),
            ("relay_commit_seconds", "Time spent deciding and committing.", figures.commit_seconds),
            ("relay_store_failures", "Transactions that failed.", figures.failures),
            ("relay_uploaded_bytes", "Bytes of files taken in.", relay.files.uploaded_bytes),
            ("relay_delivered", "Durable events handed to connections.", relay.hub.delivered),
        ):
            yield CounterMetricFamily(name, meaning, count)
