"""Backup, restore, export and prune from the command line: what they may replace, and what they say."""

import stat
from pathlib import Path

import pytest

from tests.command_line import done, running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    where = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=where)
    done("send", "--as", "anna", "ben", "hello", data=where)
    return where


def modes(data: Path) -> dict[str, str]:
    return {path.name: stat.filemode(path.stat().st_mode) for path in data.iterdir()}


def test_what_is_made_has_the_same_modes_whichever_command_makes_it(tmp_path: Path) -> None:
    with running(tmp_path / "served") as relay:
        served = modes(relay.data)
    done("user", "add", "anna", data=tmp_path / "commanded")
    commanded = modes(tmp_path / "commanded")
    assert commanded["relay.db"] == "-rw-r-----"
    assert {name: served[name] for name in commanded} == commanded
    assert modes(tmp_path)["served"] == modes(tmp_path)["commanded"] == "drwxr-x---"


def test_a_backup_is_for_its_owner_only(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    assert modes(tmp_path)["backup.tar"] == "-rw-------"
