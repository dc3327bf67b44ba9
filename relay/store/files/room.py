"""The free room on a disk, in bytes and inodes, and whether it can be written to at all.

Asks the system about one folder. Its figures do not include quotas, so a file is written to find out.
"""

import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
"""A full disk, one without free inodes, and a quota that is used up."""
UNCOUNTED = sys.maxsize
"""The number of free inodes on file systems that make them on demand: FAT, btrfs."""
START_NAMES = 4
"""The number of files that a start makes: the write-ahead log, its index, the control socket, and one to spare."""


KEPT_NAMES = 1_024
"""With fewer free inodes than this, a disk takes no more uploads; on a small disk, a twentieth of all."""
SMALL = 20


class Room(NamedTuple):
    """The room that a disk has for this user."""

    free: int
    """Bytes."""
    total: int
    """Bytes."""
    names: int
    """Free inodes; `UNCOUNTED` if there is no such limit."""
    all_names: int
    """All inodes of the disk, or `UNCOUNTED`."""
    read_only: bool

    @property
    def few_names(self) -> bool:
        """Whether so few inodes are free that uploads must leave them to the relay and to others."""
        return self.names < min(KEPT_NAMES, self.all_names // SMALL)


def of(folder: Path) -> Room:
    """Ask for the room on the disk of a folder.

    Raises:
        OSError: the folder is missing, or its disk fails.
    """
    found = os.statvfs(folder)
    counted = found.f_files > 0
    return Room(
        found.f_bavail * found.f_frsize,
        found.f_blocks * found.f_frsize,
        found.f_favail if counted else UNCOUNTED,
        found.f_files if counted else UNCOUNTED,
        bool(found.f_flag & os.ST_RDONLY),
    )


def refusal(folder: Path, size: int, *, sync: bool = False) -> OSError | None:
    """Try to write an unnamed file, and return why there is no room; None if there is, or for other failures.

    Args:
        folder: the folder to write in.
        size: its size in bytes.
        sync: whether to wait until it is on the disk: a network file system may refuse it only then.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            left = size
            while left > 0:
                left -= file.write(bytes(min(left, 65_536)))
            if sync:
                os.fsync(file.fileno())
    except OSError as error:
        return error if error.errno in NO_ROOM else None
    return None
