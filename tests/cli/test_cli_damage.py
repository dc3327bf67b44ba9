"""Messages of commands about a damaged store, and the store afterwards."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from relay.store.backup import archive as backups
from tests.support.command_line import done, modes, run, said

UNSURE = "see whether its disk is full or read-only, make room there, and try again"


def _text(store: Path) -> None:
    store.write_text("this is not a database")


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
"""The advice for cases in which a backup is not the first choice."""
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


@pytest.mark.parametrize("marks", [("application_id", "user_version"), ("user_version",)])
def test_a_store_that_was_read_in_from_a_dump_is_called_that(data: Path, marks: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(data / "relay.db")) as opened:
        for mark in marks:
            opened.execute(f"PRAGMA {mark} = 0")
    for command in (("user", "list"), ("check",), ("backup", str(data.parent / "backup.tar"))):
        line = said(run(*command, data=data))
        assert "its tables are a relay's" in line
        assert "maybe from a dump" in line
        assert "`relay restore FILE`" in line
        assert "disk is full" not in line
        assert "belongs to another program" not in line


def test_backup_of_an_internally_damaged_store_replaces_no_good_one(data: Path, tmp_path: Path) -> None:
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


def test_temporarily_unavailable_store_is_not_reported_as_damaged(
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
