"""TLS: which certificate, the context that connections begin with, and keeping both fresh while the relay runs."""

import datetime as dt
import logging
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

import trio

from relay.core.clock.clock import Clock, wall_clock
from relay.net.sockets.hostnames import addresses, canonical, hostnames
from relay.net.tls import authority
from relay.net.tls.authority import Authority, AuthorityError
from relay.settings import TlsSection

logger = logging.getLogger(__name__)

CLIENT_HELLO = 0x16
"""The first byte of TLS (RFC 8446, section 5.1); no request of HTTP begins with it."""
HANDSHAKE_SECONDS = 10.0
EVERY = 3_600.0
"""Seconds between two looks at whether a certificate changed or ends soon."""
FOLDER = "tls"


def certificate_names(chosen: Iterable[str], listener: socket.socket | None = None) -> list[str]:
    """Return the names and addresses that the relay's certificate is for.

    Args:
        chosen: those that the settings or an admin name; the machine's own are added.
        listener: see `hostnames.lan_address`.
    """
    return list(dict.fromkeys([*map(canonical, chosen), *hostnames(), *addresses(listener), "127.0.0.1"]))


class Certificates:
    """The certificate in use."""

    def __init__(
        self, data: Path, settings: TlsSection, listener: socket.socket | None = None, clock: Clock = wall_clock
    ) -> None:
        """Load it.

        Args:
            data: the data directory.
            settings: which certificate.
            listener: see `names.lan_address`.
            clock: gives a time that is not in the future, Unix milliseconds.

        Raises:
            AuthorityError: there is none, or it cannot be used.
            OSError: what one that was killed had begun cannot be finished.
        """
        self._settings = settings
        self._listener = listener
        self._missing: list[str] = []
        """Names and addresses of the relay that its authority may not vouch for."""
        self._clock = clock
        self.authority = Authority(data / FOLDER)
        self.own = not settings.certificate
        """Whether it is by the relay's own authority."""
        self._paths = (
            (self.authority.leaf, self.authority.leaf_key)
            if self.own
            else (Path(settings.certificate), Path(settings.key or settings.certificate))
        )
        if self.own:
            self.authority.recover()
        if self.own and not self.authority.exists:
            raise AuthorityError(
                "there is no certificate yet: run `relay tls init` first, or name one as tls.certificate"
            )
        if self.own:
            self._renew()
        self._loaded = self._stamp()
        self.context = self._made()
        """What connections begin with from now on; another one when the certificate changes."""

    def _made(self) -> ssl.SSLContext:
        """Make a context of the files as they are. A new one each time: one whose loading fails has lost its key."""
        certificate, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(certificate, key, password=self._locked)
        except (OSError, ssl.SSLError) as error:
            raise AuthorityError(f"the certificate {certificate} with the key {key} cannot be used: {error}") from None
        return context

    def _locked(self) -> str:
        """Say that a key has a pass phrase: else OpenSSL asks at the terminal, and everybody waits."""
        raise AuthorityError(f"the key {self._paths[1]} has a pass phrase: save it without one (openssl pkey)")

    def _stamp(self) -> list[tuple[int, int]]:
        known = [path.stat() for path in self._paths if path.exists()]
        return [(one.st_mtime_ns, one.st_ino) for one in known]

    def _renew(self) -> None:
        """Make the relay's certificate anew where it ends soon or the machine has another address."""
        now = dt.datetime.fromtimestamp(self._clock() / 1_000, dt.UTC)
        try:
            names = certificate_names([*self._settings.names, *self.authority.chosen_names], self._listener)
            fits = self.authority.key_matches
            if fits and not self.authority.needs_renewal(names, now):
                return
            permitted = self.authority.permitted(names)
            if self.authority.needs_renewal(permitted, now) or not fits:
                with self.authority.locked():
                    self.authority.issue(permitted, now)
                logger.info("made a new certificate for %s", ", ".join(permitted))
            missing = sorted(set(names) - set(permitted))
            if missing and missing != self._missing:
                logger.warning(
                    "the certificate is not for %s: its authority may not vouch for that: use another name"
                    " or `relay tls init --again`",
                    ", ".join(missing),
                )
            self._missing = missing
        except AuthorityError as error:
            logger.warning("cannot renew the certificate: %s", error)

    def refresh(self) -> None:
        """Renew it if that is due, and load it if it changed: for connections that begin from now on.

        Raises:
            AuthorityError: what is there now cannot be used; the one before stays in use.
        """
        if self.own:
            self._renew()
        stamp = self._stamp()
        if stamp != self._loaded:
            self.context = self._made()
            self._loaded = stamp
            logger.info("loaded the certificate %s", self._paths[0])

    async def keep_fresh(self) -> None:
        """Look after it, for ever."""
        while True:
            await trio.sleep(EVERY)
            await self.check()

    async def check(self) -> None:
        """Load the certificate if it changed; where that fails the one before stays in use."""
        try:
            await trio.to_thread.run_sync(self.refresh)
        except (AuthorityError, OSError) as error:
            logger.warning("the certificate stays as it was: %s", error)

    @property
    def publicly_trusted(self) -> bool:
        """Whether it is by an authority that is not the relay's own, nor by nobody but itself."""
        return not self.own and not authority.read(self._paths[0]).self_made

    def ends(self) -> int:
        """When it ends, Unix seconds."""
        return authority.read(self._paths[0]).ends
