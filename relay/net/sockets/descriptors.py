"""The process's file descriptors: raises the limit, and keeps a spare one to reject connections with."""

import errno
import logging
import os
import resource
import socket
from contextlib import suppress

from relay.settings import LimitsSection

logger = logging.getLogger(__name__)

OTHER_DESCRIPTORS = 256
"""Descriptors besides those of WebSockets: for the store, files in transfer, and HTTP connections."""
NONE_LEFT = {errno.EMFILE, errno.ENFILE}
ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 49\r\n\r\nThe relay has too many connections: try again...\n"
)
"""The response to a connection that has no descriptor left (RFC 9110, section 15.6.4)."""


def raise_limit(connections: int) -> int:
    """Raise this process's limit of descriptors for this many connections, as far as the hard limit allows.

    Returns:
        The number of connections for which it is enough.
    """
    needed = connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        # A sandbox may forbid it.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    return max(1, soft - min(OTHER_DESCRIPTORS, soft // 4))


class ConnectionLimit:
    """The maximum number of WebSockets: the setting, or fewer if the process may not have enough descriptors."""

    def __init__(self, limits: LimitsSection) -> None:
        self._limits = limits
        self._allowed = (0, 0)

    def __call__(self) -> int:
        """Return the limit; the first call for a value of the setting raises the process's own limit."""
        wanted = self._limits.connections
        if self._allowed[0] != wanted:
            self._allowed = (wanted, raise_limit(wanted))
            if self._allowed[1] < wanted:
                logger.warning(
                    "only %d connections are possible, not %d (limits.connections), since this process may have no more"
                    " descriptors: raise LimitNOFILE= of the unit, or `ulimit -n`",
                    self._allowed[1],
                    wanted,
                )
        return self._allowed[1]


class SpareDescriptor:
    """A spare descriptor: freed when there are no others, to accept and reject one connection."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._take()

    def _take(self) -> None:
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def reject(self, listener: socket.socket, *, plain: bool) -> bool:
        """Accept one connection, answer 503, and close it.

        Args:
            listener: a listening socket that does not block.
            plain: whether it speaks HTTP without TLS: TLS would need a handshake first.

        Returns:
            Whether there was a connection and a descriptor for it.
        """
        self.close()
        try:
            connected, _ = listener.accept()
        except OSError:
            return False
        else:
            with connected, suppress(OSError):
                connected.setblocking(False)
                if plain:
                    connected.send(ANSWER)
                    connected.shutdown(socket.SHUT_WR)
                    # Closing a socket with unread bytes resets the connection, and the response is lost.
                    connected.recv(65_536)
            return True
        finally:
            self._take()
