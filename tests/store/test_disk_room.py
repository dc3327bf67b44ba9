"""The reserve of a full disk while several tasks free it: it returns, with messages accepted again, after the last
one."""

import errno
import os
import threading
from itertools import count
from pathlib import Path

import pytest
import trio

from relay.core.maintenance.disk_room import CHECKPOINT_PAGES
from relay.core.relay import Relay, open_relay
from relay.core.tuning import DiskTuning, Tuning
from relay.protocol.errors import RelayError
from relay.store.files.reserve import Reserve
from tests.support.disk import people, say

RESERVE_BYTES = 20 << 20
OFTEN = Tuning(disk=DiskTuning(fill_seconds=0.01))
_numbers = count()


class _Disk:
    """The disk of a test: full while `full` is set, whatever the machine's own disk has left."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.filled = 0
        self.fill_may_go_on = threading.Event()
        self.fill_may_go_on.set()
        allocate, fill = os.posix_fallocate, Reserve.fill

        def allocate_if_there_is_room(descriptor: int, offset: int, size: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            allocate(descriptor, offset, size)

        def fill_when_it_may(reserve: Reserve) -> None:
            self.filled += 1
            assert self.fill_may_go_on.wait(10)
            fill(reserve)

        monkeypatch.setattr(Reserve, "target_size", RESERVE_BYTES)
        monkeypatch.setattr(Reserve, "fill", fill_when_it_may)
        monkeypatch.setattr(Reserve, "disk_is_full", property(lambda _reserve: self.full))
        monkeypatch.setattr(os, "posix_fallocate", allocate_if_there_is_room)


async def _pages(relay: Relay) -> int:
    """Read the number of pages at which each commit copies SQLite's log."""
    ((pages,),) = await relay.log.run_exclusive(
        lambda writing: writing.execute("PRAGMA wal_autocheckpoint"), hurried=True
    )
    return int(pages)


async def _send(relay: Relay) -> str:
    """Send a message and return the code of the refusal, empty if there is none."""
    answer = await say(relay, "User1", "User2", f"c{next(_numbers)}")
    return answer.error.code if isinstance(answer, RelayError) else ""


async def _assert_freeing(relay: Relay) -> None:
    assert relay.room.reserve.short
    assert relay.room.reserve.size == 0, "it is given up"
    assert not relay.log.wal.held
    assert await _pages(relay) == CHECKPOINT_PAGES
    assert await _send(relay) == "storage_full"


class _Holder:
    """A task that frees the disk until told to stop."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._stop = trio.Event()
        self.begun = trio.Event()
        self.over = trio.Event()

    async def run(self, task_status: trio.TaskStatus["_Holder"] = trio.TASK_STATUS_IGNORED) -> None:
        async with self._relay.room.freeing():
            self.begun.set()
            task_status.started(self)
            await self._stop.wait()
        self.over.set()

    async def leave(self) -> None:
        self._stop.set()
        await self.over.wait()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_reserve_and_messages_return_after_the_last_of_several_tasks_that_free_a_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, ...]
) -> None:
    disk = _Disk(monkeypatch)
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        disk.full = True
        async with trio.open_nursery() as nursery:
            holders = [await nursery.start(_Holder(relay).run) for _ in order]
            await _assert_freeing(relay)
            # There is room now, but the task that still frees the disk needs it.
            disk.full = False
            for leaving in order[:-1]:
                await holders[leaving].leave()
                await _assert_freeing(relay)
            await holders[order[-1]].leave()
        assert relay.room.reserve.size == RESERVE_BYTES
        assert not relay.room.full
        assert await _pages(relay) != CHECKPOINT_PAGES
        assert await _send(relay) == ""


async def test_periodic_filling_leaves_the_reserve_to_tasks_that_free_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(monkeypatch)
    async with open_relay(tmp_path, tuning=OFTEN) as relay:
        await people(relay, "User1", "User2")
        disk.full = True
        async with trio.open_nursery() as nursery:
            async with relay.room.freeing():
                disk.full = False
                nursery.start_soon(relay.room.run)
                await trio.sleep(20 * OFTEN.disk.fill_seconds)
                await _assert_freeing(relay)
                assert disk.filled == 0
            nursery.cancel_scope.cancel()


async def test_task_that_begins_while_the_last_one_ends_gets_the_reserve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(monkeypatch)
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        disk.full = True
        async with trio.open_nursery() as nursery:
            first = await nursery.start(_Holder(relay).run)
            disk.fill_may_go_on.clear()
            nursery.start_soon(first.leave)
            while not disk.filled:
                await trio.sleep(0.01)
            disk.full = False
            second = _Holder(relay)
            nursery.start_soon(second.run)
            with trio.move_on_after(0.2):
                # It may begin now or after the end of the first one, but not in between.
                await second.begun.wait()
            disk.fill_may_go_on.set()
            await second.begun.wait()
            await first.over.wait()
            await _assert_freeing(relay)
            await second.leave()
        assert relay.room.reserve.size == RESERVE_BYTES


async def test_task_cancelled_while_beginning_leaves_the_reserve_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = _Disk(monkeypatch)
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        disk.full = True
        async with trio.open_nursery() as nursery:
            holder = await nursery.start(_Holder(relay).run)
            disk.full = False
            with trio.CancelScope() as scope:
                scope.cancel()
                async with relay.room.freeing():
                    pass
            assert scope.cancelled_caught
            await _assert_freeing(relay)
            await holder.leave()
        assert relay.room.reserve.size == RESERVE_BYTES


async def test_stop_keeps_its_room_when_another_task_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = _Disk(monkeypatch)
    async with open_relay(tmp_path, tuning=OFTEN) as relay:
        await people(relay, "User1", "User2")
        disk.full = True
        async with trio.open_nursery() as nursery:
            holder = await nursery.start(_Holder(relay).run)
            nursery.start_soon(relay.room.run)
            disk.full = False
            relay.stop()
            await holder.leave()
            await trio.sleep(20 * OFTEN.disk.fill_seconds)
            assert relay.room.reserve.size == 0
            nursery.cancel_scope.cancel()
    assert relay.room.reserve.size == RESERVE_BYTES, "for the next start"
