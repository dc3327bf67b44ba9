"""Identifies the caller of a request, and decides whether it is admitted (PROTOCOL.md, sections 1 and 9).

It checks the host that the request names, the page that it comes from, its token, and TLS. The caller's further rights
are up to each path.
"""

from collections.abc import Callable

from relay.keys import DeviceKey, UserKey
from relay.net.http.caller import Caller
from relay.net.http.cookies import session_cookie
from relay.net.http.proxies import Networks, client_address, was_forwarded
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError
from relay.net.sockets import hostnames
from relay.settings import Settings
from relay.unicode import addresses

SAFE_METHODS = ("GET", "HEAD")
"""Methods that change nothing."""
WITHOUT_TLS = ("/ca.crt", "/trust", "/healthz", "/metrics")
"""Paths that are served without TLS even where the settings redirect to it."""


class Admission:
    """Identifies callers, and refuses requests caused by a foreign page or a foreign host name."""

    def __init__(
        self,
        settings: Settings,
        sign_in: Callable[[str], tuple[UserKey, DeviceKey] | None],
        *,
        secure_port: int | None = None,
        listened_on: frozenset[str] = frozenset(),
    ) -> None:
        """Read the names and proxies from the settings.

        Args:
            settings: the relay's settings; the redirect to TLS may change while it runs.
            sign_in: returns the keys of user and device that a token stands for.
            secure_port: the port with TLS; None if the relay serves without.
            listened_on: this machine's addresses on which the relay listens: requests from one of them crossed no
                network.
        """
        self._settings = settings
        self._sign_in = sign_in
        self._names = hostnames.Names(settings.http.hosts)
        self._proxies = Networks(settings.http.trusted_proxies)
        self._secure_port = secure_port
        self._listened_on = listened_on

    def identify(self, request: HttpRequest, *, secure: bool) -> Caller:
        """Identify the caller of a request.

        Args:
            request: its head.
            secure: whether the connection is TLS.

        Raises:
            HttpError: it names a host that is not this one, or comes from a page that is not the relay's.
        """
        bearer = _bearer(request)
        named, _ = addresses.split_host(request.host)
        # A browser that bypasses the proxy, by another name, has no TLS and could not keep a cookie meant for TLS.
        by_tls = secure or (self.behind_tls_proxy and named == self._public_name)
        cookie = None if bearer is not None else session_cookie(request, secure=by_tls)
        token = bearer or cookie
        signed_in = self._sign_in(token) if token else None
        # Only a valid token proves that the client is a program: a foreign page can send any other one.
        program = bearer is not None and signed_in is not None
        if not program and request.path != "/healthz":
            self._check_host(request.host)
        writing = request.method not in SAFE_METHODS
        if not program and (writing or request.path == "/ws"):
            _check_origin(request, request.host, secure=by_tls, needed=cookie is not None)
        address = self.address_of(request)
        return Caller(signed_in, by_cookie=cookie is not None, secure=secure, by_tls=by_tls, address=address)

    def is_proxy(self, peer: str) -> bool:
        """Return whether an address is a trusted proxy's."""
        return peer in self._proxies

    def address_of(self, request: HttpRequest) -> str:
        """Return the client's address: the peer's, or the one that trusted proxies report."""
        return client_address(request.peer, request.header(b"x-forwarded-for") or "", self._proxies)

    @property
    def behind_tls_proxy(self) -> bool:
        """Whether browsers reach the relay through a proxy that speaks TLS for it."""
        url = addresses.parse(self._settings.http.public_url)
        return url is not None and url.scheme == "https" and self._secure_port is None

    @property
    def _public_name(self) -> str:
        url = addresses.parse(self._settings.http.public_url)
        return "" if url is None else url.host

    def _check_host(self, host: str) -> None:
        """Refuse names that are not this machine's: a page could have its own name resolve to it (DNS rebinding)."""
        name, _ = addresses.split_host(host)
        if not name or (name not in self._names and name != self._public_name):
            raise HttpError(
                421,
                "forbidden",
                f"this relay does not go by the name {(name or host)[:64]!r}: its admin can add it as http.hosts",
            )

    def check_tls(self, request: HttpRequest, caller: Caller) -> None:
        """Redirect a browser that comes without TLS.

        Raises:
            HttpError: a redirect, or a refusal if the request changes something.
        """
        if self._secure_port is None or caller.secure or not self._settings.tls.redirect:
            return
        # A program on this machine crosses no network. These paths are needed to trust the authority.
        local = hostnames.is_loopback(request.peer) or request.peer in self._listened_on
        program = caller.signed_in is not None and not caller.by_cookie and not was_forwarded(request.headers)
        if (local and program) or request.path in WITHOUT_TLS:
            return
        host, _ = addresses.split_host(request.host)
        base = hostnames.browser_address(self._settings.http.public_url, host, self._secure_port, secure=True)
        if request.method not in SAFE_METHODS or request.path == "/ws":
            raise HttpError(403, "forbidden", f"this relay is reached over TLS only: {base}")
        target = request.event.target.decode("latin-1")
        location = base + (target if target.startswith("/") else "/")
        raise HttpError(
            308, "forbidden", f"this relay is reached over TLS only: {base}", (b"Location", location.encode())
        )


def _bearer(request: HttpRequest) -> str | None:
    """Return the token of an `Authorization` header."""
    scheme, _, token = (request.header(b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token else None


def _check_origin(request: HttpRequest, host: str, *, secure: bool, needed: bool) -> None:
    """Refuse a request that a foreign page made a browser send (cross-site request forgery).

    A browser sends `Origin` with each request that changes something. A client that sends neither `Origin` nor a cookie
    is a program, which no page can pose as.

    Args:
        request: its head.
        host: the host that it names.
        secure: see `hostnames.same_origin`.
        needed: whether a missing `Origin` is refused, too.

    Raises:
        HttpError: it comes from another page.
    """
    origin = request.header(b"origin")
    if origin is None:
        if needed:
            raise HttpError(403, "forbidden", "a browser's request that changes something names its Origin")
    elif not hostnames.same_origin(origin, host, secure=secure):
        raise HttpError(403, "forbidden", "this comes from another page than the relay's own")
