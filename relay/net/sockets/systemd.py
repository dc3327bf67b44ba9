"""What the relay and systemd tell each other: readiness, signs of life, and sockets that are handed over.

Touches the environment, and one socket. Where no systemd asks for it, nothing happens.
The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3).
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

logger = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
PATIENCE = 0.5
"""Seconds that everybody waits where systemd does not read what it is told."""


class _Manager:
    """Where systemd is told things: a socket that stays open, so that a sign of life needs no new descriptor."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._deaf = False

    def tell(self, address: str, assignments: Sequence[str]) -> None:
        """Send a datagram; that it cannot be sent is logged once, and once when it can again."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(PATIENCE)
            # An @ stands for the zero byte that begins an abstract address.
            where = address.replace("@", "\0", 1) if address.startswith("@") else address
            self._socket.sendto("\n".join(assignments).encode(), where)
        except OSError as error:
            if not self._deaf:
                logger.warning("systemd cannot be told %s: %s", assignments[0], error)
            self._deaf = True
        else:
            if self._deaf:
                logger.info("systemd can be told again")
            self._deaf = False


_manager = _Manager()


def notify(*assignments: str) -> None:
    """Tell systemd of a change, as `VARIABLE=value` each. What cannot be told is logged: chats go on without."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        _manager.tell(address, assignments)


def watchdog_seconds() -> float | None:
    """Return after how many seconds without a sign of life systemd replaces this process, if it does."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 or None


async def send_watchdog(prove: Callable[[], Awaitable[str]]) -> None:
    """Give a sign of life twice in a watchdog's period, each only after the relay proved that it works.

    Args:
        prove: returns when all that has to move has moved, with a line on how the relay is.
    """
    while period := watchdog_seconds():
        notify("WATCHDOG=1", f"STATUS={await prove()}")
        await trio.sleep(period / 2)


def inherited_listeners() -> list[socket.socket]:
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
