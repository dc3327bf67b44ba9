"""Scratch folders: what is written there is put in place whole and durably, or removed with its process.

Everything that replaces a file writes it in a scratch folder first. The folder is locked by its process, so that the
next process can tell what a dead one left behind. Touches only the directories that it is given.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = ".relay-"
"""Prefix of the names of scratch folders."""
NAME = re.compile(r"\.relay-(?:backup|export|first|restore|tls|upgrade|write)-[0-9a-z_]{8}")
"""The names that are swept. Backups are written to people's own folders, where nothing else may be removed."""
MANY = 100
"""Files from which it is quicker to sync all disks first."""


def outside(path: str | Path) -> Path:
    """Return the path to show to people: for a file in a scratch folder, the directory that contains the folder."""
    path = Path(path)
    return next((one.parent for one in (*reversed(path.parents), path) if NAME.fullmatch(one.name)), path)


def sync(path: Path) -> None:
    """Sync a file, or the names in a directory.

    Raises:
        OSError: the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync a folder with everything below it.

    Raises:
        OSError: the disk fails.
    """
    paths = [path for at, _, files in os.walk(folder) for path in (*(Path(at, name) for name in files), Path(at))]
    if len(paths) > MANY:
        # The kernel writes all at once, and reports no error; syncing each of the small files afterwards is quick.
        os.sync()
    for path in paths:
        sync(path)


def place(part: Path, target: Path) -> None:
    """Put a finished file in place, durably. After a crash the former file or this one is there, whole.

    Args:
        part: the file, on the same disk.
        target: its new name; a file of that name is replaced.

    Raises:
        OSError: the disk fails.
    """
    sync(part)
    part.replace(target)
    sync(target.parent)


def write(target: Path, content: bytes, mode: int) -> None:
    """Write a small file whole and durably. While it is written nobody can read it who may not afterwards.

    Raises:
        OSError: the disk is full, or fails.
    """
    with folder(target.parent, "write") as here:
        part = here / target.name
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            os.fchmod(descriptor, mode)
            file.write(content)
        place(part, target)


@contextmanager
def folder(directory: Path, purpose: str) -> Iterator[Path]:
    """Create a scratch folder, locked while in use, and removed afterwards unless it was renamed.

    Args:
        directory: where to create it.
        purpose: a word for its name, for people; one of those in `NAME`.

    Raises:
        OSError: it cannot be created.
    """
    path, lock = _make(directory, purpose)
    try:
        yield path
    finally:
        # What cannot be removed now is found by the next sweep, since the lock ends here.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make(directory: Path, purpose: str) -> tuple[Path, int]:
    while True:
        path = directory / f"{PREFIX}{purpose}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):
                # Some network file systems cannot lock directories: what is left behind there stays.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A sweep between the two calls may have removed it as a dead process's.
            if path.is_dir():
                _hand_over(descriptor, directory)
                return path, descriptor
            os.close(descriptor)


def _hand_over(descriptor: int, directory: Path) -> None:
    """Give the scratch folder of a root process to the owner of the directory, who may have to remove it."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def leftovers(directory: Path) -> list[Path]:
    """List what dead processes left in a directory, which need not exist."""
    found = sorted(directory.glob(f"{PREFIX}*")) if directory.is_dir() else []
    return [path for path in found if NAME.fullmatch(path.name) and _is_left(path)]


def _is_left(path: Path) -> bool:
    """Return whether this is a folder that no process has locked, as far as it can be opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def sweep(directory: Path) -> list[Path]:
    """Remove what dead processes left in a directory, which need not exist; return what was removed."""
    found = leftovers(directory)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in found if not path.exists()]
