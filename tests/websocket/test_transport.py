"""Reads over real sockets are handled by the task that polls them; an error stays with its connection."""

import socket
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from relay.net.sockets.epoll import Readiness
from relay.net.sockets.transport import RECEIVE_BYTES, ReadHandler, SocketTransport


class Lines:
    """Two connections and their peers."""

    def __init__(self, readiness: Readiness) -> None:
        pairs = [socket.socketpair() for _ in range(2)]
        self.ours = [SocketTransport(ours, readiness) for ours, _ in pairs]
        self.peers = [peer for _, peer in pairs]


@asynccontextmanager
async def lines() -> AsyncIterator[Lines]:
    readiness = Readiness()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        there = Lines(readiness)
        try:
            yield there
        finally:
            for one in there.ours:
                one.close()
            for peer in there.peers:
                peer.close()
        nursery.cancel_scope.cancel()


async def test_a_cancelled_connection_may_outlive_the_epoll_task() -> None:
    readiness = Readiness()
    there = Lines(readiness)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        await settled()
        nursery.cancel_scope.cancel()
    for one in there.ours:
        one.close()
    for peer in there.peers:
        peer.close()


async def settled() -> None:
    """Wait until all tasks are blocked."""
    await trio.testing.wait_all_tasks_blocked(0.02)


def keep(got: list[bytes]) -> ReadHandler:
    """Return a handler that keeps what it reads."""
    return lambda data, _now: got.append(data)


async def test_each_read_is_handled_until_the_end_of_the_stream() -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        got: list[bytes] = []
        nursery.start_soon(there.ours[0].receive_each, keep(got))
        for text in (b"one", b"two"):
            there.peers[0].send(text)
            await settled()
        assert got == [b"one", b"two"]
        there.peers[0].send(b"three")
        there.peers[0].close()
    assert got == [b"one", b"two", b"three"]


async def test_a_read_wakes_no_task() -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        tasks: list[trio.lowlevel.Task] = []
        nursery.start_soon(there.ours[0].receive_each, lambda *_: tasks.append(trio.lowlevel.current_task()))
        await settled()
        there.peers[0].send(b"x")
        await settled()
        assert ["Readiness.run" in task.name for task in tasks] == [True]
        nursery.cancel_scope.cancel()


async def test_error_is_raised_in_its_own_connection_only() -> None:
    def fail(_data: bytes, _now: float) -> None:
        raise ValueError("a fault")

    async with lines() as there, trio.open_nursery() as nursery:
        got: list[bytes] = []
        nursery.start_soon(there.ours[1].receive_each, keep(got))

        async def failing() -> None:
            with pytest.raises(ValueError, match="a fault"):
                await there.ours[0].receive_each(fail)

        nursery.start_soon(failing)
        await settled()
        there.peers[0].send(b"x")
        await settled()
        there.peers[1].send(b"y")
        await settled()
        assert got == [b"y"]
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_while_a_read_is_being_awaited() -> None:
    go_on, got = trio.Event(), list[bytes]()

    def take(data: bytes, _now: float) -> Awaitable[None] | None:
        got.append(data)
        return go_on.wait() if data == b"slow" else None

    async with lines() as there, trio.open_nursery() as nursery:
        nursery.start_soon(there.ours[0].receive_each, take)
        await settled()
        there.peers[0].send(b"slow")
        await settled()
        there.peers[0].send(b"next")
        await settled()
        assert got == [b"slow"]
        go_on.set()
        await settled()
        assert got == [b"slow", b"next"]
        nursery.cancel_scope.cancel()


async def test_large_sender_lets_others_take_turns() -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        order: list[int] = []
        for number in (0, 1):
            there.peers[number].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * RECEIVE_BYTES)
            there.peers[number].send(b"x" * (3 * RECEIVE_BYTES if number == 0 else 1))
        for number in (0, 1):
            nursery.start_soon(there.ours[number].receive_each, lambda *_, number=number: order.append(number))
        await settled()
        assert order.count(0) >= 3
        assert order.index(1) < len(order) - 1, "one read each, and not all of the first before the second"
        nursery.cancel_scope.cancel()


async def test_nothing_is_read_after_a_cancellation() -> None:
    async with lines() as there:
        got: list[bytes] = []
        with trio.move_on_after(0.02):
            await there.ours[0].receive_each(keep(got))
        there.peers[0].send(b"late")
        await settled()
        assert got == []
        assert await there.ours[0].receive() == b"late"


@pytest.mark.parametrize("what", ["nothing", "an error", "something to await"])
async def test_read_that_cancels_its_own_connection_leaves_others_alone(what: str) -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        got: list[bytes] = []

        def take(_data: bytes, _now: float) -> Any:
            scope.cancel()
            if what == "an error":
                raise ValueError
            return trio.lowlevel.checkpoint() if what == "something to await" else None  # noqa: ASYNC105 - handed on

        async def read() -> None:
            with scope:
                await there.ours[0].receive_each(take)

        nursery.start_soon(read)
        nursery.start_soon(there.ours[1].receive_each, keep(got))
        await settled()
        there.peers[0].send(b"the last one")
        await settled()
        there.peers[1].send(b"goes on")
        await settled()
        assert scope.cancelled_caught
        assert got == [b"goes on"]
        nursery.cancel_scope.cancel()
