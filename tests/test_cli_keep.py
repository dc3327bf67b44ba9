"""Backup, restore, export, prune and check: what they may replace, and what is said of a damaged store."""

import io
import os
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from relay.store import backup as backups
from relay.store.lock import locked
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


def test_a_dash_is_no_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ran = run("backup", "-", data=data)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "relay: nothing is written into a pipe: name a file\n"
    piped, usual = (done("export", *to, data=data).out.splitlines() for to in (("-",), ()))
    # The first line says when it was written.
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
        assert said(run(command, file, data=data)).startswith(f"{file} is no regular file")
    assert modes(data.parent) == before


@WRITING
def test_a_folder_that_is_not_there_is_named(command: str, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "missing" / "backup.tar"
    assert said(run(command, file, data=data)) == f"{file} cannot be written: there is no folder {file.parent}"


@WRITING
def test_why_a_file_cannot_be_written_is_said_without_temporary_names(
    command: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(path), None, str(target))

    file = tmp_path / "backup.tar"
    monkeypatch.setattr(Path, "replace", fail)
    assert said(run(command, file, data=data)) == f"{file} cannot be written: its disk is full"


def test_a_full_disk_under_the_copy_of_the_store_is_the_targets(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def small(path: object, **options: object) -> sqlite3.Connection:
        connection = connect(path, **options)  # type: ignore[call-overload]
        connection.execute("PRAGMA max_page_count = 1")
        return connection  # type: ignore[no-any-return]

    monkeypatch.setattr(backups.sqlite3, "connect", small)
    file = tmp_path / "backup.tar"
    assert said(run("backup", file, data=data)) == f"{file} cannot be written: its disk is full"


def test_an_uploaded_file_that_cannot_be_read_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = data / "files" / "ab" / "content"
    upload.parent.mkdir(parents=True)
    upload.touch()

    def refuse(_tar: tarfile.TarFile, path: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tarfile.TarFile, "add", refuse)
    assert said(run("backup", tmp_path / "backup.tar", data=data)) == f"{upload} cannot be read: you may not read it"


def test_a_command_that_goes_well_says_nothing_on_stderr(data: Path, tmp_path: Path) -> None:
    for command in (("backup", str(tmp_path / "backup.tar")), ("check",)):
        ran = subprocess.run(
            [sys.executable, "-m", "relay", *command, "--data", str(data)],
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        assert ran.stderr == b""


# A damaged store.


def _text(store: Path) -> None:
    store.write_text("this is no database")


def _pages(store: Path) -> None:
    content = bytearray(store.read_bytes())
    content[1_024:] = os.urandom(len(content) - 1_024)
    store.write_bytes(content)


def _short(store: Path) -> None:
    os.truncate(store, 5_000)


def _empty(store: Path) -> None:
    os.truncate(store, 0)


def _foreign(store: Path) -> None:
    store.unlink()
    with closing(sqlite3.connect(store)) as other:
        other.execute("CREATE TABLE recipes (name TEXT)")


def _without_log(store: Path) -> None:
    with closing(sqlite3.connect(store)) as opened:
        opened.execute("DROP TABLE log")


def _folder(store: Path) -> None:
    store.unlink()
    store.mkdir()


HELP = {_folder: "see whether its disk is full", _foreign: "Move it away"}
"""What helps, where it is not first of all a backup."""
DAMAGES = (_text, _pages, _short, _foreign, _without_log, _folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_said_in_one_line_with_what_to_do(
    damage: Callable[[Path], None], data: Path, tmp_path: Path
) -> None:
    damage(data / "relay.db")
    for command in (
        ("user", "list"),
        ("user", "import", "-"),
        ("import", str(slack(tmp_path))),
        ("send", "--as", "anna", "ben", "hi"),
        ("export",),
        ("invite", "anna"),
        ("hook", "list"),
        ("prune", "--days", "1", "--yes"),
        ("check",),
        ("backup", str(tmp_path / "backup.tar")),
    ):
        line = said(run(*command, data=data, stdin="carl,Carl\n"))
        assert line.startswith(f"the store in {data} ")
        assert HELP.get(damage, "`relay restore FILE`") in line
    assert not (tmp_path / "backup.tar").exists()


def slack(tmp_path: Path) -> Path:
    folder = tmp_path / "slack"
    folder.mkdir()
    for name in ("users.json", "channels.json"):
        (folder / name).write_text("[]")
    return folder


def test_an_empty_file_is_said_to_be_no_store(data: Path, tmp_path: Path) -> None:
    store = data / "relay.db"
    _empty(store)
    for command in (("check",), ("backup", str(tmp_path / "backup.tar"))):
        assert said(run(*command, data=data)).startswith(f"the store in {data} is damaged (relay.db is empty): ")
    (data / "files").mkdir(exist_ok=True)
    (data / "files" / "upload").write_bytes(b"pixels")
    for command in (("user", "list"), ("send", "--as", "anna", "ben", "hi"), ("export",)):
        line = said(run(*command, data=data))
        assert line.startswith(f"the store in {data} is damaged (relay.db is empty, but there was a store: ")
        assert "`relay restore FILE`" in line
    assert not (tmp_path / "backup.tar").exists()
    assert store.read_bytes() == b""


@pytest.mark.parametrize("damage", [*DAMAGES, _empty])
def test_a_backup_is_put_in_place_of_a_damaged_store_which_is_kept(
    damage: Callable[[Path], None], data: Path, tmp_path: Path
) -> None:
    backup, store = tmp_path / "backup.tar", data / "relay.db"
    done("backup", backup, data=data)
    said_before = done("export", data=data).out
    (data / "files").mkdir(exist_ok=True)
    (data / "files" / "upload").write_bytes(b"pixels")
    kept = []
    for name in ("relay.db.unreadable", "relay.db.unreadable-2"):
        damage(store)
        damaged = store.read_bytes() if store.is_file() else b""
        ran = done("restore", backup, "--yes", data=data)
        assert f"the store that was there is kept in {data / name}. " in ran.out
        kept.append(damaged)
        assert done("export", data=data).out.splitlines()[1:] == said_before.splitlines()[1:]
    for name, damaged in zip(("relay.db.unreadable", "relay.db.unreadable-2"), kept, strict=True):
        assert (data / name).is_dir() if damage is _folder else (data / name).read_bytes() == damaged
    assert (data / "files.unreadable" / "upload").read_bytes() == b"pixels"
    assert done("check", data=data).code == 0


def test_a_store_that_can_be_read_is_only_replaced_by_one_that_has_all_of_it(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "later", data=data)
    assert "1 entries more than the backup" in said(run("restore", backup, "--yes", data=data))
    restored = done("restore", backup, "--yes", "--force", "--json", data=data).json
    assert restored.keys() == {"data", "lastEvent", "kept"}
    assert restored["kept"] == str(data / "relay.db.before-restore")
    assert done("restore", backup, "--json", data=tmp_path / "new").json["kept"] is None


def test_a_store_that_cannot_be_had_now_is_not_taken_for_a_damaged_one(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    end = backups.end

    def fail(store: Path) -> backups.End:
        if store == data / "relay.db":
            raise sqlite3.OperationalError("disk I/O error")
        return end(store)

    monkeypatch.setattr(backups, "end", fail)
    before = modes(data)
    line = said(run("restore", backup, "--yes", "--force", data=data))
    assert line == f"nothing was restored: {data / 'relay.db'} cannot be read: disk I/O error"
    assert modes(data) == before


# What is no backup.


def _archive(path: Path, store: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("relay.db")
        member.size = len(store)
        tar.addfile(member, io.BytesIO(store))


def test_what_is_no_backup_is_said_in_one_line(data: Path, tmp_path: Path) -> None:
    text, cut, other, missing = (tmp_path / name for name in ("text.tar", "cut.tar", "other.tar", "missing.tar"))
    text.write_text("this is no archive")
    done("backup", cut, data=data)
    cut.write_bytes(cut.read_bytes()[:5_000])
    _archive(other, b"this is no database" * 100)
    for file, line in (
        (text, f"nothing was restored: {text} is no backup of a relay, or is not all of one"),
        (cut, f"nothing was restored: {cut} is no backup of a relay, or is not all of one"),
        (other, f"nothing was restored: {other} is damaged (file is not a database)"),
        (missing, f"{missing} cannot be read: it is not there"),
        (tmp_path, f"{tmp_path} cannot be read: it is a folder"),
    ):
        assert said(run("restore", file, "--yes", data=data)) == line
    with locked(data):
        assert "stop the relay first" in said(run("restore", cut, "--yes", data=data))


def test_nobody_is_asked_on_a_pipe(data: Path, tmp_path: Path) -> None:
    for command, question in (
        (("restore", str(tmp_path / "b.tar")), f"Put {tmp_path / 'b.tar'} in place of the store in {data}?"),
        (("prune", "--days", "1"), "Remove old messages for good?"),
    ):
        assert run(*command, data=data) == (2, "", f"relay: {question} Say so with --yes\n")
