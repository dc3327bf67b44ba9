"""A user's first receipt in a long dialog: the writer reads only the last message, however many there are before it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import MarkRead
from relay.core.submit import submit
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.store.command import Command


async def _dialog(data: Path, messages: int) -> None:
    async with open_relay(data) as relay:
        for user in ("a", "b"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        left = messages
        done = trio.Event()

        def answered(_answer: object) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        for number in range(messages):
            request = requests.New(chat_id="b", client_message_id=f"c{number}", message="hello")
            relay.log.append(Command(relay.clock(), UserKey(1), NO_DEVICE, request), answered)
            if number == 0:
                await trio.testing.wait_all_tasks_blocked(0.01)
        await done.wait()


async def _asked_by_first_mark(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    asked: list[tuple[str, Any]] = []
    real = relay.connections.lookups.execute

    async def noting(sql: str, parameters: Any = ()) -> Any:
        asked.append((sql, parameters))
        return await real(sql, parameters)

    monkeypatch.setattr(relay.connections.lookups, "execute", noting)
    await submit(relay.log, Command(relay.clock(), UserKey(2), NO_DEVICE, MarkRead(ChatKey(1), None)))
    monkeypatch.undo()
    return [(sql, parameters) for sql, parameters in asked if "FROM log" in sql]


def _work(store: Path, asked: list[tuple[str, Any]]) -> int:
    """The number of SQLite VM steps of some statements."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    with closing(sqlite3.connect(store)) as connection:
        connection.set_progress_handler(step, 1)
        for sql, parameters in asked:
            connection.execute(sql, parameters).fetchall()
    return steps


async def test_the_first_receipt_of_a_long_dialog_reads_its_last_message_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = []
    for messages in (20, 3_000):
        data = tmp_path / str(messages)
        data.mkdir()
        await _dialog(data, messages)
        async with open_relay(data) as relay:
            # As after a long run, nothing of the dialog is in memory.
            relay.state.tails.clear()
            asked = await _asked_by_first_mark(relay, monkeypatch)
            assert asked, "it was looked up"
            assert relay.state.missed(relay.state.chats[ChatKey(1)], UserKey(2)) == 0
        work.append(_work(data / "relay.db", asked))
    assert work[1] < work[0] + 100
