"""The front door: every connection begins here as HTTP, and is answered or handed on as a WebSocket.

Who may come in is decided here (PROTOCOL.md, sections 1 and 9): for which host, from which page, by which
token. What a path does is in a module of its own.
"""

import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urlsplit

import trio
from wsproto.connection import ConnectionType
from wsproto.events import AcceptConnection
from wsproto.events import Request as Upgrade
from wsproto.handshake import H11Handshake
from wsproto.utilities import RemoteProtocolError

from relay.core.auth.throttle import rate_limit_key
from relay.core.limits.fairness import Account
from relay.core.relay import Relay
from relay.net.http.connection import (
    Disconnected,
    Headers,
    HttpConnection,
    HttpError,
    HttpRequest,
    HttpResponse,
    IdleConnections,
    json_answer,
    refusal,
)
from relay.net.http.pace import AddressPace
from relay.net.http.places import Places
from relay.net.http.proxies import Networks, client_address, passed_on
from relay.net.http.routes.files import FilePages
from relay.net.http.routes.hooks import PATH as HOOKS
from relay.net.http.routes.hooks import HookPage
from relay.net.http.routes.metrics import Metrics
from relay.net.http.routes.session import SessionPage
from relay.net.http.routes.trust import TrustPage
from relay.net.http.static import StaticFiles
from relay.net.http.visitor import Caller
from relay.net.sockets import hostnames
from relay.net.sockets.transport import Transport
from relay.net.tls.authority import AUTHORITY
from relay.net.tls.certificates import FOLDER
from relay.protocol.errors import RelayError
from relay.protocol.schema import VERSIONS

logger = logging.getLogger(__name__)

READING = ("GET", "HEAD")
FIXED: Headers = (
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"no-referrer"),
    (
        b"Permissions-Policy",
        b"camera=(), display-capture=(), geolocation=(), hid=(), microphone=(), midi=(), payment=(), serial=(), usb=()",
    ),
    (b"Cross-Origin-Opener-Policy", b"same-origin"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
"""What every answer says."""
NOTHING_MAY = (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'")
"""What an answer says that is no page."""

LASTING = (b"Strict-Transport-Security", b"max-age=31536000")
"""What a browser is told where TLS is there to stay. Never with the relay's own authority: whoever has not installed it
could not come in any more."""

STRANGERS, STRANGERS_EACH = 256, 64
"""Requests of those who have not signed in that are answered at a time: in all, and from one address, behind which
an office may be."""
USERS, USERS_EACH = 512, 32
"""The same for those who have: in all, and of one user."""
PATIENCE = 5.0
"""Seconds that a request waits for its place."""
QUEUE = 30.0
"""Seconds that a request of one who has not signed in waits for its turn among those of its address: as long as a
hundred people behind one address need who open the page for the first time at once."""

DAYS = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")

PLAIN = ("/ca.crt", "/trust", "/healthz", "/metrics")
"""What is served without TLS, too."""

Handler = Callable[[HttpRequest, Caller], Awaitable[HttpResponse]]


class WebSocketUpgrade(NamedTuple):
    """A WebSocket that may begin."""

    user: int
    device: int
    since: int | None
    """The last event that the client says it has."""
    answer: bytes
    """What is still to be sent before the first frame."""
    rest: bytes
    """What came after the request."""
    version: int = 1
    """Of the protocol, that the client speaks."""


class Router:
    """What answers HTTP."""

    def __init__(self, relay: Relay, *, lasting: bool = False) -> None:
        """Make the door of a relay.

        Args:
            relay: what is behind it.
            lasting: whether TLS is by a certificate that every browser takes, and so there to stay.
        """
        self.lobby = IdleConnections()
        self._relay = relay
        self.strangers = Places(STRANGERS, STRANGERS_EACH)
        self.users = Places(USERS, USERS_EACH)
        self._pace = AddressPace()
        self.fairness = relay.service.limits.fairness
        self._names = hostnames.Names(relay.settings.http.hosts)
        self._proxies = Networks(relay.settings.http.trusted_proxies)
        self._lasting = lasting
        self._pages = StaticFiles()
        self._session = SessionPage(relay)
        self._files = FilePages(relay.files, relay.service.limits.requests)
        self._trust = TrustPage(relay.data / FOLDER / AUTHORITY)
        self.secure_port: int | None = None
        """Where TLS is spoken: who comes without it is sent there, where the settings say so."""
        self.listened_on: frozenset[str] = frozenset()
        """Addresses of this machine: who comes from one of them has no network in between."""
        self._metrics = Metrics(relay, self.lobby)
        self._hooks = HookPage(relay)
        self._paths: dict[str, dict[str, Handler]] = {
            "/session": {"GET": self._session.show, "POST": self._session.sign_in, "DELETE": self._session.sign_out},
            "/files": {"POST": self._files.upload},
            "/trust": {"GET": self._trust.show},
            "/ca.crt": {"GET": self._trust.hand_out},
            "/healthz": {"GET": self._health},
            "/metrics": {"GET": self._metrics.show},
        }

    async def serve(
        self, transport: Transport, *, secure: bool, full: Callable[[int], str | None]
    ) -> WebSocketUpgrade | None:
        """Answer one connection's requests until it ends or becomes a WebSocket.

        Args:
            transport: the connection.
            secure: whether it is TLS.
            full: says why a user may have no further WebSocket just now, where that is so.

        Raises:
            OSError, trio.BrokenResourceError: the connection broke.
        """
        connection = HttpConnection(transport, self.lobby)
        while connection.reusable:
            request, failed = None, None
            try:
                request = await connection.next_request()
                if request is None:
                    return None
                visitor = self._visitor(request, secure=secure)
                self._charge(transport, visitor)
                self._check_secure(request, visitor)
                if request.path == "/ws":
                    if request.method != "GET":
                        raise _no_such_method(("GET",))
                    entrance = self._admit(connection, request, visitor, full=full)
                    transport.widen()
                    return entrance
            except Disconnected:
                return None
            except OSError:
                # The connection broke. Raised here and not in `_failure`, whose frame would hold it in a circle.
                raise
            except Exception as error:  # noqa: BLE001 - every failure has an answer
                if request is None:
                    # Where the next one would begin nobody knows: the same bytes would fail for ever.
                    connection.reusable = False
                address = transport.peer if request is None else self._address(request)
                failed, visitor = _failure(error), Caller(None, by_cookie=False, secure=secure, address=address)
            if not await self._take_turn(connection, request, visitor, failed):
                return None
        return None

    def payer_at(self, peer: str) -> Account | None:
        """For whom a connection from an address is served before it has said anything; nobody where it is a proxy's."""
        return None if peer in self._proxies else self.fairness.of(rate_limit_key(peer))

    def _charge(self, transport: Transport, visitor: Caller) -> None:
        """Have the work for a request charged to who asks, its head included; what follows, too, until the next one.

        Those who have signed in are charged for themselves, and not for who else is behind their address.
        """
        user = None if visitor.who is None else visitor.who[0]
        payer = self.fairness.of(rate_limit_key(visitor.address) if user is None else user)
        self.fairness.move(payer)
        transport.payer = payer

    async def _take_turn(
        self, connection: HttpConnection, request: HttpRequest | None, visitor: Caller, failed: HttpResponse | None
    ) -> bool:
        """Answer a request once there is a place for it; tells whether the connection may go on.

        Args:
            connection: whose.
            request: what it asks; None where no request could be read.
            visitor: who asks.
            failed: the answer where the request was refused already.
        """
        if visitor.who is None:
            places, who = self.strangers, rate_limit_key(visitor.address)
        else:
            places, who = self.users, str(visitor.who[0])
            connection.transport.widen()
        wait = self._pace.take(who, trio.current_time(), QUEUE) if visitor.who is None else 0.0
        if wait is None:
            connection.transport.discard()
            return False
        if wait or not places.free(who):
            with self.lobby.wait(wait + PATIENCE) as patience:
                await trio.sleep(wait)
                await places.wait(who)
            if patience.cancelled_caught:
                # There is no place to say anything in: whoever takes all of theirs is not owed an answer.
                connection.transport.discard()
                return False
        async with places.take(who) as scope:
            try:
                answer = failed or await self._made(request, visitor)
                await connection.answer(request, answer, self._fixed(answer, secure=visitor.secure))
            except Disconnected:
                return False
        if scope.cancelled_caught:
            connection.transport.discard()
            return False
        if connection.transport.peer in self._proxies:
            # What a proxy passes on next may be somebody else's.
            connection.transport.payer = None
        return True

    async def _made(self, request: HttpRequest | None, visitor: Caller) -> HttpResponse:
        assert request is not None
        try:
            return await self._answer(request, visitor)
        except (Disconnected, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - every failure has an answer
            return _failure(error)

    def _fixed(self, answer: HttpResponse, *, secure: bool) -> Headers:
        own = {name for name, _ in answer.headers}
        more = [] if NOTHING_MAY[0] in own else [NOTHING_MAY]
        if (secure and self._lasting) or (not secure and self._public_https):
            more.append(LASTING)
        return [*FIXED, *more, (b"Date", _date())]

    @property
    def _public_https(self) -> bool:
        """Whether browsers reach the relay by TLS that somebody in front of it speaks."""
        return self._relay.settings.http.public_url.startswith("https:") and self.secure_port is None

    # Who comes.

    def _visitor(self, request: HttpRequest, *, secure: bool) -> Caller:
        """Find out who asks.

        Raises:
            Refused: for a host that is not this one, or from a page that is not ours.
        """
        bearer = _bearer(request)
        named, _ = hostnames.split_host(request.host)
        # Who goes past the proxy, by another name, has no TLS, and could keep no cookie that is for TLS.
        by_tls = secure or (self._public_https and named == self._public_name)
        cookie = None if bearer is not None else self._session.cookie(request, secure=by_tls)
        token = bearer or cookie
        who = self._relay.service.tokens.authenticate(token) if token else None
        # Only somebody's token shows that it is a program: a strange page can send any other one.
        program = bearer is not None and who is not None
        if not program and request.path != "/healthz":
            self._check_host(request.host)
        writing = request.method not in READING
        if not program and (writing or request.path == "/ws"):
            _check_origin(request, request.host, secure=by_tls, needed=cookie is not None)
        return Caller(who, by_cookie=cookie is not None, secure=secure, by_tls=by_tls, address=self._address(request))

    @property
    def _public_name(self) -> str:
        return urlsplit(self._relay.settings.http.public_url).hostname or ""

    def _address(self, request: HttpRequest) -> str:
        claimed = request.header(b"x-forwarded-for") or ""
        return client_address(request.peer, claimed, self._proxies)

    def _check_host(self, host: str) -> None:
        name, _ = hostnames.split_host(host)
        if not name or (name not in self._names and name != self._public_name):
            raise HttpError(
                421,
                "forbidden",
                f"this relay does not go by the name {name[:64]!r}: its admin can add it as http.hosts",
            )

    def _check_secure(self, request: HttpRequest, visitor: Caller) -> None:
        """Send who comes without TLS to where it is spoken.

        Raises:
            Refused: they are sent there.
        """
        if self.secure_port is None or visitor.secure or not self._relay.settings.tls.redirect:
            return
        # A program on this machine has no network in between; and one must get at the authority to trust it.
        local = hostnames.is_loopback(request.peer) or request.peer in self.listened_on
        program = visitor.who is not None and not visitor.by_cookie and not passed_on(request.headers)
        if (local and program) or request.path in PLAIN:
            return
        host, _ = hostnames.split_host(request.host)
        base = hostnames.browser_address(self._relay.settings.http.public_url, host, self.secure_port, secure=True)
        if request.method not in READING or request.path == "/ws":
            raise HttpError(403, "forbidden", f"this relay is reached over TLS only: {base}")
        target = request.event.target.decode("latin-1")
        location = base + (target if target.startswith("/") else "/")
        raise HttpError(
            308, "forbidden", f"this relay is reached over TLS only: {base}", (b"Location", location.encode())
        )

    # What they get.

    async def _answer(self, request: HttpRequest, visitor: Caller) -> HttpResponse:
        if request.path.startswith(HOOKS):
            if request.method != "POST":
                raise _no_such_method(("POST",))
            return await self._hooks.post(request)
        methods = self._paths.get(request.path)
        if methods is None and request.path.startswith("/files/"):
            methods = {"GET": self._files.download}
        if methods is None:
            return self._page(request)
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise _no_such_method(methods)
        return await handler(request, visitor)

    def _page(self, request: HttpRequest) -> HttpResponse:
        if request.method not in READING:
            raise _no_such_method(READING)
        return self._pages.answer(request)

    async def _health(self, _request: HttpRequest, _visitor: Caller) -> HttpResponse:
        if not self._relay.log.writable:
            raise HttpError(503, "unavailable", "the relay cannot write to its store; its log says why")
        return json_answer({"status": "ok"})

    # WebSockets.

    @staticmethod
    def _admit(
        connection: HttpConnection, request: HttpRequest, visitor: Caller, *, full: Callable[[int], str | None]
    ) -> WebSocketUpgrade:
        connection.reusable = False
        if visitor.who is None:
            raise visitor.stranger()
        why = full(visitor.user)
        if why is not None:
            raise HttpError(503, "unavailable", f"{why}: try again later", (b"Retry-After", b"5"))
        return WebSocketUpgrade(*visitor.who, since(request), accept(request), connection.rest, version(request))


def accept(request: HttpRequest) -> bytes:
    """Answer a WebSocket upgrade.

    Raises:
        Refused: it is none.
    """
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.initiate_upgrade_connection(list(request.event.headers), request.event.target.decode("latin-1"))
    except RemoteProtocolError as error:
        raise HttpError(
            426, "bad_request", f"this is the WebSocket's address: {error}", (b"Upgrade", b"websocket")
        ) from None
    assert any(isinstance(event, Upgrade) for event in handshake.events())
    return handshake.send(AcceptConnection())


def since(request: HttpRequest) -> int | None:
    """The last event id that a client says it has (`/ws?after=23`), so that it need not be told again."""
    values = request.query.get("after")
    return int(values[0][:18]) if values and values[0].isascii() and values[0].isdigit() else None


def version(request: HttpRequest) -> int:
    """The version of the protocol that a client asks for (`/ws?v=2`).

    Raises:
        Refused: there is none such.
    """
    asked = request.query.get("v", ["1"])[0]
    if asked not in VERSIONS:
        raise HttpError(
            400, "bad_request", f"v: {asked[:16]!r} is none of the protocol's versions {', '.join(VERSIONS)}"
        )
    return int(asked)


def _date() -> bytes:
    """The time, as HTTP writes it (RFC 9110, section 5.6.7)."""
    now = time.gmtime()
    return b"%s, %02d %s %d %02d:%02d:%02d GMT" % (
        DAYS[now.tm_wday],
        now.tm_mday,
        MONTHS[now.tm_mon - 1],
        now.tm_year,
        now.tm_hour,
        now.tm_min,
        now.tm_sec,
    )


def _bearer(request: HttpRequest) -> str | None:
    """The token of an `Authorization` header."""
    scheme, _, token = (request.header(b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _check_origin(request: HttpRequest, host: str, *, secure: bool, needed: bool) -> None:
    """Refuse what a strange page has a browser ask (cross-site request forgery).

    A browser names the page with each request that changes something; what has no page and no cookie is a
    program, which a strange page cannot be.
    """
    origin = request.header(b"origin")
    if origin is None:
        if needed:
            raise HttpError(403, "forbidden", "a browser's request that changes something names its Origin")
    elif not hostnames.same_origin(origin, host, secure=secure):
        raise HttpError(403, "forbidden", "this comes from another page than the relay's own")


def _no_such_method(methods: "dict[str, Handler] | tuple[str, ...]") -> HttpError:
    allowed = ", ".join(["HEAD", *methods] if "HEAD" not in methods and "GET" in methods else methods)
    return HttpError(405, "bad_request", f"what can be done here: {allowed}", (b"Allow", allowed.encode()))


def _failure(error: Exception) -> HttpResponse:
    """What a failed request is answered with."""
    if isinstance(error, HttpError):
        return refusal(error)
    if isinstance(error, RelayError):
        return refusal(HttpError.because(error))
    if isinstance(error, sqlite3.Error):
        logger.error("the store cannot be read: %s", error)
        return refusal(HttpError.because(RelayError.unavailable()))
    logger.error("a request failed; the relay goes on", exc_info=error)
    return refusal(HttpError.because(RelayError.internal()))
