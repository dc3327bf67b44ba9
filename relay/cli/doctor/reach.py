"""Checks whether people can reach the relay: on its addresses, or through the proxy in front of it.

Asks the relay's own /healthz over the network, and changes nothing.
"""

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from relay.cli.doctor.finding import CHECK_SECONDS, Finding, Subject
from relay.net.sockets.hostnames import interfaces
from relay.protocol import control


def network(subject: Subject) -> Iterator[Finding]:
    """Check each address where the relay listens, and its proxy."""
    status = subject.status
    if status is None or status.url is None:
        return
    secure = urlsplit(status.url).scheme == "wss"
    places = list(dict.fromkeys(_places(status)))
    outside = [place for place in places if not ipaddress.ip_address(place[0]).is_loopback]
    if not places:
        yield Finding("network", "bad", "this machine has no address on a network", "Connect it, then look again.")
    elif outside:
        yield from (_answers(secure, *place) for place in outside)
    elif status.public_url or status.trusted_proxies:
        yield from _behind_a_proxy(status, secure, places)
    else:
        yield Finding(
            "network",
            "bad",
            f"it listens on {_named(*places[0])} only, which no other machine can reach",
            "Let it listen on 0.0.0.0 (`relay config show`). Behind a proxy on this machine: set http.public_url and"
            " http.trusted_proxies (`relay help tls`).",
        )


def _places(status: control.Status) -> Iterator[tuple[str, int]]:
    """List the addresses where the relay should answer; for an unspecified address, all addresses of the machine."""
    for text in status.listening:
        place = urlsplit(f"//{text}")
        host, port = (place.hostname or "").partition("%")[0], place.port or 0
        if not ipaddress.ip_address(host).is_unspecified:
            yield host, port
        else:
            yield from ((one, port) for one in addresses())


def addresses() -> Iterator[str]:
    """List the IPv4 addresses of this machine's interfaces without the loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        yield from (one for name, one in interfaces(any_socket) if name != "lo")


def _named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _answers(secure: bool, host: str, port: int) -> Finding:
    error = healthy(secure, host, port)
    where = _named(host, port)
    if error is None:
        return Finding("network", "good", f"{where} answers")
    return Finding(
        "network",
        "bad",
        f"{where} does not answer: {error}",
        "Open the port in this machine's firewall, and look again.",
    )


def _behind_a_proxy(status: control.Status, secure: bool, places: Sequence[tuple[str, int]]) -> Iterator[Finding]:
    """Check that the proxy can reach the relay, and that the proxy answers if its address is known."""
    for place in places:
        error = healthy(secure, *place)
        if error is None:
            yield Finding("network", "good", f"{_named(*place)} answers, for a proxy on this machine")
        else:
            yield Finding(
                "network", "bad", f"{_named(*place)} does not answer: {error}", "`journalctl -u relay` says why."
            )
    if not status.trusted_proxies:
        yield Finding(
            "proxy",
            "note",
            "to the relay everybody has the proxy's address: somebody who guesses passwords makes all others wait",
            "Set http.trusted_proxies to the proxy's address (127.0.0.1 for one on this machine).",
        )
    if not status.public_url:
        yield Finding(
            "proxy",
            "note",
            "links and QR codes cannot name the proxy's address",
            "Set http.public_url to where browsers reach it: https://chat.example.org.",
        )
        return
    url = urlsplit(status.public_url)
    tls = url.scheme == "https"
    error = healthy(tls, url.hostname or "", url.port or (443 if tls else 80))
    if error is None:
        yield Finding("proxy", "good", f"{status.public_url} answers")
    else:
        yield Finding(
            "proxy",
            "note",
            f"{status.public_url} does not answer from here: {error}",
            "See whether the proxy runs, and whether browsers on the network know this name (http.public_url).",
        )


def healthy(secure: bool, host: str, port: int) -> str | None:
    """Ask a relay's /healthz. Return the problem; None if there is none.

    Args:
        secure: whether by TLS.
        host: the address.
        port: the port.
    """
    connection: http.client.HTTPConnection
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(host, port, timeout=CHECK_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=CHECK_SECONDS)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        connection.close()
    return None if answer.status == http.client.OK else f"it answers {answer.status} {answer.reason}"
