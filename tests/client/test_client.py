"""The Python client against a scripted relay: reconnecting, repeating requests, acknowledging, giving up."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from relay.client import CannotConnect, Client, SignedOut, connect
from relay.client.session import FIRST_PAUSE_SECONDS, KEEPALIVE_SECONDS, LONGEST_PAUSE_SECONDS, SILENCE_SECONDS
from relay.protocol import codec
from tests.client.relay_double import LONG, URL, Relay, client, running


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Relay:
    relay = Relay()
    monkeypatch.setattr(Client, "open_stream", lambda _client, host, port, *, tls: relay.open(host, port, tls=tls))
    return relay


# Connecting.


@pytest.mark.parametrize(
    ("url", "where", "path"),
    [
        ("ws://relay.test", ("relay.test", 80, False), "/ws"),
        ("wss://relay.test/ws", ("relay.test", 443, True), "/ws"),
        ("ws://relay.test:8765/chat/ws", ("relay.test", 8765, False), "/chat/ws"),
    ],
)
async def test_client_connects_to_the_host_port_and_scheme_of_the_url(
    relay: Relay, autojump_clock: MockClock, url: str, where: tuple[str, int, bool], path: str
) -> None:
    async with client(url), relay.comes() as link:
        assert relay.asked == [where]
        assert link.path == path
        assert link.headers[b"authorization"] == b"Bearer token"


async def test_client_requests_the_events_after_the_last_handled_one(relay: Relay, autojump_clock: MockClock) -> None:
    async with client(after=7) as ours:
        async with relay.comes() as link:
            assert link.path == "/ws?after=7"
            for event_id in (8, 9, None, 10):
                await link.tell(event_id)
            await wait_all_tasks_blocked()
            assert [(await anext(ours)).id for _ in range(2)] == [8, 9]
        async with relay.comes() as link:
            assert link.path == "/ws?after=8", "the ninth is not handled yet, and must be sent again to be acknowledged"
            for event_id in (9, 10, 11):
                await link.tell(event_id)
            assert [(await anext(ours)).id for _ in range(3)] == [None, 10, 11]
            assert [(await link.heard())["id"] for _ in range(2)] == [9, 10]


async def test_client_sends_keepalives(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link:
        for _ in range(3):
            before = trio.current_time()
            assert await link.socket.get_message() == "ping"
            assert trio.current_time() - before == pytest.approx(KEEPALIVE_SECONDS)
            await link.socket.send_message(codec.PONG.decode())
        await link.tell(1)
        assert (await anext(ours)).id == 1, "its answer is not an event"


async def test_client_reconnects_to_a_silent_relay(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes(), trio.open_nursery() as nursery:
        nursery.start_soon(ours.send, "User2", "into the void")
        begun = trio.current_time()
        async with relay.comes() as again:
            assert SILENCE_SECONDS < trio.current_time() - begun < 2 * SILENCE_SECONDS
            await again.accept(await again.heard())


async def test_the_pauses_between_attempts_grow(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.client.session.random.uniform", lambda least, most: (least + most) / 2)
    relay.down = True
    async with client():
        await trio.sleep(2 * LONG)
    pauses = [round(later - before, 3) for before, later in zip(relay.times, relay.times[1:], strict=False)]
    doubled = [0.75 * min(FIRST_PAUSE_SECONDS * 2**n, LONGEST_PAUSE_SECONDS) for n in range(len(pauses))]
    assert pauses == pytest.approx(doubled)
    assert len(pauses) > 8


async def test_the_pauses_start_again_after_a_frame_and_not_after_a_mere_handshake(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.client.session.random.uniform", lambda _least, most: most)
    pauses: list[float] = []
    async with client():
        for says_something in (False, False, True, False):
            async with relay.comes() as link:
                if says_something:
                    await link.tell(1)
                await wait_all_tasks_blocked()
            before = trio.current_time()
            while len(relay.times) < len(pauses) + 2:
                await trio.sleep(FIRST_PAUSE_SECONDS / 4)
            pauses.append(relay.times[-1] - before)
    assert pauses == pytest.approx(
        [FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS, 2 * FIRST_PAUSE_SECONDS]
    )


async def test_unanswered_handshake_is_given_up_and_retried(
    relay: Relay, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(host: str, port: int, *, tls: bool) -> trio.abc.Stream:
        relay.times.append(trio.current_time())
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(relay, "open", silent)
    async with client():
        await trio.sleep(LONG)
    assert len(relay.times) > 3


# Events.


class SlowClient(Client):
    """A client whose frames take two seconds to go out, for a while."""

    is_slow = True

    async def _send_frame(self, frame: bytes) -> None:
        if self.is_slow:
            await trio.sleep(2)
        await super()._send_frame(frame)


async def test_a_cancelled_wait_loses_no_acknowledgement(relay: Relay, autojump_clock: MockClock) -> None:
    async with running(SlowClient(URL, "token", None, reconnect=True, tls=None)) as ours, relay.comes() as link:
        await link.tell(3)
        assert (await anext(ours)).id == 3
        with trio.move_on_after(1):
            await anext(ours)
        ours.is_slow = False
        with trio.move_on_after(1):
            await anext(ours)
        assert await link.heard() == {"type": "ack", "id": 3}


async def test_an_event_is_acknowledged_when_the_next_one_is_requested(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, relay.comes() as link:
        await link.tell(3)
        await link.tell(None)
        assert (await anext(ours)).id == 3
        await link.quiet()
        assert (await anext(ours)).id is None
        assert await link.heard() == {"type": "ack", "id": 3}
        await link.tell(4)
        assert (await anext(ours)).id == 4
        await link.quiet()


async def test_a_repeated_event_is_skipped(relay: Relay, autojump_clock: MockClock) -> None:
    async with client(after=2) as ours, relay.comes() as link:
        for event_id in (2, 1, 3, 3, None, 4):
            await link.tell(event_id)
        assert [(await anext(ours)).id for _ in range(3)] == [3, None, 4]


async def test_events_beyond_the_queue_are_requested_again_when_it_is_empty(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client(most_events=3) as ours:
        async with relay.comes() as link:
            for event_id in (1, 2, 3, None, 4, 5):
                await link.tell(event_id)
            await wait_all_tasks_blocked()
            assert [(await anext(ours)).id for _ in range(3)] == [1, 2, 3]
            await link.tell(6)
            await wait_all_tasks_blocked()
            async with trio.open_nursery() as nursery:
                heard: list[int | None] = []

                async def listen() -> None:
                    for _ in range(2):
                        heard.append((await anext(ours)).id)

                nursery.start_soon(listen)
                await link.parts()
                async with relay.comes() as again:
                    assert again.path == "/ws?after=3", "nothing is taken in that has a gap before it"
                    await again.tell(4)
                    await again.tell(5)
                    await wait_all_tasks_blocked()
                    assert heard == [4, 5]


# The end.


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, SignedOut, "does not take this token"),
        (403, CannotConnect, "HTTP 403"),
        (404, CannotConnect, "HTTP 404"),
        (308, CannotConnect, "HTTP 308"),
    ],
)
async def test_permanent_failure_is_raised_and_not_retried(
    relay: Relay, autojump_clock: MockClock, status: int, error: type[Exception], words: str
) -> None:
    async with trio.open_nursery() as nursery:

        async def come() -> None:
            with pytest.raises(error, match=words):
                async with connect(URL, "token"):
                    raise AssertionError

        nursery.start_soon(come)
        async with relay.asks() as request:
            await request.reject(status)
            await wait_all_tasks_blocked()
    await trio.sleep(LONG)
    assert len(relay.asked) == 1


@pytest.mark.parametrize("status", [503, 429, 502])
async def test_temporary_failure_is_retried(relay: Relay, autojump_clock: MockClock, status: int) -> None:
    async with client() as ours:
        async with relay.asks() as request:
            await request.reject(status)
            await wait_all_tasks_blocked()
        async with relay.comes():
            await ours.connected()


async def test_client_retries_a_once_reached_relay_whatever_a_proxy_answers(
    relay: Relay, autojump_clock: MockClock
) -> None:
    async with client() as ours:
        async with relay.comes() as link:
            await ours.connected()
            await link.tell(1)
            await wait_all_tasks_blocked()
        async with relay.asks() as request:
            await request.reject(404)
            await wait_all_tasks_blocked()
        async with relay.comes():
            pass


async def test_a_line_break_at_the_end_of_a_token_is_ignored(relay: Relay, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Client(URL, "token\n", None, reconnect=True, tls=None).run)
        async with relay.comes() as link:
            assert link.headers[b"authorization"] == b"Bearer token"
        nursery.cancel_scope.cancel()


async def test_a_revoked_device_ends_all_pending_requests(relay: Relay, autojump_clock: MockClock) -> None:
    async with client() as ours, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(SignedOut):
                await ours.send("User2", "hello")

        async def listen() -> None:
            with pytest.raises(SignedOut):
                await anext(ours)

        async with relay.comes() as link:
            nursery.start_soon(ask)
            nursery.start_soon(listen)
            await link.heard()
            await link.socket.aclose(4401, "this device may not sign in any more")
        with trio.fail_after(LONG):
            with pytest.raises(SignedOut):
                await ours.connected()
    assert len(relay.asked) == 1


async def test_no_request_is_pending_after_the_end(relay: Relay, autojump_clock: MockClock) -> None:
    async with client(reconnect=False) as ours:
        async with relay.comes():
            await ours.connected()
        await trio.sleep(1)
        with trio.fail_after(LONG), pytest.raises(SignedOut, match="closed"):
            await ours.send("User2", "hello")


async def test_client_without_reconnecting_ends_with_its_connection(relay: Relay, autojump_clock: MockClock) -> None:
    async with client(reconnect=False) as ours, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(SignedOut, match="closed"):
                await ours.send("User2", "hello")

        async with relay.comes() as link:
            await link.tell(1)
            nursery.start_soon(ask)
            await link.heard()
            await link.socket.aclose()
        assert [event.id async for event in ours] == [1]
    assert len(relay.asked) == 1


async def test_client_without_reconnecting_raises_the_error(relay: Relay, autojump_clock: MockClock) -> None:
    relay.down = True
    with pytest.raises(ConnectionRefusedError):
        async with connect(URL, "token", reconnect=False):
            raise AssertionError


async def test_an_exception_in_the_block_is_raised_without_a_group(relay: Relay, autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def come() -> None:
            with pytest.raises(ZeroDivisionError):
                async with connect(URL, "token"):
                    raise ZeroDivisionError

        nursery.start_soon(come)
        async with relay.comes():
            await wait_all_tasks_blocked()
