"""Backup, restore, export, prune and check: what they may replace, and what is said of a damaged store."""

import io
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from relay.store.backup import archive as backups
from relay.store.files import replacing, scratch
from relay.store.files.lock import locked
from tests.support.command_line import Ran, done, run, running


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


def test_files_have_the_same_modes_whichever_command_makes_them(tmp_path: Path) -> None:
    with running(tmp_path / "served") as relay:
        served = modes(relay.data)
    done("user", "add", "anna", data=tmp_path / "commanded")
    commanded = modes(tmp_path / "commanded")
    assert commanded["relay.db"] == "-rw-r-----"
    assert {name: served[name] for name in commanded} == commanded
    assert modes(tmp_path)["served"] == modes(tmp_path)["commanded"] == "drwxr-x---"


@pytest.mark.parametrize("command", ["backup", "refused restore", "check", "doctor"])
def test_a_command_that_only_reads_a_closed_store_leaves_nothing_beside_it(
    command: str, data: Path, tmp_path: Path
) -> None:
    done("backup", tmp_path / "before.tar", data=data)
    done("user", "add", "carl", data=data)
    before = modes(data)
    if command == "refused restore":
        assert "1 person more than the backup" in said(run("restore", tmp_path / "before.tar", "--yes", data=data))
    else:
        run(command, *([tmp_path / "after.tar"] if command == "backup" else []), data=data)
    assert modes(data) == before


def test_the_messages_in_the_log_of_a_killed_relay_stay_there_during_a_backup(data: Path, tmp_path: Path) -> None:
    with running(data) as relay:
        done("user", "add", "carl", data=data)
        relay.process.kill()
        relay.process.wait(10)
    log = (data / "relay.db-wal").read_bytes()
    assert log
    done("backup", tmp_path / "backup.tar", data=data)
    assert (data / "relay.db-wal").read_bytes() == log
    assert "carl" in done("user", "list", data=data).out


def test_only_its_owner_may_read_a_backup(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    assert modes(tmp_path)["backup.tar"] == "-rw-------"


# What may be replaced.

AGAIN = ": make room there, and type the same again"
UNSURE = "see whether its disk is full or read-only, make room there, and try again"
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


def test_a_dash_is_refused_as_a_file(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_disk_that_is_full_during_a_backup_is_named_as_the_targets(
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


HELP: dict[Callable[[Path], None], str] = {_folder: "see whether its disk is full", _foreign: "Move it away"}
"""What helps, where it is not first of all a backup."""
DAMAGES = (_text, _pages, _short, _foreign, _without_log, _folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_reported_in_one_line_with_advice(
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


def test_a_backup_of_a_store_that_is_damaged_inside_replaces_no_good_one(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    good = backup.read_bytes()
    with closing(sqlite3.connect(data / "relay.db")) as store:
        ((page,),) = store.execute("SELECT rootpage FROM sqlite_master WHERE name = 'log_message'")
        ((size,),) = store.execute("PRAGMA page_size")
    with (data / "relay.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    assert said(run("backup", backup, data=data)).startswith(f"the store in {data} is damaged (")
    assert backup.read_bytes() == good
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def slack(tmp_path: Path) -> Path:
    folder = tmp_path / "slack"
    folder.mkdir()
    for name in ("users.json", "channels.json"):
        (folder / name).write_text("[]")
    return folder


def test_an_empty_file_is_reported_as_a_damaged_store(data: Path, tmp_path: Path) -> None:
    store = data / "relay.db"
    _empty(store)
    for command in (("check",), ("backup", str(tmp_path / "backup.tar"))):
        assert said(run(*command, data=data)).startswith(f"the store in {data} is damaged (relay.db is empty): ")
    (data / "files").mkdir(exist_ok=True)
    (data / "files" / "upload").write_bytes(b"pixels")
    for words in (("user", "list"), ("send", "--as", "anna", "ben", "hi"), ("export",)):
        line = said(run(*words, data=data))
        assert line.startswith(f"the store in {data} is damaged (relay.db is empty, but there was a store: ")
        assert "`relay restore FILE`" in line
    assert not (tmp_path / "backup.tar").exists()
    assert store.read_bytes() == b""


@pytest.mark.parametrize("damage", [*DAMAGES, _empty])
def test_a_restore_over_a_damaged_store_keeps_the_damaged_one(
    damage: Callable[[Path], None], data: Path, tmp_path: Path
) -> None:
    backup, store = tmp_path / "backup.tar", data / "relay.db"
    done("backup", backup, data=data)
    said_before = done("export", data=data).out
    (data / "files").mkdir(exist_ok=True)
    (data / "files" / "upload").write_bytes(b"pixels")
    kept = {}
    for _ in range(2):
        damage(store)
        damaged = store.read_bytes() if store.is_file() else b""
        kept[Path(done("restore", backup, "--yes", "--json", data=data).json["kept"])] = damaged
        assert done("export", data=data).out.splitlines()[1:] == said_before.splitlines()[1:]
    assert len(kept) == 2
    for folder, damaged in kept.items():
        assert folder.parent == data
        assert (folder / "relay.db").is_dir() if damage is _folder else (folder / "relay.db").read_bytes() == damaged
    assert (next(iter(kept)) / "files" / "upload").read_bytes() == b"pixels"
    assert done("check", data=data).code == 0


def test_a_restore_that_would_lose_messages_needs_force(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "later", data=data)
    done("send", "--as", "anna", "ben", "later still", data=data)
    done("user", "add", "carl", data=data)
    line = said(run("restore", backup, "--yes", data=data))
    assert f"{data} has 2 messages and 1 person more than the backup, which would be gone" in line
    restored = done("restore", backup, "--yes", "--force", "--json", data=data).json
    assert restored["lost"] == {"messages": 2, "people": 1, "changes": 0}
    assert Path(restored["kept"]).parent == data
    assert done("check", "--data", restored["kept"]).code == 0
    # It is there already: what only marks the restore itself is nothing to lose.
    again = done("restore", backup, "--yes", "--json", data=data).json
    assert not any(again["lost"].values())
    assert done("restore", backup, "--json", data=tmp_path / "new").json["kept"] is None


def test_a_second_restore_keeps_what_the_first_put_aside_and_both_can_be_undone(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "today", data=data)
    first = done("restore", backup, "--yes", "--force", "--json", data=data).json["kept"]
    done("send", "--as", "anna", "ben", "after it", data=data)
    second = done("restore", backup, "--yes", "--force", "--json", data=data).json["kept"]
    assert first != second
    assert "today" not in done("export", data=data).out
    done("restore", "--undo", "--yes", data=data)
    assert "after it" in done("export", data=data).out
    # What an undo replaces is put aside as well, so that it can be undone.
    line = said(run("restore", "--undo", "--yes", data=data))
    assert "1 message more than what was put aside" in line
    done("restore", "--undo", "--yes", "--force", data=data)
    assert "after it" not in done("export", data=data).out
    with closing(sqlite3.connect(Path(first) / "relay.db")) as kept:
        assert kept.execute("SELECT message FROM log WHERE message = 'today'").fetchall() == [("today",)]
    assert done("check", data=data).code == 0


def test_an_undo_where_nothing_was_restored_is_refused(data: Path, tmp_path: Path) -> None:
    assert "no restore has put anything aside" in said(run("restore", "--undo", "--yes", data=data))
    for wrong in (("restore", "--undo", tmp_path / "x.tar"), ("restore",)):
        assert run(*wrong, data=data).code == 2


def test_a_restore_can_end_all_sessions(data: Path, tmp_path: Path) -> None:
    done("device", "add", "anna", data=data)
    code = done("invite", "anna", "--json", data=data).json["code"]
    assert len(done("device", "list", "--json", data=data).json) == 1
    done("backup", tmp_path / "backup.tar", data=data)
    done("restore", tmp_path / "backup.tar", "--yes", "--sign-out-all", data=data)
    assert done("device", "list", "--json", data=data).json == []
    with running(data) as relay:
        answer = httpx.post(f"http{relay.url[2:-3]}/session", json={"invite": code})
    assert (answer.status_code, "ended" in answer.text) == (401, True)
    assert done("check", data=data).code == 0


def test_a_backup_that_lacks_an_uploaded_file_says_which(data: Path, tmp_path: Path) -> None:
    backup, torn = tmp_path / "backup.tar", tmp_path / "torn.tar"
    content = data / "files" / "ab" / ("ab" * 32)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"not what its name says")
    done("backup", backup, data=data)
    ran = done("restore", backup, "--yes", data=data)
    assert f"incomplete in the backup: files/ab/{'ab' * 32}" in ran.out
    assert not torn.exists()


def test_a_backup_says_which_uploaded_files_are_missing(data: Path, tmp_path: Path) -> None:
    # opencats/OpenCATS#258, signalapp/Signal-Android#9136: found out when it was needed.
    digests = [f"{number:064x}" for number in (1, 2)]
    with closing(sqlite3.connect(data / "relay.db")) as store:
        for digest in digests:
            store.execute("INSERT INTO file VALUES (?1, ?1, 1, 'a', 'text/plain', 1, NULL, NULL, 0)", (digest,))
        store.commit()
    there, missing = (data / "files" / digest[:2] / digest for digest in digests)
    there.parent.mkdir(parents=True)
    there.write_bytes(b"a")
    ran = done("backup", tmp_path / "backup.tar", data=data)
    assert f"missing in {data}, and so in the backup: files/{missing.parent.name}/{missing.name}\n" in ran.out
    assert there.name not in ran.out
    again = done("backup", tmp_path / "backup.tar", "--json", data=data)
    assert again.json["missing"] == [f"files/{missing.parent.name}/{missing.name}"]
    missing.write_bytes(b"b")
    assert "missing" not in done("backup", tmp_path / "backup.tar", "--json", data=data).json


# What a backup replaces.


def test_a_backup_replaces_a_backup_and_nothing_else(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "office.pid"
    file.write_text("4711\n")
    assert said(run("backup", file, data=data)) == (
        f"nothing was written: {file} is no backup of a relay, and nothing else is replaced: name another file"
    )
    assert file.read_text() == "4711\n"
    other = tmp_path / "holiday.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(file, "files/holiday.jpg")
    assert "is no backup of a relay" in said(run("backup", other, data=data))
    earlier, empty = tmp_path / "earlier.tar", tmp_path / "empty.tar"
    with tarfile.open(earlier, "w") as tar:
        tar.add(data / "relay.db", "relay.db")
    empty.touch()
    for name in (earlier, empty, earlier):
        done("backup", name, data=data)
        assert backups.is_backup(name)


def test_a_backup_says_in_its_head_who_made_it_and_when(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert re.fullmatch(r"chat-relay backup, made by version \S+ on 20\d\d-.. ?.* UTC", tar.pax_headers["comment"])
        assert tar.getnames() == ["relay.db"]


def test_a_backup_that_would_fill_the_disk_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "relay.store.backup.archive.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 10_000)
    )
    assert "has 0.0 MB left and a backup needs" in said(run("backup", tmp_path / "backup.tar", data=data))
    assert not (tmp_path / "backup.tar").exists()


def test_scratch_of_killed_backups_is_removed_and_of_running_ones_kept(data: Path, tmp_path: Path) -> None:
    for name in (".relay-backup-ab_cdef1", ".relay-restore-0123abcd", ".relay-notes", ".relay-backup-of-mine"):
        (tmp_path / name / "files").mkdir(parents=True)
        (tmp_path / name / "part.tar").write_bytes(b"half")
    with scratch.folder(tmp_path, "backup") as running_one:
        (running_one / "part.tar").write_bytes(b"half")
        done("backup", tmp_path / "backup.tar", data=data)
        left = {path.name for path in tmp_path.iterdir() if path.name.startswith(".")}
        assert left == {running_one.name, ".relay-notes", ".relay-backup-of-mine"}
        assert (running_one / "part.tar").exists()


# A directory whose store is gone.


def test_no_store_is_begun_beside_one_that_a_restore_kept(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "today", data=data)
    done("restore", backup, "--yes", "--force", data=data)
    (data / "relay.db").unlink()
    for command in (("user", "add", "dora"), ("user", "list"), ("check",), ("backup", tmp_path / "more.tar")):
        line = said(run(*command, data=data))
        assert "relay.db is missing, but there was a store: before-restore-1-" in line
        assert "`relay restore --undo`" in line
    assert not (data / "relay.db").exists()
    done("restore", "--undo", data=data)
    assert "today" in done("export", data=data).out


def restored_by_0_1_0(data: Path, steps: int) -> None:
    """Do what a restore of relay 0.1.0 did, up to where it was killed."""
    aside = ".before-restore"
    for name in ("relay.db", "relay.db-wal", "relay.db-shm", "files")[:steps]:
        if (data / name).exists():
            (data / name).rename(data / f"{name}{aside}")
    if steps > 4:
        (data / "files" / "cd").mkdir(parents=True)
        (data / "files" / "cd" / ("cd" * 32)).write_bytes(b"of the backup")
    (data / ".relay-restore-ab_cdef1").mkdir()
    (data / ".relay-restore-ab_cdef1" / "relay.db").write_bytes(b"of the backup")


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5])
def test_a_restore_that_relay_0_1_0_left_half_done_can_be_undone(data: Path, tmp_path: Path, steps: int) -> None:
    upload = data / "files" / "ab" / ("ab" * 32)
    upload.parent.mkdir(parents=True, exist_ok=True)
    upload.write_bytes(b"pixels")
    with closing(sqlite3.connect(data / "relay.db")) as reader:
        # While somebody reads, the log stays when the relay ends.
        reader.execute("SELECT count(*) FROM log").fetchall()
        done("send", "--as", "anna", "ben", "today", data=data)
        assert (data / "relay.db-wal").stat().st_size > 0
        left = tmp_path / "left"
        shutil.copytree(data, left)
    restored_by_0_1_0(left, steps)
    line = said(run("user", "list", data=left))
    assert "relay.db is missing, but there was a store" in line
    assert "`relay restore --undo`" in line
    assert not (left / "relay.db").exists()
    done("restore", "--undo", data=left)
    assert "today" in done("export", data=left).out
    assert (left / "files" / "ab" / ("ab" * 32)).read_bytes() == b"pixels"
    assert not (left / ".relay-restore-ab_cdef1").exists()


def test_the_store_that_a_restore_of_relay_0_1_0_put_aside_comes_back(data: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "today", data=data)
    restored_by_0_1_0(data, 4)
    done("restore", "--undo", data=data)
    assert "today" in done("export", data=data).out
    assert (data / "relay.db.before-restore").exists(), "it is a copy that came back"
    (data / "relay.db").unlink()
    with tarfile.open(backup) as tar:
        member = tar.extractfile("relay.db")
        assert member is not None
        (data / "relay.db").write_bytes(member.read())
    done("restore", "--undo", "--yes", data=data)
    assert "today" in done("export", data=data).out


def test_a_store_that_cannot_be_opened_now_is_not_reported_as_damaged(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)

    def fail(store: Path) -> backups.LogEnd:
        if store == data / "relay.db":
            raise sqlite3.OperationalError("disk I/O error")
        return backups.end(store)

    monkeypatch.setattr("relay.store.backup.restore.end", fail)
    before = modes(data)
    line = said(run("restore", backup, "--yes", "--force", data=data))
    assert line == f"nothing was restored: {data / 'relay.db'} cannot be read (disk I/O error): {UNSURE}"
    assert modes(data) == before


# What is no backup.


def _archive(path: Path, store: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("relay.db")
        member.size = len(store)
        tar.addfile(member, io.BytesIO(store))


def test_a_file_that_is_no_backup_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
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


def test_a_pipe_is_not_asked_for_confirmation(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "b.tar", data=data)
    for command, question in (
        (("restore", str(tmp_path / "b.tar")), f"Put {tmp_path / 'b.tar'} in place of the store in {data}?"),
        (("prune", "--days", "1"), "Remove old messages for good?"),
    ):
        assert run(*command, data=data) == (2, "", f"relay: {question} Say so with --yes\n")
    assert not list(data.glob(".relay-*"))


# A restore that was killed.


def test_a_restore_that_was_killed_is_finished_by_the_relay_and_named_by_doctor(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    done("send", "--as", "anna", "ben", "today", data=data)

    def killed(_directory: Path, _plan: replacing.Replacement) -> None:
        raise OSError(5, "killed here")

    with monkeypatch.context() as patched:
        patched.setattr(replacing, "finish", killed)
        assert run("restore", backup, "--yes", "--force", data=data).code == 1
    found = {finding["what"] for finding in run("doctor", "--json", data=data).json if finding["check"] == "leftovers"}
    assert "a restore was interrupted" in found
    with running(data) as relay:
        assert "finished a restore that was interrupted; what was there before is kept in" in relay.log.read_text()
        assert "today" not in done("export", data=data).out
    found = {finding["what"] for finding in run("doctor", "--json", data=data).json if finding["check"] == "leftovers"}
    assert [what.partition(":")[0] for what in found] == ["stores from before a restore are kept"]
    done("restore", "--undo", "--yes", "--force", data=data)
    assert "today" in done("export", data=data).out


def test_a_restore_over_a_disk_that_is_mounted_in_the_data_is_refused_before_anything_is_moved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "files")
    line = said(run("restore", tmp_path / "backup.tar", "--yes", data=data))
    assert line == (
        f"nothing was restored: {data / 'files'} is a disk of its own and cannot be put aside: unmount it first"
    )
    assert not [path for path in data.iterdir() if path.name.startswith((".relay", "before", "relay.replacing"))]


def test_a_command_that_only_reads_finishes_a_killed_restore(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    for number, command in enumerate((("check",), ("backup", tmp_path / "other.tar")), 1):
        with monkeypatch.context() as patched:
            patched.setattr(replacing, "finish", lambda *_: None)
            done("restore", backup, "--yes", data=data)
        done(*command, data=data)
        assert len(replacing.kept(data, replacing.STORE)) == number
    with monkeypatch.context() as patched:
        patched.setattr(replacing, "finish", lambda *_: None)
        done("restore", backup, "--yes", data=data)
    with locked(data):
        for command in (("check",), ("backup", tmp_path / "third.tar")):
            assert "already has" in said(run(*command, data=data))


def test_scratch_of_a_killed_command_is_reported_and_then_removed(data: Path) -> None:
    for left in (data / ".relay-restore-01234567", data / "backups" / ".relay-backup-01234567"):
        (left / "files").mkdir(parents=True)
    whats = [one["what"] for one in run("doctor", "--json", data=data).json if one["check"] == "leftovers"]
    assert len(whats) == 2
    assert all("was left by a command that was killed" in what for what in whats)
    done("user", "list", data=data)
    assert not list(data.rglob(".relay-*"))


@pytest.mark.untraced
@pytest.mark.parametrize("part", ["the copy of the store", "the archive"])
def test_a_backup_beyond_the_file_size_limit_leaves_nothing(part: str, data: Path, tmp_path: Path) -> None:
    stick = tmp_path / "stick"
    stick.mkdir()
    done("backup", stick / "b.tar", data=data)
    # Less than the -shm file has, the store itself could not be read with.
    largest = (
        (data / "relay.db").stat().st_size if part == "the copy of the store" else (stick / "b.tar").stat().st_size
    )
    blocks = max(32, largest // 1_024 - 4)
    (stick / "b.tar").unlink()
    limited = ["bash", "-c", f'ulimit -f {blocks}; exec "$@"', "-", sys.executable, "-m", "relay"]
    ran = subprocess.run(
        [*limited, "backup", str(stick / "b.tar"), "--data", str(data)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"relay: {stick / 'b.tar'} cannot be written: no file may be so large there: FAT32")
    assert ran.stderr.count("\n") == 1
    assert list(stick.iterdir()) == []
    done("backup", stick / "b.tar", data=data)
