"""Full text: every script is found, what is not one's own is not, and what is deleted is gone from the index."""

import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio.testing

from relay.core.asking import decided
from relay.core.commands import Command
from relay.core.relay import open_relay
from relay.protocol import control, requests
from relay.protocol.requests import Accepted
from relay.store import errands, queries


@pytest.fixture(autouse=True)
def _index_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "INDEX_SECONDS", 0.0)


async def _indexed(relay) -> None:
    while True:
        last, indexed = await queries.ends(relay.reading)
        if last == indexed:
            return
        await trio.sleep(0.01)


def _saying(relay) -> Callable[[str, str], Awaitable[Accepted]]:
    async def say(client_id: str, text: str) -> Accepted:
        request = requests.New(chat_id="b", client_message_id=client_id, message=text)
        return await decided(relay.log, Command(relay.clock(), 1, 0, request))

    return say


async def _with_two_users(relay) -> None:
    for user in ("a", "b"):
        await relay.admin.handle("user.add", control.AddUser(id=user))


async def _find(relay, text: str, chats: tuple[int, ...] = (1,)) -> list[str | None]:
    return [row.message for row in await queries.search(relay.reading, text, chats, before=None, count=10)]


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
    async with open_relay(tmp_path) as relay:
        await _with_two_users(relay)
        say = _saying(relay)
        for number, text in enumerate(
            ["Hallo Wörld, straße", "你好世界朋友", "привет мир", "it is 100% sure", 'say "quoted" AND NOT']
        ):
            await say(str(number), text)
        await _indexed(relay)
        assert await _find(relay, query) == found
        assert await _find(relay, query, ()) == []


async def test_what_is_not_indexed_yet_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errands, "INDEX_SECONDS", 3600.0)
    async with open_relay(tmp_path) as relay:
        await _with_two_users(relay)
        await _saying(relay)("1", "just said")
        last, indexed = await queries.ends(relay.reading)
        assert indexed < last
        assert await _find(relay, "just said") == ["just said"]


async def test_an_edit_and_a_deletion_reach_the_index(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await _with_two_users(relay)
        say = _saying(relay)
        await say("1", "secret alpha")
        await say("2", "secret beta")
        await _indexed(relay)
        edit = requests.Edit(chat_id="b", original_message_id=1, message="public alpha")
        await decided(relay.log, Command(relay.clock(), 1, 0, edit, made_up="e"))
        await decided(relay.log, Command(relay.clock(), 1, 0, requests.Delete(chat_id="b", message_id=2), made_up="d"))
        assert await _find(relay, "secret") == []
        assert await _find(relay, "public") == ["public alpha"]
    with sqlite3.connect(tmp_path / "relay.db") as file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    file.close()
