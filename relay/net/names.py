"""Under which names this machine is known: what a browser may call it, and what to print in a link.

A page of somebody else's can make its own name point here (DNS rebinding); it cannot make that name one of
these. An address is none of its tricks: whoever asks for an address means the machine that has it.
"""

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

ANY = "*"
"""In the settings: any name will do."""


def hostnames() -> list[str]:
    """The names that this machine gives itself, without asking anybody."""
    name = socket.gethostname().lower()
    if not name:
        return ["localhost"]
    short = name.partition(".")[0]
    return list(dict.fromkeys(["localhost", name, short, f"{short}.local", f"{short}.lan"]))


def lan_address() -> str:
    """The address under which others on the network reach this machine; loopback where there is no network.

    Nothing is sent: a datagram socket that is connected knows from where it would send.
    """
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((elsewhere, 9))
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return _first_address() or "127.0.0.1"


def _first_address() -> str | None:
    """Without a default route, as in a network of its own: what the machine's own name stands for."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    addresses = [str(one[4][0]) for one in found]
    return next((address for address in addresses if not ipaddress.ip_address(address).is_loopback), None)


def browser_address(public_url: str, host: str, port: int, *, secure: bool = False) -> str:
    """Where a browser on the network reaches the relay: what goes into links.

    Args:
        public_url: what the settings say, if anything.
        host: what is listened on.
        port: on which port.
        secure: whether it is TLS.
    """
    if public_url:
        return public_url.rstrip("/")
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - it is what is listened on already
        host = lan_address()
    scheme, usual = ("https", 443) if secure else ("http", 80)
    named = f"[{host}]" if ":" in host else host
    return f"{scheme}://{named}" if port == usual else f"{scheme}://{named}:{port}"


def split_host(value: str) -> tuple[str, str]:
    """Take a `Host` header apart: the name or address, and the port or nothing."""
    host = urlsplit(f"//{value}")
    try:
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

    The scheme is not compared: behind a proxy that ends TLS the two differ.
    """
    page = urlsplit(origin)
    if page.scheme not in ("http", "https"):
        return False
    try:
        port = page.port or (443 if page.scheme == "https" else 80)
    except ValueError:
        return False
    name, named_port = split_host(host)
    # A browser leaves out the port that goes with its scheme, in both headers.
    ports = {named_port} if named_port else {"80", "443"} if not secure else {"443"}
    return bool(name) and page.hostname == name and str(port) in ports
