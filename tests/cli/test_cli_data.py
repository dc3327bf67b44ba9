"""An unusable data directory or invalid settings: every command says in one line what is wrong and what to do."""

import errno
import grp
import os
import pwd
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from relay.cli.paths import cannot_write
from relay.core.relay import open_relay, read_relay
from relay.protocol import control
from relay.protocol.control import LISTING_REQUESTS
from relay.store.data_dir import errors
from relay.store.files import room
from relay.store.files.directory import about_file
from relay.store.files.lock import locked
from relay.store.files.room import Room
from tests.support.command_line import done, run
from tests.support.disk import people

COMMANDS = (("user", "list"), ("user", "add", "anna"), ("send", "--as", "anna", "anna", "hi"), ("export",), ("prune",))
NOBODY = 65_534


def said(*arguments: str | Path, data: Path) -> str:
    """Run a command that fails, and return the one line that it prints."""
    ran = run(*arguments, data=data)
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1), ran
    return ran.err.removeprefix("relay: ").rstrip("\n")


# Settings.


@pytest.mark.parametrize("command", COMMANDS)
def test_an_invalid_settings_file_is_reported_by_every_command(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "relay.toml"
    file.write_text("listen = [")
    monkeypatch.setenv("RELAY_CONFIG", str(file))
    (tmp_path / "data").mkdir()
    assert said(*command, data=tmp_path / "data").startswith(f"{file} is not valid TOML")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RELAY_LIMITS_CONNECTIONS", 'RELAY_LIMITS_CONNECTIONS: limits.connections: must be a whole number, not "x"'),
        ("RELAY_LIMIT_CONNECTIONS", "RELAY_LIMIT_CONNECTIONS is unknown: did you mean RELAY_LIMITS_CONNECTIONS?"),
        ("RELAY_NOPE", "the variable RELAY_NOPE is unknown; `relay config show` names all"),
    ],
)
def test_an_invalid_variable_is_reported(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "x")
    assert said("user", "list", data=tmp_path).endswith(text)


# No directory.


@pytest.mark.parametrize("command", [*COMMANDS, ("tls", "init"), ("restore", "x.tar")])
def test_a_data_directory_that_is_a_file_is_refused(command: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert said(*command, data=file) == f"{file} is not a directory: name another with --data"


@pytest.mark.parametrize("command", [("user", "add", "anna"), ("tls", "init"), ("restore", "x.tar")])
@pytest.mark.parametrize(
    ("data", "why"), [("/dev/null/x", "Not a directory"), ("/proc/x", "No such file or directory")]
)
def test_a_data_directory_that_cannot_be_made_is_refused_with_the_reason(
    command: tuple[str, ...], data: str, why: str
) -> None:
    assert said(*command, data=Path(data)) == f"{data} cannot be made ({why}): name another directory with --data"


# A read-only disk.


@pytest.mark.parametrize("command", COMMANDS)
def test_a_read_only_disk_is_reported_by_every_command(
    command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    done("user", "add", "ben", data=tmp_path)
    monkeypatch.setattr(os, "ftruncate", fail)
    line = said(*command, data=tmp_path)
    why = f"({os.strerror(errno.EROFS)}): mount its disk for writing"
    assert line.startswith(f"{tmp_path}/relay.lock cannot be written {why}")


PAYLOADS: dict[str, msgspec.Struct] = {
    "user.show": control.OneUser(id="User1"),
    "audit.list": control.Audit(),
    "export": control.Export(),
    "device.list": control.ListDevices(),
}
"""The payloads of requests that list, where they are not empty."""


@pytest.mark.parametrize("name", sorted(LISTING_REQUESTS - {"config.show"}))
async def test_requests_that_list_are_answered_without_a_lock_or_a_writer(name: str, tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await relay.admin.handle("chat.create", control.MakeChat(name="fish", owner="User1"))
    (tmp_path / "relay.lock").unlink()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with trio.fail_after(5):
        async with read_relay(tmp_path) as relay:
            (chat,) = [one.id for one in relay.state.chats.values() if one.id]
            payload = control.OneChat(id=chat) if name == "chat.show" else PAYLOADS.get(name, control.Empty())
            await relay.admin.handle(name, payload)
            assert not relay.log.waiting
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_error_of_the_lock_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> int:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "pwrite", fail)
    with pytest.raises(OSError, match=r"broken: .*relay\.lock"), locked(tmp_path):
        pass


def test_unavailable_store_is_reported_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    monkeypatch.setattr(room, "of", lambda _path: Room(0, 10, 10, 10, read_only=False))
    assert errors.what_to_do(error, tmp_path).endswith("make room there by moving other files away")
    monkeypatch.setattr(room, "of", lambda _path: Room(10**9, 10**9, 0, 10, read_only=False))
    assert "no free inodes" in errors.what_to_do(error, tmp_path)
    monkeypatch.setattr(errors, "is_read_only", lambda _path: True)
    assert errors.what_to_do(error, tmp_path).endswith(": mount its disk for writing")


def test_error_on_another_file_does_not_name_the_output_file(tmp_path: Path) -> None:
    target, lock = tmp_path / "out" / "x.jsonl", tmp_path / "data" / "relay.lock"
    said = str(cannot_write(target, OSError(errno.EROFS, "Read-only file system", str(lock))))
    assert said.startswith(f"{lock} cannot be written")
    hidden = target.parent / ".relay-export-abcdefgh" / "x.jsonl"
    for named in (target, target.parent, hidden):
        said = str(cannot_write(target, OSError(errno.EROFS, "Read-only file system", str(named))))
        assert said == f"{target} cannot be written: its disk is read-only"


# A user without permission.


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
    """Run a command as another user, after one run as root: that user may not even be allowed to import it."""
    run(*arguments, data=data)
    with nobody():
        return said(*arguments, data=data)


@contextmanager
def nobody() -> Iterator[None]:
    """Run as another user."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, 0)
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


@pytest.mark.parametrize("command", [*COMMANDS, ("status",), ("check",), ("backup", "/dev/null")])
def test_error_without_access_to_the_directory_names_its_owner(command: tuple[str, ...], closed: Path) -> None:
    line = as_nobody(*command, data=closed)
    assert line.startswith(f"you may not use {closed}/relay.")
    assert line.endswith(": run this as root or as a member of the group relay")


def test_store_without_write_permission_is_not_reported_as_damaged(closed: Path) -> None:
    closed.chmod(0o755)
    (closed / "relay.db").chmod(0o644)
    line = as_nobody("check", data=closed)
    assert line.endswith(f"you may not use {closed}/relay.db: run this as the relay's user or as root")


@pytest.mark.parametrize("name", ["relay.db", "relay.db-wal", "relay.db-shm", "relay.lock", "files"])
def test_relays_user_is_told_which_file_belongs_to_root_and_what_to_type(name: str, closed: Path) -> None:
    done("user", "list", data=closed)
    path = closed / name
    path.mkdir(exist_ok=True) if name == "files" else path.touch()
    for one in (closed, *closed.iterdir()):
        os.chown(one, NOBODY, NOBODY)
    os.chown(path, 0, 0)
    path.chmod(0o755 if path.is_dir() else 0o644)
    with nobody():
        error = sqlite3.OperationalError("attempt to write a readonly database")
        told = errors.what_to_do(error, closed)
        refused = about_file(PermissionError(errno.EACCES, "no", str(path / "ab" if path.is_dir() else path)))
    user, group = pwd.getpwuid(NOBODY).pw_name, grp.getgrgid(NOBODY).gr_name
    option = "-R " if path.is_dir() else ""
    advice = f"{path} belongs to root, and the relay runs as {user}: as root, `chown {option}{user}:{group} {path}`"
    assert told.endswith(f": {advice}")
    assert refused == advice


def test_store_that_belongs_to_root_is_not_reported_as_a_full_disk(closed: Path) -> None:
    os.chown(closed, NOBODY, NOBODY)
    os.chown(closed / "relay.lock", NOBODY, NOBODY)
    (closed / "relay.db").chmod(0o644)
    with nobody():
        line = said("user", "add", "ben", data=closed)
    assert "relay.db belongs to root" in line
    assert "`chown " in line
    assert "disk" not in line


def test_read_only_store_of_the_relays_user_is_reported_with_chmod(closed: Path) -> None:
    for one in (closed, *closed.iterdir()):
        os.chown(one, NOBODY, NOBODY)
    (closed / "relay.db").chmod(0o440)
    with nobody():
        line = said("user", "add", "ben", data=closed)
    assert line.endswith(f"`chmod u+rw {closed}/relay.db`")


def test_read_only_directory_of_the_relays_user_is_reported_with_chmod(closed: Path) -> None:
    for one in (closed, *closed.iterdir()):
        os.chown(one, NOBODY, NOBODY)
    closed.chmod(0o550)
    with nobody():
        told = errors.what_to_do(sqlite3.OperationalError("attempt to write a readonly database"), closed)
    assert told.endswith(f"`chmod u+rwX {closed}`")
