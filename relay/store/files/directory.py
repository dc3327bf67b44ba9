"""The data directory: making it, finding the store in it, and saying why one of its files cannot be used."""

import errno
import os
import shlex
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from relay.store.files import descriptors, scratch
from relay.store.files.mounts import is_mounted
from relay.store.files.ownership import group_name, owner_name

STORE = "relay.db"
LINKED = (STORE, "files", "backups", "tls")
"""The names in a data directory that may be links to another disk."""
NEEDED = (STORE, "files")
"""The names that every command needs. The others are needed only by commands that read or write them."""


class NoDirectory(Exception):
    """There is no data directory, or it cannot be made. The message is one line that says what to do."""


class UnusablePart(OSError):
    """A part of the data directory is in a state in which no command may use it."""

    def __init__(self, number: int, path: Path, why: str, what_helps: str) -> None:
        super().__init__(number, why, str(path))
        self.what_helps = what_helps


class DanglingLink(UnusablePart):
    """A link's target is missing, probably because its disk is not mounted. A missing file is another case."""

    def __init__(self, path: Path) -> None:
        why = f"it is a link to {os.path.realpath(path)}, which is not there"
        super().__init__(errno.ENOLINK, path, why, "mount its disk, or make the link right")


class SharedStore(UnusablePart):
    """A store's file has a second name.

    SQLite keeps new data in a log beside the name by which the file was opened. After a crash, opening the file by the
    other name does not find that log, and loses it (https://sqlite.org/howtocorrupt.html, section 2.5).
    """

    def __init__(self, path: Path, why: str, what_helps: str) -> None:
        super().__init__(errno.EMLINK, path, why, what_helps)


def is_there(path: Path) -> bool:
    """Return whether a file or folder exists.

    `Path.exists` and `Path.is_file` return False for a dangling link as well. Wherever "no" means that something is
    started, replaced or left at its default, use this function.

    Raises:
        DanglingLink: it is a link to a missing target.
        OSError: the system cannot tell.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise DanglingLink(path) from None
        return False
    return True


def check_links(data: Path, names: Sequence[str] = NEEDED) -> None:
    """Make sure that parts on other disks can be reached.

    Args:
        data: the data directory.
        names: the parts that a command needs.

    Raises:
        DanglingLink: the target of a link in the data directory is missing.
        SharedStore: the store has a second name.
    """
    for name in names:
        if is_there(data / name) and name == STORE:
            _check_name(store_file(data))


def _check_name(store: Path) -> None:
    found = store.stat()
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
        raise SharedStore(
            store,
            "it has a second name, a hard link, and what was written last may be in a log beside that one",
            f"`find / -xdev -samefile {store}` shows both: keep the one with its log beside it (here"
            f" {log_of(store).name}), remove the other",
        )
    if is_mounted(store):
        raise SharedStore(
            store,
            "it is mounted without its directory, and what was written last may be in a log beside its other name",
            "mount the directory that it is in",
        )


def store_file(data: Path) -> Path:
    """Find the store's file; if `relay.db` is a link, its target, because SQLite keeps its log beside that.

    It need not exist.
    """
    store = data / STORE
    return Path(os.path.realpath(store)) if store.is_symlink() else store


def log_of(store: Path) -> Path:
    """Name the write-ahead log of a store. SQLite follows links, so it lies beside the file that a link leads to."""
    return Path(f"{os.path.realpath(store) if store.is_symlink() else store}-wal")


def require(data: Path) -> None:
    """Make sure that a data directory exists.

    Raises:
        NoDirectory: it does not exist.
    """
    if not is_there(data):
        raise NoDirectory(f"there is no relay in {data}: `relay serve` makes one, or name its directory with --data")
    if not data.is_dir():
        raise NoDirectory(f"{data} is not a directory: name another with --data")


def make(data: Path) -> None:
    """Make the data directory if it does not exist; if it does, see that its store can be reached.

    Raises:
        NoDirectory: it cannot be made.
        DanglingLink: it, or a part that every command needs, is a link to a missing target.
        SharedStore: the store has a second name.
        OSError: permission or room to make it is missing.
    """
    try:
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError:
        is_there(data)
        raise NoDirectory(f"{data} is not a directory: name another with --data") from None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoDirectory(f"{data} cannot be made ({error.strerror}): name another directory with --data") from None
    check_links(data)


def about_file(error: OSError, data: Path | None = None) -> str:
    """Say in one line why a file cannot be used, and what to do.

    Args:
        error: the system's error.
        data: the path to name if the error names no file.
    """
    where = scratch.outside(error.filename) if error.filename else data or "a file"
    why = error.strerror or error
    if isinstance(error, UnusablePart):
        return f"{where} cannot be used ({why}): {error.what_helps}"
    if isinstance(error, PermissionError):
        return may_not_use(where)
    if descriptors.exhausted(error):
        return f"{where} cannot be used: {descriptors.what_helps()}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where} cannot be written: its disk is full ({why}): make room there, or name another with --data"
    if error.errno == errno.EROFS:
        return f"{where} cannot be written ({why}): mount its disk for writing, or name another directory with --data"
    if error.errno == errno.EIO:
        return f"{where} cannot be used ({why}): its disk fails, see `journalctl -k`"
    return f"{where} cannot be used ({why}): name another directory with --data"


def may_not_use(where: Path | str) -> str:
    """Say who may use a file: the group may enter its directory, and the relay's user may write in it.

    The relay's own user is told which file somebody else left there, and how to get it back.
    """
    path = Path(str(where))
    while not os.path.lexists(path.parent):
        path = path.parent
    if not os.access(path.parent, os.R_OK | os.X_OK):
        return f"you may not use {where}: run this as root or as a member of the group relay"
    with suppress(OSError):
        if not os.path.lexists(path) or os.access(path, os.R_OK | os.W_OK):
            path = path.parent
        found, folder, user = path.stat(), path.parent.stat(), os.geteuid()
        if user and user in (found.st_uid, folder.st_uid):
            recursive, quoted = "-R " if stat.S_ISDIR(found.st_mode) else "", shlex.quote(str(path))
            if found.st_uid == user:
                mode = "u+rwX" if stat.S_ISDIR(found.st_mode) else "u+rw"
                return f"{path} may not be written by its owner {owner_name(user)}: `chmod {mode} {quoted}`"
            group = group_name(folder.st_gid)
            return (
                f"{path} belongs to {owner_name(found.st_uid)}, and the relay runs as {owner_name(user)}: as root,"
                f" `chown {recursive}{owner_name(user)}:{group} {quoted}`"
            )
    return f"you may not use {where}: run this as the relay's user or as root"


def unwritable(data: Path) -> Path | None:
    """Find the first file or folder of a store that this process may not write; None if it may write all of them."""
    store, log = store_file(data), log_of(data / STORE)
    needed = (data, store, log, log.with_name(f"{store.name}-shm"), store.with_suffix(".lock"), data / "files")
    for path in needed:
        how = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
        if path.exists() and not os.access(path, how):
            return path
    return None


def is_read_only(data: Path) -> bool:
    """Return whether the disk of a data directory, or that of its store, is mounted read-only."""
    return any(os.statvfs(folder).f_flag & os.ST_RDONLY for folder in {data, store_file(data).parent})
