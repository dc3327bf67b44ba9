"""What root has made in a data directory goes to whoever owns the directory: the service is not root.

An admin who types a command with sudo must not leave the service with files that it cannot open.
"""

import os
from contextlib import suppress
from pathlib import Path


def hand_over(directory: Path) -> None:
    """Give files and folders of root's to the owner of the directory; does nothing for anybody but root."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    if owner.st_uid == 0:
        return
    # By descriptors and without following links: the owner may write here, and must be given nothing from elsewhere.
    for _, folders, files, at in os.fwalk(directory):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
                if found.st_uid == 0 and (name in folders or found.st_nlink == 1):
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=at, follow_symlinks=False)
