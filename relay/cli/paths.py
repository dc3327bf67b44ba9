"""Files named by a user: which of them may be overwritten, and messages for those that cannot be read or written."""

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from relay.cli.output import Failure, WrongUse
from relay.store.files import scratch
from relay.store.files.directory import UnusablePart, about_file, is_there

BACKUPS = "backups"
"""The folder in a data directory that commands may write to. The timer of the Debian package writes there."""
RETRY_HINT = ": make room there, and type the same again"
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
"""Why a file could not be written or read, if the system's own message would not help."""


def cannot_write(name: Path | str, error: OSError, *, again: bool = True) -> Failure:
    """Make a failure that says what could not be written and why. It leaves out temporary names.

    If the error is about an unusable part of the data directory, or about another file, it names that.

    Args:
        name: the file, as the user named it.
        error: the system's error.
        again: whether nothing was changed, so that the same command may be typed again.
    """
    if isinstance(error, UnusablePart) or not _is_about(name, error):
        return Failure(about_file(error))
    helps = RETRY_HINT if again and error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return Failure(f"{name} cannot be written: {_reason(error, NOT_WRITTEN)}{helps}")


def _is_about(what: object, error: OSError) -> bool:
    """Return whether an error is about a file, something in it, or its replacement beside it."""
    if not isinstance(what, Path) or not isinstance(error.filename, str | bytes):
        return True
    file, named = what.absolute(), Path(os.fsdecode(error.filename)).absolute()
    return named.is_relative_to(file) or scratch.outside(named) == file.parent


def cannot_read(name: Path | str, error: OSError) -> Failure:
    """Make a failure that says what could not be read and why."""
    if isinstance(error, UnusablePart):
        return Failure(about_file(error))
    return Failure(f"{name} cannot be read: {why_not_read(error)}")


def why_not_read(error: OSError) -> str:
    """Say why a file cannot be read."""
    return _reason(error, NOT_READ)


def _reason(error: OSError, words: Mapping[int, str]) -> str:
    return words.get(error.errno or 0) or error.strerror or str(error)


def check_target(file: Path, data: Path) -> None:
    """Check that a file may be written: only regular files are replaced, and none of the relay's own.

    Args:
        file: the file to write.
        data: the data directory.

    Raises:
        WrongUse: it is `-`, which means a pipe for other programs.
        Failure: it may not be written.
    """
    if str(file) == "-":
        raise WrongUse("nothing is written into a pipe: name a file")
    try:
        if not is_there(file.parent) or not file.parent.is_dir():
            raise Failure(f"{file} cannot be written: there is no folder {file.parent}")
        folder, own = file.parent.resolve(), data.resolve()
        other = file.is_symlink() or (file.exists() and not file.is_file())
    except OSError as error:
        raise cannot_write(file, error) from None
    if folder.is_relative_to(own) and not folder.is_relative_to(own / BACKUPS):
        raise Failure(f"{file} is in the relay's own directory: name a file elsewhere, or in {data / BACKUPS}")
    if other:
        raise Failure(f"{file} is not a regular file, and only those are replaced: name another")
