"""The session cookie: reading it, setting it, and clearing it (RFC 6265bis).

Cookies are shared by all ports of a host, so a browser sends those of other programs along. The standard library's
`http.cookies` is not used, since it drops what follows a cookie that it finds malformed, or all of them: a JSON text in
another program's cookie would sign people out of the chat (`test_http_cookies.py`). It also takes time that grows with
the square of a quoted value: 0.6 s for one of 16 KiB (Python 3.11).
"""

from relay.net.http.request import HttpRequest
from relay.net.http.response import Headers

COOKIE = "relay_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Under TLS: browsers accept a cookie of such a name only from this very host and over TLS (RFC 6265bis, 4.1.3.2)."""
COOKIE_SECONDS = 400 * 86_400
"""How long a browser keeps the cookie after it last asked for `/session`; browsers allow no more."""


def session_cookie(request: HttpRequest, *, secure: bool) -> str | None:
    """Return the token in the session cookie, None without one.

    Under TLS the cookie that only this host can set goes first, so that no page of this host without TLS can put
    another session in its place. A cookie from before TLS counts until `GET /session` has exchanged it.

    Args:
        request: the request that brings it.
        secure: whether the browser speaks TLS.
    """
    found: dict[str, str] = {}
    for pair in (request.header(b"cookie") or "").split(";"):
        name, _, value = pair.strip().partition("=")
        if value and name in (COOKIE, SECURE_COOKIE):
            found.setdefault(name, value)
    names = (SECURE_COOKIE, COOKIE) if secure else (COOKIE,)
    return next((found[name] for name in names if name in found), None)


def set_session_cookie(token: str, *, secure: bool) -> Headers:
    """Return the headers that have a browser keep a token, out of reach of scripts."""
    return _set_cookie(token, COOKIE_SECONDS, secure=secure)


def clear_session_cookie(*, secure: bool) -> Headers:
    """Return the headers that have a browser forget the token."""
    return _set_cookie("", 0, secure=secure)


def _set_cookie(token: str, seconds: int, *, secure: bool) -> Headers:
    attributes = "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    name = SECURE_COOKIE if secure else COOKIE
    cookies = [f"{name}={token}; Max-Age={seconds}; {attributes}"]
    if secure:
        cookies.append(f"{COOKIE}=; Max-Age=0; {attributes}")
    return [(b"Set-Cookie", cookie.encode()) for cookie in cookies]
