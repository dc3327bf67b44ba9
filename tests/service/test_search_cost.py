"""The work of a search: few candidates for a rare phrase, each match once over the pages, in a bounded time."""

import random
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.core.submit import submit
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.store.command import Command
from relay.store.queries import fact_lookup, positions, search, trigrams
from relay.store.queries.search import Sought
from relay.store.queries.trigrams import TrigramChoice, TrigramShares
from relay.store.sqlite import database
from relay.store.sqlite.database import TooLong
from relay.store.sqlite.reading import PageBound
from relay.text import fold
from tests.support import statement_plans
from tests.support.tunings import indexing

SAID = 400
WORDS = ("the", "thing", "is", "THAT", "nothing", "Ärger", "ärger", "straße", "世界朋友", "МИР", "мир", "100%", 'a "b"')


@asynccontextmanager
async def _saying(data: Path, texts: list[str]) -> AsyncIterator[Relay]:
    async with open_relay(data, tuning=indexing()) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        async with trio.open_nursery() as nursery:
            for number, text in enumerate(texts):
                request = requests.New(chat_id="b", client_message_id=f"c{number}", message=text)
                nursery.start_soon(submit, relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, request))
        with trio.fail_after(20):
            while len(set(await positions.ends(relay.reading))) > 1:
                await trio.sleep(0.01)
        yield relay


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The `seq` of each candidate that was compared."""
    seen: list[int] = []
    wanted = search.SearchRun.wanted

    def look(self: search.SearchRun, row: tuple[int, ...]) -> bool:
        seen.append(row[0])
        return wanted(self, row)

    monkeypatch.setattr(search.SearchRun, "wanted", look)
    return seen


async def test_rare_phrase_of_common_trigrams_has_few_candidates(tmp_path: Path, looked_at: list[int]) -> None:
    async with _saying(tmp_path, [f"{number:04} the thing is that" for number in range(SAID)]) as relay:
        find = relay.service.searching.find
        rows, more = await find(UserKey(1), Sought("0217 the thing", {ChatKey(1): 0}))
        assert [row.message for row in rows] == ["0217 the thing is that"]
        assert not more
        assert len(looked_at) <= SAID / 40
        looked_at.clear()
        rows, more = await find(UserKey(1), Sought("the thing", {ChatKey(1): 0}, count=10))
        assert len(rows) == 10
        assert more
        assert len(looked_at) == 11


async def test_only_trigrams_that_narrow_the_search_are_looked_up() -> None:
    usual = TrigramShares()

    def asked(text: str, entries: int) -> list[str]:
        return TrigramChoice(usual, text, entries).asked

    assert asked("abcdef", 1_000)[0] in {"abc", "bcd", "cde", "def"}
    assert usual.learn([f"{number:03} xxxx" for number in range(100)])
    assert "xxx" not in asked("017 xxxx", 5_000_000)
    assert asked("xxxx", 5_000_000) == ["xxx"]
    assert len(asked("one and two and three and four", 5_000_000)) <= trigrams.LOOKED_UP_TRIGRAMS
    with pytest.raises(ValueError, match="trigram"):
        asked("ab", 10)
    assert not usual.learn(["xxx"])


@pytest.mark.parametrize("half", [False, True], ids=["indexed", "half of it indexed"])
async def test_each_match_comes_once_over_the_pages(tmp_path: Path, half: bool) -> None:
    chance = random.Random(7)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 6))) for _ in range(SAID)]
    async with _saying(tmp_path, texts) as relay:
        last, _ = await positions.ends(relay.reading)
        usual = TrigramShares()
        assert await search.learn(relay.reading, usual)
        for query in (
            "the thing",
            "thing is",
            "ÄRGER straße",
            "世界朋友",
            "МИР",
            "100%",
            'a "b" the',
            "is nothing there",
        ):
            found: list[str | None] = []
            before, more = search.END, True
            while more:
                rows, more = await search.search(
                    relay.reading,
                    Sought(query, {ChatKey(1): 0}, before, count=7),
                    usual,
                    indexed=last // 2 if half else None,
                )
                found += [row.message for row in rows]
                assert rows or not found or not more
                before = rows[-1].seq if rows else before
            by_hand = await relay.reading.execute("SELECT message FROM log WHERE kind = 1 ORDER BY seq DESC")
            assert found == [text for (text,) in by_hand if fold(query) in fold(text)]


# Time limits.

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i <= ?1 OR i < 0"


async def test_page_that_takes_too_long_ends_with_its_matches_so_far(tmp_path: Path) -> None:
    bound = PageBound(10, 1_000, lambda _row: 1)
    async with database.connect(tmp_path / "empty.db", writing=False) as reading:
        rows, more = await reading.page(ENDLESS, (3,), bound, seconds=0.1, partly=True)
        # Python reads a row ahead, and loses the previous one if that fails: it comes with the next page.
        assert rows in ([(1,), (2,)], [(1,), (2,), (3,)])
        assert more
        for found, partly in ((0, True), (3, False)):
            with pytest.raises(TooLong):
                await reading.page(ENDLESS, (found,), bound, seconds=0.1, partly=partly)


async def test_a_search_stops_when_its_connection_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with _saying(tmp_path, ["the same thing"] * SAID) as relay:
        compared = 0

        def slowly(_self: search.SearchRun, _row: tuple[object, ...]) -> bool:
            nonlocal compared
            compared += 1
            time.sleep(0.02)
            return False

        monkeypatch.setattr(search.SearchRun, "wanted", slowly)
        with trio.move_on_after(0.1) as gone:
            await relay.service.searching.find(UserKey(1), Sought("same thing", {ChatKey(1): 0}))
        assert gone.cancelled_caught
        assert compared < SAID / 4
        monkeypatch.undo()
        rows, _ = await relay.service.searching.find(UserKey(1), Sought("same thing", {ChatKey(1): 0}, count=1))
        assert len(rows) == 1


async def test_a_dropped_search_counts_as_its_users_one_until_its_thread_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _saying(tmp_path, ["the same thing"] * SAID) as relay:
        searching = relay.service.searching
        began, go_on = threading.Event(), threading.Event()
        searched: list[int] = []

        def unstoppable(_self: search.SearchRun, _row: tuple[object, ...]) -> bool:
            began.set()
            go_on.wait(10)
            return False

        async def find(user: int) -> None:
            await searching.find(UserKey(user), Sought("same thing", {ChatKey(1): 0}))
            searched.append(user)

        async with trio.open_nursery() as nursery:
            with monkeypatch.context() as slow:
                slow.setattr(search.SearchRun, "wanted", unstoppable)
                async with trio.open_nursery() as asker:
                    asker.start_soon(find, 1)
                    while not began.is_set():
                        await trio.sleep(0.01)
                    asker.cancel_scope.cancel()
                    for user in (1, 2):
                        nursery.start_soon(find, user)
                        with trio.CancelScope(shield=True):
                            await trio.sleep(0.05)
                    started = relay.connections.searching.started
                    with trio.CancelScope(shield=True):
                        await trio.sleep(0.1)
                    assert (searched, len(searching.turns)) == ([], 2)
                    assert relay.connections.searching.started == started
                    go_on.set()
        # Somebody else's search goes first, although the next one of the user was asked for earlier.
        assert searched == [2, 1]
        assert not len(searching.turns)


# Receipts.


def test_first_receipt_in_a_long_group_reads_only_the_latest_messages() -> None:
    ticks = {}
    for number in (2 * fact_lookup.COVERED_MESSAGES, 8 * fact_lookup.COVERED_MESSAGES):
        store = statement_plans.empty_store()
        store.execute("BEGIN")
        store.executemany(
            "INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target, client_id, message)"
            " VALUES (?1, 1, 1, ?1, CASE WHEN ?1 = 1 THEN 2 ELSE 3 END, 0, 0, 0, 'c' || ?1, 't')",
            ((seq,) for seq in range(1, number + 1)),
        )
        counted = [0]

        def tick(counted: list[int] = counted) -> int:
            counted[0] += 1
            return 0

        store.set_progress_handler(tick, 100)
        assert store.execute(fact_lookup.COVERED_BY, (1, 0, number, 9)).fetchall() == [(3, number, f"c{number}")]
        store.set_progress_handler(None, 0)
        ticks[number] = counted[0]
        store.close()
    few, many = ticks.values()
    assert many <= 1.1 * few
