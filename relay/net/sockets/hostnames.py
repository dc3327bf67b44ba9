"""The names and addresses of this machine: which ones a request may name, and which to print in a link.

A foreign page can have its own name resolve to this machine (DNS rebinding), but that name is not among these. A
request that names an address can only be meant for the machine with that address.
"""

import fcntl
import ipaddress
import socket
import struct
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from relay.unicode.addresses import canonical, is_address, parse, split_host

SIOCGIFCONF = 0x8912
"""netdevice(7): returns the addresses of all interfaces."""
REQUEST = struct.Struct("16s4x4s16x")
"""One interface: `struct ifreq` on 64-bit Linux."""
MAX_INTERFACES = 64
NOT_THE_NETWORK = ("lo", "docker", "br-", "veth", "virbr")
"""Interfaces that reach this machine only."""
ANY = "*"
"""The setting that accepts any name."""


def hostnames() -> list[str]:
    """Return the names of this machine that need no name server."""
    name = socket.gethostname().lower()
    if not name:
        return ["localhost"]
    short = name.partition(".")[0]
    return list(dict.fromkeys(["localhost", name, short, f"{short}.local", f"{short}.lan"]))


def lan_address(listener: socket.socket | None = None) -> str:
    """Return the address under which others on the network reach this machine; loopback without a network.

    Nothing is sent: a connected datagram socket knows the address that it would send from.

    Args:
        listener: a socket that systemd made: it shows the network that it was made in, if this process has none of its
            own (`PrivateNetwork=`).
    """
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return next(iter(_of_network(listener) or _of_own_network()), "127.0.0.1")


def _of_network(socket_of_it: socket.socket | None) -> list[str]:
    return [address for name, address in interfaces(socket_of_it) if not name.startswith(NOT_THE_NETWORK)]


def interfaces(of: socket.socket | None) -> Iterator[tuple[str, str]]:
    """List the interfaces of the network that a socket was made in.

    Yields:
        Name and IPv4 address.
    """
    if of is None:
        return
    found = array("B", bytes(MAX_INTERFACES * REQUEST.size))
    request = struct.pack("iL", len(found), found.buffer_info()[0])
    try:
        (length,) = struct.unpack_from("i", fcntl.ioctl(of, SIOCGIFCONF, request))
    except OSError:
        return
    for name, address in REQUEST.iter_unpack(found[:length]):
        yield name.rstrip(b"\0").decode(), socket.inet_ntoa(address)


def _of_own_network() -> list[str]:
    """Return the addresses of this process's network, for one without a default route. Asks no name server."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            return _of_network(own)
    except OSError:
        return []


def browser_address(
    public_url: str, host: str, port: int, *, secure: bool = False, listener: socket.socket | None = None
) -> str:
    """Return the address at which browsers on the network reach the relay, for links.

    Args:
        public_url: the setting, empty without one.
        host: the host that the relay listens on.
        port: its port.
        secure: whether it is TLS.
        listener: see `lan_address`.
    """
    if public_url:
        return public_url.rstrip("/")
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        host = lan_address(listener)
    scheme, usual = ("https", 443) if secure else ("http", 80)
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" if port == usual else f"{scheme}://{named}:{port}"


def is_loopback(address: str) -> bool:
    """Return whether an address is a loopback one."""
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Names:
    """The host names accepted in a request."""

    def __init__(self, more: Iterable[str] = ()) -> None:
        """Take this machine's names and further ones: `*` accepts any, `*.example` all within it, at any depth."""
        self._names = {canonical(name) for name in [*hostnames(), *more]}
        self._ends = (".localhost", *(name[1:] for name in self._names if name.startswith("*.")))

    def __contains__(self, host: str) -> bool:
        """Return whether a host means this machine; addresses always do."""
        if is_address(host) or host in self._names or ANY in self._names:
            return True
        return host.endswith(self._ends)


def same_origin(origin: str, host: str, *, secure: bool) -> bool:
    """Return whether an `Origin` is the page that the relay itself served under this `Host`.

    Without TLS the scheme is not compared, since it differs behind a proxy that ends TLS. With TLS a page that
    came over plain HTTP counts as another origin: it may have been changed on the network.

    Args:
        origin: the header.
        host: the `Host` header.
        secure: whether the relay's page is served over TLS.
    """
    page = parse(origin)
    if page is None or (secure and page.scheme != "https"):
        return False
    name, named_port = split_host(host)
    # Browsers omit the default port of a scheme in both headers.
    ports = {named_port} if named_port else {"80", "443"} if not secure else {"443"}
    port = page.port or ("443" if page.scheme == "https" else "80")
    return page.host == name and port in ports


def addresses(listener: socket.socket | None = None) -> list[str]:
    """Return all addresses under which others may reach this machine.

    Args:
        listener: see `lan_address`.
    """
    # Under systemd this process may not make a socket of its own.
    found = _of_own_network() if listener is None else _of_network(listener)
    found.insert(0, lan_address(listener))
    with suppress(OSError):
        found += local_ipv6(Path("/proc/net/if_inet6").read_text())
    return [one for one in dict.fromkeys(found) if not ipaddress.ip_address(one).is_loopback]


def local_ipv6(table: str) -> list[str]:
    """Read the addresses of global scope (00) from Linux's table."""
    rows = [line.split() for line in table.splitlines()]
    return [
        str(ipaddress.IPv6Address(bytes.fromhex(row[0])))
        for row in rows
        if len(row) == 6 and row[3] == "00" and not row[5].startswith(NOT_THE_NETWORK)
    ]
