"""Files and folders on their way: under scratch names that die with their process, then in place whole and durably.

Every program part that replaces something on disk writes it in a scratch folder first. The folder is locked by its
process, so that whoever comes next can tell what a dead one left behind. Touches only the directories it is given.
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
"""What the name of everything begins with that is not in place yet."""
NAME = re.compile(r"\.relay-(?:backup|export|first|restore|tls|upgrade|write)-[0-9a-z_]{8}")
"""Those that are swept: backups lie in folders of people's own, where nothing else may go."""
MANY = 100
"""Files from which on it is quicker to bring everything to disk first."""


def outside(path: str | Path) -> Path:
    """Name what people know of a file: of one in a scratch folder, the directory that this is in."""
    path = Path(path)
    return next((one.parent for one in (*reversed(path.parents), path) if NAME.fullmatch(one.name)), path)


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to disk.

    Raises:
        OSError: the disk fails.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Bring everything below a folder to disk, and the folder.

    Raises:
        OSError: the disk fails.
    """
    paths = [path for at, _, files in os.walk(folder) for path in (*(Path(at, name) for name in files), Path(at))]
    if len(paths) > MANY:
        # All at once by the kernel, which tells of no error: each of thousands of small files then has little to do.
        os.sync()
    for path in paths:
        sync(path)


def place(part: Path, target: Path) -> None:
    """Put a finished file in place, durably: a crash leaves the former one or this one, whole.

    Args:
        part: the file, on the same disk.
        target: the name that it gets; what has it now is replaced.

    Raises:
        OSError: the disk fails.
    """
    sync(part)
    part.replace(target)
    sync(target.parent)


def write(target: Path, content: bytes, mode: int) -> None:
    """Write a small file whole and durably; nobody can read it meanwhile who may not afterwards.

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
    """Give a scratch folder, locked while it is in use and removed afterwards, if it still has its name.

    Args:
        directory: where it is made.
        purpose: a word for its name, for people; one of those in `NAME`.

    Raises:
        OSError: it cannot be made.
    """
    path, lock = _make(directory, purpose)
    try:
        yield path
    finally:
        # What cannot be removed now is what the next sweep finds: the lock ends here.
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _make(directory: Path, purpose: str) -> tuple[Path, int]:
    while True:
        path = directory / f"{PREFIX}{purpose}-{secrets.token_hex(4)}"
        path.mkdir(mode=0o700)
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):
                # Some network file systems lock no directories: what is left behind there stays.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # A sweep that came between the two calls took it for a dead process's.
            if path.is_dir():
                _hand_over(descriptor, directory)
                return path, descriptor
            os.close(descriptor)


def _hand_over(descriptor: int, directory: Path) -> None:
    """Let the owner of the directory remove what root's process may leave."""
    owner = directory.stat()
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)


def leftovers(directory: Path) -> list[Path]:
    """Name what dead processes left in a directory; it need not be there."""
    found = sorted(directory.glob(f"{PREFIX}*")) if directory.is_dir() else []
    return [path for path in found if NAME.fullmatch(path.name) and _is_left(path)]


def _is_left(path: Path) -> bool:
    """Whether it is a folder that no process has locked, as far as one may look."""
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
    """Remove what dead processes left in a directory; it need not be there. Gives what it removed."""
    found = leftovers(directory)
    for path in found:
        shutil.rmtree(path, ignore_errors=True)
    return [path for path in found if not path.exists()]
