"""Files that backup and export write: which files they may replace, and messages for failed writes."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import done, modes, run, running, said


def test_files_have_the_same_modes_whichever_command_makes_them(tmp_path: Path) -> None:
    with running(tmp_path / "served") as relay:
        served = modes(relay.data)
    done("user", "add", "anna", data=tmp_path / "commanded")
    commanded = modes(tmp_path / "commanded")
    assert commanded["relay.db"] == "-rw-r-----"
    assert {name: served[name] for name in commanded} == commanded
    assert modes(tmp_path)["served"] == modes(tmp_path)["commanded"] == "drwxr-x---"


AGAIN = ": make room there, and type the same again"
WRITING = pytest.mark.parametrize("command", ["backup", "export"])


@WRITING
@pytest.mark.parametrize("name", ["relay.db", "relay.db-wal", "new.tar", "files/new.tar", "backups/../relay.db"])
def test_the_relays_own_files_are_never_overwritten(command: str, name: str, data: Path) -> None:
    for folder in ("files", "backups"):
        (data / folder).mkdir(exist_ok=True)
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    link = data.parent / "link"
    link.symlink_to(data)
    for file in (data / name, link / name):
        assert said(run(command, file, data=data)).startswith(f"{file} is in the relay's own directory: ")
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


@WRITING
def test_backups_may_be_kept_in_a_folder_of_the_data_directory(command: str, data: Path) -> None:
    (data / "backups").mkdir()
    for _ in range(2):
        done(command, data / "backups" / "latest", data=data)
    assert modes(data / "backups") == {"latest": "-rw-------"}


def test_dash_is_refused_as_a_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("backup", "-", data=data)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "relay: nothing is written into a pipe: name a file\n"
    piped, usual = (done("export", *to, data=data).out.splitlines() for to in (("-",), ()))
    # The first line has the time of writing.
    assert piped[1:] == usual[1:] != []
    assert run("export", "--files", "-", data=data).code == 2
    assert not (tmp_path / "-").exists()


@WRITING
def test_only_a_regular_file_is_replaced(command: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("backup.tar")
    os.mkfifo(tmp_path / "pipe")
    before = modes(data.parent)
    for file in (tmp_path / "folder", tmp_path / "link", tmp_path / "pipe", Path()):
        assert said(run(command, file, data=data)).startswith(f"{file} is not a regular file")
    assert modes(data.parent) == before


@WRITING
def test_a_missing_folder_is_named(command: str, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "missing" / "backup.tar"
    assert said(run(command, file, data=data)) == f"{file} cannot be written: there is no folder {file.parent}"


@WRITING
def test_a_failed_write_is_reported_without_temporary_names(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(path), None, str(target))

    file = tmp_path / "backup.tar"
    monkeypatch.setattr(Path, "replace", fail)
    assert said(run(command, file, data=data)) == f"{file} cannot be written: its disk is full{AGAIN}"


def test_full_disk_during_a_backup_is_reported_for_the_target(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def small(path: object, **options: object) -> sqlite3.Connection:
        connection = connect(path, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 1")
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr("relay.store.backup.archive.sqlite3.connect", small)
    file = tmp_path / "backup.tar"
    assert said(run("backup", file, data=data)) == f"{file} cannot be written: its disk is full{AGAIN}"


def test_successful_command_prints_nothing_on_stderr(data: Path, tmp_path: Path) -> None:
    for command in (("backup", str(tmp_path / "backup.tar")), ("check",)):
        ran = subprocess.run(
            [sys.executable, "-m", "relay", *command, "--data", str(data)],
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        assert ran.stderr == b""
