"""Repeats get the first answer again, even after retention removed the message and on a full disk."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from relay.core.maintenance import disk_room
from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.submit import submit
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.store.command import Command
from tests.support.raw_store import opened

DAY = 86_400_000
PLACES = 65_536


class Clock:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000_000

    def __call__(self) -> int:
        return self.now


def new(client_id: str, chat: str = "b", text: str = "hello") -> requests.New:
    return requests.New(chat_id=chat, client_message_id=client_id, message=text)


async def ask(relay: Relay, request: Any, user: int = 1) -> requests.Accepted:
    answer = await submit(relay.log, Command(relay.clock(), UserKey(user), NO_DEVICE, request))
    assert isinstance(answer, requests.Accepted)
    return answer


async def refusal(relay: Relay, request: Any, user: int = 1) -> str:
    try:
        await ask(relay, request, user)
    except RelayError as error:
        return error.error.code
    return ""


async def two_users(relay: Relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def faults(data: Path) -> list[object]:
    return [finding for finding in await check(data, lambda _: None) if finding.wrong]


def rows(data: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(data / "relay.db")) as store:
        return store.execute(sql).fetchall()


async def test_repeat_of_a_message_that_retention_removed_gets_the_first_answer(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        await two_users(relay)
        said = [new(f"c{n}") for n in range(20)]
        asked = [
            *said,
            requests.Edit(chat_id="b", original_message_id=1, message="hello!", client_message_id="e"),
            requests.Delete(chat_id="b", original_message_id=2, client_message_id="d"),
        ]
        first = [await ask(relay, request) for request in asked]
        clock.now += 2 * DAY
        last = await ask(relay, new("last"))
        await relay.retention.prune(days=1)
        assert rows(tmp_path, "SELECT count(*) FROM log WHERE kind <= 3") == [(1,)]
        written = relay.state.seq
        assert [await ask(relay, request) for request in asked] == first
        assert relay.state.seq == written
        assert await refusal(relay, requests.Delete(chat_id="b", original_message_id=23, client_message_id="c3")) == (
            "conflict"
        )
        assert await faults(tmp_path) == []
        assert (await ask(relay, new("c0", "a"), user=2)).message_id == last.message_id + 1, "another one's id"
    async with open_relay(tmp_path, clock=clock) as relay:
        assert [await ask(relay, request) for request in asked] == first, "and after a restart"
        await relay.retention.forget_removed()
        assert [await ask(relay, request) for request in asked] == first
        clock.now += 6 * DAY
        await relay.retention.forget_removed()
        assert rows(tmp_path, "SELECT count(*) FROM removed") == [(0,)], "eight days old"
        assert (await ask(relay, said[0])).message_id > last.message_id
        assert await faults(tmp_path) == []


async def test_a_message_removed_after_a_week_leaves_no_client_id(tmp_path: Path) -> None:
    clock = Clock()
    async with open_relay(tmp_path, clock=clock) as relay:
        await two_users(relay)
        for n in range(20):
            await ask(relay, new(f"c{n}"))
        clock.now += 8 * DAY
        await ask(relay, new("last"))
        await relay.retention.prune(days=7)
        assert rows(tmp_path, "SELECT count(*) FROM removed") == [(0,)]
        assert rows(tmp_path, "SELECT count(*) FROM client") == [(0,)]


async def test_client_ids_of_removed_messages_are_bounded(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        pass
    insert = (
        "INSERT INTO log (seq, kind, chat, message_id, actor, device, at, target, client_key)"
        " VALUES (?, 1, 1, ?, 1, 0, 1000, 0, ?)"
    )
    with opened(tmp_path / "relay.db") as store:
        last = PLACES + 500
        store.execute("BEGIN")
        store.executemany(insert, [(seq, seq, -seq) for seq in range(100, last + 1)])
        store.execute("DELETE FROM log WHERE seq > 99 AND seq < ?", (last,))
        store.commit()
    assert rows(tmp_path, "SELECT count(*), max(seq), min(seq) FROM removed") == [(PLACES, last - 1, last - PLACES)]
    assert rows(tmp_path, "SELECT count(*), max(seq), min(seq) FROM client") == [(PLACES, last - 1, last - PLACES)]
    size = sum(size for (size,) in rows(tmp_path, "SELECT pgsize FROM dbstat WHERE name IN ('removed', 'client')"))
    assert size < 6_000_000


async def test_a_repeat_is_answered_on_a_full_disk(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await two_users(relay)
        first = await ask(relay, new("c1"))
        edit = requests.Edit(chat_id="b", original_message_id=1, message="hi", client_message_id="e")
        edited = await ask(relay, edit)
        relay.log.spare(disk_room.needs_room)
        written = relay.state.seq
        assert await ask(relay, new("c1")) == first
        assert await ask(relay, edit) == edited
        assert await refusal(relay, new("c2")) == "storage_full"
        answers: list[object] = []
        for client_id in ("c3", "c3", "c1"):
            relay.log.append(Command(relay.clock(), UserKey(1), NO_DEVICE, new(client_id)), answers.append)
        with trio.fail_after(5):
            await relay.log.next_batch()
            while len(answers) < 3:
                await trio.lowlevel.checkpoint()
        refused = [answer.error.code for answer in answers[:2] if isinstance(answer, RelayError)]
        assert refused == ["storage_full"] * 2, "the second is a repeat of nothing"
        assert answers[2] == first
        assert relay.state.seq == written
        relay.log.spare(None)
        assert (await ask(relay, new("c2"))).message_id == edited.message_id + 1


async def test_repeat_in_an_unwritable_batch_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_relay(tmp_path) as relay:
        await two_users(relay)
        first = await ask(relay, new("c1"))
        real = relay.connections.writing.execute

        async def full(sql: str, *parameters: Any) -> Any:
            if sql.startswith("INSERT INTO log"):
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return await real(sql, *parameters)

        monkeypatch.setattr(relay.connections.writing, "execute", full)
        answers: dict[str, object] = {}
        done = trio.Event()

        def take(client_id: str, answer: object) -> None:
            answers[client_id] = answer
            if len(answers) == 3:
                done.set()

        for client_id in ("c2", "c1", "c3"):
            command = Command(relay.clock(), UserKey(1), NO_DEVICE, new(client_id))
            relay.log.append(command, partial(take, client_id))
        with trio.fail_after(5):
            await done.wait()
        assert answers["c1"] == first
        assert [type(answers[one]) for one in ("c2", "c3")] == [RelayError, RelayError]
        monkeypatch.undo()
        assert (await ask(relay, new("c2"))).message_id == first.message_id + 1
