"""The caller of a request. Plain data."""

from typing import NamedTuple

from relay.keys import DeviceKey, UserKey
from relay.net.http.response import HttpError
from relay.protocol.base import Encodable


class Caller(NamedTuple):
    """The caller of a request, and the kind of connection."""

    signed_in: tuple[UserKey, DeviceKey] | None
    """The keys of user and device; None without a valid token."""
    by_cookie: bool
    """Whether the token came in a cookie rather than an `Authorization` header."""
    secure: bool
    """Whether the connection is TLS."""
    by_tls: bool = False
    """Whether the browser speaks TLS: to the relay, or to the proxy that `http.public_url` names."""
    address: str = ""
    """The client's address: the peer's, or the one that a trusted proxy reports."""

    @property
    def user(self) -> UserKey:
        """The user's key.

        Raises:
            HttpError: the caller has not signed in.
        """
        if self.signed_in is None:
            raise self.unauthorized()
        return self.signed_in[0]

    @property
    def device(self) -> DeviceKey:
        """The device's key, `NO_DEVICE` for a command on this machine.

        Raises:
            HttpError: the caller has not signed in.
        """
        if self.signed_in is None:
            raise self.unauthorized()
        return self.signed_in[1]

    @staticmethod
    def unauthorized(**more: Encodable) -> HttpError:
        """Make the error that asks the caller to sign in; `more` goes into the response's JSON object."""
        return HttpError(
            401,
            "unauthorized",
            "sign in first: send `Authorization: Bearer TOKEN`, or open the relay's page",
            (b"WWW-Authenticate", b'Bearer realm="chat-relay"'),
            **more,
        )
