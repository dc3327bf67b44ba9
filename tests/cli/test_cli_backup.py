"""Backups: their content, their permissions, and leftovers of killed or failed ones."""

import errno
import hashlib
import os
import re
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest

from relay.store.backup import archive as backups
from relay.store.contents import ContentSource, SourceFailed
from relay.store.files import scratch
from tests.support.command_line import done, modes, run, running, said


@pytest.mark.parametrize("command", ["backup", "refused restore", "check", "doctor"])
def test_reading_a_closed_store_leaves_no_files_beside_it(command: str, data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "before.tar", data=data)
    done("user", "add", "carl", data=data)
    before = modes(data)
    if command == "refused restore":
        assert "1 person more than the backup" in said(run("restore", tmp_path / "before.tar", "--yes", data=data))
    else:
        run(command, *([tmp_path / "after.tar"] if command == "backup" else []), data=data)
    assert modes(data) == before


def test_messages_in_a_killed_relays_log_survive_a_backup(data: Path, tmp_path: Path) -> None:
    with running(data) as relay:
        done("user", "add", "carl", data=data)
        relay.process.kill()
        relay.process.wait(10)
    log = (data / "relay.db-wal").read_bytes()
    assert log
    done("backup", tmp_path / "backup.tar", data=data)
    assert (data / "relay.db-wal").read_bytes() == log
    assert "carl" in done("user", "list", data=data).out


def test_backup_is_readable_only_by_its_owner(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    assert modes(tmp_path)["backup.tar"] == "-rw-------"


def test_incomplete_backup_names_the_missing_uploaded_file(data: Path, tmp_path: Path) -> None:
    backup, torn = tmp_path / "backup.tar", tmp_path / "torn.tar"
    content = data / "files" / "ab" / ("ab" * 32)
    content.parent.mkdir(parents=True)
    content.write_bytes(b"not what its name says")
    done("backup", backup, data=data)
    ran = done("restore", backup, "--yes", data=data)
    assert f"incomplete in the backup: files/ab/{'ab' * 32}" in ran.out
    assert not torn.exists()


def test_backup_names_missing_uploaded_files(data: Path, tmp_path: Path) -> None:
    # opencats/OpenCATS#258, signalapp/Signal-Android#9136: found only at the restore.
    digests = [hashlib.sha256(content).hexdigest() for content in (b"a", b"b")]
    with closing(sqlite3.connect(data / "relay.db")) as store:
        for digest in digests:
            store.execute("INSERT INTO file VALUES (?1, ?1, 1, 'a', 'text/plain', 1, NULL, NULL, 0)", (digest,))
        store.commit()
    there, missing = (data / "files" / digest[:2] / digest for digest in digests)
    for path in (there, missing):
        path.parent.mkdir(parents=True)
    there.write_bytes(b"a")
    ran = run("backup", tmp_path / "backup.tar", data=data)
    assert ran.code == 1
    assert f"missing in {data}, and so in the backup: files/{missing.parent.name}/{missing.name}\n" in ran.out
    assert there.name not in ran.out
    again = run("backup", tmp_path / "backup.tar", "--json", data=data)
    assert again.json["missing"] == [f"files/{missing.parent.name}/{missing.name}"]
    missing.write_bytes(b"b")
    assert "missing" not in done("backup", tmp_path / "backup.tar", "--json", data=data).json


CONTENT = bytes(range(256)) * 200


def uploaded(data: Path, content: bytes) -> Path:
    """Put an uploaded file into a closed store."""
    digest = hashlib.sha256(content).hexdigest()
    with closing(sqlite3.connect(data / "relay.db")) as store:
        size = len(content)
        store.execute("INSERT INTO file VALUES (?1, ?1, 1, 'a', 'text/plain', ?2, NULL, NULL, 9e12)", (digest, size))
        store.commit()
    path = data / "files" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def failing_disk(monkeypatch: pytest.MonkeyPatch, bad: Path) -> None:
    """Let all reads of a file fail after its first bytes, as on a card with a bad sector."""
    real = Path.open

    class Failing:
        def __init__(self, file: Any) -> None:
            self.file = file
            self.reads = 0

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def fileno(self) -> int:
            return int(self.file.fileno())

        def read(self, size: int = -1) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return bytes(self.file.read(min(size, 1_000)))

    def opening(path: Path, *arguments: Any, **options: Any) -> Any:
        file = real(path, *arguments, **options)
        return Failing(file) if path == bad else file

    monkeypatch.setattr(Path, "open", opening)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "emptied": (lambda path: path.write_bytes(b""), "spoilt"),
    "cut": (lambda path: path.write_bytes(CONTENT[:10]), "spoilt"),
    "changed": (lambda path: path.write_bytes(bytes(1_000) + CONTENT[1_000:]), "spoilt"),
    "gone": (lambda path: path.unlink(), "missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_upload_is_named_by_backup_restore_and_check(data: Path, tmp_path: Path, damage: str) -> None:
    bad, good = uploaded(data, CONTENT), uploaded(data, b"good")
    target, kept, name = tmp_path / "b.tar", tmp_path / "b.tar.incomplete", f"files/{bad.parent.name}/{bad.name}"
    done("backup", target, data=data)
    whole = target.read_bytes()
    do, condition = DAMAGE[damage]
    do(bad)
    ran = run("backup", target, data=data)
    assert ran.code == 1
    words = {"spoilt": "and so not whole in the backup", "missing": "and so in the backup"}[condition]
    assert f"{condition} in {data}, {words}: {name}\n" in ran.out
    assert f"kept as {kept}" in ran.err
    assert target.read_bytes() == whole
    in_json = run("backup", target, "--json", data=data).json
    assert (in_json[condition], in_json["file"]) == ([name], str(kept))
    restored = done("restore", kept, "--yes", data=tmp_path / "again")
    assert f"incomplete in the backup: {name}\n" in restored.out
    assert (tmp_path / "again" / good.relative_to(data)).read_bytes() == b"good"
    for place in (data, tmp_path / "again"):
        checked = run("check", data=place)
        assert checked.code == 1
        assert re.search(rf"{bad.name} is (spoilt|missing)", checked.out)
    bad.write_bytes(CONTENT)
    done("backup", target, data=data)
    assert not kept.exists()
    done("check", data=data)


def test_an_upload_on_a_bad_sector_is_left_out_and_the_rest_backed_up(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, *good = (uploaded(data, content) for content in (CONTENT, b"one", b"two", b"three"))
    name, kept = f"files/{bad.parent.name}/{bad.name}", tmp_path / "b.tar.incomplete"
    failing_disk(monkeypatch, bad)
    ran = run("backup", tmp_path / "b.tar", data=data)
    assert ran.code == 1
    assert f"cannot be read in {data} (its disk fails), and so not in the backup: {name}\n" in ran.out
    assert "cannot be written" not in ran.err
    with tarfile.open(kept) as tar:
        assert {member for member in tar.getnames() if member.startswith("files/")} == {
            f"files/{path.parent.name}/{path.name}" for path in good
        }
    assert f"{bad} cannot be read: Input/output error" in run("check", data=data).out
    exported = done("export", "--files", tmp_path / "out.tar", data=data)
    assert "cannot be written" not in exported.err
    done("restore", kept, "--yes", data=tmp_path / "again")


def test_a_backup_that_cannot_be_read_is_named_by_the_restore(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploaded(data, CONTENT)
    done("backup", tmp_path / "b.tar", data=data)
    real = ContentSource.read

    def failing(source: ContentSource, size: int = -1) -> bytes:
        if source.tell() > 10_000:
            monkeypatch.setattr(ContentSource, "read", real)
            monkeypatch.undo()
            raise SourceFailed(OSError(errno.EIO, os.strerror(errno.EIO)))
        return real(source, size)

    monkeypatch.setattr(ContentSource, "read", failing)
    said_ = said(run("restore", tmp_path / "b.tar", "--yes", data=tmp_path / "again"))
    assert said_ == f"{tmp_path / 'b.tar'} cannot be read: its disk fails"


def test_a_backup_replaces_a_backup_and_nothing_else(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "office.pid"
    file.write_text("4711\n")
    assert said(run("backup", file, data=data)) == (
        f"nothing was written: {file} is not a backup of a relay, and only those are replaced: name another file"
    )
    assert file.read_text() == "4711\n"
    other = tmp_path / "holiday.tar"
    with tarfile.open(other, "w") as tar:
        tar.add(file, "files/holiday.jpg")
    assert "is not a backup of a relay" in said(run("backup", other, data=data))
    earlier, empty = tmp_path / "earlier.tar", tmp_path / "empty.tar"
    with tarfile.open(earlier, "w") as tar:
        tar.add(data / "relay.db", "relay.db")
    empty.touch()
    for name in (earlier, empty, earlier):
        done("backup", name, data=data)
        assert backups.is_backup(name)


def test_head_of_a_backup_names_its_relay_and_time(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert re.fullmatch(r"chat-relay backup, made by version \S+ on 20\d\d-.. ?.* UTC", tar.pax_headers["comment"])
        assert tar.getnames() == ["relay.db"]


def test_a_backup_that_would_fill_the_disk_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "relay.store.backup.archive.shutil.disk_usage", lambda _: SimpleNamespace(total=10**9, used=10**9, free=10_000)
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
    # With less than the size of the -shm file, the store itself could not be read.
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
