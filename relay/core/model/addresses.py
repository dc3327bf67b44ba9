"""Addresses of outgoing hooks in the form that may be shown."""

from urllib.parse import urlsplit


def without_password(url: str) -> str:
    """Replace the password in an address, if there is one, by stars."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    before, at, host = parts.netloc.rpartition("@")
    user, colon, _password = before.partition(":")
    if not at or not colon:
        return url
    return parts._replace(netloc=f"{user}:***@{host}").geturl()
