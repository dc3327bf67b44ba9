"""Tells whether a disk, or a file of one, is mounted at a path. Reads the kernel's list of mounts."""

import os
import re
from contextlib import suppress
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
MOUNT_POINT = 4
"""The field of a line that names the mount point (proc_pid_mountinfo(5))."""
_ESCAPED = re.compile(rb"\\([0-7]{3})")


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted at this very path; links are not followed.

    `os.path.ismount` alone misses a file or folder mounted from the same disk, as in containers. It compares the device
    numbers of a path and its folder, which proves nothing for a file: an overlay file system gives each file the device
    of its layer.
    """
    real = path.parent.resolve() / path.name
    return bytes(real) in _mount_points() or (not real.is_file() and os.path.ismount(real))


def _mount_points() -> set[bytes]:
    points = set()
    with suppress(OSError):
        for line in MOUNTS.read_bytes().splitlines():
            point = line.split(b" ")[MOUNT_POINT]
            points.add(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), point))
    return points
