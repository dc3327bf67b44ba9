"""Pages of a replay, and answers that are read during changes."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from relay.core.delivery.replay import Replays
from relay.core.tuning import DeliveryTuning
from relay.keys import UserKey
from relay.protocol.objects import Profile
from relay.store.queries import history, replay
from relay.store.sqlite.reading import utf8
from tests.service.page_requests import LONG, request, say
from tests.support.sessions import Client, House, house

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        yield opened


@pytest.fixture
async def one(relay: House) -> AsyncIterator[Client]:
    async with relay.device("User1") as opened:
        yield opened


# Replays.


async def come(client: Client, count: int) -> list[dict[str, Any]]:
    """Wait for this many events about messages, and then for silence."""
    found: list[dict[str, Any]] = []
    while len(message_ids(found)) < count:
        found.append(await client.receive(patience=30))
    return found + await client.rest()


def message_ids(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame["payload"]["messageId"] for frame in frames if frame.get("eventType") in ("new", "edit", "delete")]


async def test_replay_page_ends_by_bytes_and_everything_comes(
    relay: House, one: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = replay.entries

    async def entries(*arguments: Any) -> Any:
        found, more = await real(*arguments)
        read.append(sum(utf8(entry.message) for entry in found))
        return found, more

    monkeypatch.setattr(replay, "entries", entries)
    await say(one, "User2", *(f"{number} {LONG}" for number in range(6)), "short")
    await request(one, "edit", chatId="User2", originalMessageId=1, message=LONG)
    relay.relay.hub.recent.entries.clear()
    async with relay.open_from("User2", 0) as two:
        assert message_ids(await come(two, 8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert max(read) <= replay.REPLAY_PAGE_BYTES
    assert len(read) >= 7


async def test_replay_reads_only_the_users_own_chats(relay: House, one: Client) -> None:
    reading = relay.relay.connections.replaying
    async with relay.device("User3") as three:
        await say(three, "User2", "old")
    await say(one, "User1", *(f"note {number}" for number in range(3 * replay.PAGE_ENTRIES)))
    relay.relay.hub.recent.entries.clear()
    before = reading.started
    async with relay.open_from("User2", 0) as two:
        assert message_ids(await come(two, 1)) == [1]
    assert reading.started - before <= 6, "as many statements as there are pages of one's own"


async def test_replay_of_many_chats_comes_in_order_and_complete(relay: House, one: Client) -> None:
    tuning = relay.relay.tuning.delivery
    tuning.replay_page_entries, tuning.replay_read_ahead_entries = 7, 1
    chats = [
        (await one.request("createChat", type="group", name=f"Crew {n}", participants=["User2"]))["chatId"]
        for n in range(5)
    ]
    for number in range(60):
        await say(one, chats[number * number % 5 if number % 3 else 0], f"text {number}")
    relay.relay.hub.recent.entries.clear()
    async with relay.open_from("User2", 0) as two:
        frames = [frame for frame in await come(two, 60) if "id" in frame and frame["type"] == "event"]
    ids = [frame["id"] for frame in frames]
    assert ids == sorted(ids)
    texts = [frame["payload"]["message"] for frame in frames if frame["eventType"] == "new"]
    assert texts == [f"text {number}" for number in range(60)]


async def test_aborted_reconnects_cost_no_statement_and_delay_no_one(relay: House, one: Client) -> None:
    await say(one, "User2", "a")
    async with relay.device("User2") as two:
        await two.rest()
    await one.rest()
    relay.relay.hub.recent.entries.clear()
    reading = relay.relay.connections.replaying
    with trio.CancelScope() as busy:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reading.execute, ENDLESS)
            await trio.testing.wait_all_tasks_blocked()
            before = reading.started
            for _ in range(50):
                client = await relay.open("User2", path="/ws?after=0")
                await trio.aclose_forcefully(client.stream)
            with trio.fail_after(10):
                assert len(await one.request("chats")) == 1
                assert len(await one.request("messages", chatId="User2")) == 1
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert reading.started == before
            busy.cancel()
    async with relay.open_from("User2", 0) as two:
        assert message_ids(await come(two, 1)) == [1]
    assert not len(relay.relay.service.replaying.turns)


async def test_a_user_with_two_replays_lets_another_user_read_between_them(
    autojump_clock: trio.testing.MockClock,
) -> None:
    replaying = Replays(cast("Any", None), DeliveryTuning())
    order: list[str] = []

    async def read(user: UserKey, name: str) -> None:
        async with replaying.turn(user):
            order.append(name)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for user, name in ((2, "first of 2"), (2, "second of 2"), (3, "first of 3")):
            nursery.start_soon(read, UserKey(user), name)
            await trio.testing.wait_all_tasks_blocked()
    assert order == ["first of 2", "first of 3", "second of 2"]


def test_profile_stays_within_its_estimated_size() -> None:
    from relay.core.service.answer_pages import MAX_PROFILE_BYTES

    longest = Profile(id="i" * 64, name="漢" * 128, avatar_url="u" * 2_048, last_seen=2**53 - 1, bot=True)
    assert len(json.dumps(longest.__class__.__struct_fields__)) < MAX_PROFILE_BYTES


async def test_page_is_read_again_only_if_more_was_changed_than_is_in_memory(
    relay: House, one: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.relay.tuning.delivery.recent_entries = 3
    await say(one, "User2", "needle", "other")
    searching, asked = relay.relay.service.searching, 0
    real = searching.find
    async with relay.device("User3") as three:

        async def find(*arguments: Any) -> Any:
            nonlocal asked
            asked += 1
            found = await real(*arguments)
            if asked == 1:
                await meanwhile()
            return found

        async def much_is_said() -> None:
            await say(three, "User3", *(f"note {number}" for number in range(9)))

        async def it_is_edited() -> None:
            await request(one, "edit", chatId="User2", originalMessageId=1, message="needles")

        async def much_is_edited() -> None:
            await it_is_edited()
            for number in range(1, 5):
                await request(three, "edit", chatId="User3", originalMessageId=number, message="notes")

        monkeypatch.setattr(searching, "find", find)
        async with relay.device("User2") as two:
            for meanwhile, times in ((much_is_said, 1), (it_is_edited, 1), (much_is_edited, 2)):
                asked = 0
                await request(two, "search", query="needle")
                assert asked == times, meanwhile


@pytest.mark.parametrize("window", ["messages", "search"])
async def test_endless_edits_do_not_keep_others_from_reading(
    relay: House, one: Client, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    """The page was read again, eight times, and then refused."""
    await say(one, "User2", "needle 0", "other")
    edits = 0
    reading, searching = history.messages, relay.relay.service.searching.find

    def edited_after(read: Any) -> Any:
        async def read_then_edit(*what: Any, **how: Any) -> Any:
            nonlocal edits
            found = await read(*what, **how)
            edits += 1
            await request(one, "edit", chatId="User2", originalMessageId=1, message=f"needle {edits}")
            return found

        return read_then_edit

    monkeypatch.setattr(history, "messages", edited_after(reading))
    monkeypatch.setattr(relay.relay.service.searching, "find", edited_after(searching))
    asked = {"chatId": "User1"} if window == "messages" else {"query": "needle"}
    async with relay.device("User2") as two:
        page = await two.request(window, **asked)
    assert f"needle {edits}" in [one.get("message") for one in page]
    assert edits == 1
