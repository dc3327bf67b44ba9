"""Full text: every script is found, other people's chats are not, and deleted texts are gone from the index."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import ADMIN, NoteRestore
from relay.core.submit import submit
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.protocol.requests import Accepted
from relay.store.command import Command
from relay.store.queries import positions, search
from relay.store.queries.history import HistoryRow
from relay.store.queries.search import Sought
from relay.store.sqlite.database import Connection, TooLong
from tests.support.tunings import indexing


async def _indexed(relay: Relay) -> None:
    with trio.fail_after(30):
        while True:
            last, indexed = await positions.ends(relay.reading)
            if last == indexed:
                return
            await trio.sleep(0.01)


def _saying(relay: Relay) -> Callable[[str, str], Awaitable[Accepted]]:
    async def say(client_id: str, text: str) -> Accepted:
        request = requests.New(chat_id="b", client_message_id=client_id, message=text)
        answer = await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, request))
        assert isinstance(answer, Accepted)
        return answer

    return say


async def _with_two_users(relay: Relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def _find(relay: Relay, text: str, chats: tuple[int, ...] = (1,)) -> list[str | None]:
    rows, _ = await search.search(relay.reading, Sought(text, dict.fromkeys(map(ChatKey, chats), 0), count=10))
    return [row.message for row in rows]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("hallo", ["Hallo Wörld, straße"]),
        ("WÖRLD", ["Hallo Wörld, straße"]),
        ("世界", ["你好世界朋友"]),
        ("世界朋友", ["你好世界朋友"]),
        ("МИР", ["привет мир"]),
        ("100%", ["it is 100% sure"]),
        ("0%", ["it is 100% sure"]),
        ('"quoted', ['say "quoted" AND NOT']),
        ("NOT", ['say "quoted" AND NOT']),
        ("nothing like it", []),
        ("%", ["it is 100% sure"]),
    ],
)
async def test_every_script_is_found(tmp_path: Path, query: str, found: list[str]) -> None:
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        await _with_two_users(relay)
        say = _saying(relay)
        for number, text in enumerate(
            ["Hallo Wörld, straße", "你好世界朋友", "привет мир", "it is 100% sure", 'say "quoted" AND NOT']
        ):
            await say(str(number), text)
        await _indexed(relay)
        assert await _find(relay, query) == found
        assert await _find(relay, query, ()) == []


async def test_unindexed_messages_are_found(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing(index_seconds=3_600.0)) as relay:
        await _with_two_users(relay)
        await _saying(relay)("1", "just said")
        last, indexed = await positions.ends(relay.reading)
        assert indexed < last
        assert await _find(relay, "just said") == ["just said"]


async def test_an_edit_and_a_deletion_reach_the_index(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        await _with_two_users(relay)
        say = _saying(relay)
        await say("1", "secret alpha")
        await say("2", "secret beta")
        await _indexed(relay)
        edit = requests.Edit(chat_id="b", original_message_id=1, message="public alpha")
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, edit, generated_id="e"))
        await submit(
            relay.log,
            Command(relay.clock(), UserKey(1), NO_DEVICE, requests.Delete(chat_id="b", message_id=2), generated_id="d"),
        )
        assert await _find(relay, "secret") == []
        assert await _find(relay, "public") == ["public alpha"]
    with sqlite3.connect(tmp_path / "relay.db") as file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    file.close()


# The cost of a search for others.

ENDLESS = "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


async def test_reads_of_others_delay_neither_a_reply_nor_a_search(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        await _with_two_users(relay)
        await _saying(relay)("1", "just said")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_for_ever, relay.reading)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(5) as in_time:
                reply = requests.New(chat_id="a", client_message_id="2", message="so", reply_to=1)
                await submit(relay.log, Command(relay.clock(), UserKey(2), NO_DEVICE, reply))
                found, _ = await relay.service.searching.find(UserKey(1), Sought("just said", {ChatKey(1): 0}))
            reading_still = bool(nursery.child_tasks)
            await relay.reading.interrupt()
    assert reading_still
    assert not in_time.cancelled_caught
    assert [row.message for row in found] == ["just said"]


async def _for_ever(reading: Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        await reading.execute(ENDLESS)


async def test_user_has_one_search_at_a_time_and_delays_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[int] = []
    most: dict[int, int] = {}
    go_on = trio.Event()

    async def find(
        _connection: object, sought: Sought, *_arguments: object, **_limits: object
    ) -> tuple[list[HistoryRow], bool]:
        user = sought.text
        running.append(int(user))
        most[int(user)] = max(most.get(int(user), 0), running.count(int(user)))
        await go_on.wait()
        await trio.lowlevel.checkpoint()
        running.remove(int(user))
        return [], False

    monkeypatch.setattr(search, "search", find)
    async with open_relay(tmp_path, tuning=indexing()) as relay, trio.open_nursery() as nursery:
        searching = relay.service.searching
        for user in (1, 1, 1, 2, 1, 2):
            nursery.start_soon(searching.find, UserKey(user), Sought(str(user), {}))
        with trio.fail_after(5):
            while len(running) < 2:
                await trio.sleep(0.01)
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(running) == [1, 2]
        go_on.set()
    assert most == {1: 1, 2: 1}
    assert not len(searching.turns)


async def test_word_that_is_common_elsewhere_is_found_in_the_users_own_chats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_long(*_arguments: object, **_limits: object) -> tuple[list[HistoryRow], bool]:
        raise TooLong

    async with open_relay(tmp_path, tuning=indexing()) as relay:
        await _with_two_users(relay)
        say, find = _saying(relay), relay.service.searching.find
        for number, text in enumerate(["the first", "another", "The 100%", "the 1000"]):
            await say(str(number), text)
        await _indexed(relay)
        monkeypatch.setattr(search, "search", too_long)
        rows, more = await find(UserKey(1), Sought("the", {ChatKey(1): 0}, count=2))
        assert [row.message for row in rows] == ["the 1000", "The 100%"]
        assert more
        rows, more = await find(UserKey(1), Sought("the", {ChatKey(1): 0}, rows[-1].seq, count=2))
        assert [row.message for row in rows] == ["another", "the first"]
        assert not more
        assert [row.message for row in (await find(UserKey(1), Sought("0%", {ChatKey(1): 0})))[0]] == ["The 100%"]
        assert await find(UserKey(1), Sought("the", {})) == ([], False)
        assert [row.message for row in (await find(UserKey(1), Sought("the", {ChatKey(1): 3})))[0]] == ["the 1000"]
        monkeypatch.setattr(search, "search_through", too_long)
        with pytest.raises(RelayError) as refused:
            await find(UserKey(1), Sought("the", {ChatKey(1): 0}))
        assert refused.value.error.code == "unavailable"


async def test_a_common_letter_is_found_across_the_gap_of_a_restore(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=indexing()) as relay:
        relay.service.searching.bounds.prefixed_trigrams = 0
        await _with_two_users(relay)
        await _saying(relay)("1", "q before")
        await _indexed(relay)
        restored = NoteRestore(relay.state.seq + 2 * search.SCANNED_ENTRIES, end_invites=False)
        await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, restored))
        await _saying(relay)("2", "q after")
        assert await _find(relay, "q") == ["q after", "q before"]
