"""Binds and connects Unix sockets with long paths: an address holds 107 bytes, so they go through their directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOCKET_PATH_BYTES = 107
"""Bytes of a path that fit into a socket address (unix(7))."""


@contextmanager
def fitting(path: Path) -> Iterator[str]:
    """Return a path by which a socket can be bound or connected, however long its own path is.

    Raises:
        OSError: the directory of a long path cannot be opened.
    """
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
