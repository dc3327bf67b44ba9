"""Under which names this machine is known: what a browser may call it, and what to print in a link.

A page of somebody else's can make its own name point here (DNS rebinding); it cannot make that name one of
these. An address is none of its tricks: whoever asks for an address means the machine that has it.
"""

import fcntl
import ipaddress
import re
import socket
import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

HOST = re.compile(r"\[[0-9A-Fa-f:.%A-Za-z_-]+\](:\d{0,5})?|[^\s/?#@\\:\[\]]+(:\d{0,5})?")
"""What a `Host` header may look like (RFC 9110, section 7.2): no user and no path."""

SIOCGIFCONF = 0x8912
"""netdevice(7): asks for the addresses of all interfaces."""
REQUEST = struct.Struct("16s4x4s16x")
"""One of them: `struct ifreq` on 64-bit Linux."""
INTERFACES = 64
NOT_THE_NETWORK = ("lo", "docker", "br-", "veth", "virbr")
"""Interfaces that lead to this machine only."""
ANY = "*"
"""In the settings: any name will do."""


def hostnames() -> list[str]:
    """The names that this machine gives itself, without asking anybody."""
    name = socket.gethostname().lower()
    if not name:
        return ["localhost"]
    short = name.partition(".")[0]
    return list(dict.fromkeys(["localhost", name, short, f"{short}.local", f"{short}.lan"]))


def lan_address(listener: socket.socket | None = None) -> str:
    """The address under which others on the network reach this machine; loopback where there is no network.

    Nothing is sent: a datagram socket that is connected knows from where it would send.

    Args:
        listener: a socket that was handed over; it knows the network that it was made in, where this process
            has none of its own (`PrivateNetwork=` of systemd).
    """
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return next(iter(_of_network(listener)), None) or _first_address() or "127.0.0.1"


def _of_network(socket_of_it: socket.socket | None) -> list[str]:
    return [address for name, address in interfaces(socket_of_it) if not name.startswith(NOT_THE_NETWORK)]


def interfaces(of: socket.socket | None) -> Iterator[tuple[str, str]]:
    """Names and IPv4 addresses of the interfaces of the network that a socket was made in."""
    if of is None:
        return
    found = array("B", bytes(INTERFACES * REQUEST.size))
    request = struct.pack("iL", len(found), found.buffer_info()[0])
    try:
        (length,) = struct.unpack_from("i", fcntl.ioctl(of, SIOCGIFCONF, request))
    except OSError:
        return
    for name, address in REQUEST.iter_unpack(found[:length]):
        yield name.rstrip(b"\0").decode(), socket.inet_ntoa(address)


def _first_address() -> str | None:
    """Without a default route, as in a network of its own: what the machine's own name stands for."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    addresses = [str(one[4][0]) for one in found]
    return next((address for address in addresses if not ipaddress.ip_address(address).is_loopback), None)


def browser_address(
    public_url: str, host: str, port: int, *, secure: bool = False, listener: socket.socket | None = None
) -> str:
    """Where a browser on the network reaches the relay: what goes into links.

    Args:
        public_url: what the settings say, if anything.
        host: what is listened on.
        port: on which port.
        secure: whether it is TLS.
        listener: see `lan_address`.
    """
    if public_url:
        return public_url.rstrip("/")
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - it is what is listened on already
        host = lan_address(listener)
    scheme, usual = ("https", 443) if secure else ("http", 80)
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" if port == usual else f"{scheme}://{named}:{port}"


def split_host(value: str) -> tuple[str, str]:
    """Take a `Host` header apart: the name or address, and the port or nothing; nothing where it is more than that."""
    if not HOST.fullmatch(value):
        return "", ""
    try:
        host = urlsplit(f"//{value}")
        port = "" if host.port is None else str(host.port)
    except ValueError:
        return "", ""
    return (host.hostname or "").rstrip("."), port


def is_address(host: str) -> bool:
    """Whether a host is an address and no name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def canonical(host: str) -> str:
    """Write a name in lower case, and an address as RFC 5952 has it: without a zone, in its shortest form."""
    return str(ipaddress.ip_address(host.partition("%")[0])) if is_address(host) else host.lower()


def is_loopback(address: str) -> bool:
    """Whether an address is this machine's own, for itself."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Names:
    """The names that a request may be for."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """Take this machine's names and more from the settings: `*` for any, `*.example` for all within."""
        self._names = {name.lower().rstrip(".") for name in [*hostnames(), *more]}

    def __contains__(self, host: str) -> bool:
        """Whether a name, or any address, is meant for this machine."""
        if is_address(host) or host in self._names or ANY in self._names:
            return True
        within = host.partition(".")[2]
        return host.endswith(".localhost") or f"*.{within}" in self._names


def same_origin(origin: str, host: str, *, secure: bool) -> bool:
    """Whether an `Origin` is the page that the relay itself served under this `Host`.

    Without TLS the scheme is not compared: behind a proxy that ends TLS the two differ. With it a page of plain http
    is a strange one, which anybody between may have written.

    Args:
        origin: the header.
        host: the `Host` header.
        secure: whether the relay's page comes by TLS.
    """
    try:
        page = urlsplit(origin)
        port = page.port or (443 if page.scheme == "https" else 80)
    except ValueError:
        return False
    if page.scheme != "https" and (secure or page.scheme != "http"):
        return False
    name, named_port = split_host(host)
    # A browser leaves out the port that goes with its scheme, in both headers.
    ports = {named_port} if named_port else {"80", "443"} if not secure else {"443"}
    return bool(name) and page.hostname == name and str(port) in ports


def addresses(listener: socket.socket | None = None) -> list[str]:
    """All addresses of this machine that others may reach it by.

    Args:
        listener: see `lan_address`.
    """
    if listener is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            found = _of_network(own)
    else:
        # A process that was handed its socket may not be allowed to make one.
        found = _of_network(listener)
    found.insert(0, lan_address(listener))
    with suppress(OSError):
        found += _local_ipv6(Path("/proc/net/if_inet6").read_text())
    return [one for one in dict.fromkeys(found) if not ipaddress.ip_address(one).is_loopback]


def _local_ipv6(table: str) -> list[str]:
    """Read the addresses that are good beyond one link, scope 00, out of Linux's table of them."""
    rows = [line.split() for line in table.splitlines()]
    return [
        str(ipaddress.IPv6Address(bytes.fromhex(row[0])))
        for row in rows
        if len(row) == 6 and row[3] == "00" and not row[5].startswith(NOT_THE_NETWORK)
    ]
