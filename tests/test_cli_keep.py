"""Backup, restore, export and prune from the command line: what they may replace, and what they say."""

import os
import stat
from pathlib import Path

import pytest

from tests.command_line import Ran, done, run, running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    where = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=where)
    done("send", "--as", "anna", "ben", "hello", data=where)
    return where


def said(ran: Ran) -> str:
    """What a command that failed said, in its one line."""
    assert (ran.code, ran.out) == (1, ""), ran
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1, ran.err
    return ran.err.removeprefix("relay: ").rstrip("\n")


def modes(data: Path) -> dict[str, str]:
    return {path.name: stat.filemode(path.lstat().st_mode) for path in data.iterdir()}


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


# What may be replaced.

WRITING = pytest.mark.parametrize("command", ["backup", "export"])


@WRITING
@pytest.mark.parametrize("name", ["relay.db", "relay.db-wal", "new.tar", "files/new.tar", "backups/../relay.db"])
def test_nothing_is_written_over_the_relays_own_files(command: str, name: str, data: Path) -> None:
    for folder in ("files", "backups"):
        (data / folder).mkdir(exist_ok=True)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    link = data.parent / "link"
    link.symlink_to(data)
    for file in (data / name, link / name):
        assert said(run(command, file, data=data)).startswith(f"{file} is in the relay's own directory: ")
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


@WRITING
def test_backups_may_be_kept_in_a_folder_of_their_own_below_the_data(command: str, data: Path) -> None:
    (data / "backups").mkdir()
    for _ in range(2):
        done(command, data / "backups" / "latest", data=data)
    assert modes(data / "backups") == {"latest": "-rw-------"}


@WRITING
def test_only_a_regular_file_is_replaced(command: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("backup.tar")
    os.mkfifo(tmp_path / "pipe")
    before = modes(data.parent)
    for file in (tmp_path / "folder", tmp_path / "link", tmp_path / "pipe", Path()):
        assert said(run(command, file, data=data)).startswith(f"{file} is no regular file")
    assert modes(data.parent) == before


@WRITING
def test_a_folder_that_is_not_there_is_named(command: str, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "missing" / "backup.tar"
    assert said(run(command, file, data=data)) == f"{file} cannot be written: there is no folder {file.parent}"


def test_nobody_is_asked_on_a_pipe(data: Path, tmp_path: Path) -> None:
    assert "Say so with --yes" in said(run("restore", tmp_path / "backup.tar", data=data))
    assert "Say so with --yes" in said(run("prune", "--days", "1", data=data))
