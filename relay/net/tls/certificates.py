"""The certificate in use: chosen, loaded into a TLS context, and renewed while the relay runs."""

import datetime as dt
import logging
import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

import trio

from relay import threads
from relay.core.clock.clock import Clock, wall_clock
from relay.net.sockets.hostnames import addresses, hostnames
from relay.net.tls import reading
from relay.net.tls.authority import EARLIEST_TIME, Authority
from relay.net.tls.reading import AuthorityError
from relay.settings import TlsSection
from relay.settings.regular_files import check_regular
from relay.store.files.directory import about_file
from relay.typed_command import line
from relay.unicode.addresses import canonical

logger = logging.getLogger(__name__)

CLIENT_HELLO = 0x16
"""The first byte of a TLS connection (RFC 8446, section 5.1); no HTTP request begins with it."""
RENEWAL_CHECK_SECONDS = 3_600.0
"""How often to check whether the certificate changed or expires soon."""
FOLDER = "tls"
_APART_REASONS = frozenset({"NO_CERTIFICATE_ASSIGNED", "KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})
"""OpenSSL's reasons for a key that is not that of the first certificate in the file."""
_APART = (
    "the key does not belong to the first certificate in the file. Name the key that it was made with; in a file of"
    " several, the relay's own certificate comes first, then those of its authorities"
)


def certificate_names(chosen: Iterable[str], listener: socket.socket | None = None) -> list[str]:
    """Return the names and addresses for the relay's certificate.

    Args:
        chosen: names from the settings or an admin; the machine's own are added.
        listener: see `hostnames.lan_address`.
    """
    return list(dict.fromkeys([*map(canonical, chosen), *hostnames(), *addresses(listener), "127.0.0.1"]))


class Certificates:
    """The certificate in use."""

    def __init__(
        self,
        data: Path,
        settings: TlsSection,
        listener: socket.socket | None = None,
        clock: Clock = wall_clock,
        credible: Callable[[], bool] = lambda: True,
    ) -> None:
        """Load it.

        Args:
            data: the data directory.
            settings: the section `tls`.
            listener: see `hostnames.lan_address`.
            clock: returns a time that is not in the future, Unix milliseconds.
            credible: returns whether that time is right.

        Raises:
            AuthorityError: there is none, or it cannot be used.
            OSError: a killed process's replacement cannot be finished, and without it there is none.
        """
        self._data = data
        self._settings = settings
        self._listener = listener
        self._missing: list[str] = []
        """Names and addresses of the relay that its authority may not certify."""
        self._clock = clock
        self._credible = credible
        self.authority = Authority(data / FOLDER)
        self.own = not settings.certificate
        """Whether the relay's own authority issues the certificate."""
        self._paths = (
            (self.authority.leaf, self.authority.leaf_key)
            if self.own
            else (Path(settings.certificate), Path(settings.key or settings.certificate))
        )
        if self.own:
            self._recover()
        if self.own and not self.authority.exists:
            raise AuthorityError(
                f"there is no certificate yet: run `{line('tls init', data)}` first, or name one as tls.certificate"
            )
        if self.own:
            self._renew()
        self._loaded = self._stamp()
        self.context = self._load()
        """The context for new connections; replaced when the certificate changes."""

    def _recover(self) -> None:
        """Finish the replacement of a killed process; if that fails, use an existing certificate."""
        try:
            self.authority.recover()
        except OSError as error:
            if not self.authority.exists:
                raise
            logger.warning("the certificate stays as it was: %s", about_file(error, self.authority.directory))

    def _load(self) -> ssl.SSLContext:
        """Load the files into a new context. An old one would lose its key if loading failed."""
        certificate, key = self._paths
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            check_regular(certificate)
            check_regular(key)
            context.load_cert_chain(certificate, key, password=self._refuse_pass_phrase)
        except (OSError, ssl.SSLError) as error:
            why = _APART if isinstance(error, ssl.SSLError) and error.reason in _APART_REASONS else str(error)
            raise AuthorityError(f"the certificate {certificate} with the key {key} cannot be used: {why}") from None
        return context

    def _refuse_pass_phrase(self) -> str:
        """Refuse keys with a pass phrase, for which OpenSSL would otherwise ask at the terminal."""
        raise AuthorityError(f"the key {self._paths[1]} has a pass phrase: save it without one (openssl pkey)")

    def _stamp(self) -> list[tuple[int, int]]:
        known = [path.stat() for path in self._paths if path.exists()]
        return [(one.st_mtime_ns, one.st_ino) for one in known]

    def _renew(self) -> None:
        """Issue a new certificate if the current one expires soon or lacks a name or address."""
        now, credible = dt.datetime.fromtimestamp(self._clock() / 1_000, dt.UTC), self._credible()
        try:
            if credible:
                self._warn_if_ahead(now)
            names = certificate_names([*self._settings.names, *self.authority.chosen_names], self._listener)
            fits = self.authority.key_matches
            if fits and not self.authority.needs_renewal(names, now, credible=credible):
                return
            permitted = self.authority.permitted(names)
            if self.authority.needs_renewal(permitted, now, credible=credible) or not fits:
                with self.authority.locked():
                    self.authority.issue(permitted, now)
                logger.info("made a new certificate for %s", ", ".join(permitted))
            missing = sorted(set(names) - set(permitted))
            if missing and missing != self._missing:
                logger.warning(
                    "the certificate is not for %s: its authority may not vouch for that: use another name or `%s`",
                    ", ".join(missing),
                    line("tls init --again", self._data),
                )
            self._missing = missing
        except AuthorityError as error:
            logger.warning("cannot renew the certificate: %s", error)
        except OSError as error:
            # Its folder may be on another disk, or not be the relay's. The existing certificate may be good.
            logger.warning("cannot renew the certificate: %s", about_file(error, self.authority.directory))

    def _warn_if_ahead(self, now: dt.datetime) -> None:
        """Log that the authority has yet to begin. No certificate by it is valid before that."""
        begins = reading.read(self.authority.certificate).begins
        if begins > max(now, EARLIEST_TIME).timestamp():
            logger.warning(
                "the certificate's authority is not valid before %s: the clock was wrong when it was made: `%s`",
                f"{dt.datetime.fromtimestamp(begins, dt.UTC):%Y-%m-%d}",
                line("tls init --again", self._data),
            )

    def refresh(self) -> None:
        """Renew the certificate if it is due, and load it for new connections if it changed.

        Raises:
            AuthorityError: the new certificate cannot be used; the former one stays in use.
        """
        if self.own:
            self._renew()
        stamp = self._stamp()
        if stamp != self._loaded:
            self.context = self._load()
            self._loaded = stamp
            logger.info("loaded the certificate %s", self._paths[0])

    async def keep_fresh(self) -> None:
        """Check the certificate now and then, until cancelled."""
        while True:
            await trio.sleep(RENEWAL_CHECK_SECONDS)
            await self.check()

    async def check(self) -> None:
        """Refresh the certificate; if that fails, the former one stays in use."""
        try:
            # A file on a disk that hangs must not keep the relay from stopping.
            await threads.run_own(self.refresh, abandon=True)
        except AuthorityError as error:
            logger.warning("the certificate stays as it was: %s", error)
        except OSError as error:
            logger.warning("the certificate stays as it was: %s", about_file(error, self.authority.directory))

    @property
    def publicly_trusted(self) -> bool:
        """Whether an outside authority issued it: not the relay's own, and not itself."""
        return not self.own and not reading.read(self._paths[0]).self_signed

    def ends(self) -> int:
        """Return when the certificate expires, Unix seconds."""
        return reading.read(self._paths[0]).ends
