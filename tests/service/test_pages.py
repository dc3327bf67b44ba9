"""Answers and replays are bounded in bytes, and the pages together contain everything once."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.core.service.answer_pages import PageMaker
from tests.service.page_requests import LONG, page, say
from tests.support.sessions import Client, House, house


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, "User1", "User2", "User3") as opened:
        yield opened


@pytest.fixture
async def one(relay: House) -> AsyncIterator[Client]:
    async with relay.device("User1") as opened:
        yield opened


async def all_pages(client: Client, name: str, cursor: str, **payload: Any) -> list[list[Any]]:
    """All pages, each requested with the `next` of the one before."""
    found = [await page(client, name, **payload)]
    while found[-1].get("more"):
        found.append(await page(client, name, **payload, **{cursor: found[-1]["next"]}))
    assert "next" not in found[-1]
    return [one["payload"] for one in found]


# messages


async def test_message_pages_end_at_a_megabyte_and_continue_without_a_gap_in_both_directions(
    relay: House, one: Client
) -> None:
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


async def test_message_page_that_ends_by_count_says_that_there_are_more(relay: House, one: Client) -> None:
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


def test_page_has_at_least_one_item_and_ends_at_the_first_that_does_not_fit() -> None:
    made = PageMaker(10)
    assert made.add("x" * 1_000)
    assert not made.add("y")
    assert made.made(more=False).more
    made = PageMaker(10)
    made.add_all(["a", "b" * 20, "c"])
    assert len(made) == 1


async def test_chat_of_many_thousands_returns_its_participants_in_pages(relay: House, one: Client) -> None:
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


async def test_another_users_cursor_reveals_nothing(relay: House, one: Client) -> None:
    await say(one, "User2", *(f"needle {number}" for number in range(4)))
    theirs = (await page(one, "search", query="needle", count=2))["next"]
    async with relay.device("User3") as three:
        await say(three, "User3", "needle of one's own")
        assert (await page(three, "search", query="needle", before=theirs))["payload"] == []
        assert (await page(three, "search", query="needle", before="s99999"))["payload"][0]["sender"] == "User3"


async def test_cleared_messages_do_not_shorten_a_page(relay: House, one: Client) -> None:
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
    # Clients that do not know `next` continue after the last id.
    assert (await page(one, "users", count=4, after=ids[3]))["payload"] == pages[1]


async def test_users_end_at_a_megabyte(relay: House, one: Client) -> None:
    size = len(json.dumps({"id": "User1", "name": "User1"}, separators=(",", ":"))) + 1
    relay.relay.tuning.service.page_bytes = 2 * size + 2
    pages = await all_pages(one, "users", "after")
    assert [user["id"] for users in pages for user in users] == ["User1", "User2", "User3"]
    assert len(pages) > 1
