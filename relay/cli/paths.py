"""The files that a user names: what may be written over, and why one could not be read or written."""

import errno
from collections.abc import Mapping
from pathlib import Path

from relay.cli.output import Failure, WrongUse

BACKUPS = "backups"
"""The one folder in a data directory that is not the relay's own; the Debian package's timer writes there."""
AGAIN = ": make room there, and type the same again"
NOT_WRITTEN = {
    errno.EACCES: "you may not write there",
    errno.EBADF: "it is closed",
    errno.EDQUOT: "your quota is used up",
    errno.EFBIG: "no file may be so large there: FAT32 ends at 4 GB (exFAT and ext4 do not), or `ulimit -f` does",
    errno.EIO: "its disk fails",
    errno.ENOSPC: "its disk is full",
    errno.EPERM: "you may not write there",
    errno.EROFS: "its disk is read-only",
}
NOT_READ = {
    errno.EACCES: "you may not read it",
    errno.EIO: "its disk fails",
    errno.EISDIR: "it is a folder",
    errno.ENOENT: "it is not there",
    errno.ENOTDIR: "it is not there",
}
"""Why something could not be written or read, where people say it otherwise than the system does."""


def cannot_write(what: object, error: OSError, *, again: bool = True) -> Failure:
    """Say that something could not be written, and why, without the temporary name that the system knows it by.

    Args:
        what: as the person calls it.
        error: what the system says.
        again: whether the same command may be typed again: nothing was changed.
    """
    helps = AGAIN if again and error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return Failure(f"{what} cannot be written: {_reason(error, NOT_WRITTEN)}{helps}")


def cannot_read(what: object, error: OSError) -> Failure:
    """Say that something could not be read, and why."""
    return Failure(f"{what} cannot be read: {_reason(error, NOT_READ)}")


def _reason(error: OSError, words: Mapping[int, str]) -> str:
    return words.get(error.errno or 0) or error.strerror or str(error)


def check_target(file: Path, data: Path) -> None:
    """Make sure that nothing is replaced but a regular file, and nothing that is the relay's own.

    Args:
        file: what is to be written.
        data: the data directory.

    Raises:
        WrongUse: it is `-`, which other programs take for a pipe.
        Failure: it may not be written.
    """
    if str(file) == "-":
        raise WrongUse("nothing is written into a pipe: name a file")
    try:
        if not file.parent.is_dir():
            raise Failure(f"{file} cannot be written: there is no folder {file.parent}")
        folder, own = file.parent.resolve(), data.resolve()
        other = file.is_symlink() or (file.exists() and not file.is_file())
    except OSError as error:
        raise cannot_write(file, error) from None
    if folder.is_relative_to(own) and not folder.is_relative_to(own / BACKUPS):
        raise Failure(f"{file} is in the relay's own directory: name a file elsewhere, or in {data / BACKUPS}")
    if other:
        raise Failure(f"{file} is no regular file, and nothing else is replaced: name another")
