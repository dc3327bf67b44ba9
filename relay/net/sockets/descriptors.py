"""The process's file descriptors: as many as the connections need, and one kept to turn people away with.

Touches this process's limit, and the sockets that come while there are none left.
"""

import errno
import logging
import os
import resource
import socket
from contextlib import suppress

logger = logging.getLogger(__name__)

OTHER_DESCRIPTORS = 256
"""Descriptors beside those of WebSockets: the store, files on their way, pages, whoever has not signed in yet."""
NONE_LEFT = {errno.EMFILE, errno.ENFILE}
ANSWER = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 49\r\n\r\nThe relay has too many connections: try again...\n"
)
"""What is said to whoever there is no descriptor for (RFC 9110, section 15.6.4)."""


def raise_limit(connections: int) -> int:
    """Raise this process's limit of descriptors, as far as it may, to what so many connections need.

    Returns:
        How many connections it is enough for.
    """
    needed = connections + OTHER_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        # A sandbox may forbid it; what there is has to do then.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    return max(1, soft - min(OTHER_DESCRIPTORS, soft // 4))


class SpareDescriptor:
    """A descriptor that is kept for the moment when there are no others, to answer whoever comes then."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._take()

    def _take(self) -> None:
        with suppress(OSError):
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        """Give it up."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def reject(self, listener: socket.socket, *, plain: bool) -> bool:
        """Accept one connection, say that there is no room, and close it.

        Args:
            listener: where it waits; it does not block.
            plain: whether it speaks HTTP without TLS: under TLS nothing can be said at once.

        Returns:
            Whether there was one, and a descriptor for it.
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
                    # What is closed with something unread in it is reset, and the answer with it.
                    connected.recv(65_536)
            return True
        finally:
            self._take()
