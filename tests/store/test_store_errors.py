"""Messages about a store that cannot be opened, with advice."""

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relay.core.relay import open_relay
from relay.store.data_dir.errors import what_to_do
from relay.store.files.directory import about_file
from relay.store.sqlite.database import connect


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Lower this process's limit until no file can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    spare = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (spare[0] + 1, before[1]))
    try:
        while True:
            try:
                spare.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in spare:
            os.close(descriptor)


async def test_missing_descriptor_is_not_reported_as_a_full_or_read_only_disk(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        pass
    with no_descriptor_left():
        with pytest.raises(sqlite3.OperationalError) as found:
            async with connect(tmp_path / "relay.db", writing=True):
                pass
        said = what_to_do(found.value, tmp_path)
    assert found.value.sqlite_errorcode == sqlite3.SQLITE_CANTOPEN
    assert "no file descriptors left (EMFILE" in said
    assert "LimitNOFILE=" in said
    assert "read-only" not in said


def test_missing_descriptor_is_not_blamed_on_the_directory(tmp_path: Path) -> None:
    said = about_file(OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(tmp_path / "relay.lock")))
    assert "no file descriptors left (EMFILE" in said
    assert "--data" not in said


async def test_unopenable_store_with_descriptors_left_is_blamed_on_its_disk(tmp_path: Path) -> None:
    (tmp_path / "relay.db").mkdir()
    with pytest.raises(sqlite3.OperationalError) as found:
        async with connect(tmp_path / "relay.db", writing=True):
            pass
    assert "its disk is full or read-only" in what_to_do(found.value, tmp_path)
