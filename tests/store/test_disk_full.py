"""Which failures count as a full disk."""

import errno
import sqlite3

import pytest

from relay.store.files.disk_full import is_full


def _sqlite(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (_sqlite(sqlite3.SQLITE_FULL), True),
        (_sqlite(sqlite3.SQLITE_IOERR_SHMSIZE), True),
        (_sqlite(sqlite3.SQLITE_IOERR_WRITE), False),
        (OSError(errno.ENOSPC, ""), True),
        (OSError(errno.EDQUOT, ""), True),
        (OSError(errno.EIO, ""), False),
        (None, False),
    ],
)
def test_an_error_of_a_full_disk_is_recognised(error: BaseException | None, *, full: bool) -> None:
    assert is_full(error) is full
    wrapped = RuntimeError("while writing")
    wrapped.__cause__ = error
    assert is_full(wrapped) is full
