"""Headers of every response: what browsers may do with it, and the date."""

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
"""For responses that bring no policy of their own, since they are no pages."""
HSTS = (b"Strict-Transport-Security", b"max-age=31536000")
"""Tells browsers to use TLS only. Never sent with the relay's own authority: a browser that does not trust it could not
connect any more."""


def fixed_headers(own: Headers, *, hsts: bool) -> Headers:
    """Return what is added to a response.

    Args:
        own: the response's own headers.
        hsts: whether TLS is there to stay.
    """
    names = {name for name, _ in own}
    added = [] if NO_CONTENT_POLICY[0] in names else [NO_CONTENT_POLICY]
    if hsts:
        added.append(HSTS)
    return [*FIXED, *added, (b"Date", formatdate(usegmt=True).encode())]
