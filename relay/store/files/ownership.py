"""Gives files that root made in a data directory to the directory's owner, because the service is not root.

An admin who types a command with sudo must not leave the service with files that it cannot open.
"""

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path


def hand_over(directory: Path) -> None:
    """Give root's files and folders to the owner of the directory. Does nothing unless this process is root's."""
    if os.geteuid() != 0:
        return
    owner = directory.stat()
    if owner.st_uid == 0:
        return
    # Use descriptors and follow no links: the owner may write here, and must not get files from elsewhere.
    for _, folders, files, at in os.fwalk(directory):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                found = os.stat(name, dir_fd=at, follow_symlinks=False)
                if found.st_uid == 0 and (name in folders or found.st_nlink == 1):
                    os.chown(name, owner.st_uid, owner.st_gid, dir_fd=at, follow_symlinks=False)


def give_to(other: Path, descriptor: int) -> None:
    """Give an open file of root's to the owner of another file. Does nothing unless this process is root's."""
    if os.geteuid() != 0:
        return
    with suppress(FileNotFoundError):
        owner = other.stat()
        found = os.fstat(descriptor)
        if owner.st_uid and found.st_uid == 0 and found.st_nlink == 1:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)


def owner_name(user: int) -> str:
    """Return the name of a user; the number if it has none."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def group_name(group: int) -> str:
    """Return the name of a group; the number if it has none."""
    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
