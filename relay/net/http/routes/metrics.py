"""`/metrics`: the relay's counters and gauges, for Prometheus. Totals only, nothing about a single user.

The client library is loaded at the first request.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import trio

from relay.core.relay import Relay
from relay.net.http.caller import Caller
from relay.net.http.idle import IdleConnections
from relay.net.http.proxies import LOCAL, Networks, was_forwarded
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError, HttpResponse
from relay.net.sockets import hostnames
from relay.unicode import addresses

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric


class Metrics:
    """The handler of `/metrics`; collects the numbers at each request."""

    def __init__(self, relay: Relay, idle_connections: IdleConnections) -> None:
        self._relay = relay
        self._idle_connections = idle_connections
        self._networks = Networks([*relay.settings.http.metrics_from, LOCAL])
        self._registry: CollectorRegistry | None = None

    async def show(self, request: HttpRequest, _caller: Caller) -> HttpResponse:
        """Answer `GET /metrics`.

        Raises:
            HttpError: 403, the request comes from an address that the settings do not allow.
        """
        # A request through a proxy on this machine comes from elsewhere. A proxy that adds no header keeps the original
        # host.
        if (
            request.peer not in self._networks
            or was_forwarded(request.headers)
            or not self._names_this_machine(request)
        ):
            raise HttpError(
                403, "forbidden", "the metrics are for this machine only; its admin can allow more as http.metrics_from"
            )
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry()
            ProcessCollector(registry=self._registry)
            self._registry.register(self)
        headers = [(b"Content-Type", CONTENT_TYPE_LATEST.encode()), (b"Cache-Control", b"no-store")]
        return HttpResponse(200, headers, generate_latest(self._registry))

    @staticmethod
    def _names_this_machine(request: HttpRequest) -> bool:
        """Return whether a request from this machine names this machine as its host, like a local program's."""
        name, _ = addresses.split_host(request.host)
        return not hostnames.is_loopback(request.peer) or name == "localhost" or hostnames.is_loopback(name)

    def describe(self) -> Iterable["Metric"]:
        """Return no names in advance, because `collect` is cheap (see prometheus_client's `Collector`)."""
        return ()

    def collect(self) -> Iterator["Metric"]:
        """Yield each number with its name and meaning."""
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
            ("relay_http_waiting", "Connections that wait for a request.", len(self._idle_connections)),
            ("relay_wal_bytes", "Bytes committed and not copied back into the store's file yet.", relay.log.wal.bytes),
            (
                "relay_writing_seconds",
                "Seconds that a write has been under way for.",
                0.0 if relay.log.busy_since is None else trio.current_time() - relay.log.busy_since,
            ),
            ("relay_store_failing", "1 while the store cannot be written.", int(not relay.log.writable)),
            ("relay_last_event", "The id of the last event in the log.", relay.state.seq),
        ):
            yield GaugeMetricFamily(name, meaning, value)
        now = trio.current_time()
        longest = GaugeMetricFamily(
            "relay_send_longest_wait_seconds",
            "The longest wait of a send for its answer in the last hour, by its main cause.",
            labels=["cause"],
        )
        wait = relay.log.stalls.longest(now)
        if wait is not None:
            longest.add_metric([wait.cause], wait.seconds)
        yield longest
        works = GaugeMetricFamily(
            "relay_writer_longest_work_seconds",
            "The longest duration of each kind of the writer's work in the last hour.",
            labels=["work"],
        )
        for work, seconds in sorted(relay.log.stalls.longest_works(now).items()):
            works.add_metric([work], seconds)
        yield works
        for name, meaning, count in (
            ("relay_entries", "Entries written to the log.", figures.entries),
            ("relay_commands", "Commands decided.", figures.commands),
            ("relay_batches", "Transactions committed.", figures.batches),
            ("relay_commit_seconds", "Time spent deciding and committing.", figures.commit_seconds),
            ("relay_store_failures", "Transactions that failed.", figures.failures),
            ("relay_uploaded_bytes", "Bytes of uploaded files.", relay.files.uploaded_bytes),
            (
                "relay_sign_in_failures",
                "Sign-ins that failed, with those that came before their wait was over.",
                relay.service.signing_in.refusals.total,
            ),
            ("relay_delivered", "Durable events handed to connections.", relay.hub.delivered),
        ):
            yield CounterMetricFamily(name, meaning, count)
