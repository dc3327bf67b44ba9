"""One relay per store: removing or bypassing the lock's file lets no second one in."""

import errno
import fcntl
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from relay.cli.offline import CommandTuning
from relay.core.relay import open_relay
from relay.core.tuning import DiskTuning, Tuning
from relay.protocol.errors import RelayError
from relay.store.files import lock
from relay.store.files.directory import log_of
from relay.store.files.lock import Locked, locked
from tests.support.command_line import done, run, running
from tests.support.disk import people, say
from tests.support.relay_process import program

IMPATIENT = Tuning(disk=DiskTuning(lock_wait_seconds=0.2))


@contextmanager
def another_relay(data: Path) -> Iterator[None]:
    """Try to open a data directory; the lock belongs to an open file, so this process can act as another one."""
    with locked(data):
        yield


@pytest.fixture
def linked(tmp_path: Path) -> tuple[Path, Path]:
    """Make a data directory with a store, and another one whose `relay.db` is a link to it."""
    first, second = tmp_path / "first", tmp_path / "second"
    done("user", "add", "anna", data=first)
    second.mkdir()
    (second / "relay.db").symlink_to("../first/relay.db")
    return first, second


async def test_removing_the_lock_file_lets_no_second_relay_in(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        (tmp_path / "relay.lock").unlink()
        with pytest.raises(Locked, match="another process already has"), another_relay(tmp_path):
            pass
        assert lock.holder(tmp_path) == "another process"
        assert not (tmp_path / "relay.lock").exists(), "a process that is refused leaves nothing"


async def test_replacing_the_lock_file_lets_no_second_relay_in(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        (tmp_path / "relay.lock").unlink()
        (tmp_path / "relay.lock").touch()
        with pytest.raises(Locked), another_relay(tmp_path):
            pass


def test_a_second_serve_is_refused_after_the_lock_file_was_removed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data):
        (data / "relay.lock").unlink()
        command = [sys.executable, *program(IMPATIENT), "serve", "--listen", "127.0.0.1:0", "--data", str(data)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert ran.returncode == 1
        assert f"another process already has {data} open" in ran.stderr
        assert done("user", "add", "anna", data=data).out, "the first one still has the control socket"


def test_lock_file_replaced_during_locking_is_locked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, path = fcntl.flock, tmp_path / "relay.lock"
    replaced = False

    def replacing(descriptor: int, how: int) -> None:
        nonlocal replaced
        flock(descriptor, how)
        if not replaced and os.fstat(descriptor).st_size == 0 and path.exists():
            replaced = True
            path.unlink()
            path.touch()

    monkeypatch.setattr(fcntl, "flock", replacing)
    with locked(tmp_path):
        assert replaced
        assert path.read_text().split()[0] == str(os.getpid())


async def test_store_is_locked_for_every_directory_with_a_link_to_it(linked: tuple[Path, Path]) -> None:
    first, second = linked
    for opened, other in ((first, second), (second, first)):
        async with open_relay(opened):
            with pytest.raises(Locked, match="already has"), another_relay(other):
                pass
    async with open_relay(second):
        pass


def test_a_store_behind_a_link_within_its_directory_is_locked_for_other_directories(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    (first / "store.db").touch()
    (first / "relay.db").symlink_to("store.db")
    second.mkdir()
    (second / "relay.db").symlink_to("../first/store.db")
    for opened, other in ((first, second), (second, first)):
        with another_relay(opened), pytest.raises(Locked), another_relay(other):
            pass


def test_a_relay_keeps_sqlites_locks_on_its_store(tmp_path: Path) -> None:
    with running(tmp_path) as relay:
        kinds = {
            line.split()[1]
            for line in Path("/proc/locks").read_text().splitlines()
            if line.split()[4] == str(relay.process.pid)
            and line.split()[5].rpartition(":")[2] == str((tmp_path / "relay.db").stat().st_ino)
        }
        assert kinds == {"POSIX"}


def test_command_on_a_link_names_the_directory_in_use(linked: tuple[Path, Path]) -> None:
    first, second = linked
    with running(first) as relay:
        ran = run("user", "add", "ben", data=second, tuning=CommandTuning(wait_seconds=0.2))
        assert ran.code == 1
        assert f"process {relay.process.pid} (relay serve in {first}) already has {second} open" in ran.err
        done("user", "add", "cem", data=first)
    assert [user["id"] for user in done("user", "list", "--json", data=second).json] == ["anna", "cem"]


def test_two_stores_in_one_directory_can_be_open_at_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in "ab":
        (tmp_path / name).mkdir()
        (disk / f"{name}.db").touch()
        (tmp_path / name / "relay.db").symlink_to(disk / f"{name}.db")
    with locked(tmp_path / "a"):
        with locked(tmp_path / "b"):
            pass
        other = tmp_path / "c"
        other.mkdir()
        (other / "relay.db").symlink_to(disk / "a.db")
        with pytest.raises(Locked), locked(other):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_lock_made_by_root_beside_a_linked_store_belongs_to_the_stores_owner(linked: tuple[Path, Path]) -> None:
    first, second = linked
    (first / "relay.lock").unlink()
    os.chown(first / "relay.db", 65_534, 65_534)
    with locked(second):
        assert (first / "relay.lock").stat().st_uid == 65_534


def test_lock_is_never_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("content")
    (tmp_path / "relay.lock").symlink_to("precious")
    with pytest.raises(OSError, match=r"relay\.lock"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "content"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("former", ["", "1 relay serve\n"])
def test_lock_is_taken_without_a_name_when_its_record_does_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, former: str
) -> None:
    (tmp_path / "relay.lock").write_text(former)
    monkeypatch.setattr(os, "pwrite", partial(_refuse, number))
    with locked(tmp_path):
        assert lock.holder(tmp_path) == "another process"
        with pytest.raises(Locked, match="another process already has"), another_relay(tmp_path):
            pass


def test_lock_file_on_a_failing_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", partial(_refuse, errno.EIO))
    with pytest.raises(OSError, match=r"relay\.lock"), locked(tmp_path):
        pass


def _refuse(number: int, *_arguments: object) -> int:
    raise OSError(number, os.strerror(number))


async def test_room_is_reserved_on_the_disk_of_a_linked_store(linked: tuple[Path, Path]) -> None:
    first, second = linked
    async with open_relay(second) as relay:
        relay.room.reserve.fill()
        assert (first / "relay.reserve").stat().st_size
        assert not (second / "relay.reserve").exists()


async def test_the_write_ahead_log_of_a_linked_store_is_watched(linked: tuple[Path, Path]) -> None:
    first, second = linked
    async with open_relay(second) as relay:
        await people(relay, "User1")
        assert log_of(second / "relay.db") == first / "relay.db-wal"
        assert relay.statistics.wal_bytes() > 0
        (first / "relay.db-wal").rename(first / "aside")
        assert not await relay.log.probe()
        (first / "aside").rename(first / "relay.db-wal")
        assert await relay.log.probe()


async def test_entry_of_another_program_is_reported_as_such(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        with closing(sqlite3.connect(tmp_path / "relay.db")) as other, other:
            other.execute(
                "INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target)"
                " SELECT seq + 1, kind, chat, message_id, actor, device, at, target FROM log ORDER BY seq DESC LIMIT 1"
            )
        answer = await say(relay, "User1", "User2", "c1")
        assert isinstance(answer, RelayError)
        assert answer.error.code == "unavailable"
        # Only the end of the other program matters here, not its writes.
        await relay.log.run_exclusive(
            lambda writing: writing.script("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log)")
        )
    assert "another program writes to the store: end it, then start the relay again" in caplog.text


def test_refusal_of_a_linked_store_names_the_log_of_the_linked_file(
    linked: tuple[Path, Path],
) -> None:
    first, second = linked
    store = (first / "relay.db").rename(first / "store.db")
    (second / "relay.db").unlink()
    (second / "relay.db").symlink_to("../first/store.db")
    (first / "copy.db").hardlink_to(store)
    ran = run("user", "list", data=second)
    assert ran.code == 1
    assert f"-samefile {store}` shows both: keep the one with its log beside it (here store.db-wal)" in ran.err
    assert "relay.db-wal" not in ran.err


ALIASES = {
    "hard link": "ln a/relay.db q/relay.db",
    "mount of the file": "touch q/relay.db; mount --bind a/relay.db q/relay.db",
}


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to mount")
@pytest.mark.parametrize("alias", ALIASES)
def test_killed_relays_store_is_not_opened_by_a_name_without_its_log(tmp_path: Path, alias: str) -> None:
    """This once lost a user who had been confirmed as added."""
    first, second = tmp_path / "a", tmp_path / "q"
    done("user", "add", "anna", data=first)
    with running(first) as relay:
        done("user", "add", "ben", data=first)
        relay.process.kill()
    second.mkdir()
    script = f"""cd {tmp_path}; {ALIASES[alias]}
        for command in "user add cem" "user list" "check" "backup x.tar"; do
            {sys.executable} -m relay $command --data q && exit 1
        done
        [ -h q/relay.db ] || umount q/relay.db 2>/dev/null; rm q/relay.db"""
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("q/relay.db cannot be used (it ") == 4, ran.stderr
    assert [user["id"] for user in done("user", "list", "--json", data=first).json] == ["anna", "ben"]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to mount")
def test_a_store_in_an_overlay_of_two_disks_is_used_as_any_other(tmp_path: Path) -> None:
    """Raspberry Pi OS writes to memory above the card if asked: a file has another device than its folder there."""
    script = f"""cd {tmp_path}; mkdir low high all
        mount -t tmpfs low low && mount -t tmpfs high high && mkdir low/q high/up high/work || exit 42
        mount -t overlay all -o lowerdir=low,upperdir=high/up,workdir=high/work,xino=off all || exit 42
        for command in "user add anna" "user list" "check" "backup {tmp_path}/x.tar"; do
            {sys.executable} -m relay $command --data all/q || exit 1
        done
        [ $(stat -c %d all/q) != $(stat -c %d all/q/relay.db) ] || exit 42"""
    ran = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if ran.returncode == 42:
        pytest.skip("this system has no overlay file system of two disks")
    assert ran.returncode == 0, ran.stderr
