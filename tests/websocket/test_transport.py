"""Reads over real sockets are handled where their news comes in, and what goes wrong stays with its connection."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from relay.net.sockets.epoll import Readiness
from relay.net.sockets.transport import RECEIVE, ReadHandler, SocketTransport


class Lines:
    """Two connections that are read from, and their peers."""

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


async def test_who_is_cut_off_lets_go_of_its_socket_after_whoever_told_it_of_news() -> None:
    readiness = Readiness()
    there = Lines(readiness)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(readiness.run)
        await settled()
        nursery.cancel_scope.cancel()
    for one in (*there.ours, *there.peers):
        one.close()


async def settled() -> None:
    """Let everything happen that can."""
    await trio.testing.wait_all_tasks_blocked(0.02)


def keep(got: list[bytes]) -> ReadHandler:
    """Handle reads by keeping what they brought."""
    return lambda data, _now: got.append(data)


async def test_each_read_is_handled_as_it_comes_until_the_end() -> None:
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


async def test_a_read_wakes_nobody() -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        tasks: list[trio.lowlevel.Task] = []
        nursery.start_soon(there.ours[0].receive_each, lambda *_: tasks.append(trio.lowlevel.current_task()))
        await settled()
        there.peers[0].send(b"x")
        await settled()
        assert ["Readiness.run" in task.name for task in tasks] == [True]
        nursery.cancel_scope.cancel()


async def test_what_fails_is_raised_to_whose_connection_it_is_and_to_nobody_else() -> None:
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


async def test_nothing_is_read_while_something_is_to_be_awaited() -> None:
    go_on, got = trio.Event(), list[bytes]()

    def take(data: bytes, _now: float) -> object:
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


async def test_who_sends_much_leaves_others_their_turn() -> None:
    async with lines() as there, trio.open_nursery() as nursery:
        order: list[int] = []
        for number in (0, 1):
            there.peers[number].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * RECEIVE)
            there.peers[number].send(b"x" * (3 * RECEIVE if number == 0 else 1))
        for number in (0, 1):
            nursery.start_soon(there.ours[number].receive_each, lambda *_, number=number: order.append(number))
        await settled()
        assert order.count(0) >= 3
        assert order.index(1) < len(order) - 1, "one read each, and not all of the first before the second"
        nursery.cancel_scope.cancel()


async def test_after_a_cancellation_nothing_is_taken_any_more() -> None:
    async with lines() as there:
        got: list[bytes] = []
        with trio.move_on_after(0.02):
            await there.ours[0].receive_each(keep(got))
        there.peers[0].send(b"late")
        await settled()
        assert got == []
        assert await there.ours[0].receive() == b"late"


@pytest.mark.parametrize("what", ["nothing", "an error", "something to await"])
async def test_a_read_that_has_its_own_connection_cut_off_leaves_the_others_theirs(what: str) -> None:
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
