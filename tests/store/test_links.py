"""Links in a data directory: a dangling one is not a missing file, and an intact one stays intact."""

import io
import sqlite3
import subprocess
import sys
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from relay.store.files import directory
from tests.support.command_line import Ran, done, run, running

START = ("serve", "--listen", "127.0.0.1:0")
LINKS = directory.LINKED


def typed(*arguments: str, data: Path) -> Ran:
    """Run a command; a start of the relay in a process of its own."""
    if arguments[0] != START[0]:
        return run(*arguments, data=data)
    command = [sys.executable, "-m", "relay", *arguments, "--data", str(data)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    done("user", "add", "anna", data=made)
    return made


def unmounted(data: Path, name: str) -> Path:
    """Replace a part of a data directory by a link to an unmounted disk; return the target."""
    away = data.parent / "disk" / name
    if (data / name).exists():
        (data / name).rename(data.parent / f"{name}-away")
    (data / name).symlink_to(f"../disk/{name}")
    return away


def refused(ran: Ran, path: Path, away: Path) -> None:
    assert ran.code == 1, ran
    assert f"{path} cannot be" in ran.err
    assert f"it is a link to {away}, which is not there" in ran.err


@pytest.mark.parametrize(
    ("command", "name"),
    [
        *((command, name) for command in (START, ("user", "list")) for name in directory.NEEDED),
        ((*START, "--tls"), "tls"),
        *(
            (command, name)
            for command in (
                ("restore", "backup.tar"),
                ("restore", "--undo"),
                ("tls", "init"),
                ("tls", "init", "--again"),
            )
            for name in ("relay.db", "files", "tls")
        ),
    ],
)
def test_dangling_link_is_refused_and_nothing_is_created(data: Path, name: str, command: tuple[str, ...]) -> None:
    away = unmounted(data, name)
    before = sorted(data.rglob("*"))
    refused(typed(*command, data=data), data / name, away)
    assert (data / name).is_symlink()
    assert sorted(data.rglob("*")) == before


@pytest.mark.parametrize("name", ["backups", "tls"])
def test_relay_that_does_not_need_a_disk_runs_without_it(data: Path, name: str) -> None:
    away = unmounted(data, name)
    with running(data):
        done("send", "anna", "hello", "--as", "anna", data=data)
    done("user", "add", "ben", data=data)
    done("check", data=data)
    assert (data / name).is_symlink()
    assert not away.exists()


def test_backup_and_restore_elsewhere_need_no_disk_for_backups(data: Path, tmp_path: Path) -> None:
    unmounted(data, "backups")
    done("backup", tmp_path / "backup.tar", data=data)
    done("restore", tmp_path / "backup.tar", "--yes", data=data)


def test_backup_to_an_unmounted_disk_names_the_link(data: Path) -> None:
    away = unmounted(data, "backups")
    refused(run("backup", data / "backups" / "new.tar", data=data), data / "backups", away)


@pytest.mark.parametrize("name", LINKS)
def test_no_store_is_created_while_a_part_of_the_directory_is_not_mounted(tmp_path: Path, name: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    away = unmounted(data, name)
    refused(run("user", "add", "anna", data=data), data / name, away)
    assert not (data / "relay.db").exists()


@pytest.mark.parametrize("name", ["relay.db", "files", "tls"])
def test_backup_of_a_dangling_link_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    away = unmounted(data, name)
    refused(run("backup", tmp_path / "backup.tar", data=data), data / name, away)
    assert not (tmp_path / "backup.tar").exists()


@pytest.mark.parametrize("command", [("check",), ("status",)])
def test_reading_an_unmounted_store_names_the_link(data: Path, command: tuple[str, ...]) -> None:
    away = unmounted(data, "relay.db")
    ran = run(*command, data=data)
    assert ran.code == 1
    assert "there is no relay in" not in ran.err
    if command == ("check",):
        refused(ran, data / "relay.db", away)


@pytest.mark.parametrize("name", LINKS)
def test_doctor_names_a_dangling_link(data: Path, name: str) -> None:
    away = unmounted(data, name)
    ran = run("doctor", data=data)
    assert f"{data / name} cannot be used (it is a link to {away}, which is not there)" in ran.out


def test_data_directory_that_is_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("disk")
    for command in (("user", "add", "anna"), START, ("restore", "--undo")):
        refused(typed(*command, data=tmp_path / "data"), tmp_path / "data", tmp_path / "disk")


def test_link_to_itself_is_not_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"):
        directory.is_there(tmp_path / "loop")
    assert not directory.is_there(tmp_path / "none")
    assert not directory.is_there(tmp_path / "none" / "x")


@pytest.mark.parametrize("name", ["relay.db", "files"])
def test_relative_link_put_aside_by_a_restore_leads_to_the_same_file(data: Path, tmp_path: Path, name: str) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("user", "add", "ben", data=data)
    (data / "files").mkdir(exist_ok=True)
    (data / "files" / "upload").write_bytes(b"pixels")
    (tmp_path / "disk").mkdir()
    (data / name).rename(tmp_path / "disk" / name)
    (data / name).symlink_to(f"../disk/{name}")
    kept = Path(done("restore", backup, "--yes", "--force", "--json", data=data).json["kept"])
    assert (kept / "relay.db").stat().st_size
    assert (kept / "files" / "upload").read_bytes() == b"pixels"
    assert [user["id"] for user in done("user", "list", "--json", data=data).json] == ["anna"]
    done("restore", "--undo", "--yes", "--force", data=data)
    assert [user["id"] for user in done("user", "list", "--json", data=data).json] == ["anna", "ben"]
    assert (data / "files" / "upload").read_bytes() == b"pixels"
    assert not list(data.glob("*.link"))


def test_relative_link_put_aside_by_an_earlier_relay_comes_back(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("user", "add", "ben", data=data)
    kept = Path(done("restore", backup, "--yes", "--force", "--json", data=data).json["kept"])
    (tmp_path / "disk").mkdir()
    (kept / "relay.db").rename(tmp_path / "disk" / "relay.db")
    (kept / "relay.db").symlink_to("../disk/relay.db")
    assert not (kept / "relay.db").exists()
    done("restore", "--undo", "--yes", "--force", data=data)
    assert [user["id"] for user in done("user", "list", "--json", data=data).json] == ["anna", "ben"]


def test_an_undo_without_a_data_directory_is_refused(tmp_path: Path) -> None:
    ran = run("restore", "--undo", data=tmp_path / "none")
    assert ran.code == 1
    assert f"there is no data directory {tmp_path / 'none'}" in ran.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["files/a", "files/a/b"],
        ["files/a/b", "files/a"],
        ["files/" + "x" * 300],
    ],
)
def test_archive_with_impossible_names_is_not_a_backup(data: Path, tmp_path: Path, names: list[str]) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    with tarfile.open(backup, "a", format=tarfile.PAX_FORMAT) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
    ran = run("restore", backup, "--yes", data=data)
    assert ran.code == 1
    assert f"the archive has {names[-1]!r}, which is in no backup of a relay" in ran.err
    assert "cannot be written" not in ran.err


def test_a_store_with_a_version_that_no_relay_writes_is_refused(data: Path) -> None:
    with closing(sqlite3.connect(data / "relay.db")) as store:
        store.execute("PRAGMA user_version = -1")
    for command in (("user", "list"), ("check",), START):
        ran = typed(*command, data=data)
        assert ran.code == 1
        assert "its version is -1, which no relay writes" in ran.err
