"""Failures that count as a full disk."""

import errno
import sqlite3
from pathlib import Path

import pytest

from relay.store.files import disk_full, room
from relay.store.files.disk_full import find_cause, is_full


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


def _quota(_folder: Path, _size: int, *, sync: bool) -> OSError:
    return OSError(errno.EDQUOT, "Disk quota exceeded")


def test_quota_error_that_sqlite_hides_counts_as_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_full, "refusal", _quota)
    error = _sqlite(sqlite3.SQLITE_IOERR_WRITE)
    find_cause(error, tmp_path)
    assert is_full(error)
    other = _sqlite(sqlite3.SQLITE_BUSY)
    find_cause(other, tmp_path)
    assert not is_full(other)


def test_disk_that_accepts_a_file_is_not_full(tmp_path: Path) -> None:
    error = _sqlite(sqlite3.SQLITE_IOERR_WRITE)
    find_cause(error, tmp_path)
    assert not is_full(error)
    assert list(tmp_path.iterdir()) == []
    assert room.refusal(tmp_path / "missing", 1) is None, "another error is not a full disk"
