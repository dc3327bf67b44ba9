"""systemd's interface: readiness, watchdog, and listening sockets (socket activation).

It reads the environment and keeps one socket open. Without systemd's variables it does nothing.
Sources: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence

import trio

logger = logging.getLogger(__name__)

FIRST_DESCRIPTOR = 3
NOTIFY_SECONDS = 0.5
"""How long the whole relay waits if systemd does not read its notifications."""


class Manager:
    """The socket for notifications. It stays open, so that a watchdog ping needs no new descriptor."""

    def __init__(self, seconds: float = NOTIFY_SECONDS) -> None:
        """Begin without a socket.

        Args:
            seconds: how long to wait if systemd does not read.
        """
        self._seconds = seconds
        self._socket: socket.socket | None = None
        self._failing = False

    def close(self) -> None:
        """Close the socket; the next notification opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tell(self, address: str, assignments: Sequence[str]) -> None:
        """Send a datagram; log the first failure, and the first success after it."""
        try:
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._socket.settimeout(self._seconds)
            # "@" stands for the zero byte that begins an abstract address.
            where = address.replace("@", "\0", 1) if address.startswith("@") else address
            self._socket.sendto("\n".join(assignments).encode(), where)
        except OSError as error:
            if not self._failing:
                logger.warning("systemd cannot be notified of %s: %s", assignments[0], error)
            self._failing = True
        else:
            if self._failing:
                logger.info("systemd can be notified again")
            self._failing = False


manager = Manager()


def notify(*assignments: str) -> None:
    """Notify systemd of `VARIABLE=value` assignments. Failures are logged, not raised."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        manager.tell(address, assignments)


def watchdog_seconds() -> float | None:
    """Return the watchdog's timeout; None without a watchdog."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000 or None


async def send_watchdog(prove: Callable[[], Awaitable[str]]) -> None:
    """Ping the watchdog twice per timeout, each time after a proof that the relay works.

    Args:
        prove: returns once the relay has done its work, with a status line.
    """
    while period := watchdog_seconds():
        notify("WATCHDOG=1", f"STATUS={await prove()}")
        await trio.sleep(period / 2)


def inherited_listeners() -> list[socket.socket]:
    """Return the listening sockets that systemd opened for this process (socket activation).

    Raises:
        ValueError: one of them is not a listening TCP socket.
    """
    count = int(os.environ.get("LISTEN_FDS", "0")) if os.environ.get("LISTEN_PID") == str(os.getpid()) else 0
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    listeners = [socket.socket(fileno=FIRST_DESCRIPTOR + place) for place in range(count)]
    for listener, name in zip(listeners, names + ["unknown"] * count, strict=False):
        listener.set_inheritable(False)
        tcp = listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM
        if not tcp or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"systemd passes {name!r}, which is not a listening TCP socket: see relay.socket")
    return listeners
