"""The relay's own certificate authority, and the certificate that it issues: TLS without internet.

It touches one directory, and beside it the new and the former one during a replacement.
cryptography is loaded when a certificate is made.
"""

import datetime as dt
import ipaddress
import re
import ssl
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

from relay.net.tls.reading import AuthorityError, DamagedCertificate, InvalidCertificateName, read, require_cryptography
from relay.settings.regular_files import check_regular
from relay.store.files import replacing, scratch, tls_folder
from relay.store.files.directory import is_there
from relay.store.files.ownership import give_to
from relay.unicode.addresses import canonical, is_address

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificateIssuerPublicKeyTypes,
    )

AUTHORITY_DAYS = 3_650
CERTIFICATE_DAYS = 397
"""Validity of a certificate: the maximum that all browsers accept (Apple's and the CA/Browser Forum's rule)."""
RENEW_DAYS = 60
"""How long before its end a certificate is renewed."""
EARLIEST_TIME = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
"""An earlier time is not credible: a small machine without a clock battery starts in the past."""

LOCAL_NAMES = ("localhost",)
"""Names that mean the machine itself."""
PRIVATE_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
NETWORKS_AROUND = {4: 24, 6: 64}
"""By IP version, the prefix length of the network around each address that the authority may certify. Sooner or later a
router assigns another address of the same network, and then devices should not have to trust another authority."""

HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
"""Valid names in a certificate (RFC 1123, section 2.1), and the underscore, which some machines have in their names."""

AUTHORITY, AUTHORITY_KEY, LEAF, LEAF_KEY = "ca.crt", "ca.key", "relay.crt", "relay.key"
KEPT_TOGETHER = (AUTHORITY, AUTHORITY_KEY, LEAF, LEAF_KEY)
NAMES_FILE = "names.txt"
"""The names that an admin gave, one per line: each renewal needs them."""


class Authority:
    """The authority in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.certificate = directory / AUTHORITY
        self.leaf = directory / LEAF
        self.leaf_key = directory / LEAF_KEY

    @property
    def exists(self) -> bool:
        """Whether the authority and a certificate by it exist. Raises DanglingLink if their disk is not mounted."""
        return is_there(self.directory) and self.certificate.exists() and self.leaf.exists() and self.leaf_key.exists()

    @property
    def key_matches(self) -> bool:
        """Whether the key belongs to the certificate: they are two files, and a crash may have come in between."""
        try:
            check_regular(self.leaf)
            check_regular(self.leaf_key)
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.leaf, self.leaf_key)
        except ssl.SSLError:
            return False
        return True

    @property
    def chosen_names(self) -> list[str]:
        """The names and addresses that an admin gave, beside the machine's own.

        Without such a list (earlier versions kept none), the names in the certificate count as given.
        """
        with suppress(OSError, UnicodeDecodeError):
            return (self.directory / NAMES_FILE).read_text("utf-8").split()
        with suppress(AuthorityError):
            return [name for name in read(self.leaf).names if not is_address(name)]
        return []

    def keep_names(self, chosen: Sequence[str]) -> None:
        """Write down the names that an admin gave.

        Raises:
            InvalidCertificateName: one of them is neither a name nor an address.
            OSError: the directory cannot be written.
        """
        _check(chosen)
        scratch.write(self.directory / NAMES_FILE, "".join(f"{name}\n" for name in chosen).encode(), 0o644)

    def make(
        self, names: Sequence[str], now: dt.datetime, *, again: bool = True, chosen: Sequence[str] = ()
    ) -> Path | None:
        """Make an authority and a certificate by it. An earlier one is kept beside it.

        Args:
            names: names and addresses of the relay.
            now: the time.
            again: whether to replace an existing authority, also one that another process makes meanwhile.
            chosen: the names that an admin gave.

        Returns:
            The folder of the former authority; None if there was none.

        Raises:
            AuthorityError: cryptography is missing, or one of the names is invalid.
            OSError: the directory cannot be written.
        """
        _check(names)
        require_cryptography()
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        now = max(now, EARLIEST_TIME)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"chat-relay authority of {names[0]}"[:64])])
        certificate = (
            _begun(name, name, key.public_key(), now, AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_constraints(names), critical=True)
            .sign(key, hashes.SHA256())
        )
        # Replace everything at once: a key that does not match its certificate cannot issue anything that devices
        # trust.
        parent = self.directory.parent
        parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with self.locked(), scratch.folder(parent, "tls") as here:
            if not again and self.exists:
                return None
            new = Authority(here / self.directory.name)
            new.directory.mkdir(mode=0o750)
            scratch.write(new.directory / AUTHORITY_KEY, _private(key), 0o600)
            scratch.write(new.certificate, _public(certificate), 0o644)
            new.keep_names(chosen)
            new.issue(names, now)
            if self.directory.is_symlink() and not any((self.directory / name).exists() for name in KEPT_TOGETHER):
                self._fill(new.directory)
                return None
            return replacing.commit(parent, here, tls_folder.plan(self.directory))

    def _fill(self, new: Path) -> None:
        """Copy a new authority into the empty target folder of an admin's link, which stays."""
        for name in (NAMES_FILE, AUTHORITY_KEY, LEAF_KEY, LEAF, AUTHORITY):
            target, made = self.directory / name, new / name
            scratch.write(target, made.read_bytes(), made.stat().st_mode & 0o777)
            with target.open("rb") as file:
                # The data directory's owner is the service, which reads them.
                give_to(self.directory.parent, file.fileno())

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes out; see `tls_folder.locked`."""
        return tls_folder.locked(self.directory)

    def recover(self) -> None:
        """Finish the replacement of a killed process; see `tls_folder.recover`."""
        tls_folder.recover(self.directory)

    def issue(self, names: Sequence[str], now: dt.datetime) -> None:
        """Issue a new certificate for the relay.

        Raises:
            AuthorityError: cryptography or the authority is missing, or one of the names is invalid.
            OSError: the directory cannot be written.
        """
        _check(names)
        require_cryptography()
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID

        now = max(now, EARLIEST_TIME)
        try:
            check_regular(self.certificate)
            check_regular(self.directory / AUTHORITY_KEY)
            authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            # An authority's key is of a type that can sign.
            signing = cast(
                "CertificateIssuerPrivateKeyTypes",
                serialization.load_pem_private_key((self.directory / AUTHORITY_KEY).read_bytes(), None),
            )
            verifying = cast("CertificateIssuerPublicKeyTypes", authority.public_key())
        except OSError as error:
            raise AuthorityError(f"{error.filename} cannot be read: {error.strerror}") from None
        except ValueError:
            raise DamagedCertificate(f"the authority in {self.directory} cannot be used: it is damaged") from None
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, names[0][:64])])
        alternatives = [
            x509.IPAddress(ipaddress.ip_address(one)) if is_address(one) else x509.DNSName(one) for one in names
        ]
        days = min(CERTIFICATE_DAYS, (authority.not_valid_after_utc - now).days)
        certificate = (
            _begun(subject, authority.subject, key.public_key(), now, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(verifying), critical=False)
            .sign(signing, hashes.SHA256())
        )
        # After a crash in between, the pair does not match, so a new one is issued (see `key_matches`).
        scratch.write(self.leaf_key, _private(key), 0o600)
        scratch.write(self.leaf, _public(certificate) + _public(authority), 0o644)

    def permitted(self, names: Sequence[str]) -> list[str]:
        """Select the names that the authority may certify.

        Raises:
            AuthorityError: cryptography is missing, the authority cannot be read, or one of the names is invalid.
        """
        _check(names)
        require_cryptography()
        from cryptography import x509

        read(self.certificate)
        authority = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        allowed = authority.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
        domains = [one.value for one in allowed if isinstance(one, x509.DNSName)]
        addresses = [one.value for one in allowed if isinstance(one, x509.IPAddress)]
        networks = [one for one in addresses if isinstance(one, ipaddress.IPv4Network | ipaddress.IPv6Network)]
        return [
            name
            for name in names
            if (
                any(ipaddress.ip_address(name) in network for network in networks)
                if is_address(name)
                else any(name == domain or name.endswith(f".{domain}") for domain in domains)
            )
        ]

    def needs_renewal(self, names: Sequence[str], now: dt.datetime, *, credible: bool = True) -> bool:
        """Return whether the certificate expires soon, has yet to begin, or lacks a name.

        Args:
            names: the names that it should have.
            now: the time.
            credible: whether that is right; a certificate is not ahead of a clock that may be behind.

        Raises:
            AuthorityError: it cannot be read.
        """
        known = read(self.leaf)
        at = max(now, EARLIEST_TIME).timestamp()
        if known.ends - at < RENEW_DAYS * 86_400 or (credible and known.begins > at):
            return True
        return not set(map(canonical, names)) <= set(known.names)


def _check(names: Sequence[str]) -> None:
    for one in names:
        if not is_address(one) and not HOST_NAME.fullmatch(one):
            raise InvalidCertificateName(
                f"{one!r} is not a name or address: a name has letters without accents, digits, - and dots,"
                " as in chat.office.lan"
            )


def _begun(
    subject: "x509.Name", issuer: "x509.Name", key: "EllipticCurvePublicKey", now: dt.datetime, days: int
) -> "x509.CertificateBuilder":
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # Clocks of devices without internet differ.
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> "x509.KeyUsage":
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _constraints(names: Sequence[str]) -> "x509.NameConstraints":
    """Limit the authority to the relay's names and networks, so that stealing its key gains little."""
    from cryptography import x509

    own = [name.removeprefix("*.") for name in names if not is_address(name)]
    domains = dict.fromkeys([*LOCAL_NAMES, *own])
    networks = dict.fromkeys(
        [_around("127.0.0.1"), _around("::1"), *(_around(one) for one in names if is_address(one))]
    )
    permitted: list[x509.GeneralName] = [*map(x509.DNSName, domains), *map(x509.IPAddress, networks)]
    return x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None)


def _around(address: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network around a private address; for any other address only itself."""
    known = ipaddress.ip_address(address)
    if not any(known in network for network in PRIVATE_NETWORKS):
        return ipaddress.ip_network(known)
    return ipaddress.ip_network(f"{known}/{NETWORKS_AROUND[known.version]}", strict=False)


def _private(key: "EllipticCurvePrivateKey") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(certificate: "x509.Certificate") -> bytes:
    from cryptography.hazmat.primitives import serialization

    return certificate.public_bytes(serialization.Encoding.PEM)
