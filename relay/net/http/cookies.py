"""The cookies of a session and of a device: reading, setting and clearing them (RFC 6265bis).

Cookies are shared by all ports of a host, so a browser sends those of other programs along. The standard library's
`http.cookies` is not used, because it drops all cookies after one that it finds malformed, or all of them: a JSON text
in another program's cookie would sign people out of the chat (`test_http_cookies.py`). It also takes time that grows
with the square of a quoted value: 0.6 s for one of 16 KiB (Python 3.11).
"""

from relay.net.http.request import HttpRequest
from relay.net.http.response import Headers

COOKIE = "relay_session"
DEVICE_COOKIE = "relay_device"
HOST_PREFIX = "__Host-"
"""Begins the names under TLS: browsers accept such a cookie only from this very host and over TLS (RFC 6265bis,
4.1.3.2)."""
COOKIE_SECONDS = 400 * 86_400
"""How long a browser keeps the cookie after it last asked for `/session`; browsers allow no more."""


def session_cookie(request: HttpRequest, *, secure: bool) -> str | None:
    """Return the token in the session cookie, None without one.

    Under TLS the cookie that only this host can set comes first, so that a page of this host without TLS cannot replace
    the session. A cookie from before TLS counts until `GET /session` has exchanged it.

    Args:
        request: the request that brings it.
        secure: whether the browser speaks TLS.
    """
    return _cookie(request, COOKIE, secure=secure)


def device_cookie(request: HttpRequest, *, secure: bool) -> str | None:
    """Return the proof of an earlier sign-in in this browser (`tokens.device_proof`), None without one."""
    return _cookie(request, DEVICE_COOKIE, secure=secure)


def _cookie(request: HttpRequest, name: str, *, secure: bool) -> str | None:
    names = (f"{HOST_PREFIX}{name}", name) if secure else (name,)
    found: dict[str, str] = {}
    for pair in (request.header(b"cookie") or "").split(";"):
        key, _, value = pair.strip().partition("=")
        if value and key in names:
            found.setdefault(key, value)
    return next((found[one] for one in names if one in found), None)


def set_session_cookie(token: str, *, secure: bool) -> Headers:
    """Return the headers that make a browser keep a token, out of reach of scripts."""
    return _set_cookie(COOKIE, token, COOKIE_SECONDS, secure=secure)


def set_device_cookie(proof: str, *, secure: bool) -> Headers:
    """Return the headers that make a browser keep a proof, which outlives the session."""
    return _set_cookie(DEVICE_COOKIE, proof, COOKIE_SECONDS, secure=secure)


def clear_session_cookie(*, secure: bool) -> Headers:
    """Return the headers that make a browser forget the token."""
    return _set_cookie(COOKIE, "", 0, secure=secure)


def _set_cookie(name: str, value: str, seconds: int, *, secure: bool) -> Headers:
    attributes = "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if secure else "")
    cookies = [f"{HOST_PREFIX if secure else ''}{name}={value}; Max-Age={seconds}; {attributes}"]
    if secure:
        cookies.append(f"{name}=; Max-Age=0; {attributes}")
    return [(b"Set-Cookie", cookie.encode()) for cookie in cookies]
