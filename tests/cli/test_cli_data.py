"""A data directory or settings that cannot be used: one line in every command, which says what to do."""

import errno
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.data_dir import errors
from relay.store.files.lock import locked
from tests.support.command_line import done, run

COMMANDS = (("user", "list"), ("user", "add", "anna"), ("send", "--as", "anna", "anna", "hi"), ("export",), ("prune",))
NOBODY = 65_534


def said(*arguments: str | Path, data: Path) -> str:
    """The one line in which a command says what is in the way."""
    ran = run(*arguments, data=data)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), ran
    return ran.err.removeprefix("relay: ").rstrip("\n")


# Settings.


@pytest.mark.parametrize("command", COMMANDS)
def test_a_broken_settings_file_is_reported(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("listen = [")
    monkeypatch.setenv("RELAY_CONFIG", str(file))
    (tmp_path / "data").mkdir()
    assert said(*command, data=tmp_path / "data").startswith(f"{file} is no TOML: ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RELAY_LIMITS_CONNECTIONS", 'RELAY_LIMITS_CONNECTIONS: limits.connections: must be a whole number, not "x"'),
        ("RELAY_LIMIT_CONNECTIONS", "RELAY_LIMIT_CONNECTIONS is unknown: did you mean RELAY_LIMITS_CONNECTIONS?"),
        ("RELAY_NOPE", "the variable RELAY_NOPE is unknown; `relay config show` names all"),
    ],
)
def test_a_wrong_variable_is_reported(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert said("user", "list", data=tmp_path).endswith(text)


# No directory.


@pytest.mark.parametrize("command", [*COMMANDS, ("tls", "init"), ("restore", "x.tar")])
def test_a_data_directory_that_is_a_file_is_reported(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert said(*command, data=file) == f"{file} is no directory: name another with --data"


@pytest.mark.parametrize("command", [("user", "add", "anna"), ("tls", "init"), ("restore", "x.tar")])
@pytest.mark.parametrize(
    ("data", "why"), [("/dev/null/x", "Not a directory"), ("/proc/x", "No such file or directory")]
)
def test_a_data_directory_that_cannot_be_made_is_reported(command: tuple[str, ...], data: str, why: str) -> None:
    assert said(*command, data=Path(data)) == f"{data} cannot be made ({why}): name another directory with --data"


# A disk that cannot be written.


@pytest.mark.parametrize(
    ("number", "why", "help_"),
    [(errno.EROFS, "", "mount its disk for writing"), (errno.ENOSPC, ": its disk is full", "make room there")],
)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_that_cannot_be_written_is_reported(
    command: tuple[str, ...], number: int, why: str, help_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "ftruncate", fail)
    line = said(*command, data=tmp_path)
    assert line.startswith(f"{tmp_path}/relay.lock cannot be written{why} ({os.strerror(number)}): {help_}")


def test_a_lock_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match=r"full: .*relay\.lock"), locked(tmp_path):
        pass


def test_a_store_that_cannot_be_opened_now_is_reported_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))
    assert errors.what_to_do(error, tmp_path).endswith("make room there by moving other files away")
    monkeypatch.setattr(errors, "is_read_only", lambda _path: True)
    assert errors.what_to_do(error, tmp_path).endswith(": mount its disk for writing")


# Somebody who may not.


@pytest.fixture
def closed() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can run a command as somebody else")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        data = Path(folder, "data")
        done("user", "add", "anna", data=data)
        yield data


def as_nobody(*arguments: str | Path, data: Path) -> str:
    """Run a command as somebody else, once as root before it: they may not even be allowed to import it."""
    run(*arguments, data=data)
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        return said(*arguments, data=data)
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@pytest.mark.parametrize("command", [*COMMANDS, ("status",), ("check",), ("backup", "/dev/null")])
def test_a_directory_without_permission_is_reported_with_who_may_enter(command: tuple[str, ...], closed: Path) -> None:
    line = as_nobody(*command, data=closed)
    assert line.startswith(f"you may not use {closed}/relay.")
    assert line.endswith(": run this as root or as a member of the group relay")


def test_a_store_that_is_read_only_for_the_user_is_not_reported_as_damaged(closed: Path) -> None:
    closed.chmod(0o755)
    (closed / "relay.db").chmod(0o644)
    line = as_nobody("check", data=closed)
    assert line.endswith(f"you may not use {closed}/relay.db: run this as the relay's user or as root")
