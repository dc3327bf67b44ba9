"""The write-ahead log: its used size, copying it back, and keeping it small."""

import errno
import os
import sqlite3
import struct
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.keys import MessageId
from relay.protocol import control, requests
from relay.store.backup import archive
from relay.store.sqlite import wal
from relay.store.sqlite.database import Connection
from relay.store.sqlite.read_views import TooBusy, Views
from relay.store.sqlite.statements import Rows
from relay.store.sqlite.wal import WalTuning
from tests.support.disk import answers, command, new, people, rows, say, until

SLOWDOWN_BYTES = 2 << 20
TEXT = "many words of a text that is not short " * 20


def in_use(data: Path) -> int:
    """Used bytes of the write-ahead log, according to SQLite."""
    file = os.open(data / "relay.db-wal", os.O_RDONLY)
    try:
        count, size = wal.frames(file)
    finally:
        os.close(file)
    return count * size


async def many(relay: Relay, batches: int, start: int = 0) -> None:
    """Send many messages: about 60 KB of log per batch."""
    for batch in range(start, start + batches):
        await answers(relay, *(new(relay, "User1", "User2", f"c{batch} {n}", TEXT) for n in range(50)))


def small(**bounds: Any) -> Tuning:
    """Bounds that a test reaches soon, with overrides."""
    reached = {
        "copy_pages": 400,
        "restart_pages": 800,
        "look_seconds": 0.0,
        "retry_seconds": 0.05,
        "crowded_bytes": 1 << 20,
        "slowdown_bytes": SLOWDOWN_BYTES,
    }
    return Tuning(wal=WalTuning(**(reached | bounds)))


def test_used_pages_end_before_those_of_an_earlier_round(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    frame = struct.Struct(">II8sII")
    now, before = b"new salt", b"old salt"
    for count in (0, 1, 7, 20):
        salts = [now] * count + [before] * (20 - count)
        pages = (frame.pack(1, 0, salt, 0, 0) + b"x" * 512 for salt in salts)
        path.write_bytes(struct.pack(">IIII8sII", 0, 0, 512, 0, now, 0, 0) + b"".join(pages))
        file = os.open(path, os.O_RDONLY)
        assert wal.frames(file) == (count, 536)
        os.close(file)


def test_file_without_a_header_has_no_pages(tmp_path: Path) -> None:
    path = tmp_path / "wal"
    path.write_bytes(b"")
    file = os.open(path, os.O_RDONLY)
    assert wal.frames(file)[0] == 0
    os.close(file)


async def test_write_ahead_log_restarts_under_constant_sends(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=small()) as relay:
        await people(relay, "User1", "User2")
        most = 0
        for batch in range(150):
            await many(relay, 1, batch)
            most = max(most, in_use(tmp_path))
        written = sum(path.stat().st_size for path in (tmp_path / "relay.db",))
        assert written > 2 * SLOWDOWN_BYTES
        assert most < 2 * SLOWDOWN_BYTES, "a disk that is slow may let it grow a little beyond"


async def test_file_soon_has_its_target_length_and_commits_lose_nothing_by_it(tmp_path: Path) -> None:
    kept = 2 << 20
    tuning = Tuning(wal=WalTuning(kept_bytes=kept, step_bytes=1 << 18, first_step_seconds=0.0, step_seconds=0.0))
    file = tmp_path / "relay.db-wal"
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        with trio.fail_after(20):
            batch = 0
            while file.stat().st_size < kept:
                await many(relay, 1, batch)
                batch += 1
            lengthened = in_use(tmp_path)
        assert lengthened < kept, "it is longer than what is in use"
        await many(relay, 10, batch)
        # A copy of the present files is what a power cut leaves.
        copy = tmp_path / "copy"
        copy.mkdir()
        for name in ("relay.db", "relay.db-wal"):
            (copy / name).write_bytes((tmp_path / name).read_bytes())
        said = rows(copy, "SELECT count(*) FROM log WHERE kind = 1")
    assert said == [(50 * (batch + 10),)]


async def test_relay_continues_after_a_failed_write_on_closing_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems report a quota only then."""
    real, failed = os.close, 0

    def close(file: int) -> None:
        nonlocal failed
        name = Path(f"/proc/self/fd/{file}").readlink().name
        real(file)
        if name.endswith("-wal"):
            failed += 1
            raise OSError(errno.EDQUOT, "quota")

    async with open_relay(tmp_path, tuning=Tuning(wal=WalTuning(first_step_seconds=0.0))) as relay:
        await people(relay, "User1", "User2")
        monkeypatch.setattr(os, "close", close)
        with trio.fail_after(10):
            while not failed:
                await trio.sleep(0.01)
        assert (await say(relay, "User1", "User2", "after")).message_id == 1
    assert rows(tmp_path, "SELECT count(*) FROM log WHERE kind = 1") == [(1,)]


async def test_file_is_not_extended_on_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuning = WalTuning(first_step_seconds=0.0, step_seconds=0.0, lengthening_free_bytes=2**62)
    looked, real = trio.Event(), os.fstatvfs

    def look(file: int) -> os.statvfs_result:
        looked.set()
        return real(file)

    monkeypatch.setattr(os, "fstatvfs", look)
    async with open_relay(tmp_path, tuning=Tuning(wal=tuning)) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "first")
        with trio.fail_after(10):
            await looked.wait()
        # The attempt was made in the writer's turn, so it is over once the writer has answered.
        assert await relay.log.probe()
        assert (tmp_path / "relay.db-wal").stat().st_size < tuning.step_bytes


async def test_open_view_slows_the_writer_and_the_log_shrinks_after_it(tmp_path: Path) -> None:
    kept, slowed = 1 << 20, 4 << 20
    async with open_relay(tmp_path, tuning=small(kept_bytes=kept, slowed_bytes_per_second=slowed)) as relay:
        await people(relay, "User1", "User2")
        with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM log").fetchall()
            began = trio.current_time()
            await many(relay, 120)
            seconds = trio.current_time() - began
            grown = in_use(tmp_path) - SLOWDOWN_BYTES
            assert grown > 0
            assert grown <= slowed * seconds + (1 << 20), "no faster than it may"
            assert relay.log.stalls.longest_works(trio.current_time())["checkpoint"] > 0
            assert relay.log.wal.crowded
        with trio.fail_after(5):
            while (tmp_path / "relay.db-wal").stat().st_size > 2 * kept:
                await say(relay, "User1", "User2", f"after {trio.current_time()}")
                await trio.sleep(0.05)
        assert not relay.log.wal.crowded


async def test_check_backup_and_export_under_load_leave_the_log_small(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    async with open_relay(data, tuning=small()) as relay:
        await people(relay, "User1", "User2")
        await many(relay, 60)
        most = 0
        stop = trio.Event()

        async def send() -> None:
            nonlocal most
            number = 1_000
            while not stop.is_set():
                await many(relay, 1, number)
                most = max(most, in_use(data))
                number += 1
                # The time that a disk takes for a commit; files in memory take none.
                await trio.sleep(0.01)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            assert [one for one in await check(data, lambda _: None) if one.wrong] == []
            await trio.to_thread.run_sync(archive.back_up, data, tmp_path / "backup.tar")

            async def slow(_item: object) -> None:
                await trio.sleep(0.0005)

            await relay.admin.handle("export", control.Export(), slow)
            stop.set()
        assert most < 3 * SLOWDOWN_BYTES
        assert len(rows(data, "SELECT seq FROM log")) > 3_500


async def test_background_work_waits_while_the_write_ahead_log_is_long(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=Tuning(wal=WalTuning(look_seconds=0.0))) as relay:
        await people(relay, "User1", "User2")
        relay.tuning.wal.crowded_bytes = -1
        await say(relay, "User1", "User2", "one")
        assert relay.log.background.next_at() == float("inf")
        began = trio.current_time()
        for _ in range(2):
            await relay.log.run_exclusive(lambda writing: writing.execute("SELECT 1"), "prune")
        assert trio.current_time() - began > 0.5, "work that somebody waits for goes on slowly"
        began = trio.current_time()
        assert await relay.log.probe()
        assert trio.current_time() - began < 0.5, "and what is hurried at once"


async def test_long_check_stops_with_too_busy_while_the_write_ahead_log_is_long(tmp_path: Path) -> None:
    views = partial(Views, store=tmp_path / "relay.db", look_seconds=0.01, retry_seconds=0.01)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    async with open_relay(tmp_path) as relay:
        with pytest.raises(TooBusy):
            await views(relay.reading, stop_log_bytes=-1).long(endless)
        with trio.move_on_after(0.1) as scope:
            await views(relay.reading, stop_log_bytes=1 << 30).long(endless)
        assert scope.cancelled_caught, "a cancelled caller stops it"
        assert await relay.reading.execute("SELECT 1") == [(1,)]


async def test_failing_checkpoint_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed, execute = trio.Event(), Connection.execute

    async def fail(connection: Connection, sql: str, *rest: Any, **options: Any) -> Rows:
        if "wal_checkpoint" in sql:
            failed.set()
            raise sqlite3.OperationalError("database or disk is full")
        return await execute(connection, sql, *rest, **options)

    async with open_relay(tmp_path, tuning=Tuning(wal=WalTuning(copy_pages=1, look_seconds=0.0))) as relay:
        monkeypatch.setattr(Connection, "execute", fail)
        await people(relay, "User1", "User2")
        with trio.fail_after(5):
            await failed.wait()
        assert (await say(relay, "User1", "User2", "c1")).message_id == 1


async def test_a_log_that_fills_soon_after_an_attempt_is_copied_without_further_writes(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=small(retry_seconds=1.0, kept_bytes=1 << 19)) as relay:
        await people(relay, "User1", "User2")
        relay.log.wal.rest()
        await many(relay, 30)
        assert relay.log.wal.crowded, "so that work which can wait writes nothing, and looks at nothing"
        with trio.fail_after(5):
            while relay.log.wal.crowded:
                await trio.sleep(0.02)


SECRET = "what must not stay on the disk"


def quickly(**bounds: Any) -> Tuning:
    """Empty the log soon after a deletion."""
    return Tuning(wal=WalTuning(**({"erase_seconds": 0.3, "erase_quiet_seconds": 0.1, "look_seconds": 0.0} | bounds)))


def where(data: Path) -> list[str]:
    """Name the store's files that have the secret."""
    return [path.name for path in sorted(data.glob("relay.db*")) if SECRET.encode() in path.read_bytes()]


async def delete(relay: Relay, message_id: int = 1) -> None:
    """Delete the message of the secret."""
    request = requests.Delete(chat_id="User2", original_message_id=MessageId(message_id))
    await answers(relay, command(relay, "User1", request))


@pytest.mark.parametrize("place", ["relay.db", "relay.db-wal"])
async def test_a_deleted_text_leaves_both_files_of_a_quiet_relay(tmp_path: Path, place: str) -> None:
    if place == "relay.db":
        async with open_relay(tmp_path) as relay:
            await people(relay, "User1", "User2")
            await say(relay, "User1", "User2", "secret", SECRET)
    async with open_relay(tmp_path, tuning=quickly()) as relay:
        if place != "relay.db":
            await people(relay, "User1", "User2")
            await say(relay, "User1", "User2", "secret", SECRET)
        assert place in where(tmp_path)
        await delete(relay)
        await until(lambda: not where(tmp_path) and (tmp_path / "relay.db-wal").stat().st_size == 0)
        await say(relay, "User1", "User2", "next")


async def test_a_log_with_a_deleted_text_is_not_emptied_while_people_write(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=quickly(erase_quiet_seconds=0.4)) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "secret", SECRET)
        await delete(relay)
        for number in range(20):
            await say(relay, "User1", "User2", f"c{number}")
            await trio.sleep(0.05)
        assert in_use(tmp_path) > 0
        assert where(tmp_path) == ["relay.db-wal"]
        await until(lambda: not where(tmp_path))


async def test_a_log_with_a_deleted_text_is_emptied_once_a_reader_ends(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=quickly()) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "secret", SECRET)
        with closing(sqlite3.connect(tmp_path / "relay.db", isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM log").fetchall()
            await delete(relay)
            await trio.sleep(0.8)
            assert where(tmp_path)
        await until(lambda: not where(tmp_path))


async def test_a_text_deleted_before_a_kill_leaves_the_files_after_the_next_start(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    (tmp_path / "data").mkdir()
    async with open_relay(tmp_path / "data") as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "secret", SECRET)
        await delete(relay)
        for path in (tmp_path / "data").glob("relay.db*"):
            (killed / path.name).write_bytes(path.read_bytes())
    assert where(killed)
    async with open_relay(killed, tuning=quickly()):
        await until(lambda: not where(killed))


async def test_deletions_do_not_have_the_log_lengthened_each_time(tmp_path: Path) -> None:
    tuning = quickly(kept_bytes=1 << 20, first_step_seconds=0.0, step_seconds=0.0, refill_seconds=3_600)
    log = tmp_path / "relay.db-wal"
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        for message_id in (1, 3):
            await say(relay, "User1", "User2", f"secret {message_id}", SECRET)
            await delete(relay, message_id)
            await until(lambda: not where(tmp_path))
            await trio.sleep(0.5)
            assert (log.stat().st_size == 1 << 20) == (message_id == 1)
