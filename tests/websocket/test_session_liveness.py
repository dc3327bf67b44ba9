"""Timeouts, going offline and typing (PROTOCOL.md, section 4), on a clock that only the tests move."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from relay.core.delivery.typing import REPEAT_SECONDS
from relay.protocol import control
from relay.store.sqlite.database import TooLong
from tests.support.client_frames import client_frame
from tests.support.sessions import Client, Closed, House, Refused, go_by, house

STEP = 0.05
"""Real seconds within which an event must happen."""


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
    """Advance the clock; the connection must stay open."""
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
async def test_any_byte_resets_the_silence_timeout(
    relay: House, clock: MockClock, sign: Callable[[Client], Awaitable[None]]
) -> None:
    client = await relay.open("User1")
    await alive(client, clock, 19)
    await sign(client)
    await trio.sleep(STEP)
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


async def test_half_a_frame_does_not_prevent_the_silence_timeout(relay: House, clock: MockClock) -> None:
    client = await relay.open("User1")
    await say_half_a_frame(client)
    await trio.sleep(STEP)
    await go_by(clock, 20.1)
    assert await closed_at_once(client) == 4408


class Search:
    """A search that lasts until the test ends it."""

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


async def test_a_client_that_waits_for_a_response_does_not_time_out(
    relay: House, clock: MockClock, search: Search
) -> None:
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


async def test_the_silence_timeout_starts_at_the_response(relay: House, clock: MockClock, search: Search) -> None:
    client = await relay.open("User1")
    asked = await client.ask("search", query="hello")
    await search.begun.wait()
    await go_by(clock, 19)
    search.over.set()
    await client.answer(asked)
    await alive(client, clock, 19)
    await go_by(clock, 1.1)
    assert await closed_at_once(client) == 4408


async def test_received_events_do_not_reset_the_silence_timeout(relay: House, clock: MockClock) -> None:
    client = await relay.open("User2")
    await alive(client, clock, 15)
    async with relay.device("User1") as other:
        await other.request("new", chatId="User2", clientMessageId="2", message="still there?")
        await client.until("new")
    await go_by(clock, 5)
    assert await closed_at_once(client) == 4408


async def test_a_user_goes_offline_with_their_last_device(relay: House, clock: MockClock) -> None:
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
        # As another user sees it: after 20 s of silence the user is offline, even if the client never closes.
        await go_by(clock, 1)
        assert (await watcher.until("offline"))["payload"] == {"userId": "User1"}
        assert await second.closed() == 4408


async def test_users_without_a_common_chat_get_no_presence(relay: House, clock: MockClock) -> None:
    async with relay.device("User3") as stranger:
        async with relay.device("User1"):
            pass
        await stranger.quiet()


async def test_connecting_device_gets_the_online_contacts_once(relay: House) -> None:
    async with relay.device("User2"), relay.device("User3"), relay.device("User1") as one:
        frames = [frame for frame in await one.rest() if frame["eventType"] == "online"]
        assert [frame["payload"] for frame in frames] == [{"userId": "User2"}]
        assert "id" not in frames[0]


async def test_a_background_client_is_offline_until_its_next_frame(relay: House) -> None:
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


async def test_typing_is_announced_and_ends_after_6_s(relay: House, clock: MockClock) -> None:
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


async def test_further_typing_extends_it(relay: House, clock: MockClock) -> None:
    async with relay.device("User1") as one, relay.device("User2") as two:
        await one.rest()
        for _ in range(3):
            await typing(two, "User1")
            assert "stop" not in (await one.event("typing"))["payload"]
            await go_by(clock, 5)
        await go_by(clock, 1.1)
        assert (await one.event("typing"))["payload"]["stop"] is True


async def test_a_stop_a_message_or_a_disconnect_ends_typing(relay: House, clock: MockClock) -> None:
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


# Ended connections.


async def test_a_revoked_token_ends_its_connections(relay: House) -> None:
    await relay.add_device("User1", "phone")
    async with relay.device("User1") as other:
        phone = await relay.open("User1phone")
        await relay.relay.admin.handle("device.revoke", control.RevokeDevice(device_id=4))
        assert await phone.closed() == 4401
        assert await other.request("profile")
        with pytest.raises(Refused, match="401"):
            await relay.open("User1phone")


async def test_a_device_that_is_revoked_during_its_handshake_is_refused(
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


async def test_connection_with_an_unreadable_position_gets_503(
    relay: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def too_long(*_who: Any) -> int:
        raise TooLong("the statement took too long")

    with monkeypatch.context() as frozen:
        frozen.setattr(relay.relay.service.acknowledgements, "start_position", too_long)
        for _ in range(3):
            with pytest.raises(Refused, match="503"):
                await relay.open("User2")
    (record,) = caplog.records
    assert "the store cannot be read: the statement took too long" in record.getMessage()
    assert not record.exc_info
    await relay.open("User2")


# Rate limits.


async def test_requests_beyond_the_rate_limit_are_refused_with_a_wait_time(tmp_path: Path, clock: MockClock) -> None:
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
            assert refused["code"] == "rate_limited", "a refused request takes no token"


async def test_typing_beyond_the_rate_limit_is_not_announced(tmp_path: Path, clock: MockClock) -> None:
    async with house(tmp_path, "User1", "User2", requests_per_second=0.5, burst=2) as relay:
        async with relay.device("User1") as one, relay.device("User2") as two:
            await one.request("new", chatId="User2", clientMessageId="1", message="hello")
            for _ in range(3):
                await one.frame(type="event", eventType="typing", payload={"chatId": "User2"})
            await one.text("ping")
            typing_events = [frame for frame in await two.rest() if frame["eventType"] == "typing"]
            assert len(typing_events) == 1
