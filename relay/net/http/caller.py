"""Who asks for something over HTTP. Plain data."""

from typing import NamedTuple

from relay.net.http.connection import HttpError


class Caller(NamedTuple):
    """One who asks."""

    who: tuple[int, int] | None
    """The keys of user and device; None for one who has not signed in."""
    by_cookie: bool
    secure: bool
    """Whether the connection is TLS."""
    by_tls: bool = False
    """Whether the browser speaks TLS: to the relay, or to a proxy at the address that the settings name."""
    address: str = ""
    """Where they come from, as far as it is known: the peer's, or what a trusted proxy says."""

    @property
    def user(self) -> int:
        """The user's key.

        Raises:
            HttpError: they have not signed in.
        """
        if self.who is None:
            raise self.unauthorized()
        return self.who[0]

    @property
    def device(self) -> int:
        """The device's key, `NO_DEVICE` for a command on this machine.

        Raises:
            HttpError: they have not signed in.
        """
        if self.who is None:
            raise self.unauthorized()
        return self.who[1]

    @staticmethod
    def unauthorized(**more: object) -> HttpError:
        """Say that signing in comes first."""
        return HttpError(
            401,
            "unauthorized",
            "sign in first: send `Authorization: Bearer TOKEN`, or open the relay's page",
            (b"WWW-Authenticate", b'Bearer realm="chat-relay"'),
            **more,
        )
