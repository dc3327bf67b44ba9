"""Reads certificate files: names, expiry and fingerprint; and the errors of certificates.

cryptography is not loaded for this: it is an optional dependency, and takes 8.5 MiB that a relay would keep for as long
as it runs. The standard library has no public way to read a certificate's names and expiry from a file, so `read` calls
CPython's private decoder. If that is missing, it uses cryptography after all.
"""

import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict

from relay.settings.regular_files import check_regular
from relay.unicode.addresses import canonical


class AuthorityError(Exception):
    """A certificate cannot be made, read or used; the text tells a person why."""


class DamagedCertificate(AuthorityError):
    """A certificate or a file of the authority is damaged."""


class InvalidCertificateName(AuthorityError):
    """A supposed name or address of the relay is neither."""


class Certificate(NamedTuple):
    """The relevant fields of a certificate."""

    names: list[str]
    ends: int
    """Unix seconds."""
    self_signed: bool = False
    """Whether it is self-signed."""
    begins: int = 0
    """Unix seconds."""


class _Decoded(TypedDict, total=False):
    """What CPython's decoder finds in a certificate, as `SSLSocket.getpeercert` returns it."""

    subject: object
    issuer: object
    notBefore: str
    notAfter: str
    subjectAltName: Sequence[tuple[str, str]]


def read(path: Path) -> Certificate:
    """Read the first certificate of a PEM file.

    Raises:
        AuthorityError: it cannot be read.
    """
    decode: Callable[[str], _Decoded] | None = getattr(ssl._ssl, "_test_decode_cert", None)  # type: ignore[attr-defined]  # noqa: SLF001
    try:
        # The decoder does not say whether a file is missing or damaged.
        check_regular(path)
        path.open("rb").close()
        if decode is None:
            return _read_by_library(path)
        found = decode(str(path))
    except ssl.SSLError:
        raise DamagedCertificate(f"{path} cannot be read as a certificate: it is damaged") from None
    except OSError as error:
        raise AuthorityError(f"{path} cannot be read as a certificate: {error.strerror}") from None
    names = [canonical(name.strip()) for _, name in found.get("subjectAltName", ())]
    ends = int(ssl.cert_time_to_seconds(found["notAfter"]))
    begins = int(ssl.cert_time_to_seconds(found["notBefore"]))
    return Certificate(names, ends, self_signed=found.get("issuer") == found.get("subject"), begins=begins)


def _read_by_library(path: Path) -> Certificate:
    """Do the same as `read`, with cryptography.

    Raises:
        AuthorityError: cryptography is missing.
        ssl.SSLError: it is not a certificate.
        OSError: it cannot be read.
    """
    require_cryptography()
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise ssl.SSLError(str(error)) from None
    try:
        names = [*found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
    except x509.ExtensionNotFound:
        names = []
    return Certificate(
        [canonical(str(one.value)) for one in names],
        int(found.not_valid_after_utc.timestamp()),
        self_signed=found.issuer == found.subject,
        begins=int(found.not_valid_before_utc.timestamp()),
    )


def fingerprint(path: Path) -> str:
    """Return the SHA-256 fingerprint of a certificate, as people compare it.

    Raises:
        AuthorityError: it cannot be read.
    """
    import hashlib

    # Valid Base64 is not enough for a certificate.
    read(path)
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest().upper()
    return ":".join(digest[at : at + 2] for at in range(0, len(digest), 2))


def require_cryptography() -> None:
    """Make sure that cryptography can be imported.

    Raises:
        AuthorityError: it is missing.
    """
    try:
        import cryptography.x509  # noqa: F401 - its compiled part is what may be missing
    except ImportError:
        raise AuthorityError(
            "the Python package cryptography is missing: `apt install python3-cryptography`, or in a virtual"
            " environment `pip install cryptography`"
        ) from None
