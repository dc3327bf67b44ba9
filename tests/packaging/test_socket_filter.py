"""Access to the socket that systemd opens for the relay: only from local networks."""

import ipaddress
from pathlib import Path

import pytest

from relay.net.tls.authority import PRIVATE_NETWORKS

UNIT = Path(__file__).parents[2] / "systemd" / "relay.socket"
NAMED = {"localhost": ("127.0.0.0/8", "::1/128"), "link-local": ("169.254.0.0/16", "fe80::/64")}
"""The meaning of these words in systemd.resource-control(5)."""


def allowed() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    settings = dict(line.split("=", 1) for line in UNIT.read_text("utf-8").splitlines() if line.startswith("IPAddress"))
    assert settings["IPAddressDeny"] == "any"
    words = settings["IPAddressAllow"].split()
    return [ipaddress.ip_network(one) for word in words for one in NAMED.get(word, (word,))]


@pytest.mark.parametrize("private", PRIVATE_NETWORKS)
def test_every_private_network_that_a_certificate_covers_may_connect(
    private: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> None:
    first = ipaddress.ip_address(int(private.network_address) + 1)
    assert any(first in network for network in allowed()), f"{private} is dropped before the relay sees it"


@pytest.mark.parametrize(
    "public", ["8.8.8.8", "100.63.255.255", "100.128.0.1", "172.32.0.1", "192.169.0.1", "2001:db8::1", "2606:4700::1"]
)
def test_public_addresses_may_not_connect(public: str) -> None:
    assert not any(ipaddress.ip_address(public) in network for network in allowed())
