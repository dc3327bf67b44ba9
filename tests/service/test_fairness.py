"""One account's share of the event loop: its size, its pieces, and the waiting order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.core.delivery.hub import Hub
from relay.core.limits import fairness
from relay.core.limits.fairness import (
    BURST_SECONDS,
    LOOP_SHARE,
    MAX_CHARGE_SECONDS,
    MAX_THREADS,
    SLICE_SECONDS,
    Account,
    Fairness,
)
from relay.core.service.dispatch import Service
from relay.core.tuning import Tuning
from relay.net.http.request import HttpRequest
from relay.net.tuning import NetTuning
from relay.net.websocket.frames import TEXT
from relay.protocol import codec
from relay.store.log.tuning import LogTuning
from tests.support.client_frames import client_frame
from tests.support.http_relay import HttpRelay, http_relay, upgrade


@pytest.fixture
def clock() -> MockClock:
    """A clock that advances only when a test works."""
    return MockClock()


class Work:
    """Tasks that work for accounts, each piece with a given duration."""

    def __init__(self, clock: MockClock) -> None:
        self.clock = clock
        self.fairness = Fairness(trio.current_time)
        self.done: list[str] = []
        """The account of each piece of work."""

    async def all_the_time(self, who: str, seconds: float) -> None:
        account = self.fairness.of(who)
        fairness.PAYER.set(account)
        while True:
            await account.wait_for_turn()
            self.clock.jump(seconds)
            self.done.append(who)
            await trio.lowlevel.checkpoint()

    async def now_and_then(self, who: str, seconds: float, pieces: int) -> None:
        """Work a little at each turn; an idle round takes a moment."""
        fairness.PAYER.set(self.fairness.of(who))
        for _ in range(pieces):
            self.clock.jump(seconds)
            self.done.append(who)
            await trio.lowlevel.checkpoint()


def test_account_beyond_its_burst_waits_until_it_is_paid_off() -> None:
    one, other = (counting := Fairness()).of("one"), counting.of("other")
    other.charge(SLICE_SECONDS / 10, 100.0)
    one.charge(BURST_SECONDS, 100.0)
    counting.round += 1
    assert one.wait(100.0) < 0
    one.charge(0.001, 100.0)
    counting.round += 1
    assert one.wait(100.0) == pytest.approx(0.001 / LOOP_SHARE)
    assert one.wait(100.0 + 0.001 / LOOP_SHARE) < 0


def test_account_that_is_served_alone_does_not_wait() -> None:
    one, other = (counting := Fairness()).of("one"), counting.of("other")
    other.charge(0.001, 100.0)
    for _ in range(100):
        one.charge(MAX_CHARGE_SECONDS, 100.1)
    counting.round += 1
    assert one.wait(100.1) > 30
    assert one.wait(100.1 + counting.alone_seconds) < 0
    other.charge(0.0001, 101.0)
    assert one.wait(101.0) > 30


def test_account_gets_one_slice_per_round() -> None:
    one = (counting := Fairness()).of("one")
    one.charge(SLICE_SECONDS / 2, 100.0)
    assert one.wait(100.0) < 0
    one.charge(SLICE_SECONDS / 2, 100.0)
    assert one.wait(100.0) == 0.0
    counting.round += 1
    assert one.wait(100.0) < 0


async def test_one_of_many_connections_is_served_between_two_turns_of_the_others(clock: MockClock) -> None:
    """However many connections of one account have work, others wait for one piece of it."""
    work = Work(clock)
    with work.fairness.at_work():
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(work.all_the_time, "greedy", SLICE_SECONDS * 2)
            await work.now_and_then("modest", SLICE_SECONDS / 10, 200)
            nursery.cancel_scope.cancel()
    between = "".join("." if who == "greedy" else "|" for who in work.done).split("|")
    # The order within a round is random: one piece may be the last of a round and the next the first of another.
    assert max(map(len, between)) <= 2
    assert work.done.count("greedy") > 20


async def test_greedy_account_gets_only_its_share_of_the_time(clock: MockClock) -> None:
    work = Work(clock)
    with work.fairness.at_work():
        async with trio.open_nursery() as nursery:
            for _ in range(32):
                nursery.start_soon(work.all_the_time, "greedy", SLICE_SECONDS)
            began = trio.current_time()
            await work.now_and_then("modest", SLICE_SECONDS / 2, 10_000)
            seconds = trio.current_time() - began
            nursery.cancel_scope.cancel()
    taken = work.done.count("greedy") * SLICE_SECONDS
    assert taken <= BURST_SECONDS + 2 * SLICE_SECONDS + LOOP_SHARE * seconds
    assert taken >= 0.9 * LOOP_SHARE * seconds


async def test_step_that_turns_out_to_be_another_accounts_is_charged_to_that(clock: MockClock) -> None:
    """A request's head is read before its caller is known."""
    counting = Fairness(trio.current_time)
    address, user = counting.of("192.0.2.1"), counting.of(7)

    async def serve() -> None:
        fairness.PAYER.set(address)
        await trio.lowlevel.checkpoint()
        clock.jump(1.0)
        counting.move(user)
        clock.jump(1.0)
        await trio.lowlevel.checkpoint()
        clock.jump(1.0)

    with counting.at_work():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
    assert address.paid_at < trio.current_time()
    assert user.paid_at > trio.current_time()


def test_standstill_of_the_machine_is_charged_to_no_account() -> None:
    one, other = (counting := Fairness()).of("one"), counting.of("other")
    one.charge(3_600.0, 100.0)
    other.charge(0.001, 100.0)
    assert one.wait(100.0) <= MAX_CHARGE_SECONDS / LOOP_SHARE


async def test_cancelled_waiting_task_delays_no_other(clock: MockClock) -> None:
    work = Work(clock)
    one, other = work.fairness.of("one"), work.fairness.of("other")
    with work.fairness.at_work():
        async with trio.open_nursery() as nursery:
            one.rest(10.0)
            other.charge(0.001, trio.current_time())
            nursery.start_soon(one.wait_for_turn)
            nursery.start_soon(one.wait_for_turn)
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        clock.jump(100.0)
        with trio.fail_after(1):
            await one.wait_for_turn()


async def test_threads_of_one_account_are_bounded_and_leave_others_theirs() -> None:
    account = Fairness().of("one")
    most = 0

    async def read() -> None:
        await account.in_thread(lambda: None)

    class Counted(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            nonlocal most
            most = max(most, trio.to_thread.current_default_thread_limiter().borrowed_tokens)

    trio.lowlevel.add_instrument(counted := Counted())
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(read)
    trio.lowlevel.remove_instrument(counted)
    assert 1 <= most <= MAX_THREADS


def test_number_of_remembered_accounts_is_bounded() -> None:
    counting = Fairness()
    for number in range(fairness.MAX_ACCOUNTS + 100):
        counting.of(f"192.0.2.{number}")
    assert len(counting) == fairness.MAX_ACCOUNTS
    kept = counting.of("192.0.2.200")
    assert isinstance(kept, Account)
    assert counting.of("192.0.2.200") is kept


# On real sockets: counts of calls between two turns of everybody else.


class Turns:
    """Counts calls of a function, turn by turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        self.calls = 0
        real = getattr(owner, name)

        def counted(*arguments: Any) -> Any:
            self.calls += 1
            return real(*arguments)

        monkeypatch.setattr(owner, name, counted)

    async def most(self, calls: int) -> int:
        """The maximum calls between two turns of this task, until a total number is reached."""
        most, before = 0, self.calls
        with trio.fail_after(20):
            while self.calls < calls:
                await trio.lowlevel.checkpoint()
                most, before = max(most, self.calls - before), self.calls
        return most


@asynccontextmanager
async def lines(relay: HttpRelay, token: str, count: int) -> AsyncIterator[list[trio.SocketStream]]:
    """Open WebSockets of a user."""
    streams = [await upgrade(relay, ("Authorization", f"Bearer {token}")) for _ in range(count)]
    for stream in streams:
        assert b" 101 " in await stream.receive_some()
    try:
        yield streams
    finally:
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def poured(stream: trio.SocketStream, data: bytes) -> None:
    """Send all the time, and receive everything."""
    async with stream, trio.open_nursery() as nursery:

        async def take() -> None:
            while await stream.receive_some():
                pass

        nursery.start_soon(take)
        while True:
            await stream.send_all(data)


async def test_requests_of_one_user_over_many_connections_are_read_one_per_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = Turns(monkeypatch, HttpRequest, "__init__")
    async with http_relay(tmp_path) as relay:
        token = await relay.user("member")
        request = f"GET /session HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(poured, await relay.raw(request), request * 50)
            assert await turns.most(300) <= 2
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", [b"", b'{"type":"ack","id":1}'], ids=["signs of life", "acknowledgements"])
async def test_frames_of_one_user_over_many_connections_are_handled_a_few_per_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    turns = Turns(monkeypatch, Service, "take")
    async with http_relay(tmp_path) as relay:
        token = await relay.user("member")
        async with lines(relay, token, 16) as streams, trio.open_nursery() as nursery:
            for stream in streams:
                nursery.start_soon(poured, stream, client_frame(TEXT, text) * 2_000)
            assert await turns.most(5_000) <= 1_024
            nursery.cancel_scope.cancel()


def new(number: int) -> bytes:
    payload = {"chatId": "member", "clientMessageId": str(number), "message": "x"}
    return client_frame(TEXT, codec.encode({"type": "request", "id": number, "payloadType": "new", "payload": payload}))


async def test_batch_is_published_a_little_per_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One member's messages to a large group come in a batch before another user's."""
    turns = Turns(monkeypatch, Hub, "publish")
    async with http_relay(tmp_path, tuning=Tuning(log=LogTuning(publish_seconds=0.0))) as relay:
        token = await relay.user("member")
        async with lines(relay, token, 1) as streams:
            before = turns.calls
            await streams[0].send_all(b"".join(map(new, range(60))))
            assert await turns.most(before + 60) <= 2


async def test_connections_beyond_the_waiting_limit_of_an_address_are_closed(
    tmp_path: Path,
) -> None:
    async with http_relay(tmp_path, net=NetTuning(waiting_connections_per_address=3)) as relay:
        payer = relay.server.router.fairness.of("127.0.0.1")
        relay.server.router.fairness.of("192.0.2.1").charge(0.001, relay.server.router.fairness.time())
        relay.server.router.fairness.alone_seconds = 1_000.0
        payer.rest(3.0)
        streams = [await relay.raw(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") for _ in range(8)]
        with trio.fail_after(5):
            while payer.waiting < 3:
                await trio.sleep(0.001)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert payer.waiting == 3
        with trio.fail_after(1), pytest.raises((trio.BrokenResourceError, AssertionError)):
            assert await streams[-1].receive_some() != b""
        with trio.fail_after(8):
            assert (await streams[0].receive_some()).startswith(b"HTTP/1.1 200")
        for stream in streams:
            await stream.aclose()
