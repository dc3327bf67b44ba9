"""Requests that a proxy passed on: how to recognise them, and which address they come from.

A header is a claim. Only the proxies that the settings name may speak for somebody else. Pure logic, no I/O.
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
"""Headers that only proxies add, beside all that begin with `X-Forwarded`."""
LOCAL = "local"
"""The peer at a Unix socket, as `transport.peer_of` calls it."""


def was_forwarded(headers: Iterable[bytes]) -> bool:
    """Whether one of these header names, in lower case, shows that a proxy passed the request on."""
    return any(name in FORWARDING_HEADERS or name.startswith(b"x-forwarded") for name in headers)


class Networks(Container[str]):
    """A list of networks from the settings."""

    def __init__(self, networks: Iterable[str]) -> None:
        """Take networks and single addresses, and `local` for whatever comes through a Unix socket.

        Raises:
            ValueError: one of them is none of these.
        """
        named = list(networks)
        self._local = LOCAL in named
        self._networks = [ipaddress.ip_network(one, strict=False) for one in named if one != LOCAL]

    def __contains__(self, peer: object) -> bool:
        """Whether an address belongs to one of them."""
        address = _address(str(peer))
        if address is None:
            return self._local and peer == LOCAL
        return any(address in network for network in self._networks)


def client_address(peer: str, forwarded_for: str, trusted: Container[str]) -> str:
    """Find out which address a request comes from.

    Every trusted proxy adds the address that it was asked from at the right, so the rightmost address that is not a
    trusted proxy's is the last one that somebody trusted has seen. What stands left of it anybody can write.

    Args:
        peer: the other end of the connection.
        forwarded_for: all `X-Forwarded-For` headers, joined by commas in their order.
        trusted: the proxies whose word counts.
    """
    if peer not in trusted:
        return peer
    known = peer
    for claimed in reversed(forwarded_for.split(",")):
        address = _address(claimed.strip())
        if address is None:
            # Nothing, or nothing that an address can be read from: what stands left of it is worth nothing.
            break
        known = str(address)
        if known not in trusted:
            break
    return known


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address as proxies write it: with a port, in brackets, IPv4 within IPv6."""
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
