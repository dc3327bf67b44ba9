"""How much room a disk has, in bytes and in names for files (inodes), and whether it takes anything at all.

Asks the system about one folder. A quota is in none of its figures, so that a file is written to find out.
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
"""Names that are free where the file system makes inodes as it needs them: FAT, btrfs."""
START_NAMES = 4
"""Files that a start makes: the write-ahead log, its index, the control socket, and one to spare."""


KEPT_NAMES = 1_024
"""Files that can still be made when a disk takes no more uploads; on a small one a twentieth of all."""
SMALL = 20


class Room(NamedTuple):
    """The room that a disk has for this user."""

    free: int
    """Bytes."""
    total: int
    """Bytes."""
    names: int
    """Files that can still be made; `UNCOUNTED` where there is no such limit."""
    all_names: int
    """Files that the disk can have; `UNCOUNTED` likewise."""
    read_only: bool

    @property
    def few_names(self) -> bool:
        """Whether so few files can still be made that uploads must leave them to the relay and to others."""
        return self.names < min(KEPT_NAMES, self.all_names // SMALL)


def of(folder: Path) -> Room:
    """Ask how much room the disk of a folder has.

    Raises:
        OSError: the folder is not there, or its disk fails.
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
    """Write a file without a name, and return why there is no room for it; None if there is, or it fails otherwise.

    Args:
        folder: where.
        size: its bytes.
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
