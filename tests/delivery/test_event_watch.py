"""`relay tail`: what waits for a slow reader is bounded in number and in bytes, and what it misses is counted."""

import trio
import trio.testing

from relay.core.admin import events
from relay.core.admin.events import EventWatch
from relay.protocol import control
from tests.support.hub_house import House


async def watched(house: House, text: str, count: int) -> list[control.EntryInfo]:
    """Give what a reader gets who takes nothing while messages are sent, and everything afterwards."""
    watch = EventWatch(house.log.state, house.hub, None)  # type: ignore[arg-type]
    taken: list[control.EntryInfo] = []
    taking = trio.Event()

    async def take(item: control.EntryInfo | None) -> None:
        await taking.wait()
        if item is not None:
            taken.append(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.watch, control.Watch(texts=True), take)
        await trio.testing.wait_all_tasks_blocked()
        for number in range(count):
            house.log.new("User1", "User2", f"w{number}", text)
        taking.set()
        await trio.testing.wait_all_tasks_blocked()
        house.log.new("User1", "User2", "last", "short")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    return taken


async def test_long_entries_that_wait_for_a_slow_reader_are_bounded_in_bytes(house: House) -> None:
    taken = await watched(house, "x" * 65_535 + "😀", 100)
    # Each takes 262,144 bytes, so 15 wait.
    assert len(taken) == 16
    assert taken[-1].message == "short"
    assert sum(one.missed or 0 for one in taken) == 85


async def test_short_entries_that_wait_are_bounded_in_number(house: House) -> None:
    taken = await watched(house, "x", events.MAX_WAITING_ENTRIES + 20)
    # One is in the reader's hands.
    assert len(taken) == events.MAX_WAITING_ENTRIES + 2
    assert sum(one.missed or 0 for one in taken) == 19
