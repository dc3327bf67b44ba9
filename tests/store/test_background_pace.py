"""Long work while people send: it ends, takes little at a time, and stops when its client is gone."""

import logging
import os
import sqlite3
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from relay.core.maintenance.disk_room import CHECKPOINT_PAGES, DiskRoom
from relay.core.relay import Relay, open_relay
from relay.core.tuning import DiskTuning, RetentionTuning, Tuning
from relay.keys import ChatKey
from relay.net import control_socket
from relay.protocol.errors import RelayError
from relay.store import portion
from relay.store.backup import archive, pacing
from relay.store.files.reserve import Reserve
from relay.store.queries import export_rows, storage
from relay.store.sqlite.database import Connection
from relay.store.sqlite.read_only import read
from relay.store.upkeep import free_space, removal
from tests.support.disk import people, say


async def _talk(relay: Relay, messages: int) -> None:
    await people(relay, "a", "b")
    async with trio.open_nursery() as nursery:
        for number in range(messages):
            nursery.start_soon(say, relay, "a", "b", f"c{number}", f"{number} " + "x" * 700)


async def _portions(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> int:
    """Prune everything; return how many portions it took to free the pages."""
    portions = 0
    real = free_space.give_back

    async def give_back(*how: Any) -> bool:
        nonlocal portions
        portions += 1
        return await real(*how)

    monkeypatch.setattr(free_space, "give_back", give_back)
    await relay.retention.prune(max_bytes=1)
    monkeypatch.setattr(free_space, "give_back", real)
    return portions


async def test_a_portion_returns_as_many_pages_to_the_file_system_as_requested(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await _talk(relay, 300)
        while await relay.log.run_exclusive(lambda writing: removal.remove_history(0, 10_000, writing, 10_000)):
            pass
        free = await storage.free_pages(relay.reading)
        assert free > 120
        assert await relay.log.run_exclusive(lambda writing: free_space.give_back(writing, 50))
        assert await storage.free_pages(relay.reading) == free - 50
        assert not await relay.log.run_exclusive(lambda writing: free_space.give_back(writing, free, 20))
        assert await storage.free_pages(relay.reading) == 20, "so many were to stay"
        assert not await relay.log.run_exclusive(lambda writing: free_space.give_back(writing, free, 20))
        assert await storage.free_pages(relay.reading) == 20


@pytest.mark.parametrize(
    "remove",
    [
        lambda writing: removal.remove_history(0, 10_000, writing, 1_000),
        lambda writing: removal.erase_chat(writing, ChatKey(1), 1_000),
    ],
    ids=["pruned", "of a deleted chat"],
)
async def test_a_portion_of_long_texts_is_bounded_in_bytes(
    tmp_path: Path, remove: Callable[[Connection], Awaitable[Any]]
) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "a", "b")
        text = "x" * 20_000
        for number in range(12):
            await say(relay, "a", "b", f"long{number}", text)
        for number in range(40):
            await say(relay, "a", "b", f"short{number}", "short")
        left = [52]
        while await relay.log.run_exclusive(remove):
            left += [count for (count,) in await relay.reading.execute("SELECT count(*) FROM log WHERE kind = 1")]
    most = removal.ERASED_BYTES // len(text) + 1
    assert left[-1] == 0
    assert left[1] == 52 - most, "the long ones"
    assert max(before - after for before, after in pairwise(left)) >= 40, "the short ones at once"


async def test_prune_takes_far_fewer_portions_than_it_frees_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_relay(tmp_path) as relay:
        await _talk(relay, 1_000)
        ((before,),) = await relay.reading.execute("PRAGMA page_count")
        portions = await _portions(relay, monkeypatch)
        ((after,),) = await relay.reading.execute("PRAGMA page_count")
        assert before - after > 500
        assert portions < (before - after) / 8


async def test_free_pages_do_not_accumulate_during_a_prune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0
    real = removal.remove_history

    async def remove(after: int, upto: int, writing: Any, count: int) -> list[int]:
        nonlocal most
        most = max(most, await storage.free_pages(writing))
        return await real(after, upto, writing, min(count, 50))

    monkeypatch.setattr(removal, "remove_history", remove)
    async with open_relay(tmp_path, tuning=Tuning(retention=RetentionTuning(spare_pages=100))) as relay:
        await _talk(relay, 1_000)
        await relay.retention.prune(max_bytes=1)
    assert most < 300


async def test_an_export_whose_client_hangs_up_ends_without_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with open_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        await _talk(relay, 2_000)
        await nursery.start(control_socket.serve, tmp_path / "relay.sock", relay.admin, relay.clock)
        asked = 0
        page: Any = export_rows.export_page

        async def export_page(*how: Any) -> Any:
            nonlocal asked
            asked += 1
            return await page(*how[:-1], 100)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(export_rows, "export_page", export_page)
            stream = await trio.open_unix_socket(tmp_path / "relay.sock")
            await stream.send_all(b'{"type":"request","id":"1","payloadType":"export","payload":{}}\n')
            await stream.receive_some(100)
            await stream.aclose()
            # Longer than an export's longest rest between two pages.
            await trio.testing.wait_all_tasks_blocked(0.3)
        assert asked < 20, "nobody takes the other pages"
        nursery.cancel_scope.cancel()
    assert caplog.records == []


async def test_a_command_that_frees_the_disk_is_retried_and_other_errors_are_not(tmp_path: Path) -> None:
    # No mock clock, because SQLite's thread does not use it.
    async with open_relay(tmp_path) as relay:
        room = DiskRoom(Reserve(tmp_path, 0), relay.log, DiskTuning(retry_seconds=(0.0, 0.0, 0.0)))
        tries = 0

        def full() -> sqlite3.Error:
            error = sqlite3.OperationalError("full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            return error

        async def work(faults: list[Exception]) -> int:
            nonlocal tries
            tries += 1
            if faults:
                raise faults.pop(0)
            return 7

        assert await room.free(partial(work, [full(), RelayError.storage_full()])) == 7
        assert tries == 3
        tries = 0
        with pytest.raises(sqlite3.OperationalError, match="full"):
            await room.free(partial(work, [full() for _ in range(9)]))
        assert tries == 3 + 1, "then it is said"
        for other in (RelayError.unavailable(), sqlite3.OperationalError("locked")):
            tries = 0
            with pytest.raises(type(other)):
                await room.free(partial(work, [other]))
            assert tries == 1


@pytest.mark.parametrize(("wanted", "pages"), [(4 << 20, CHECKPOINT_PAGES), (64 << 20, 0)])
async def test_a_small_disk_checkpoints_at_each_commit_also_after_it_was_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: int, pages: int
) -> None:
    async with open_relay(tmp_path) as relay:
        monkeypatch.setattr(Reserve, "target_size", wanted)
        room = DiskRoom(Reserve(tmp_path, wanted), relay.log, DiskTuning())
        await room.begin()
        assert await relay.log.run_exclusive(lambda writing: writing.execute("PRAGMA wal_autocheckpoint")) == [(pages,)]
        room.reserve.short = True
        async with room.freeing():
            freeing = await relay.log.run_exclusive(
                lambda writing: writing.execute("PRAGMA wal_autocheckpoint"), hurried=True
            )
            assert freeing == [(CHECKPOINT_PAGES,)]
        assert await relay.log.run_exclusive(lambda writing: writing.execute("PRAGMA wal_autocheckpoint")) == [(pages,)]


async def test_reserve_returns_when_the_last_of_several_has_freed_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def autocheckpoint() -> Any:
        return await relay.log.run_exclusive(lambda writing: writing.execute("PRAGMA wal_autocheckpoint"), hurried=True)

    async def shorter(begun: trio.Event, end: trio.Event) -> None:
        async with room.freeing():
            begun.set()
            await end.wait()

    async with open_relay(tmp_path) as relay:
        monkeypatch.setattr(Reserve, "target_size", 64 << 10)
        room = DiskRoom(Reserve(tmp_path, 64 << 10), relay.log, DiskTuning())
        room.reserve.fill()
        room.reserve.short = True
        async with trio.open_nursery() as nursery:
            begun, end = trio.Event(), trio.Event()
            async with room.freeing():
                nursery.start_soon(shorter, begun, end)
                await begun.wait()
                end.set()
                # Longer than filling it again would take.
                await trio.sleep(0.3)
                assert room.reserve.size == 0
                assert (room.full, relay.log.thrifty) == (True, True), "no message may take the space"
                assert await autocheckpoint() == [(CHECKPOINT_PAGES,)]
        assert room.reserve.size == 64 << 10
        assert (room.full, relay.log.thrifty) == (False, False)
        assert await autocheckpoint() == [(0,)]


def test_long_work_rests_in_proportion_and_never_for_long() -> None:
    assert portion.rest_after(0.01) == portion.REST_FACTOR * 0.01
    assert portion.rest_after(60.0) == portion.LONGEST_REST_SECONDS


def test_process_beside_the_relay_has_a_higher_niceness_until_its_work_ends() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    if os.geteuid():
        pytest.skip("only root takes back what it gave up")
    with pacing.low_priority():
        assert os.getpriority(os.PRIO_PROCESS, 0) >= pacing.NICENESS
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


async def test_a_backup_leaves_little_unsynced_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    async with open_relay(tmp_path / "data") as relay:
        await _talk(relay, 4_000)
    synced = 0
    real = os.fdatasync

    def fdatasync(file: int) -> None:
        nonlocal synced
        synced += 1
        real(file)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    await trio.to_thread.run_sync(archive.back_up, tmp_path / "data", tmp_path / "backup.tar")
    written = 2 * (tmp_path / "data" / "relay.db").stat().st_size
    assert synced >= written // (1 << 20) - 2
    with read(tmp_path / "data" / "relay.db") as store:
        assert store.execute("SELECT count(*) FROM log WHERE kind = 1").fetchone() == (4_000,)


def test_work_beside_the_relay_continues_without_the_right_to_change_its_niceness(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The backup's unit forbids setting priorities, so every backup of the service failed."""

    def refuse(*_what: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    with pacing.low_priority():
        done = True
    assert done
