"""The relay survives a full disk: people can read, the relay can start, and its own commands make room.

Longer than other modules: all tests that mount small disks are here, with what they share.
"""

import logging
import os
import random
import sqlite3
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio

from relay.client import Client, connect
from relay.core.maintenance import disk_room
from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.tuning import DiskTuning, Tuning
from relay.keys import MessageId
from relay.protocol import objects, requests
from relay.protocol.errors import RelayError
from relay.store.files import reserve, tls_folder
from relay.store.files.reserve import Reserve
from relay.store.files.room import START_NAMES
from relay.store.sqlite.read_only import read
from relay.store.sqlite.wal import WalTuning
from tests.support import kept_stores
from tests.support.command_line import run
from tests.support.disk import answers, command, history, people, say, until
from tests.support.relay_process import RelayProcess, add_users
from tests.support.relay_process import running as relay_running

SIZE = 8 << 20
RESERVE = {"RELAY_STORE_RESERVE_BYTES": str(2 << 20), "RELAY_LIMITS_REQUESTS_PER_SECOND": "0"}
WORDS = (
    "the",
    "relay",
    "keeps",
    "what",
    "people",
    "say",
    "and",
    "gives",
    "it",
    "back",
    "to",
    "all",
    "their",
    "devices",
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def free(place: Path) -> int:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def fill(place: Path) -> Path:
    """Fill the disk, as another program could."""
    ballast = place / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            return ballast


def _text(chance: random.Random) -> str:
    return " ".join(chance.choices(WORDS, k=4_000))


async def _send_until_full(client: Client, accepted: list[str]) -> None:
    chance = random.Random(1)
    with trio.fail_after(60):
        while True:
            text = f"{len(accepted)} {_text(chance)}"
            try:
                await client.send("User2", text)
            except RelayError as error:
                assert error.error.code == "storage_full"
                assert error.error.quota is None
                return
            accepted.append(text)


async def _command(relay: RelayProcess, *arguments: str) -> tuple[int, str, str]:
    ran = await trio.to_thread.run_sync(lambda: run(*arguments, data=relay.data))
    return ran.code, ran.out, ran.err


@pytest.mark.parametrize("after", ["goes on", "was killed", "was stopped"])
async def test_full_disk_can_be_read_and_is_freed_by_prune(
    disk: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setenv(*next(iter(RESERVE.items())))
    tokens = await add_users(disk / "data", "User1", "User2")
    accepted: list[str] = []
    async with relay_running(disk / "data", environment=RESERVE) as relay:
        async with connect(relay.url, tokens["User1"]) as client:
            await _send_until_full(client, accepted)
            assert await history(client) == accepted
        assert (relay.data / "relay.reserve").stat().st_size == 2 << 20, "no message may have it"
        if after == "goes on":
            code, out, _ = await _command(relay, "status")
            assert code == 0
            assert "the disk is full" in out
        else:
            await (relay.kill() if after == "was killed" else relay.stop())
            code, out, _ = await _command(relay, "user", "list")
            assert code == 0
            assert "User2" in out
            await relay.start()
        async with connect(relay.url, tokens["User1"]) as client:
            assert await history(client) == accepted
            code, out, err = await _command(relay, "prune", "--max-bytes", "1500000", "--yes")
            assert (code, err) == (0, "")
            assert out.startswith("removed ")
            await client.send("User2", "there is room again")
            assert (await history(client))[-1] == "there is room again"
        assert (relay.data / "relay.reserve").stat().st_size == 2 << 20
    assert [finding.what for finding in await check(disk / "data", lambda _what: None) if finding.wrong] == []


async def test_full_disk_is_freed_without_a_running_relay(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(*next(iter(RESERVE.items())))
    tokens = await add_users(disk / "data", "User1", "User2")
    accepted: list[str] = []
    async with relay_running(disk / "data", environment=RESERVE) as relay:
        async with connect(relay.url, tokens["User1"]) as client:
            await _send_until_full(client, accepted)
        await relay.kill()
        fill(disk)
        code, out, _ = await _command(relay, "prune", "--max-bytes", "1500000", "--yes")
        assert (code, out.startswith("removed ")) == (0, True)
        assert (await _command(relay, "user", "disable", "User2"))[0] == 0
    assert [finding.what for finding in await check(disk / "data", lambda _what: None) if finding.wrong] == []


async def test_chat_can_be_deleted_on_a_disk_that_another_program_filled(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(*next(iter(RESERVE.items())))
    tokens = await add_users(disk / "data", "User1", "User2")
    async with (
        relay_running(disk / "data", environment=RESERVE) as relay,
        connect(relay.url, tokens["User1"]) as client,
    ):
        group = requests.CreateChat(type="group", name="A", participants=["User2"])
        made: objects.ChatDetails = await client.request(requests.CREATE_CHAT, group)
        ballast = fill(disk)
        await _send_until_full(client, [])
        assert (await _command(relay, "chat", "delete", made.chat_id, "--yes"))[0] == 0
        ballast.unlink()
        with trio.fail_after(30):
            while not (relay.data / "relay.reserve").exists():
                await trio.sleep(0.1)
        await client.send("User2", "hello")
        assert relay.log.count("the disk is full: people can read") == 1
        assert relay.log.count("the disk has room again") == 1


async def test_a_start_on_a_full_disk_waits_for_room(disk: Path, tmp_path: Path) -> None:
    tokens = await add_users(disk / "data", "User1", "User2")
    ballast = fill(disk)
    relay = RelayProcess(disk / "data", {"RELAY_STORE_RESERVE_BYTES": "0"}, ())
    relay.log_file = tmp_path / "relay.log"  # its own place is full, too
    relay.log_file.touch()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.start)
            with trio.fail_after(60):
                while "the relay starts as soon as there is room" not in relay.log:
                    await trio.sleep(0.05)
            ballast.unlink()
        async with connect(relay.url, tokens["User1"]) as client:
            await client.send("User2", "hello")
        assert relay.log.count("as soon as there is room") == 1
    finally:
        await relay.kill()


@pytest.mark.parametrize("after", ["goes on", "starts on the full disk"])
async def test_relay_whose_log_was_emptied_accepts_messages_once_a_full_disk_has_room(disk: Path, after: str) -> None:
    # An emptied log has no room of its own, so the first message on the full disk already fails.
    tuning = Tuning(wal=WalTuning(erase_seconds=0.1, erase_quiet_seconds=0.1), disk=DiskTuning(fill_seconds=0.1))
    data = disk / "data"
    data.mkdir()

    async def sent(relay: Relay, client_id: str) -> bool:
        answer = await say(relay, "User1", "User2", client_id, WORDS[0] * 500)
        assert not isinstance(answer, RelayError) or answer.error.code == "storage_full"
        return not isinstance(answer, RelayError)

    async def room_comes(relay: Relay) -> None:
        ballast.unlink()
        assert free(disk) > SIZE // 2
        with trio.fail_after(5):
            while not await sent(relay, "with room"):
                await trio.sleep(0.1)

    async with open_relay(data, tuning=tuning) as relay, trio.open_nursery() as nursery:
        nursery.start_soon(relay.room.run)
        await people(relay, "User1", "User2")
        assert await sent(relay, "to be deleted")
        request = requests.Delete(chat_id="User2", original_message_id=MessageId(1))
        await answers(relay, command(relay, "User1", request))
        await until(lambda: (data / "relay.db-wal").stat().st_size == 0)
        ballast = fill(disk)
        assert not await sent(relay, "on the full disk")
        await relay.room.free(partial(relay.retention.prune, max_bytes=1))
        if after == "goes on":
            await room_comes(relay)
        nursery.cancel_scope.cancel()
    if after != "goes on":
        assert free(disk) < 1 << 20
        async with open_relay(data, tuning=tuning) as relay, trio.open_nursery() as nursery:
            nursery.start_soon(relay.room.run)
            await room_comes(relay)
            nursery.cancel_scope.cancel()
    assert [finding.what for finding in await check(data, lambda _what: None) if finding.wrong] == []


# The reserve itself.


def test_reserve_is_allocated_and_a_fraction_of_a_small_disk(disk: Path) -> None:
    kept = Reserve(disk, 1 << 30)
    before = free(disk)
    kept.fill()
    assert kept.size == SIZE // reserve.SMALL_DISK_DIVISOR
    assert before - free(disk) >= kept.size
    kept.spend()
    assert free(disk) == before
    assert kept.short
    kept.fill()
    assert not kept.short


def no_inode_left(place: Path, name: str = "file") -> list[Path]:
    """Make empty files until the disk has no inode left."""
    made: list[Path] = []
    try:
        while True:
            path = place / f"{name}{len(made)}"
            path.touch()
            made.append(path)
    except OSError:
        return made


@pytest.fixture
def few_inodes(disk: Path) -> Path:
    """The small disk, with room for 60 files."""
    subprocess.run(["mount", "-o", f"remount,size={4 * SIZE},nr_inodes=60", str(disk)], check=True)
    return disk


async def test_relay_starts_on_a_disk_without_inodes_and_reports_it(few_inodes: Path) -> None:
    tokens = await add_users(few_inodes / "data", "User1", "User2")
    async with relay_running(few_inodes / "data", environment=RESERVE) as relay:
        with trio.fail_after(30):
            while len(list(relay.data.glob("relay.reserve.*"))) < START_NAMES:
                await trio.sleep(0.1)
        await relay.stop()
        no_inode_left(few_inodes)
        assert (await _command(relay, "user", "list"))[0] == 0
        assert (await _command(relay, "check"))[0] == 0
        no_inode_left(few_inodes, "more")
        await relay.start()
        async with connect(relay.url, tokens["User1"]) as client:
            await client.send("User2", "hello")
        _, out, _ = await _command(relay, "doctor")
        assert "more files can be made" in out
        _, out, _ = await _command(relay, "status")
        assert "files more (inodes)" in out


async def test_start_and_commands_without_inodes_need_no_lock_file(few_inodes: Path) -> None:
    # A copy of the directory may lack it, and people remove files that look like stale locks.
    tokens = await add_users(few_inodes / "data", "User1", "User2")
    async with relay_running(few_inodes / "data", environment=RESERVE) as relay:
        for start in (False, True):
            with trio.fail_after(30):
                while len(list(relay.data.glob("relay.reserve.*"))) < START_NAMES:
                    await trio.sleep(0.1)
            await relay.stop()
            (relay.data / "relay.lock").unlink()
            made = no_inode_left(few_inodes, f"more{start}")
            if not start:
                assert (await _command(relay, "user", "list"))[0] == 0
                (relay.data / "relay.lock").unlink()
                assert (await _command(relay, "prune", "--days", "1", "--yes"))[0] == 0
                for path in made:
                    path.unlink()
            await relay.start()
        async with connect(relay.url, tokens["User1"]) as client:
            await client.send("User2", "hello")


def test_lock_of_the_certificates_is_made_with_a_reserved_name(few_inodes: Path) -> None:
    (few_inodes / "relay.db").touch()
    Reserve(few_inodes, 1).keep_names()
    no_inode_left(few_inodes)
    with tls_folder.locked(few_inodes / "tls"):
        assert (few_inodes / "tls.lock").exists()


async def test_store_without_reserved_names_reports_missing_inodes(few_inodes: Path) -> None:
    await add_users(few_inodes / "data", "User1")
    made = no_inode_left(few_inodes)
    ran = await trio.to_thread.run_sync(lambda: run("user", "list", data=few_inodes / "data"))
    assert ran.code == 1
    assert "no free inodes" in ran.err
    made.pop().unlink()
    relay = RelayProcess(few_inodes / "data", RESERVE, ())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(relay.start)
        with trio.fail_after(60):
            while not (few_inodes / "data.log").exists() or "no free inodes" not in relay.log:
                await trio.sleep(0.05)
        for path in made[:6]:
            path.unlink()
    await relay.stop()
    assert "the relay starts as soon as there is room" in relay.log


def test_a_reserve_that_does_not_fit_is_reported_short(disk: Path) -> None:
    fill(disk)
    kept = Reserve(disk, 1 << 20)
    kept.fill()
    assert kept.short
    assert kept.size == 0
    (disk / "ballast").unlink()
    kept.fill()
    assert not kept.short
    assert kept.size == 1 << 20


def test_a_reserve_removed_by_hand_comes_back_and_follows_the_setting(tmp_path: Path) -> None:
    for size in (100_000, 50_000, 0):
        kept = Reserve(tmp_path, size)
        kept.fill()
        assert kept.size == size
        (tmp_path / "relay.reserve").unlink(missing_ok=True)
        kept.fill()
        assert kept.size == size
        assert not kept.short


def test_a_reserve_on_a_read_only_disk_is_logged_once(disk: Path, caplog: pytest.LogCaptureFixture) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    kept = Reserve(disk, 1 << 20)
    with caplog.at_level(logging.WARNING):
        kept.fill()
        kept.fill()
    assert not kept.short
    assert len(caplog.records) == 1


def test_commands_accepted_on_a_full_disk_add_no_messages() -> None:
    assert requests.New not in disk_room.ALWAYS
    assert requests.Edit not in disk_room.ALWAYS


# A disk that is mounted read-only.


LISTINGS = (
    ["user", "list"],
    ["user", "show", "User1"],
    ["chat", "list"],
    ["chat", "show", "Fish"],
    ["device", "list"],
    ["invite", "list"],
    ["hook", "list"],
    ["audit"],
    ["export"],
)
"""Commands that only read, and name User1 in the store of the test."""


async def test_an_older_store_on_a_read_only_disk_is_listed_from_a_copy(disk: Path) -> None:
    data = disk / "data"
    with tarfile.open(kept_stores.STORES / "0.1.0.tar.xz") as kept:
        kept.extractall(data, filter="data")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ran = await trio.to_thread.run_sync(partial(run, "user", "list", "--json", data=data))
    assert ran.code == 0
    assert ran.json


async def test_a_store_of_a_killed_relay_on_a_read_only_disk_is_listed(disk: Path) -> None:
    data = disk / "data"
    await add_users(data, "User1")
    async with relay_running(data) as process:
        await trio.to_thread.run_sync(partial(run, "user", "add", "late", data=data))
        await process.kill()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ran = await trio.to_thread.run_sync(partial(run, "user", "list", data=data))
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert (ran.code, ran.err) == (0, "")
    assert "late" in ran.out


async def test_a_closed_store_on_a_read_only_disk_can_be_saved(disk: Path, tmp_path: Path) -> None:
    data, elsewhere = disk / "data", tmp_path / "elsewhere"
    elsewhere.mkdir()
    await add_users(data, "User1", "User2")
    sent = partial(run, "send", "User2", "hello", "--as", "User1", data=data)
    assert (await trio.to_thread.run_sync(sent)).code == 0
    for made in (["chat", "create", "Fish", "--owner", "User1"], ["invite", "User1"], ["hook", "add", "User1"]):
        assert (await trio.to_thread.run_sync(partial(run, *made, data=data))).code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    before = sorted(data.iterdir())
    for arguments in (
        ["check"],
        ["backup", str(elsewhere / "b.tar")],
        ["export", str(elsewhere / "x.jsonl")],
        ["export", "--files", str(elsewhere / "x.tar")],
    ):
        ran = await trio.to_thread.run_sync(partial(run, *arguments, data=data))
        assert (ran.code, ran.err) == (0, ""), arguments
    assert "hello" in (elsewhere / "x.jsonl").read_text()
    assert sorted(data.iterdir()) == before
    assert sorted(path.name for path in elsewhere.iterdir()) == ["b.tar", "x.jsonl", "x.tar"]
    for listing in LISTINGS:
        ran = await trio.to_thread.run_sync(partial(run, *listing, data=data))
        assert (ran.code, ran.err) == (0, ""), listing
        assert "User1" in ran.out, listing
    ran = await trio.to_thread.run_sync(partial(run, "import", str(elsewhere / "x.jsonl"), "--dry-run", data=data))
    assert (ran.code, ran.err) == (0, "")
    assert "already here: 3 users" in ran.out
    ran = await trio.to_thread.run_sync(partial(run, "user", "add", "User3", data=data))
    assert ran.code == 1
    assert "mount its disk for writing" in ran.err
    assert sorted(data.iterdir()) == before
    restored = partial(run, "restore", str(elsewhere / "b.tar"), data=tmp_path / "new")
    assert (await trio.to_thread.run_sync(restored)).code == 0


def test_store_that_changes_on_a_read_only_disk_is_not_trusted(disk: Path) -> None:
    with closing(sqlite3.connect(disk / "relay.db")) as store:
        store.executescript("PRAGMA journal_mode = WAL; CREATE TABLE one (it)")
    other = disk.parent / "other"
    other.mkdir()
    subprocess.run(["mount", "--bind", str(disk), str(other)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(other)], check=True)
        reading = read(other / "relay.db")
        assert reading.__enter__().execute("SELECT count(*) FROM one").fetchone() == (0,)
        with closing(sqlite3.connect(disk / "relay.db")) as store:
            store.execute("CREATE TABLE two (it)")
        with pytest.raises(sqlite3.OperationalError, match="another system wrote"):
            reading.__exit__(None, None, None)
    finally:
        subprocess.run(["umount", "--lazy", str(other)], check=True)
