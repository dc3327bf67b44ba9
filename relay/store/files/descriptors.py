"""Detects that the process has run out of file descriptors, and reports it.

SQLite reports that as SQLITE_CANTOPEN, like a missing file or a full disk, and does not pass the errno on.
"""

import errno
import os
import resource

SQLITE_CANTOPEN = 14
"""The result code of SQLite; its module is not imported for it, since every command imports this one."""
NONE_LEFT = {errno.EMFILE, errno.ENFILE}
"""The process's limit, and the system's."""
ENOUGH_DESCRIPTORS = 32
"""Descriptors that opening a store needs. With fewer left, SQLITE_CANTOPEN means that one was missing. Those that a
failed attempt had taken are free again when the error is reported."""


def exhausted(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, comes from a lack of file descriptors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NONE_LEFT:
            return True
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == SQLITE_CANTOPEN:
            return _left() < ENOUGH_DESCRIPTORS
        error = error.__cause__
    return False


def what_helps() -> str:
    """Say what is missing, and what to do."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"there are no file descriptors left (EMFILE: {limit} allowed): raise the limit, LimitNOFILE= of the service"
        " or `ulimit -n`, and try again"
    )


def _left() -> int:
    """Count the descriptors that this process may still open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return ENOUGH_DESCRIPTORS
    try:
        return limit - len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names alone, and it may be long
    except OSError as error:
        return 0 if error.errno in NONE_LEFT else ENOUGH_DESCRIPTORS
