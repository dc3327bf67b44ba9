"""What the relay and systemd tell each other: readiness, signs of life, and sockets that are handed over.

Touches the environment, and one socket a datagram at a time. Where no systemd asks for it, nothing happens.
The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable

import trio

logger = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
PATIENCE = 0.5
"""Seconds that everybody waits where systemd does not read what it is told."""


def notify(*assignments: str) -> None:
    """Tell systemd of a change, as `VARIABLE=value` each. What cannot be told is logged: chats go on without."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
                datagrams.settimeout(PATIENCE)
                # An @ stands for the zero byte that begins an abstract address.
                datagrams.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
                datagrams.sendall("\n".join(assignments).encode())
        except OSError as error:
            logger.warning("systemd cannot be told %s: %s", assignments[0], error)


def watchdog() -> float | None:
    """Return after how many seconds without a sign of life systemd replaces this process, if it does."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 or None


async def show_life(prove: Callable[[], Awaitable[str]]) -> None:
    """Give a sign of life twice in a watchdog's period, each only after the relay proved that it works.

    Args:
        prove: returns when all that has to move has moved, with a line on how the relay is.
    """
    while period := watchdog():
        notify("WATCHDOG=1", f"STATUS={await prove()}")
        await trio.sleep(period / 2)


def inherited() -> list[socket.socket]:
    """Take over the listening sockets that systemd keeps open for this process (socket activation).

    Raises:
        ValueError: one of them is no TCP socket that listens.
    """
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    listeners = [socket.socket(fileno=FIRST_DESCRIPTOR + place) for place in range(count)]
    for listener, name in zip(listeners, names + ["unknown"] * count, strict=False):
        listener.set_inheritable(False)
        tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
        if not tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"systemd hands over {name!r}, which is no TCP socket that listens: see relay.socket")
    return listeners
