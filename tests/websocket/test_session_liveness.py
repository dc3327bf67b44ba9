"""The 20 s rule, going offline, typing that falls silent: no time passes but where the clock jumps (section 4)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.core.delivery.typing import REPEAT_SECONDS
from relay.protocol import control
from tests.support.client_frames import client_frame
from tests.support.sessions import Client, Closed, House, Refused, go_by, house

STEP = 0.05
"""Real seconds for what is due to happen."""


@pytest.fixture
def clock() -> MockClock:
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        async with opened.device("User1") as one:
            await one.request("new", chatId="User2", clientMessageId="1", message="hello")
        yield opened


async def say_ping(client: Client) -> None:
    await client.text("ping")


async def say_json(client: Client) -> None:
    await client.ask("chats")


async def say_nonsense(client: Client) -> None:
    await client.text("{}")


async def say_half_a_frame(client: Client) -> None:
    await client.raw(client_frame(1, b"x" * 100)[:10])


SIGNS: list[Callable[[Client], Awaitable[None]]] = [
    say_ping,
    say_json,
    say_nonsense,
    Client.ping,
    say_half_a_frame,
]


async def alive(client: Client, clock: MockClock, seconds: float) -> None:
    """Let time go by, in which the connection must stay."""
    await go_by(clock, seconds)
    await trio.sleep(STEP)
    await client.rest()


async def closed_at_once(client: Client) -> int | None:
    with trio.fail_after(3):
        return await client.closed()


async def test_after_20_s_of_silence_the_connection_is_closed(relay: House, clock: MockClock) -> None:
    client = await relay.open("User1")
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


@pytest.mark.parametrize("sign", SIGNS)
async def test_any_byte_is_a_sign_of_life(
    relay: House, clock: MockClock, sign: Callable[[Client], Awaitable[None]]
) -> None:
    client = await relay.open("User1")
    await alive(client, clock, 19)
    await sign(client)
    await trio.sleep(STEP)
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


async def test_half_a_frame_and_then_silence_is_silence(relay: House, clock: MockClock) -> None:
    client = await relay.open("User1")
    await say_half_a_frame(client)
    await trio.sleep(STEP)
    await go_by(clock, 20.1)
    assert await closed_at_once(client) == 4408


class Search:
    """A search that takes until it is told to end."""

    def __init__(self) -> None:
        self.begun, self.over = trio.Event(), trio.Event()

    async def __call__(self, *_what: Any, **_how: Any) -> tuple[list[Any], bool]:
        self.begun.set()
        await self.over.wait()
        return [], False


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Search:
    search = Search()
    monkeypatch.setattr("relay.store.queries.search.search", search)
    return search


async def test_who_waits_for_an_answer_is_not_silent(relay: House, clock: MockClock, search: Search) -> None:
    client = await relay.open("User1")
    asked = await client.ask("search", query="hello")
    await search.begun.wait()
    for _ in range(3):
        await say_ping(client)
        await alive(client, clock, 19)
    search.over.set()
    assert (await client.answer(asked))["payload"] == []
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


async def test_silence_counts_from_the_answer_on(relay: House, clock: MockClock, search: Search) -> None:
    client = await relay.open("User1")
    asked = await client.ask("search", query="hello")
    await search.begun.wait()
    await go_by(clock, 19)
    search.over.set()
    await client.answer(asked)
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


async def test_hearing_something_is_no_sign_of_life(relay: House, clock: MockClock) -> None:
    client = await relay.open("User2")
    await alive(client, clock, 15)
    async with relay.device("User1") as other:
        await other.request("new", chatId="User2", clientMessageId="2", message="still there?")
        await client.until("new")
    await go_by(clock, 5)
    assert await closed_at_once(client) == 4408


async def test_the_last_device_to_fall_silent_takes_its_user_offline(relay: House, clock: MockClock) -> None:
    async with relay.device("User2") as watcher:
        await relay.open("User1")
        assert (await watcher.until("online"))["payload"] == {"userId": "User1"}
        await watcher.rest()
        await go_by(clock, 15)
        await say_ping(watcher)
        second = await relay.open("User1")
        await trio.sleep(STEP)
        await go_by(clock, 5.1)
        await say_ping(watcher)
        await trio.sleep(STEP)
        assert [frame for frame in await watcher.rest() if "eventType" in frame] == []
        await go_by(clock, 15)
        await say_ping(watcher)
        # Watched through a second: whoever is silent for 20 s is told of by then, also if they never close.
        await go_by(clock, 1)
        assert (await watcher.until("offline"))["payload"] == {"userId": "User1"}
        assert await second.closed() == 4408


async def test_strangers_hear_nothing_of_it(relay: House, clock: MockClock) -> None:
    async with relay.device("User3") as stranger:
        async with relay.device("User1"):
            pass
        await stranger.quiet()


async def test_a_device_that_comes_learns_once_who_is_online(relay: House) -> None:
    async with relay.device("User2"), relay.device("User3"), relay.device("User1") as one:
        frames = [frame for frame in await one.rest() if frame["eventType"] == "online"]
        assert [frame["payload"] for frame in frames] == [{"userId": "User2"}]
        assert "id" not in frames[0]


async def test_the_background_is_offline_until_the_next_frame(relay: House) -> None:
    async with relay.device("User2") as watcher, relay.device("User1") as one:
        await watcher.until("online")
        await watcher.rest()
        await one.frame(type="event", eventType="offline")
        assert (await watcher.event("offline"))["payload"] == {"userId": "User1"}
        await say_ping(one)
        assert (await watcher.event("online"))["payload"] == {"userId": "User1"}


# Typing.


async def typing(client: Client, chat_id: str, **fields: object) -> None:
    await client.frame(type="event", eventType="typing", payload={"chatId": chat_id, **fields})


async def test_typing_is_told_and_ends_after_6_s(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        await one.rest()
        await typing(two, "User1")
        frame = await one.event("typing")
        assert frame["payload"] == {"userId": "User2", "chatId": "User2"}
        assert "id" not in frame
        await go_by(clock, 5.5)
        await one.quiet()
        await go_by(clock, 1)
        assert (await one.event("typing"))["payload"] == {"userId": "User2", "chatId": "User2", "stop": True}
        await one.quiet()


async def test_typing_on_holds_it(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        await one.rest()
        for _ in range(3):
            await typing(two, "User1")
            assert "stop" not in (await one.event("typing"))["payload"]
            await go_by(clock, 5)
        await go_by(clock, 1.1)
        assert (await one.event("typing"))["payload"]["stop"] is True


async def test_a_stop_a_message_or_going_away_ends_it(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one:
        async with relay.device("User2") as two:
            await one.rest()
            await typing(two, "User1")
            await typing(two, "User1", stop=True)
            await one.until("typing")
            await one.until("typing")
            clock.jump(REPEAT_SECONDS)
            await typing(two, "User1")
            await two.request("new", chatId="User1", clientMessageId="2", message="hello")
            clock.jump(REPEAT_SECONDS)
            await typing(two, "User1")
            heard = [(frame["eventType"], frame["payload"].get("stop")) for frame in await one.rest()]
            assert heard == [
                ("typing", None),
                ("typing", True),
                ("new", None),
                ("typing", None),
            ]
        heard = [(frame["eventType"], frame["payload"].get("stop")) for frame in await one.rest()]
        assert heard == [("typing", True), ("offline", None)]


# Sent away.


async def test_a_revoked_token_ends_its_connections(relay: House) -> None:
    await relay.add_device("User1", "phone")
    async with relay.device("User1") as other:
        phone = await relay.open("User1phone")
        await relay.relay.admin.handle("device.revoke", control.RevokeDevice(device_id=4))
        assert await phone.closed() == 4401
        assert await other.request("profile")
        with pytest.raises(Refused, match="401"):
            await relay.open("User1phone")


async def test_a_device_that_is_revoked_while_it_comes_in_is_turned_away(
    relay: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    coming, let_in = trio.Event(), trio.Event()
    position = relay.relay.service.acknowledgements.start_position

    async def held_up(*who: Any) -> int:
        coming.set()
        await let_in.wait()
        return await position(*who)

    monkeypatch.setattr(relay.relay.service.acknowledgements, "start_position", held_up)

    async def come() -> None:
        client = await relay.open("User2")
        with pytest.raises(Closed, match="4401"):
            await client.receive()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        await coming.wait()
        await relay.relay.admin.handle("device.revoke", control.RevokeDevice(device_id=2))
        let_in.set()


# How much one may ask.


async def test_who_asks_too_much_is_told_when_to_ask_again_and_nobody_else_is(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", requests_per_second=0.5, burst=3) as relay:
        async with relay.device("User1") as one, relay.device("User2") as two:
            for _ in range(3):
                assert (await one.refused("dlvrd", chatId="User2"))["code"] == "not_found"
            refused = await one.refused("dlvrd", chatId="User2")
            assert refused["code"] == "rate_limited"
            assert 1_000 < refused["retryAfter"] <= 2_000
            await two.request("chats")
            await go_by(clock, 2)
            assert (await one.refused("dlvrd", chatId="User2"))["code"] == "not_found"
            refused = await one.refused("dlvrd", chatId="User2")
            assert refused["code"] == "rate_limited", "a refused request costs nothing, nor gives"


async def test_what_is_typed_beyond_that_is_told_to_nobody(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", requests_per_second=0.5, burst=2) as relay:
        async with relay.device("User1") as one, relay.device("User2") as two:
            await one.request("new", chatId="User2", clientMessageId="1", message="hello")
            for _ in range(3):
                await one.frame(type="event", eventType="typing", payload={"chatId": "User2"})
            await one.text("ping")
            told = [frame for frame in await two.rest() if frame["eventType"] == "typing"]
            assert len(told) == 1
