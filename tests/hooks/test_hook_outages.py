"""Outgoing hooks with an unresponsive address: events are posted later, in order, or given up after days."""

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from relay.core.model.changes import Hook
from relay.net.sockets.transport import StreamTransport
from relay.net.webhooks import outgoing as hooks
from relay.net.webhooks import post as hook_post
from relay.net.webhooks.post import PostFailed
from relay.protocol import control
from tests.support.outgoing_hooks import Address, Place, opened, settled, until
from tests.support.sessions import T0

HOUR = 3_600.0


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Address:
    made = Address()
    monkeypatch.setattr(hooks, "post", made.post)
    return made


@pytest.fixture
async def place(tmp_path: Path, clock: MockClock, address: Address) -> AsyncIterator[Place]:
    async with opened(tmp_path) as one:
        yield one


async def post(place: Place, url: str, text: str) -> bytes:
    """Post to an incoming hook over a connection in memory; return the answer's head."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(place.house.server.serve, StreamTransport(theirs))
        head = f"POST {urlsplit(url).path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n"
        await ours.send_all(f"{head}{text}".encode())
        answer = bytes(await ours.receive_some(65_536))
        await ours.aclose()
        nursery.cancel_scope.cancel()
    return answer.partition(b"\r\n\r\n")[0]


# Outages.


def unavailable(_event: dict[str, Any]) -> PostFailed:
    return PostFailed("the answer is 503")


async def test_events_of_a_long_outage_are_all_posted_in_order(
    place: Place, address: Address, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await place.hook()
    address.refuses = unavailable
    with caplog.at_level(logging.INFO):
        for number in range(300):
            await place.say("anna", place.ops, f"event {number}")
        for _ in range(round(6 * HOUR / 100)):
            clock.jump(100)
            await trio.sleep(0.001)
        assert address.taken == []
        # Tries become rarer: one in two and a half to five minutes.
        assert 6 * HOUR / 300 <= address.tries <= 6 * HOUR / 140
        # It is logged once an hour.
        assert 6 <= caplog.text.count("it is retried") <= 8
        assert "the answer is 503 for 5 h; it is retried" in caplog.text
        address.refuses = lambda _event: None
        clock.jump(301)
        await until(lambda: len(address.taken) == 300)
        assert "events are accepted again" in caplog.text
    assert address.texts == [f"event {number}" for number in range(300)]
    ids = [event["id"] for event in address.taken]
    assert ids == sorted(set(ids))


async def test_a_message_changed_during_an_outage_is_posted_in_its_latest_version(
    place: Place, address: Address, clock: MockClock
) -> None:
    await place.hook()
    address.refuses = unavailable
    async with place.house.device("anna") as anna:
        one = await anna.request("new", chatId=place.ops, clientMessageId="1", message="secret")
        two = await anna.request("new", chatId=place.ops, clientMessageId="2", message="tpyo")
        await until(lambda: address.tries)
        await anna.request("delete", chatId=place.ops, originalMessageId=one["messageId"])
        await anna.request("edit", chatId=place.ops, originalMessageId=two["messageId"], message="typo")
    address.refuses = lambda _event: None
    clock.jump(2)
    await until(lambda: len(address.taken) == 4)
    assert address.texts == ["", "typo", "", "typo"]
    assert address.taken[0]["payload"]["status"] == "deleted"


async def test_an_event_is_given_up_after_three_days(
    place: Place, address: Address, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await place.hook()
    address.refuses = lambda event: unavailable(event) if event["payload"]["message"] == "poison" else None
    await place.say("anna", place.ops, "poison")
    await place.say("anna", place.ops, "good")
    await until(lambda: address.tries)
    for _ in range(round(71 * HOUR / 300)):
        clock.jump(300)
        await trio.sleep(0.001)
    assert address.taken == []
    for _ in range(round(2 * HOUR / 300)):
        clock.jump(300)
        await trio.sleep(0.001)
    await until(lambda: address.texts == ["good"])
    assert "is given up: the answer is 503" in caplog.text


async def jump_until(clock: MockClock, what: Callable[[], object]) -> None:
    with trio.fail_after(120):
        while not what():
            clock.jump(1)
            await trio.sleep(0.001)


async def test_bug_during_a_try_is_logged_once_and_the_event_is_retried(
    place: Place, address: Address, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_event: object) -> None:
        raise RuntimeError("defect")

    await place.hook()
    address.refuses = fail
    await place.say("anna", place.ops, "first")
    await jump_until(clock, lambda: address.tries == 3)
    (shown,) = await place.ask("hook.list", control.Empty())
    assert shown.problem.startswith("the relay failed to post (RuntimeError), its log says how; tried ")
    assert caplog.text.count("RuntimeError: defect") == 1
    address.refuses = lambda _event: None
    await jump_until(clock, lambda: address.texts == ["first"])
    await place.say("anna", place.ops, "second")
    await until(lambda: address.texts == ["first", "second"])
    (shown,) = await place.ask("hook.list", control.Empty())
    assert shown.problem is None


async def test_event_that_always_meets_a_bug_is_given_up_after_three_days(
    place: Place, address: Address, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: dict[str, Any]) -> None:
        if event["payload"]["message"] == "poison":
            raise RuntimeError("defect")

    await place.hook()
    address.refuses = fail
    await place.say("anna", place.ops, "poison")
    await place.say("anna", place.ops, "good")
    await until(lambda: address.tries)
    for _ in range(round(73 * HOUR / 300)):
        clock.jump(300)
        await trio.sleep(0.001)
    await until(lambda: address.texts == ["good"])
    assert caplog.text.count("RuntimeError: defect") == 1


async def test_retry_after_is_respected(place: Place, address: Address, clock: MockClock) -> None:
    await place.hook()
    address.refuses = lambda _event: PostFailed("the answer is 429", after=120.0)
    await place.say("anna", place.ops, "x")
    await until(lambda: address.tries == 1)
    clock.jump(110)
    await settled()
    assert address.tries == 1
    clock.jump(11)
    await until(lambda: address.tries == 2)


async def test_events_that_retention_removed_during_an_outage_are_counted_and_skipped(
    place: Place, address: Address, clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    await place.hook()
    address.refuses = unavailable
    for number in range(3):
        await place.say("anna", place.ops, f"old {number}")
    await until(lambda: address.tries)
    pruned = await place.ask("prune", control.Prune(max_bytes=1))
    assert pruned.removed > 0, pruned
    address.refuses = lambda _event: None
    clock.jump(301)
    await settled()
    await place.say("anna", place.ops, "new")
    clock.jump(301)
    await until(lambda: "new" in address.texts)
    assert address.texts == ["new"]
    assert "were removed by retention; it goes on after them" in caplog.text


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (400, True),
        (413, True),
        (422, True),
        (401, False),
        (404, False),
        (410, False),
        (429, False),
        (301, False),
        (500, False),
    ],
)
async def test_only_a_refusal_of_this_event_gives_it_up(
    status: int, final: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def exchange(*_what: object) -> h11.Response:
        return h11.Response(status_code=status, headers=[("Retry-After", "7")])

    monkeypatch.setattr(hook_post, "exchange", exchange)
    with pytest.raises(PostFailed, match=str(status)) as refused:
        await hook_post.post(Hook(chat="x", url="http://x/"), b"{}", 1, T0)
    assert (refused.value.final, refused.value.after) == (final, 7.0)
