"""The data directory: how it is made, and what is in the way where it or a file in it cannot be used."""

import errno
import os
from pathlib import Path

from relay.store.files import descriptors, scratch


class NoDirectory(Exception):
    """There is no data directory and can be none, in one line that says what to do."""


def make(data: Path) -> None:
    """Make the data directory where it is not there yet.

    Raises:
        NoDirectory: there can be none.
        OSError: it may not be made, or there is no room for it.
    """
    try:
        data.mkdir(mode=0o750, parents=True, exist_ok=True)
    except FileExistsError:
        raise NoDirectory(f"{data} is no directory: name another with --data") from None
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NoDirectory(f"{data} cannot be made ({error.strerror}): name another directory with --data") from None


def about_file(error: OSError, data: Path | None = None) -> str:
    """Say in one line why a file cannot be used, and what helps.

    Args:
        error: what the system says.
        data: what is named where the error names no file.
    """
    where = scratch.outside(error.filename) if error.filename else data or "a file"
    why = error.strerror or error
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


def may_not_use(where: object) -> str:
    """Say who may use a file: the group may enter its directory, the relay's user may write what is in it."""
    closed = not os.access(Path(str(where)).parent, os.R_OK | os.X_OK)
    who = "root or as a member of the group relay" if closed else "the relay's user or as root"
    return f"you may not use {where}: run this as {who}"


def is_read_only(data: Path) -> bool:
    """Whether the disk of a directory is mounted read-only."""
    return bool(os.statvfs(data).f_flag & os.ST_RDONLY)
