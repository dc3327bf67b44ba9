"""The router: every connection begins here as HTTP, and is answered or becomes a WebSocket.

`http/admission.py` decides about access, `http/places.py` how many requests at a time, and a module of `http/routes/`
handles each path.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable

import trio

from relay.core.auth.throttle import rate_limit_key
from relay.core.limits.fairness import Account
from relay.core.relay import Relay
from relay.keys import UserKey
from relay.net.http.admission import SAFE_METHODS, Admission
from relay.net.http.caller import Caller
from relay.net.http.connection import Disconnected, HttpConnection
from relay.net.http.headers import fixed_headers
from relay.net.http.idle import IdleConnections, Timeout
from relay.net.http.places import RequestPlaces
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError, HttpResponse, error_response, json_response
from relay.net.http.routes.files import FilePages
from relay.net.http.routes.hooks import PATH as HOOKS
from relay.net.http.routes.hooks import HookPage
from relay.net.http.routes.metrics import Metrics
from relay.net.http.routes.session import SessionPage
from relay.net.http.routes.trust import TrustPage
from relay.net.http.static import StaticFiles
from relay.net.sockets.transport import Transport
from relay.net.tls.authority import AUTHORITY
from relay.net.tls.certificates import FOLDER
from relay.net.tuning import NetTuning
from relay.net.websocket.handshake import WebSocketUpgrade, accept, last_event, version
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

Handler = Callable[[HttpRequest, Caller], Awaitable[HttpResponse]]


class Router:
    """Answers HTTP requests."""

    def __init__(
        self,
        relay: Relay,
        tuning: NetTuning,
        *,
        hsts: bool = False,
        timeout: Timeout = trio.move_on_after,
        secure_port: int | None = None,
        listened_on: frozenset[str] = frozenset(),
    ) -> None:
        """Make the router of a relay.

        Args:
            relay: the relay that the paths use.
            tuning: time limits for clients, and sizes of queues.
            hsts: whether every browser trusts the certificate, so that TLS is permanent.
            timeout: limits the waits for clients; see `IdleConnections`.
            secure_port: see `Admission`.
            listened_on: see `Admission`.
        """
        self.idle_connections = IdleConnections(timeout=timeout)
        self.places = RequestPlaces(self.idle_connections, tuning)
        self.admission = Admission(
            relay.settings, relay.service.tokens.authenticate, secure_port=secure_port, listened_on=listened_on
        )
        self.fairness = relay.service.limits.fairness
        self._relay = relay
        self._tuning = tuning
        self._hsts = hsts
        self._static = StaticFiles()
        self._hooks = HookPage(relay)
        self._files = FilePages(relay.files, relay.service.limits.requests)
        session = SessionPage(relay)
        trust = TrustPage(relay.data / FOLDER / AUTHORITY)
        self._paths: dict[str, dict[str, Handler]] = {
            "/session": {"GET": session.show, "POST": session.sign_in, "DELETE": session.sign_out},
            "/files": {"POST": self._files.upload},
            "/trust": {"GET": trust.show},
            "/ca.crt": {"GET": trust.download},
            "/healthz": {"GET": self._health},
            "/metrics": {"GET": Metrics(relay, self.idle_connections).show},
        }

    async def serve(
        self, transport: Transport, *, secure: bool, full: Callable[[UserKey], str | None]
    ) -> WebSocketUpgrade | None:
        """Answer one connection's requests until it ends or becomes a WebSocket.

        Args:
            transport: the connection.
            secure: whether it is TLS.
            full: returns why a user may not open another WebSocket now, or None.

        Returns:
            The WebSocket to begin; None if the connection is over.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """
        connection = HttpConnection(transport, self.idle_connections, self._tuning)
        while connection.reusable:
            request, failed = None, None
            try:
                request = await connection.next_request()
                if request is None:
                    return None
                caller = self.admission.identify(request, secure=secure)
                self._charge(transport, caller)
                self.admission.check_tls(request, caller)
                if request.path == "/ws":
                    if request.method != "GET":
                        raise _method_not_allowed(("GET",))
                    upgrade = self._upgrade(connection, request, caller, full=full)
                    transport.grow_buffer()
                    return upgrade
            except Disconnected:
                return None
            except OSError:
                # Raise it here and not in `_failure`, whose frame the exception would hold in a reference cycle.
                raise
            except Exception as error:  # noqa: BLE001 - every failure gets a response
                if request is None:
                    # The start of the next request is unknown: the same bytes would fail forever.
                    connection.reusable = False
                address = transport.peer if request is None else self.admission.address_of(request)
                failed, caller = self._failure(error), Caller(None, by_cookie=False, secure=secure, address=address)
            if not await self._respond(connection, request, caller, failed):
                return None
        return None

    def payer_at(self, peer: str) -> Account | None:
        """Return the account that pays for a new connection of an address; None for a trusted proxy's."""
        return None if self.admission.is_proxy(peer) else self.fairness.of(rate_limit_key(peer))

    def _charge(self, transport: Transport, caller: Caller) -> None:
        """Charge the work for this request to its caller, from its head until the next request.

        Users pay for themselves, not for others behind the same address.
        """
        user = None if caller.signed_in is None else caller.signed_in[0]
        payer = self.fairness.of(rate_limit_key(caller.address) if user is None else user)
        self.fairness.move(payer)
        transport.payer = payer

    async def _respond(
        self, connection: HttpConnection, request: HttpRequest | None, caller: Caller, failed: HttpResponse | None
    ) -> bool:
        """Answer a request once there is a place for it.

        Args:
            connection: the connection that it came over.
            request: the request; None if none could be read.
            caller: its caller.
            failed: the response, if the request was already refused.

        Returns:
            Whether the connection may continue.
        """
        transport = connection.transport
        if caller.signed_in is not None:
            transport.grow_buffer()
        place = await self.places.wait(caller)
        if place is None:
            # A caller that uses up all its places gets no response, which would take another one.
            transport.discard()
            return False
        places, holder = place
        async with places.take(holder) as scope:
            try:
                answer = failed or await self._answer(request, caller)
                hsts = self._hsts if caller.secure else self.admission.behind_tls_proxy
                await connection.answer(request, answer, fixed_headers(answer.headers, hsts=hsts))
            except Disconnected:
                return False
        if scope.cancelled_caught:
            transport.discard()
            return False
        if self.admission.is_proxy(transport.peer):
            # The next request that a proxy forwards may be another client's.
            transport.payer = None
        return True

    async def _answer(self, request: HttpRequest | None, caller: Caller) -> HttpResponse:
        assert request is not None
        try:
            return await self._route(request, caller)
        except (Disconnected, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - every failure gets a response
            return self._failure(error)

    async def _route(self, request: HttpRequest, caller: Caller) -> HttpResponse:
        if request.path.startswith(HOOKS):
            if request.method != "POST":
                raise _method_not_allowed(("POST",))
            return await self._hooks.post(request)
        methods = self._paths.get(request.path)
        if methods is None and request.path.startswith("/files/"):
            methods = {"GET": self._files.download}
        if methods is None:
            if request.method not in SAFE_METHODS:
                raise _method_not_allowed(SAFE_METHODS)
            return self._static.answer(request)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise _method_not_allowed(methods)
        return await handler(request, caller)

    def _failure(self, error: Exception) -> HttpResponse:
        """Turn a failure into the response that reports it."""
        if isinstance(error, sqlite3.Error):
            # Not by its path, which may contain a hook's secret.
            error = self._relay.log.faults.unread(error, "an HTTP request")
        if isinstance(error, RelayError):
            error = HttpError.of(error)
        if not isinstance(error, HttpError):
            logger.error("a request failed; the relay goes on", exc_info=error)
            error = HttpError.of(RelayError.internal())
        return error_response(error)

    async def _health(self, _request: HttpRequest, _caller: Caller) -> HttpResponse:
        if not self._relay.log.writable:
            raise HttpError(503, "unavailable", "the relay cannot write to its store; its log says why")
        return json_response({"status": "ok"})

    def _upgrade(
        self, connection: HttpConnection, request: HttpRequest, caller: Caller, *, full: Callable[[UserKey], str | None]
    ) -> WebSocketUpgrade:
        connection.reusable = False
        if caller.signed_in is None:
            raise caller.unauthorized()
        why = full(caller.user)
        if why is not None:
            raise HttpError(503, "unavailable", f"{why}: try again later", (b"Retry-After", b"5"))
        user, device = caller.signed_in
        response = accept(request, self._relay.settings.limits.frame_bytes)
        return WebSocketUpgrade(user, device, last_event(request), response, connection.rest, version(request))


def _method_not_allowed(methods: Iterable[str]) -> HttpError:
    allowed = list(methods)
    if "GET" in allowed and "HEAD" not in allowed:
        allowed.insert(0, "HEAD")
    named = ", ".join(allowed)
    return HttpError(405, "bad_request", f"what can be done here: {named}", (b"Allow", named.encode()))
