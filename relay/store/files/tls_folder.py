"""The folder of the relay's own TLS authority: its lock, and finishing an interrupted replacement of it.

Code that reads the whole folder, or replaces it, holds the lock. Touches the folder, and beside it the lock and the new
folder.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.store.files import replacing, scratch
from relay.store.files.directory import is_there
from relay.store.files.ownership import give_to
from relay.store.files.reserve import open_lock

TLS_FILES = ("ca.crt", "ca.key", "names.txt", "relay.crt", "relay.key")
"""The relay's own certificate authority and its certificate: without them, every device would have to trust a new
one."""


def plan(folder: Path) -> replacing.Replacement:
    """Return the plan for replacing the folder; the old one is kept beside it."""
    return replacing.Replacement(f"{folder.name}.replacing", (folder.name,), f"{folder.name}-before-")


def is_half_replaced(folder: Path) -> bool:
    """Return whether a replacement was interrupted: the folder may then be missing, or still the old one."""
    return replacing.is_committed(folder.parent, plan(folder))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out, and finish the replacement of a killed process.

    Args:
        folder: the folder; it need not exist, but its parent does.

    Raises:
        DanglingLink: it lies on a disk that is not mounted.
        OSError: its parent cannot be written.
    """
    is_there(folder)
    parent = folder.parent
    descriptor = open_lock(parent / f"{folder.name}.lock", parent)
    try:
        give_to(parent, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        replacing.finish(parent, plan(folder))
        for place in (parent, folder):
            scratch.sweep(place)
        for name in TLS_FILES:
            # The temporary names of earlier versions.
            (folder / f".{name}").unlink(missing_ok=True)
        yield
    finally:
        os.close(descriptor)


def recover(folder: Path) -> None:
    """Finish the replacement of a killed process, if there is one.

    Raises:
        OSError: it cannot be finished.
    """
    if is_half_replaced(folder) or scratch.leftovers(folder):
        with locked(folder):
            pass
