"""Looks at the kind of a file that a user names before it is opened: a FIFO may never open, a device never end."""

import errno
import os
import stat
from pathlib import Path


def check_regular(path: Path) -> None:
    """Make sure that a path names a regular file, or the empty device.

    Raises:
        OSError: there is none, or it is something else.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not path.samefile(os.devnull):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
