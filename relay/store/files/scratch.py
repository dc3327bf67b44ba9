"""Scratch folders: files are written there before they are put in place, complete and durable.

Everything that replaces a file writes the new one in a scratch folder first. The process locks its folder, so that a
later process recognises leftovers of a dead one. Touches only the directories it is given.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SCRATCH_PREFIX = ".relay-"
"""The prefix of all scratch names."""
SCRATCH_NAME = re.compile(r"\.relay-(?:backup|export|first|repair|restore|tls|upgrade|write)-[0-9a-z_]{8}")
"""The names to sweep. Strict, because backups lie in people's own folders, where nothing else may be removed."""
MANY_FILES = 100
"""From this many files on, one sync of everything beforehand is quicker."""


def outside(path: str | Path) -> Path:
    """Return the path to name in an error: for a file in a scratch folder, the directory that contains the folder."""
    path = Path(path)
    return next((one.parent for one in (*reversed(path.parents), path) if SCRATCH_NAME.fullmatch(one.name)), path)


def sync(path: Path) -> None:
    """Sync a file, or the names in a directory, to disk.

    Raises:
        OSError: the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Sync a folder and everything below it to disk.

    Raises:
        OSError: the disk fails.
    """
    paths = [path for at, _, files in os.walk(folder) for path in (*(Path(at, name) for name in files), Path(at))]
    if len(paths) > MANY_FILES:
        # The kernel writes everything at once but reports no errors, so each file is synced below, which is then quick.
        os.sync()
    for path in paths:
        sync(path)


def put_in_place(part: Path, target: Path) -> None:
    """Put a finished file in place durably. A crash leaves either the old file or this one, complete.

    Args:
        part: the file, on the same disk.
        target: its new name; an existing file is replaced.

    Raises:
        OSError: the disk fails.
    """
    sync(part)
    part.replace(target)
    sync(target.parent)


def write(target: Path, content: bytes, mode: int) -> None:
    """Write a small file atomically and durably. At no moment is it readable by more people than `mode` allows.

    Args:
        target: the file; its folder must exist.
        content: all of it.
        mode: its permissions.

    Raises:
        OSError: the disk is full, or fails.
    """
    with folder(target.parent, "write") as here:
        part = here / target.name
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - it is a descriptor
            os.fchmod(descriptor, mode)
            file.write(content)
        put_in_place(part, target)


@contextmanager
def folder(directory: Path, purpose: str) -> Iterator[Path]:
    """Make a scratch folder. It is locked while in use and removed afterwards, unless it was renamed.

    Args:
        directory: the directory to make it in.
        purpose: a word for its name, one of those in `SCRATCH_NAME`.

    Raises:
        OSError: it cannot be made.
    """
    path, lock = _make(directory, purpose)
    try:
        yield path
    finally:
        # If it cannot be removed now, the next sweep removes it, because the lock ends here.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make(directory: Path, purpose: str) -> tuple[Path, int]:
    while True:
        path = directory / f"{SCRATCH_PREFIX}{purpose}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):
                # Some network file systems cannot lock directories. Nothing is swept there.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A sweep between making and locking it would take it for a dead process's and remove it.
            if path.is_dir():
                _hand_over(descriptor, directory)
                return path, descriptor
            os.close(descriptor)


def _hand_over(descriptor: int, directory: Path) -> None:
    """Give a folder of root's to the directory's owner, who must be able to sweep it."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def leftovers(directory: Path) -> list[Path]:
    """List the scratch folders that dead processes left in a directory, which need not exist."""
    found = sorted(directory.glob(f"{SCRATCH_PREFIX}*")) if directory.is_dir() else []
    return [path for path in found if SCRATCH_NAME.fullmatch(path.name) and _is_left(path)]


def _is_left(path: Path) -> bool:
    """Return whether a path is a folder that no process has locked. False if this process may not check."""
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
    """Remove the scratch folders that dead processes left in a directory, which need not exist. Lists them."""
    found = leftovers(directory)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in found if not path.exists()]
