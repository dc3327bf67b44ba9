"""Paths of Unix sockets, of which an address holds 107 bytes: longer ones are reached through their directory."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MOST = 107
"""Bytes of a path that fit into an address (unix(7))."""


@contextmanager
def fitting(path: Path) -> Iterator[str]:
    """Give a path by which a socket is bound or connected to, however deep its directory lies.

    Raises:
        OSError: the directory of one that is too long cannot be opened.
    """
    if len(os.fsencode(path)) <= MOST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
