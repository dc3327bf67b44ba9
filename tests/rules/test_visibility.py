"""Cleared messages are gone for their user everywhere, and internal data is shown nowhere (PROTOCOL.md, section 5)."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from relay.keys import NO_DEVICE
from relay.store.queries import history
from tests.support.sessions import Client, House, house

TEXT = "the plan is apples"


async def cleared(made: House, alice: Client, bob: Client) -> None:
    """Alice wrote to bob, who cleared the dialog; then she changed her messages."""
    await alice.request("new", chatId="bob", clientMessageId="c1", message=TEXT)
    await bob.until("new")
    await bob.request("deleteChat", chatId="alice")
    await bob.until("chats")
    await alice.request("edit", chatId="bob", originalMessageId=1, message=f"{TEXT} and pears")


async def test_an_edit_of_a_cleared_message_is_shown_nowhere(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        async with made.device("bob") as bob:
            await cleared(made, alice, bob)
            assert not {"new", "edit"} & {frame.get("eventType") for frame in await bob.rest()}
            assert await bob.request("messages", chatId="alice") == []
            assert await bob.request("search", query="apples") == []
            assert await bob.request("chats") == []
        async with made.device("bob") as bob:
            assert not {"new", "edit"} & {frame.get("eventType") for frame in await bob.rest()}


async def test_a_quote_of_a_cleared_message_has_no_text(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        async with made.device("bob") as bob:
            await cleared(made, alice, bob)
            await alice.request("new", chatId="bob", clientMessageId="c2", message="well?", replyTo=1)
            shown = [(await bob.until("new"))["payload"], *await bob.request("messages", chatId="alice")]
            found = await bob.request("search", query="well?")
        async with made.open_from("bob", 1) as bob:
            shown += [(await bob.until("new"))["payload"], *found]
        assert [one["replyTo"].get("message") for one in shown] == [None] * 4
        assert [one["messageId"] for one in shown] == [3] * 4


async def test_cleared_message_cannot_be_replied_to_or_deleted(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice, made.device("bob") as bob:
        await bob.request("new", chatId="alice", clientMessageId="c0", message="mine")
        await bob.request("deleteChat", chatId="alice")
        assert (await bob.refused("new", chatId="alice", clientMessageId="c1", message="x", replyTo=1))["code"] == (
            "bad_request"
        )
        assert (await bob.refused("edit", chatId="alice", originalMessageId=1, message="x"))["code"] == "not_found"
        assert (await bob.refused("delete", chatId="alice", originalMessageId=1))["code"] == "not_found"
        assert (await alice.request("messages", chatId="bob"))[0]["message"] == "mine"


async def test_clearing_is_not_a_receipt(tmp_path: Path) -> None:
    async def status(who: Client) -> list[Any]:
        return [one["status"] for one in await who.request("messages", chatId="bob")]

    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice:
        await alice.request("new", chatId="bob", clientMessageId="c1", message="x")
        async with made.device("bob") as bob:
            await bob.request("deleteChat", chatId="alice")
            assert await status(alice) == ["undelivered"]
            assert "read" not in {frame.get("eventType") for frame in await alice.rest()}
            await alice.request("new", chatId="bob", clientMessageId="c2", message="y")
            new = await bob.until("new")
            assert new["payload"]["missed"] == 1
            item = (await bob.request("chats"))[0]
            assert (item["missed"], item["firstMissed"]) == (1, "c2")
            assert (await bob.request("read", chatId="alice"))["missed"] == 0
            assert await status(alice) == ["read", "read"]


@pytest.mark.parametrize("again", [False, True])
async def test_the_file_of_a_cleared_message_is_gone(tmp_path: Path, *, again: bool) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice, made.device("bob") as bob:
        pieces = [b"", b"content"]
        uploads, keys = made.relay.files, made.relay.state.user_keys

        async def piece() -> bytes:
            return pieces.pop()

        file = await uploads.receive(keys["alice"], NO_DEVICE, "plan.txt", 7, piece)
        attachment = {"type": "file", "id": file.id, "filename": "plan.txt", "url": file.url, "meta": {"size": 7}}
        await alice.request("new", chatId="bob", clientMessageId="c1", attachments=[attachment])
        assert await uploads.find(keys["bob"], file.id)
        await bob.request("deleteChat", chatId="alice")
        if again:
            await alice.request("new", chatId="bob", clientMessageId="c2", attachments=[attachment])
            assert await uploads.find(keys["bob"], file.id)
        else:
            with pytest.raises(Exception, match="no such file"):
                await uploads.find(keys["bob"], file.id)


# Changes while a page is read.


async def _between(made: House, monkeypatch: pytest.MonkeyPatch, act: Callable[[], Awaitable[Any]]) -> None:
    """Run an action once, right after the store was read and before the answer."""
    reading, finding = history.messages, made.relay.service.searching.find
    acts = [act]

    def after(read: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def read_then_act(*what: Any, **how: Any) -> Any:
            found = await read(*what, **how)
            if acts:
                await acts.pop()()
            return found

        return read_then_act

    monkeypatch.setattr(history, "messages", after(reading))
    monkeypatch.setattr(made.relay.service.searching, "find", after(finding))


@pytest.mark.parametrize("window", ["messages", "search"])
@pytest.mark.parametrize("change", ["delete", "edit", "quoted", "clear"])
async def test_changes_during_the_reading_of_a_page_are_in_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: str, change: str
) -> None:
    async with (
        house(tmp_path, "alice", "bob") as made,
        made.device("alice") as alice,
        made.device("bob") as bob,
        made.device("bob") as other,
    ):
        await alice.request("new", chatId="bob", clientMessageId="c1", message=TEXT)
        await alice.request("new", chatId="bob", clientMessageId="c2", message="apples, well?", replyTo=1)
        await bob.rest()

        async def act() -> None:
            match change:
                case "delete":
                    await alice.request("delete", chatId="bob", originalMessageId=2)
                case "edit":
                    await alice.request("edit", chatId="bob", originalMessageId=2, message="apples for all")
                case "quoted":
                    await alice.request("delete", chatId="bob", originalMessageId=1)
                case _:
                    await other.request("deleteChat", chatId="alice")

        await _between(made, monkeypatch, act)
        asked = {"chatId": "alice"} if window == "messages" else {"query": "apples"}
        shown = [one for one in await bob.request(window, **asked) if one["type"] == "new"]
        texts = {one["messageId"]: one.get("message") for one in shown}
        quotes = [one["replyTo"].get("message") for one in shown if "replyTo" in one]
        match change:
            case "delete":
                assert texts.get(2) is None
            case "edit":
                assert texts[2] == "apples for all"
            case "quoted":
                assert quotes == [None]
            case _:
                assert shown == []
