"""Restores: what they keep and refuse, and how to undo and finish them."""

import io
import os
import shutil
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from relay.cli.offline import CommandTuning
from relay.store.files import replacing
from relay.store.files.lock import locked
from tests.support.command_line import done, run, running, said


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
    # It is there already: an entry that only marks the restore itself is not a loss.
    again = done("restore", backup, "--yes", "--json", data=data).json
    assert not any(again["lost"].values())
    assert done("restore", backup, "--json", data=tmp_path / "new").json["kept"] is None


def test_two_restores_keep_separate_stores_and_both_can_be_undone(data: Path, tmp_path: Path) -> None:
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
    # An undo also keeps the store it replaces, so it can be undone itself.
    line = said(run("restore", "--undo", "--yes", data=data))
    assert "1 message more than what was put aside" in line
    done("restore", "--undo", "--yes", "--force", data=data)
    assert "after it" not in done("export", data=data).out
    with closing(sqlite3.connect(Path(first) / "relay.db")) as kept:
        assert kept.execute("SELECT message FROM log WHERE message = 'today'").fetchall() == [("today",)]
    assert done("check", data=data).code == 0


def test_undo_without_a_restore_is_refused(data: Path, tmp_path: Path) -> None:
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


def test_no_store_is_created_beside_one_kept_by_a_restore(data: Path, tmp_path: Path) -> None:
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
    """Repeat the steps of a restore by relay 0.1.0, up to the kill."""
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
def test_restore_left_half_done_by_relay_0_1_0_can_be_undone(data: Path, tmp_path: Path, steps: int) -> None:
    upload = data / "files" / "ab" / ("ab" * 32)
    upload.parent.mkdir(parents=True, exist_ok=True)
    upload.write_bytes(b"pixels")
    with closing(sqlite3.connect(data / "relay.db")) as reader:
        # The write-ahead log stays after the command while there is a reader.
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


def test_store_put_aside_by_relay_0_1_0_comes_back(data: Path, tmp_path: Path) -> None:
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


def _archive(path: Path, store: bytes) -> None:
    with tarfile.open(path, "w") as tar:
        member = tarfile.TarInfo("relay.db")
        member.size = len(store)
        tar.addfile(member, io.BytesIO(store))


def test_file_that_is_not_a_backup_is_refused_in_one_line(data: Path, tmp_path: Path) -> None:
    text, cut, other, missing = (tmp_path / name for name in ("text.tar", "cut.tar", "other.tar", "missing.tar"))
    text.write_text("this is not an archive")
    done("backup", cut, data=data)
    cut.write_bytes(cut.read_bytes()[:5_000])
    _archive(other, b"this is not a database" * 100)
    for file, line in (
        (text, f"nothing was restored: {text} is not a backup of a relay, or only a part of one: name another"),
        (cut, f"nothing was restored: {cut} is not a backup of a relay, or only a part of one: name another"),
        (other, f"nothing was restored: {other} is damaged (file is not a database)"),
        (missing, f"{missing} cannot be read: it is not there"),
        (tmp_path, f"{tmp_path} cannot be read: it is a folder"),
    ):
        assert said(run("restore", file, "--yes", data=data)) == line
    with locked(data):
        ran = run("restore", cut, "--yes", data=data, tuning=CommandTuning(wait_seconds=0.2))
        assert "stop the relay first" in said(ran)


def test_pipe_is_not_asked_for_confirmation(data: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "b.tar", data=data)
    for command, question in (
        (("restore", str(tmp_path / "b.tar")), f"Put {tmp_path / 'b.tar'} in place of the store in {data}?"),
        (("prune", "--days", "1"), "Remove old messages for good?"),
    ):
        assert run(*command, data=data) == (2, "", f"relay: {question} Say so with --yes\n")
    assert not list(data.glob(".relay-*"))


def test_killed_restore_is_finished_by_the_relay_and_reported_by_doctor(
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


def test_restore_over_a_mounted_folder_is_refused_before_anything_is_moved(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("backup", tmp_path / "backup.tar", data=data)
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path).name == "files")
    line = said(run("restore", tmp_path / "backup.tar", "--yes", data=data))
    assert line == (
        f"nothing was restored: {data / 'files'} is a disk of its own and cannot be put aside: unmount it first"
    )
    assert not [path for path in data.iterdir() if path.name.startswith((".relay", "before", "relay.replacing"))]


def test_reading_command_finishes_a_killed_restore(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup = tmp_path / "backup.tar"
    done("backup", backup, data=data)
    for number, command in enumerate((("check",), ("backup", tmp_path / "other.tar")), 1):
        with monkeypatch.context() as patched:
            patched.setattr(replacing, "finish", lambda *_: None)
            done("restore", backup, "--yes", data=data)
        done(*command, data=data)
        assert len(replacing.kept(data, replacing.STORE_WITH_FILES)) == number
    with monkeypatch.context() as patched:
        patched.setattr(replacing, "finish", lambda *_: None)
        done("restore", backup, "--yes", data=data)
    with locked(data):
        for command in (("check",), ("backup", tmp_path / "third.tar")):
            assert "already has" in said(run(*command, data=data))
