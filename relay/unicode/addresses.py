"""Hosts and web addresses: the one rule of their form, for `Host`, `Origin`, files elsewhere and hooks. Pure.

The page has the same rule in `web/model/markup.js`; `tests/data/addresses.json` has cases for both. It follows what
browsers do with an address, where they are strict; where they guess what was meant (`https:host`, `http://127.1`), this
rule refuses.
"""

import ipaddress
import re
import unicodedata
from typing import NamedTuple

from relay.unicode.tables import UNSEEN

ADDRESS_CHARACTERS = 2_048
"""Maximum characters of an address (`protocol.base.Url`)."""

_HOST = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[0-9]{0,5}))?", re.DOTALL)
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?:[^/?#\\]*@)?(?P<host>[^/?#\\@]+)(?:[/?#].*)?", re.IGNORECASE)
_JOINERS = "\u200c\u200d"
_LABEL = re.compile(rf"(?![{_JOINERS}]+$)(?:[A-Za-z0-9_-]|(?![\0-\x7f])(?:[^{UNSEEN}]|[{_JOINERS}])){{1,63}}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.IGNORECASE)
"""The last part of a name that browsers read as an IPv4 address."""
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")
"""White space, controls, and U+FFFD, which is left of half a character."""
_ZONE = re.compile(r"[A-Za-z0-9_.~-]*")
MAX_PORT = 65_535


class WebAddress(NamedTuple):
    """The parts of an address that say whom it names."""

    scheme: str
    """`http` or `https`."""
    host: str
    """As `canonical` gives it."""
    port: str
    """Empty for the scheme's own."""


def parse(url: str) -> WebAddress | None:
    """Parse an absolute http or https address; None if it is none.

    The scheme and the host may be in any case. A name and a password before the host are accepted.
    """
    if len(url) > ADDRESS_CHARACTERS or _UNFIT.search(url) is not None or _has_format(url):
        return None
    found = _ADDRESS.fullmatch(url)
    # Browsers decode a % in a host, and take no zone of an interface there.
    if found is None or "%" in found["host"]:
        return None
    host, port = split_host(found["host"])
    return WebAddress(found["scheme"].lower(), host, port) if host else None


def _has_format(url: str) -> bool:
    """Return whether a text has formatting characters, such as those of direction (RFC 3987, section 4.1)."""
    return not url.isascii() and any(unicodedata.category(one) == "Cf" and one not in _JOINERS for one in url)


def split_host(value: str) -> tuple[str, str]:
    """Split a host with an optional port, as in a `Host` header (RFC 9110, section 7.2): no user and no path.

    Returns:
        The name or address as `canonical` gives it, and the port; empty strings if it is malformed or absent.
    """
    found = _HOST.fullmatch(value)
    if found is None or int(found["port"] or 0) > MAX_PORT:
        return "", ""
    host, port = found["host"], found["port"]
    if host.startswith("["):
        host, _, zone = host[1:-1].partition("%")
        valid = ":" in host and is_address(host) and _ZONE.fullmatch(zone) is not None
    else:
        valid = _is_name(host)
    return (canonical(host), str(int(port)) if port else "") if valid else ("", "")


def _is_name(host: str) -> bool:
    """Return whether a host is a name, or an IPv4 address with all four numbers."""
    # Browsers take other forms of letters and of the full stop for the plain ones.
    plain = unicodedata.normalize("NFKC", host).replace("\u3002", ".").removesuffix(".")
    labels = plain.split(".")
    if not all(map(_LABEL.fullmatch, labels)):
        return False
    return _NUMBER.fullmatch(labels[-1]) is None or is_address(host.removesuffix("."))


def is_address(host: str) -> bool:
    """Return whether a host is an IP address."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def canonical(host: str) -> str:
    """Return a name in lower case without its final dot, or an address in its shortest form without a zone (RFC 5952).

    A second final dot stays: such a name is nobody's.
    """
    plain = host.lower().removesuffix(".")
    return str(ipaddress.ip_address(plain.partition("%")[0])) if is_address(plain) else plain
