"""A data directory for tests of commands."""

from pathlib import Path

import pytest

from tests.support.command_line import done


@pytest.fixture
def data(tmp_path: Path) -> Path:
    where = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=where)
    done("send", "--as", "anna", "ben", "hello", data=where)
    return where
