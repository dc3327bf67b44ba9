"""The disk is full, failing, read-only, locked or damaged: answered messages stay, others are refused."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio

from relay.client import Client, connect
from relay.core.maintenance.check import check
from relay.core.tuning import DiskTuning, Tuning
from relay.protocol.errors import RelayError
from tests.support.disk import history
from tests.support.relay_process import RelayProcess, add_users, running

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


async def _faults(data: Path) -> list[str]:
    return [finding.what for finding in await check(data, lambda _what: None) if finding.wrong]


async def _send_until(relay: Client, code: str, text: str = "x") -> list[str]:
    """Send until the relay refuses with a code; return what it accepted."""
    accepted: list[str] = []
    with trio.fail_after(30):
        while True:
            message = f"{len(accepted)} {text}"
            try:
                await relay.send("User2", message)
            except RelayError as error:
                assert error.error.code == code
                return accepted
            accepted.append(message)


async def _send_when_possible(relay: Client, text: str) -> None:
    with trio.fail_after(30):
        while True:
            try:
                await relay.send("User2", text)
            except RelayError as error:
                assert error.error.code in ("unavailable", "storage_full")
                await trio.sleep(0.05)
            else:
                return


async def _relay(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "relay", *arguments]
    return await trio.run_process(command, check=False, capture_stdout=True, capture_stderr=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def failing_disk(tmp_path: Path) -> tuple[dict[str, str], Callable[[str], None]]:
    """An environment whose disk fails on demand, and a function that chooses how."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make a failing disk with")
    library, plan = tmp_path / "failing_disk.so", tmp_path / "plan"
    source = Path(__file__).parents[1] / "support" / "failing_disk.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)

    def fail(how: str) -> None:
        if how:
            plan.write_text(how)
        else:
            plan.unlink()

    return {"LD_PRELOAD": str(library), "FAILING_DISK": str(plan)}, fail


@asynccontextmanager
async def _talking(
    data: Path, environment: dict[str, str] | None = None, tuning: Tuning | None = None
) -> AsyncIterator[tuple[RelayProcess, Client]]:
    tokens = await add_users(data, "User1", "User2")
    async with (
        running(data, environment=environment, tuning=tuning) as relay,
        connect(relay.url, tokens["User1"]) as client,
    ):
        yield relay, client


@as_root
async def test_a_full_disk_refuses_messages_and_recovers(small_disk: Path) -> None:
    data = small_disk / "data"
    async with _talking(data) as (relay, client):
        ballast = small_disk / "ballast"
        ballast.write_bytes(b"x" * 700_000)
        accepted = await _send_until(client, "storage_full", "y" * 4_000)
        assert accepted
        # Reading and presence go on.
        assert await history(client) == accepted
        await client.typing("User2")
        ballast.unlink()
        await _send_when_possible(client, "there is room again")
        assert await history(client) == [*accepted, "there is room again"]
        assert "cannot be written" in relay.log
        assert "can be written again" in relay.log
    assert await _faults(data) == []


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ("pwrite 5", "unavailable"),
        ("fdatasync 5", "unavailable"),
        ("pwrite 28", "storage_full"),
        ("pwrite 30", "unavailable"),
    ],
    ids=["write error", "sync error", "no space", "read-only file system"],
)
async def test_a_failing_disk_loses_no_answered_message(
    tmp_path: Path, failing_disk: tuple[dict[str, str], Callable[[str], None]], plan: str, code: str
) -> None:
    environment, fail = failing_disk
    data = tmp_path / "data"
    async with _talking(data, environment) as (relay, client):
        before = [f"before {number}" for number in range(5)]
        for text in before:
            await client.send("User2", text)
        fail(plan)
        assert await _send_until(client, code) == []
        assert await history(client) == before
        fail("")
        await _send_when_possible(client, "well again")
        assert await history(client) == [*before, "well again"]
        await relay.kill()
        await relay.start()
        assert await history(client) == [*before, "well again"]
    assert await _faults(data) == []


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("pwrite 28", "the disk of {data} is full, and nothing was changed: remove old messages (`"),
        ("pwrite 5", "the relay cannot save anything just now"),
    ],
    ids=["no space", "write error"],
)
async def test_admins_command_names_the_disks_error(
    tmp_path: Path, failing_disk: tuple[dict[str, str], Callable[[str], None]], plan: str, said: str
) -> None:
    environment, fail = failing_disk
    data = tmp_path / "data"
    impatient = Tuning(disk=DiskTuning(retry_seconds=(0.05,) * 4))
    async with _talking(data, environment, impatient) as (_relay_process, client):
        for number in range(5):
            await client.send("User2", str(number))
        fail(plan)
        for command in (("prune", "--max-bytes", "1", "--yes"), ("user", "disable", "User2")):
            ran = await _relay(*command, "--data", str(data))
            assert ran.returncode == 1
            pruned = command[0] == "prune" and "full" in said
            known = "the disk of {data} is full, and not everything could be removed: try again" if pruned else said
            assert ran.stderr.decode().startswith(f"relay: {known.format(data=data)}")
            assert "`" not in known or f"prune --data {data}`" in ran.stderr.decode()
        fail("")
        assert (await _relay("user", "disable", "User2", "--data", str(data))).returncode == 0


async def test_relay_waits_for_another_programs_lock(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with _talking(data) as (_relay, client):
        await client.send("User2", "before")
        with closing(sqlite3.connect(data / "relay.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.send, "User2", "waiting")
                await trio.sleep(0.3)
                assert await history(client) == ["before"]
                other.execute("ROLLBACK")
        assert await history(client) == ["before", "waiting"]


async def test_lock_kept_by_another_program_is_reported_as_a_failure(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with _talking(data, tuning=Tuning(disk=DiskTuning(busy_seconds=0.5))) as (_relay, client):
        with closing(sqlite3.connect(data / "relay.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RelayError, match="cannot save"), trio.fail_after(20):
                await client.send("User2", "in vain")
            other.execute("ROLLBACK")
        await client.send("User2", "at last")
        assert await history(client) == ["at last"]


async def test_a_torn_end_of_the_journal_is_ignored(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with _talking(data) as (relay, client):
        texts = [f"text {number}" for number in range(50)]
        for text in texts:
            await client.send("User2", text)
        await relay.kill()
        journal = data / "relay.db-wal"
        # As after a power cut: half a frame and noise follow the last synced frame.
        with journal.open("ab") as file:
            file.write(os.urandom(2_000))
        await relay.start()
        assert await history(client) == texts
        await client.send("User2", "after")
        assert await history(client) == [*texts, "after"]
    assert await _faults(data) == []


async def test_a_damaged_file_is_found_and_not_served(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with _talking(data) as (relay, client):
        for number in range(100):
            await client.send("User2", f"{number} " + "z" * 500)
        await relay.stop(signal.SIGTERM)
        with (data / "relay.db").open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            for page in range(2, size // 4096):
                file.seek(page * 4096)
                file.write(b"\xff" * 512)
        checked = await _relay("check", "--data", str(data))
        assert checked.returncode == 1
        served = await _relay("serve", "--data", str(data), "--listen", "127.0.0.1:0")
        assert served.returncode == 1
        assert b"relay restore" in served.stderr
        assert b"Traceback" not in served.stderr + checked.stderr


@as_root
async def test_read_only_disk_is_named_at_the_start(small_disk: Path) -> None:
    data = small_disk / "data"
    await add_users(data, "User1")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    served = await _relay("serve", "--data", str(data), "--listen", "127.0.0.1:0")
    assert served.returncode == 1
    assert b"Traceback" not in served.stderr
    assert str(data).encode() in served.stderr
