"""Forwarded requests: recognises them, and finds the address that they come from. Pure.

A header is only a claim: it counts only from proxies in the settings.
"""

import ipaddress
from collections.abc import Container, Iterable

FORWARDING_HEADERS = frozenset(
    {
        b"via",
        b"forwarded",
        b"x-real-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"x-original-host",
        b"x-original-forwarded-for",
        b"true-client-ip",
        b"cf-connecting-ip",
        b"cf-ray",
        b"fastly-client-ip",
        b"fly-client-ip",
        b"x-envoy-external-address",
        b"x-azure-clientip",
    }
)
"""Headers that only proxies add, besides those that begin with `X-Forwarded`."""
LOCAL = "local"
"""The peer of a Unix socket, as in `transport.peer_of`."""


def was_forwarded(headers: Iterable[bytes]) -> bool:
    """Return whether one of these header names, in lower case, shows that a proxy forwarded the request."""
    return any(name in FORWARDING_HEADERS or name.startswith(b"x-forwarded") for name in headers)


class Networks(Container[str]):
    """A list of networks in the settings."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Parse networks and single addresses; `local` stands for Unix sockets.

        Raises:
            ValueError: one of them is malformed.
        """
        named = list(networks)
        self._local = LOCAL in named
        self._networks = [ipaddress.ip_network(one, strict=False) for one in named if one != LOCAL]

    def __contains__(self, peer: object) -> bool:
        """Return whether an address belongs to one of the networks."""
        address = _address(str(peer))
        if address is None:
            return self._local and peer == LOCAL
        return any(address in network for network in self._networks)


def client_address(peer: str, forwarded_for: str, trusted: Container[str]) -> str:
    """Return the address that a request comes from.

    Each proxy appends the address of its own client. So the rightmost address that is not a trusted proxy's is the last
    one that a trusted proxy has seen; anything left of it may be forged.

    Args:
        peer: the address at the other end of the connection.
        forwarded_for: all `X-Forwarded-For` headers, joined by commas in their order.
        trusted: the trusted proxies.
    """
    if peer not in trusted:
        return peer
    known = peer
    for claimed in reversed(forwarded_for.split(",")):
        address = _address(claimed.strip())
        if address is None:
            # Missing or malformed: nothing left of it can be trusted.
            break
        known = str(address)
        if known not in trusted:
            break
    return known


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Parse an address as proxies write it: with a port, in brackets, IPv4 within IPv6."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
