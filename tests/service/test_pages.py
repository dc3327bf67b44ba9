"""Answers and replays end by bytes, and what is read page by page is everything, each once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from relay.core.delivery.replay import Replays
from relay.core.service.answer_pages import PageMaker
from relay.core.tuning import DeliveryTuning
from relay.keys import UserKey
from relay.protocol.objects import Profile
from relay.store.queries import history, replay
from relay.store.sqlite.database import utf8
from tests.support.sessions import Client, House, house

LONG = "漢" * 65_000
ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
MIB = 2**20


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        yield opened


@pytest.fixture
async def one(relay: House) -> AsyncIterator[Client]:
    async with relay.device("User1") as opened:
        yield opened


async def say(client: Client, chat: str, *texts: str, **more: Any) -> None:
    for text in texts:
        await request(client, "new", chatId=chat, clientMessageId=f"{chat} {text[:40]}", message=text, **more)


async def request(client: Client, name: str, **payload: Any) -> None:
    """Ask in UTF-8 as it is: with each character escaped a long text is no frame any more."""
    fields = {"type": "request", "id": "long", "payloadType": name, "payload": payload}
    await client.text(json.dumps(fields, ensure_ascii=False))
    assert "payload" in await client.answer("long")


async def page(client: Client, name: str, **payload: Any) -> dict[str, Any]:
    answer = await client.answer(await client.ask(name, **payload))
    assert "payload" in answer, answer
    assert len(json.dumps(answer, ensure_ascii=False).encode()) < MIB
    return answer


async def all_pages(client: Client, name: str, cursor: str, **payload: Any) -> list[list[Any]]:
    """All pages, each asked for with the `next` of the one before."""
    found = [await page(client, name, **payload)]
    while found[-1].get("more"):
        found.append(await page(client, name, **payload, **{cursor: found[-1]["next"]}))
    assert "next" not in found[-1]
    return [one["payload"] for one in found]


# messages


async def test_messages_end_at_a_megabyte_and_go_on_without_a_gap_in_both_directions(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"{number} {LONG}" for number in range(12)))
    down: list[int] = []
    answer = await page(one, "messages", chatId="User2", count=100)
    assert [message["messageId"] for message in answer["payload"]] == [8, 9, 10, 11, 12]
    while answer["payload"]:
        down = [message["messageId"] for message in answer["payload"]] + down
        assert answer.get("more", False) == (down[0] > 1)
        answer = await page(one, "messages", chatId="User2", count=100, endId=down[0])
    up: list[int] = []
    more = True
    while more:
        answer = await page(one, "messages", chatId="User2", count=100, startId=len(up) + 1)
        up += [message["messageId"] for message in answer["payload"]]
        more = answer.get("more", False)
    assert down == up == list(range(1, 13))


async def test_messages_say_that_there_are_more_where_the_count_ends_them(relay: House, one: Client) -> None:
    await say(one, "User2", "a", "b", "c")
    assert (await page(one, "messages", chatId="User2", count=2))["more"] is True
    assert "more" not in await page(one, "messages", chatId="User2", count=3)
    assert "more" not in await page(one, "messages", chatId="User2", startId=2, count=2)


async def test_a_page_that_quotes_long_messages_reads_no_more_than_a_page(relay: House, one: Client) -> None:
    await say(one, "User2", LONG)
    for number in range(60):
        await say(one, "User2", f"so {number}", replyTo=1)
    answer = await page(one, "messages", chatId="User2", count=100)
    assert 10 < len(answer["payload"]) < 20
    assert answer["more"] is True


async def test_receipts_of_a_large_group_count_and_are_exact_across_pages(relay: House, one: Client) -> None:
    relay.relay.tuning.service.slice_receipts = 10
    chat = (await one.request("createChat", type="group", name="Crew", participants=["User2", "User3"]))["chatId"]
    await say(one, chat, *(f"text {number}" for number in range(20)))
    async with relay.device("User2") as two, relay.device("User3") as three:
        await two.request("read", chatId=chat, messageId=5)
        await two.request("dlvrd", chatId=chat, messageId=12)
        await three.request("read", chatId=chat, messageId=17)
    whole = (await page(one, "messages", chatId=chat))["payload"]
    got = [[(who["userId"], "dlvrd" in who, "read" in who) for who in one["delivering"]] for one in whole]
    assert got == [
        [("User2", number <= 12, number <= 5), ("User3", number <= 17, number <= 17)] for number in range(1, 21)
    ]
    relay.relay.tuning.service.page_bytes = 900
    small: list[Any] = []
    answer = await page(one, "messages", chatId=chat)
    assert len(answer["payload"]) < 6
    while answer["payload"]:
        small = answer["payload"] + small
        answer = await page(one, "messages", chatId=chat, endId=small[0]["messageId"])
    assert small == whole


def test_a_page_has_at_least_one_item_and_ends_at_the_first_that_does_not_fit() -> None:
    made = PageMaker(10)
    assert made.add("x" * 1_000)
    assert not made.add("y")
    assert made.made(more=False).more
    made = PageMaker(10)
    made.add_all(["a", "b" * 20, "c"])
    assert len(made) == 1


async def test_a_chat_of_many_thousands_gives_its_participants_in_pages(relay: House, one: Client) -> None:
    chat = (await one.request("createChat", type="group", name="Hub", participants=["User2", "User3"]))["chatId"]
    answer = await page(one, "chat", chatId=chat)
    assert [who["id"] for who in answer["payload"]["meta"]["participants"]] == ["User1", "User2", "User3"]
    assert "more" not in answer
    relay.relay.tuning.service.page_bytes = 320
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        answer = await page(one, "chat", chatId=chat, **after)
        found += [who["id"] for who in answer["payload"]["meta"]["participants"]]
        if not answer.get("more"):
            break
        after = {"after": answer["next"]}
    assert found == ["User1", "User2", "User3"]


# search, users


async def test_each_hit_comes_once_though_all_share_a_millisecond(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"needle {number}" for number in range(17)))
    pages = await all_pages(one, "search", "before", query="needle", count=5)
    assert [len(hits) for hits in pages] == [5, 5, 5, 2]
    assert [hit["messageId"] for hits in pages for hit in hits] == list(range(17, 0, -1))
    assert len({hit["createdAt"] for hits in pages for hit in hits}) == 1
    short = await all_pages(one, "search", "before", query="ne", count=6)
    assert [hit["messageId"] for hits in short for hit in hits] == list(range(17, 0, -1))


async def test_a_search_ends_at_a_megabyte(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"{number} needle {LONG}" for number in range(9)))
    pages = await all_pages(one, "search", "before", query="needle", count=50)
    assert [hit["messageId"] for hits in pages for hit in hits] == list(range(9, 0, -1))
    assert len(pages[0]) == 5


async def test_search_before_accepts_a_timestamp(relay: House, one: Client) -> None:
    await say(one, "User2", "needle")
    at = (await page(one, "search", query="needle"))["payload"][0]["createdAt"]
    assert (await page(one, "search", query="needle", before=at))["payload"] == []
    assert len((await page(one, "search", query="needle", before=at + 1))["payload"]) == 1
    assert (await page(one, "search", query="needle", before=0))["payload"] == []


@pytest.mark.parametrize("cursor", ["", "x", "s", "s-1", "s1.5", "s1 ", "s٣", "s" + "9" * 19, "12", None, -1, 1.5, []])
async def test_invalid_page_cursor_is_refused_with_a_message(relay: House, one: Client, cursor: Any) -> None:
    answer = await one.answer(await one.ask("search", query="needle", before=cursor))
    if cursor is None:
        assert answer["payload"] == []
    else:
        assert answer["error"]["code"] == "bad_request"
        assert "before" in answer["error"]["message"]


async def test_another_users_cursor_shows_nothing_of_theirs(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"needle {number}" for number in range(4)))
    theirs = (await page(one, "search", query="needle", count=2))["next"]
    async with relay.device("User3") as three:
        await say(three, "User3", "needle of one's own")
        assert (await page(three, "search", query="needle", before=theirs))["payload"] == []
        assert (await page(three, "search", query="needle", before="s99999"))["payload"][0]["sender"] == "User3"


async def test_cleared_messages_make_no_page_shorter(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"needle {number}" for number in range(6)))
    await one.request("deleteChat", chatId="User2")
    await say(one, "User2", "needle after")
    await say(one, "User3", "needle before")
    answer = await page(one, "search", query="needle", count=2)
    assert [hit["message"] for hit in answer["payload"]] == ["needle before", "needle after"]
    assert "more" not in answer


async def test_each_user_comes_once(relay: House, one: Client) -> None:
    for number in range(10):
        await relay.add_user(f"Person{number}")
    pages = await all_pages(one, "users", "after", count=4)
    ids = [user["id"] for users in pages for user in users]
    assert ids == sorted(ids)
    assert len(ids) == len(set(ids)) == 13
    assert [len(users) for users in pages] == [4, 4, 4, 1]
    # Those who do not know `next` go on from the last id.
    assert (await page(one, "users", count=4, after=ids[3]))["payload"] == pages[1]


async def test_users_end_at_a_megabyte(relay: House, one: Client) -> None:
    size = len(json.dumps({"id": "User1", "name": "User1"}, separators=(",", ":"))) + 1
    relay.relay.tuning.service.page_bytes = 2 * size + 2
    pages = await all_pages(one, "users", "after")
    assert [user["id"] for users in pages for user in users] == ["User1", "User2", "User3"]
    assert len(pages) > 1


# Replays.


async def come(client: Client, count: int) -> list[dict[str, Any]]:
    """So many events about messages, waited for; and then nothing more."""
    found: list[dict[str, Any]] = []
    while len(told(found)) < count:
        found.append(await client.receive(patience=30))
    return found + await client.rest()


def told(frames: list[dict[str, Any]]) -> list[Any]:
    return [frame["payload"]["messageId"] for frame in frames if frame.get("eventType") in ("new", "edit", "delete")]


async def test_a_replay_page_ends_by_bytes_and_all_comes(
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
        assert told(await come(two, 8)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert max(read) <= replay.REPLAY_PAGE_BYTES
    assert len(read) >= 7


async def test_a_replay_reads_ones_own_chats_and_nothing_else(relay: House, one: Client) -> None:
    reading = relay.relay.connections.replaying
    async with relay.device("User3") as three:
        await say(three, "User2", "old")
    await say(one, "User1", *(f"note {number}" for number in range(3 * replay.PAGE_ENTRIES)))
    relay.relay.hub.recent.entries.clear()
    before = reading.started
    async with relay.open_from("User2", 0) as two:
        assert told(await come(two, 1)) == [1]
    assert reading.started - before <= 6, "as many statements as there are pages of one's own"


async def test_a_replay_of_many_chats_comes_in_order_and_whole(relay: House, one: Client) -> None:
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


async def test_reconnects_that_are_over_cost_no_statement_and_hold_up_nobody(relay: House, one: Client) -> None:
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
        assert told(await come(two, 1)) == [1]
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


def test_a_profile_is_never_larger_than_is_reckoned() -> None:
    from relay.core.service.answer_pages import MAX_PROFILE_BYTES

    longest = Profile(id="i" * 64, name="漢" * 128, avatar_url="u" * 2_048, last_seen=2**53 - 1, bot=True)
    assert len(json.dumps(longest.__class__.__struct_fields__)) < MAX_PROFILE_BYTES


async def test_a_page_is_read_again_only_if_more_was_changed_meanwhile_than_is_in_memory(
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
async def test_a_user_who_keeps_editing_keeps_nobody_from_reading(
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
