"""Removing history: unread counts follow, devices continue with the rest, and the store stays consistent."""

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.delivery import message_views
from relay.core.maintenance import retention
from relay.core.maintenance.check import CheckResult, check
from relay.core.relay import Relay, open_relay
from relay.core.rules import visibility
from relay.core.rules.commands import ADMIN, DeleteChat, MarkRead, PruneChats, PruneHistory
from relay.core.submit import submit
from relay.core.tuning import RetentionTuning, Tuning
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.settings import RetentionSection as Kept
from relay.settings import Settings
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import Prunable
from relay.store.log.log import Log
from relay.store.log.tuning import LogTuning
from relay.store.queries import fact_lookup, history, positions, prunable, replay, search, storage
from relay.store.queries.search import Sought
from relay.store.upkeep import removal
from relay.tasks.background import keep_running
from tests.support.disk import people, talk
from tests.support.raw_store import opened

DAY = 86_400_000


def tuned(**numbers: Any) -> Tuning:
    return Tuning(retention=RetentionTuning(**numbers))


class Clock:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


def _ignore(_what: str) -> None:
    return


async def _faults(data: Path) -> list[CheckResult]:
    return [finding for finding in await check(data, _ignore) if finding.wrong]


async def _say(relay: Relay, user: int, chat: str, text: str) -> requests.Accepted:
    request = requests.New(chat_id=chat, client_message_id=f"{relay.state.seq} {text}", message=text)
    answer = await submit(relay.log, Command(relay.clock(), UserKey(user), NO_DEVICE, request))
    assert isinstance(answer, requests.Accepted)
    return answer


async def _two_users(relay: Relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def test_old_messages_are_removed_and_the_rest_is_consistent(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        await _two_users(relay)
        for number in range(10):
            await _say(relay, 1, "b", f"old {number}")
        await submit(relay.log, Command(clock(), UserKey(2), NO_DEVICE, MarkRead(ChatKey(1), 3)))
        clock.now += 40 * DAY
        for number in range(3):
            await _say(relay, 1, "b", f"young {number}")
        assert relay.state.missed(relay.state.chats[ChatKey(1)], UserKey(2)) == 10
        assert (await relay.retention.prune(days=30)).removed == 11
        # Three of the ten unread ones are left to read.
        assert relay.state.missed(relay.state.chats[ChatKey(1)], UserKey(2)) == 3
        rows, _ = await history.messages(relay.reading, ChatKey(1), start=1, end=None, after=0, count=100)
        assert [(row.message_id, row.message) for row in rows] == [(11, "young 0"), (12, "young 1"), (13, "young 2")]
        assert await search.search(relay.reading, Sought("old 5", {ChatKey(1): 0})) == ([], False)
        assert (await _say(relay, 2, "a", "next")).message_id == 14
        # The relay has not stopped in order yet, but the check must pass.
        assert await _faults(tmp_path) == []
    assert await _faults(tmp_path) == []
    async with open_relay(tmp_path, clock=clock) as relay:
        assert relay.state.missed(relay.state.chats[ChatKey(1)], UserKey(2)) == 3
        assert relay.state.pruned > 0


@pytest.mark.parametrize("step", [7, 5_000])
@pytest.mark.parametrize("seed", range(3))
async def test_unread_counts_after_a_prune_match_the_log(tmp_path: Path, seed: int, step: int) -> None:
    chance = random.Random(seed)
    async with open_relay(tmp_path, tuning=tuned(step_messages_and_members=step)) as relay:
        await people(relay, "User1", "User2", "User3")
        for share in (3, 2):
            await talk(relay, chance, 150)
            await relay.retention.keep_state()
            await relay.retention.remove_entries(1, relay.state.seq // share)
            for chat, members in relay.state.members.items():
                for user, member in members.items():
                    left = await relay.reading.execute(
                        "SELECT count(*) FROM log"
                        " WHERE kind = 1 AND chat = ? AND message_id > ? AND actor <> ? AND NOT deleted",
                        (chat, member.read_upto, user),
                    )
                    assert (
                        left == [(relay.state.missed(relay.state.chats[chat], user),)] or relay.state.chats[chat].gone
                    )
    assert await _faults(tmp_path) == []


async def test_prune_reads_only_the_removed_entries_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Prunable] = []
    real = fact_lookup.look_up

    async def look_up(connection: Any, facts: Any, recent: Any) -> Any:
        asked.extend(fact for fact in facts if isinstance(fact, Prunable))
        return await real(connection, facts, recent)

    monkeypatch.setattr(fact_lookup, "look_up", look_up)
    async with open_relay(tmp_path, tuning=tuned(step_messages_and_members=4)) as relay:
        await _two_users(relay)
        for number in range(30):
            await _say(relay, 1, "b", f"message {number}")
        await relay.retention.keep_state()
        first = await prunable.first_prunable(relay.reading, 0)
        await relay.retention.remove_entries(first, first + 17)
        steps = [chats for fact in asked for chats in [fact.chats]]
        assert [(after, upto) for ((_, after, upto),) in steps] == [(0, 4), (4, 8), (8, 12), (12, 16), (16, 18)]
        assert await relay.reading.execute("SELECT count(*) FROM log WHERE kind = 1") == [(12,)]
        await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, PruneHistory(first + 3)))
        assert relay.state.pruned == first + 17, "removed messages stay removed"


async def test_interrupted_prune_is_completed_by_the_next_in_all_chats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_relay(tmp_path, tuning=tuned(step_messages_and_members=1)) as relay:
        for user in ("a", "b", "c"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        for number in range(10):
            await _say(relay, 1, "bc"[number % 2], f"message {number}")
        with trio.CancelScope() as scope:

            async def cut_off(log: Log, command: Command[Any]) -> Any:
                answer = await submit(log, command)
                if isinstance(command.request, PruneChats):
                    scope.cancel()
                return answer

            with monkeypatch.context() as patch:
                patch.setattr(retention, "submit", cut_off)
                await relay.retention.keep_state()
                first = await prunable.first_prunable(relay.reading, 0)
                await relay.retention.remove_entries(first, first + 5)
    async with open_relay(tmp_path) as relay:
        # The relay's own prune at its start has no limits set.
        with trio.fail_after(10):
            while (await prunable.first_prunable(relay.reading, 0)) <= first + 5:
                await relay.retention.prune()
        # The second chat was made in between.
        assert [relay.state.chats[ChatKey(chat)].pruned for chat in (1, 2)] == [3, 2]
        assert await relay.reading.execute("SELECT count(*) FROM log WHERE kind = 1") == [(5,)]
    assert await _faults(tmp_path) == []


async def test_cancelled_prune_leaves_entries_younger_than_its_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock, tuning=tuned(part_entries=4)) as relay:
        await _two_users(relay)
        for number in range(20):
            await _say(relay, 1, "b", f"message {number}")
        clock.now += 40 * DAY
        with trio.CancelScope() as scope:
            real = removal.remove_history

            async def remove_history(*where: Any) -> Any:
                scope.cancel()
                return await real(*where)

            with monkeypatch.context() as patch:
                patch.setattr(removal, "remove_history", remove_history)
                await relay.retention.prune(days=30)
        await relay.retention.prune()
        rows, _ = await history.messages(relay.reading, ChatKey(1), start=1, end=None, after=0, count=500)
        assert [row.message_id for row in rows] == list(range(5, 21))
    assert await _faults(tmp_path) == []


async def test_store_that_is_too_large_loses_its_oldest_entries(tmp_path: Path) -> None:
    # The index would make the store larger again during the test.
    async with open_relay(tmp_path, tuning=Tuning(log=LogTuning(index_seconds=3_600.0))) as relay:
        await _two_users(relay)
        for number in range(200):
            await _say(relay, 1, "b", f"{number} " + "x" * 2_000)
        size = await storage.size(relay.reading)
        await relay.retention.prune(max_bytes=size // 2)
        assert await storage.size(relay.reading) <= size // 2
        rows, _ = await history.messages(relay.reading, ChatKey(1), start=1, end=None, after=0, count=500)
        assert 20 < len(rows) < 150
        assert rows[-1].message_id == 200
    assert await _faults(tmp_path) == []


async def test_store_with_an_unmerged_index_loses_no_more_history_than_needed(tmp_path: Path) -> None:
    words = random.Random(7)
    async with open_relay(tmp_path) as relay:
        await _two_users(relay)
        for number in range(1_500):
            text = " ".join(str(words.getrandbits(40)) for _ in range(20))
            await _say(relay, 1, "b", f"{number} {text}")
        with trio.fail_after(30):
            while (await positions.ends(relay.reading))[1] < relay.state.seq:
                await trio.sleep(0.05)
        size = await storage.size(relay.reading)
        await relay.retention.prune(max_bytes=size // 10 * 9)
        ((left,),) = await relay.reading.execute("SELECT count(*) FROM log WHERE kind = 1")
        assert 1_500 * 0.8 <= left <= 1_500 * 0.95


async def test_retention_on_a_full_disk_does_not_end_the_relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = 0

    async def full(*_what: object) -> None:
        nonlocal tried
        tried += 1
        if tried == 2:
            again.set()
        raise RelayError.storage_full()

    again = trio.Event()
    settings = Settings(retention=Kept(days=1))
    clock = Clock()
    async with open_relay(tmp_path, clock=clock, settings=settings, tuning=tuned(period_seconds=0.01)) as relay:
        await _two_users(relay)
        await _say(relay, 1, "b", "old")
        clock.now += 2 * DAY
        monkeypatch.setattr(retention, "submit", full)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep_running, "retention", relay.retention.run, 0.01)
            with trio.fail_after(5):
                await again.wait()
            nursery.cancel_scope.cancel()


async def test_the_messages_of_a_deleted_chat_are_erased(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await _two_users(relay)
        chat = await relay.admin.handle("chat.create", control.MakeChat(name="Ops", owner="a", participants=["b"]))
        assert isinstance(chat, control.ChatInfo)
        await _say(relay, 1, chat.id, "the secret word")
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, DeleteChat(chat.id)))
        await relay.retention.erase_unseen([*relay.state.chats])
        assert await relay.reading.execute("SELECT count(*) FROM log WHERE message IS NOT NULL") == [(0,)]
    assert await _faults(tmp_path) == []


async def test_the_messages_of_a_chat_are_erased_soon_after_its_deletion(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=tuned(period_seconds=3_600)) as relay, trio.open_nursery() as nursery:
        await _two_users(relay)
        nursery.start_soon(relay.retention.run)
        # Two in a row: the second one is deleted when the erasing of the first is over.
        for name in ("Ops", "Watch"):
            chat = await relay.admin.handle("chat.create", control.MakeChat(name=name, owner="a", participants=["b"]))
            assert isinstance(chat, control.ChatInfo)
            await _say(relay, 1, chat.id, "the secret word")
            await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, DeleteChat(chat.id)))
            with trio.fail_after(5):
                while await relay.reading.execute("SELECT 1 FROM log WHERE message IS NOT NULL"):
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()


async def test_erasing_on_a_full_disk_continues_in_smaller_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = removal.erase_chat
    sizes: list[int] = []

    async def nearly_full(writing: Any, chat: Any, count: int) -> Any:
        sizes.append(count)
        if count > 20:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return await real(writing, chat, count)

    monkeypatch.setattr(removal, "erase_chat", nearly_full)
    async with open_relay(tmp_path) as relay:
        await _two_users(relay)
        chat = await relay.admin.handle("chat.create", control.MakeChat(name="Ops", owner="a", participants=["b"]))
        assert isinstance(chat, control.ChatInfo)
        for number in range(20):
            await _say(relay, 1, chat.id, f"message {number}")
        await submit(relay.log, Command(relay.clock(), UserKey(1), NO_DEVICE, DeleteChat(chat.id)))
        await relay.retention.erase_unseen([*relay.state.chats])
        assert await relay.reading.execute("SELECT count(*) FROM log WHERE message IS NOT NULL") == [(0,)]
    assert sizes[0] > sizes[1]
    assert min(sizes) <= 20


async def test_an_edit_of_a_pruned_message_is_not_replayed(tmp_path: Path) -> None:
    """Its text was in the message's row: an edit without text blanked the message on a device that still had it."""
    async with open_relay(tmp_path) as relay:
        await _two_users(relay)
        await _say(relay, 1, "b", "first")
        await submit(
            relay.log,
            Command(1, UserKey(1), NO_DEVICE, requests.Edit(chat_id="b", original_message_id=1, message="better")),
        )
        await _say(relay, 1, "b", "second")
        state = relay.state
        (edit,) = await relay.reading.execute("SELECT seq FROM log WHERE message_id = 2")

        async def replayed_kinds() -> list[str]:
            rows = await relay.reading.execute("SELECT seq FROM log ORDER BY seq")
            found, _ = await replay.entries(relay.reading, [seq for (seq,) in rows], state.users)
            replayed = [entry for entry in found if entry.kind <= kinds.DELETE]
            return [
                message_views.event(state, entry, UserKey(2))[0]
                for entry in replayed
                if visibility.is_event_for(state, entry, UserKey(2))
            ]

        assert await replayed_kinds() == ["new", "edit", "new"]
        await relay.retention.remove_entries(1, edit[0] - 1)
        assert await replayed_kinds() == ["new"]


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("DELETE FROM log WHERE message_id = 2 AND kind = 1", "message ids without gaps"),
        ("UPDATE log SET at = 5 WHERE seq = 5", "timestamps in order"),
        ("UPDATE log SET deleted = 1 WHERE kind = 1 AND message_id = 1", "deleted texts are gone"),
        ("UPDATE member SET value = json_set(value, '$.seen', 77) WHERE user = 1", "state and log agree"),
        ("DELETE FROM user WHERE key = 2", "state and log agree"),
        ("UPDATE log SET changed = 99 WHERE kind = 1 AND message_id = 1", "edits and deletions"),
        ("DELETE FROM search_docsize", "full-text index"),
        ("UPDATE log SET deleted = 1, changed = 2 WHERE kind = 1 AND message_id = 1", "state and log agree"),
    ],
)
async def test_check_names_the_faults(tmp_path: Path, damage: str, named: str) -> None:
    async with open_relay(tmp_path) as relay:
        await _two_users(relay)
        for number in range(3):
            await _say(relay, 1, "b", f"message {number}")
        await relay.log.run_exclusive(
            lambda writing: writing.execute("INSERT INTO batch VALUES ('[]', '[]', '[]', '{}', 5, '[]', '[]')")
        )
    assert await _faults(tmp_path) == []
    with opened(tmp_path / "relay.db") as file:
        file.execute(damage)
    assert named in [finding.what for finding in await _faults(tmp_path)]


def test_pages_of_the_index_are_counted_even_during_a_merge() -> None:
    chance = random.Random(1)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as store:
        store.execute(
            "CREATE VIRTUAL TABLE search USING fts5 (message, content = '', detail = none, tokenize = trigram)"
        )
        store.execute("INSERT INTO search (search, rank) VALUES ('pgsz', 100)")
        (empty,) = store.execute("SELECT block FROM search_data WHERE id = 10").fetchone()
        assert storage.index_pages(empty) == 0
        for number in range(40):
            text = "".join(chance.choices("abcdefghijkl", k=400))
            store.execute("INSERT INTO search (rowid, message) VALUES (?, ?)", (number, text))
        counts = set()
        for begin in range(12):
            store.execute("INSERT INTO search (search, rank) VALUES ('merge', ?)", (4 if begin else -4,))
            (segments,) = store.execute("SELECT block FROM search_data WHERE id = 10").fetchone()
            # A leaf's id consists of its segment's id and its number; the rest are continuations of long lists.
            leaves = store.execute("SELECT count(*) FROM search_data WHERE id > 10 AND (id >> 31) & 63 = 0").fetchone()
            assert (storage.index_pages(segments),) == leaves
            counts.add(leaves)
        assert len(counts) > 1
    assert storage.index_pages(b"") == 0
    for _ in range(100):
        assert storage.index_pages(chance.randbytes(200)) >= 0, "a damaged one takes no time"
