"""Headers of every response: the browser's policies, and the date."""

from email.utils import formatdate

from relay.net.http.response import Headers

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
NO_CONTENT_POLICY = (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'")
"""The policy of responses without one of their own, which are not pages."""
HSTS = (b"Strict-Transport-Security", b"max-age=31536000")
"""Tells browsers to use TLS only. Never sent with the relay's own authority: a browser that does not trust it could no
longer connect."""


def fixed_headers(own: Headers, *, hsts: bool) -> Headers:
    """Return the headers to add to a response.

    Args:
        own: the response's own headers.
        hsts: whether TLS is permanent.
    """
    names = {name for name, _ in own}
    added = [] if NO_CONTENT_POLICY[0] in names else [NO_CONTENT_POLICY]
    if hsts:
        added.append(HSTS)
    return [*FIXED, *added, (b"Date", formatdate(usegmt=True).encode())]
