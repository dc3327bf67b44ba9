"""Limits on simultaneous requests: per holder, and the largest holder loses its own first."""

import trio
import trio.testing

from relay.net.http.places import Places


async def hold(
    places: Places, who: str, ended: list[str], task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    await places.wait(who)
    async with places.take(who) as scope:
        task_status.started()
        await trio.sleep_forever()
    if scope.cancelled_caught:
        ended.append(who)


async def test_holder_at_its_maximum_waits_and_others_do_not() -> None:
    places = Places(10, 2)
    ended: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            await nursery.start(hold, places, "a", ended)
        with trio.move_on_after(0.05) as patience:
            await places.wait("a")
        assert patience.cancelled_caught
        await places.wait("b")
        nursery.cancel_scope.cancel()
    assert len(places) == 0
    assert not places.waiting


async def test_a_freed_place_goes_to_a_waiting_request() -> None:
    places = Places(10, 1)
    async with trio.open_nursery() as nursery:
        got = trio.Event()

        async def wait() -> None:
            await places.wait("a")
            async with places.take("a"):
                got.set()

        async with places.take("a"):
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert not got.is_set()
        with trio.fail_after(1):
            await got.wait()
    assert len(places) == 0


async def test_the_largest_holder_loses_its_oldest_place_when_all_are_taken() -> None:
    places = Places(8, 6)
    ended: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            await nursery.start(hold, places, "greedy", ended)
        for number in range(5):
            with trio.fail_after(1):
                await nursery.start(hold, places, f"other{number}", ended)
        await trio.testing.wait_all_tasks_blocked()
        assert ended == ["greedy"] * 3
        assert len(places) == 8
        nursery.cancel_scope.cancel()
    assert (len(places), places.held("greedy")) == (0, 0)


async def test_a_request_waits_when_every_holder_has_one_place() -> None:
    places = Places(3, 2)
    ended: list[str] = []
    async with trio.open_nursery() as nursery:
        for who in "abc":
            await nursery.start(hold, places, who, ended)
        with trio.move_on_after(0.05) as patience:
            await places.wait("d")
        assert patience.cancelled_caught
        nursery.cancel_scope.cancel()
    assert ended == []
