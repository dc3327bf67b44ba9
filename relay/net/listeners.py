"""The sockets that `relay serve` listens on, and the addresses by which they are reached."""

import errno
import socket
from collections.abc import Iterable, Sequence

from relay.net.sockets import systemd

BACKLOG_CONNECTIONS = 1_024
"""New connections per listener that the kernel queues until they are accepted."""


class CannotServe(Exception):
    """The relay cannot start; the message is a sentence for a person."""


def address(text: str) -> tuple[str, int]:
    """Split HOST:PORT. A host may be in brackets.

    Returns:
        The host, empty for all addresses, and the port.

    Raises:
        CannotServe: the text is not such an address.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise CannotServe(f"{text!r} is not an address to listen on: it should look like 0.0.0.0:8765")
    return host.strip("[]"), int(port)


def open_listeners(addresses: Iterable[str]) -> list[socket.socket]:
    """Take the sockets that systemd passes; if it passes none, listen on the addresses.

    Args:
        addresses: HOST:PORT each.

    Raises:
        CannotServe: one of the addresses cannot be listened on.
    """
    try:
        listeners = systemd.inherited_listeners()
    except ValueError as error:
        raise CannotServe(str(error)) from None
    wanted = {} if listeners else {text: address(text) for text in addresses}
    ports = [port for _, port in wanted.values()]
    for text, (host, port) in wanted.items():
        try:
            # `[::]` takes IPv4 too, unless another address with this port does.
            listeners += listen(host, port, both=ports.count(port) == 1)
        except OSError as error:
            raise CannotServe(f"cannot listen on {text}: {error.strerror or error}{_advice(error, port)}") from None
    return listeners


def listen(host: str, port: int, *, both: bool = False) -> list[socket.socket]:
    """Open a listening socket for each address of a host.

    Args:
        host: a name or an address; empty for all addresses of the machine.
        port: the port.
        both: whether the unspecified IPv6 address also accepts IPv4, as is usual on Linux.

    Raises:
        OSError: the address cannot be bound.
    """
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    places = dict.fromkeys((one[0], one[4]) for one in found)
    return [_listen(family, address, both=both and len(places) == 1) for family, address in places]


def _listen(family: int, address: tuple[str | int, ...] | tuple[int, bytes], *, both: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        listener.bind(address)
        listener.listen(BACKLOG_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener


def _advice(error: OSError, port: int) -> str:
    """Say what to do about an address that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return f". Another program has port {port} (`ss -ltnp` names it): stop it, or take another one with --listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return ". This machine has no such address (`ip address` shows those it has)"
    if error.errno == errno.EACCES:
        return ". Ports below 1024 are for root: take another one with --listen"
    return ""


def urls(listeners: Sequence[socket.socket], *, secure: bool) -> list[str]:
    """Make the WebSocket URLs of listeners."""
    scheme = "wss" if secure else "ws"
    places = [listener.getsockname()[:2] for listener in listeners]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/ws" for host, port in places]


def local_url(listener: socket.socket, *, secure: bool) -> str:
    """Make the URL by which this machine itself reaches a listener, also one on all addresses.

    A listener for IPv6 and IPv4 is reached by IPv4: `[::]` works even if the system has IPv6 switched off.
    """
    (url,) = urls([listener], secure=secure)
    both = listener.family == socket.AF_INET6 and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//127.0.0.1:" if both else "//[::1]:")
