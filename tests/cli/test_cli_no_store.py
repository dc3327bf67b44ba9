"""A directory without a store, as an empty mount point: only commands that make things begin one there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from relay.cli.app import build
from relay.cli.offline import CommandTuning
from relay.store.files.lock import locked
from tests.support.command_line import done, run, running, said

BEGINNERS = {"user add", "user import", "import", "restore"}
"""The commands that may begin a store, besides `relay serve`."""
ENDLESS = {"serve", "bench"}
"""Commands that serve until they are stopped; `bench` has a directory of its own."""
READERS = (
    "user list", "user show anna", "chat list", "chat show ops", "hook list", "device list", "invite list", "audit",
    "export", "prune --days 1 --yes", "send --as anna ben hi", "reindex",
)  # fmt: skip


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, sub in command.commands.items():
        full = f"{name} {word}".strip()
        yield from commands(full, sub) if hasattr(sub, "commands") else [(full, sub)]


COMMANDS = {name: command for name, command in commands("", typer.main.get_command(build())) if name not in ENDLESS}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What the commands that make things read."""
    there = tmp_path / "there"
    done("user", "add", "anna", data=there)
    done("backup", tmp_path / "backup.tar", data=there)
    done("export", tmp_path / "export.jsonl", data=there)
    (tmp_path / "users.csv").write_text("ben,Ben\n")
    return {
        "user import": tmp_path / "users.csv",
        "import": tmp_path / "export.jsonl",
        "restore": tmp_path / "backup.tar",
    }


def typed(name: str, command: Any, files: dict[str, Path]) -> list[str]:
    """Type a command with all that it requires."""
    words = name.split()
    for param in command.params:
        options = [one for one in param.opts if one.startswith("--")]
        if options == ["--yes"]:
            words.append("--yes")
        elif param.required or (name == "restore" and param.param_type_name == "argument"):
            words += [*options[:1], str(files.get(name, "1"))]
    return words


@pytest.mark.parametrize("name", COMMANDS)
def test_only_commands_that_make_things_begin_a_store(
    name: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = tmp_path / "mountpoint"
    empty.mkdir()
    monkeypatch.chdir(tmp_path)
    with_data = any("--data" in param.opts for param in COMMANDS[name].params)
    ran = run(*typed(name, COMMANDS[name], files), data=empty if with_data else None)
    assert "Traceback" not in ran.err
    assert (empty / "relay.db").exists() == (name in BEGINNERS), ran


@pytest.mark.parametrize("command", [*READERS, "check", "repair", "backup x.tar"])
@pytest.mark.parametrize("state", ["missing", "empty", "lost+found"])
def test_directory_without_a_store_is_refused_in_the_same_words_by_all_that_read(
    command: str, state: str, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    if state != "missing":
        data.mkdir()
    if state == "lost+found":
        (data / "lost+found").mkdir()
    before = list(data.iterdir()) if data.exists() else None
    words = "`relay serve` makes one, or name its directory with --data"
    assert said(run(*command.split(), data=data)) == f"there is no relay in {data}: {words}"
    assert (list(data.iterdir()) if data.exists() else None) == before


def test_empty_file_in_place_of_a_store_is_not_begun_by_a_list(tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()
    assert "relay.db is empty" in said(run("user", "list", data=tmp_path))
    assert not (tmp_path / "relay.db").stat().st_size


def test_dry_import_into_a_directory_without_a_store_leaves_it_as_it_was(
    files: dict[str, Path], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    (data / "lost+found").mkdir(parents=True)
    assert done("import", files["import"], "--dry-run", "--json", data=data).json["dryRun"]
    assert list(data.iterdir()) == [data / "lost+found"]


def test_list_waits_for_a_process_that_is_about_to_begin_the_store(tmp_path: Path) -> None:
    with locked(tmp_path):
        ran = run("user", "list", data=tmp_path, tuning=CommandTuning(wait_seconds=0.1))
    assert "already has" in ran.err


def test_backup_of_a_store_without_an_entry_replaces_no_backup_that_has_some(
    files: dict[str, Path], tmp_path: Path
) -> None:
    data, file = tmp_path / "mountpoint", files["restore"]
    with running(data):
        pass
    good = file.read_bytes()
    refused = said(run("backup", file, data=data))
    assert f"{file} has messages or users, and the store in {data} has none" in refused
    assert "--force" in refused
    assert file.read_bytes() == good
    assert not list(tmp_path.glob(".relay-*"))
    done("backup", tmp_path / "new.tar", data=data)
    done("backup", tmp_path / "new.tar", data=data)
    done("backup", file, "--force", data=data)
    assert file.read_bytes() != good
