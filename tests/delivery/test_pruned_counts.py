"""Devices learn that a prune has lowered their unread counts, whenever they connect."""

from pathlib import Path
from typing import Any

import pytest

from relay.core.rules.commands import ADMIN, PruneChats, PruneHistory
from relay.core.submit import submit
from relay.keys import NO_DEVICE
from relay.store.command import Command
from tests.support.sessions import House, house


async def say(house: House, *texts: str) -> None:
    async with house.device("anna") as anna:
        for text in texts:
            await anna.request("new", chatId="ben", message=text, clientMessageId=text)


def missed(chats: list[dict[str, Any]]) -> int:
    (chat,) = (one for one in chats if one["id"] == "anna")
    found: int = chat.get("missed", 0)
    return found


async def prune(house: House, seq: int) -> None:
    relay = house.relay
    (key,) = relay.state.chats
    await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, PruneChats(((key, seq),))))


@pytest.mark.parametrize("version", [1, 2])
async def test_a_connected_device_learns_of_a_lower_count(version: int, tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "ben") as opened:
        await say(opened, "one", "two", "three")
        async with opened.device("ben", path=f"/ws?v={version}") as ben:
            await ben.rest()
            await prune(opened, 2)
            if version == 1:
                assert missed((await ben.until("chats"))["payload"]) == 1
            else:
                assert (await ben.until("chat"))["payload"]["item"]["missed"] == 1


async def test_a_device_that_connects_during_a_prune_learns_of_a_lower_count(tmp_path: Path) -> None:
    async with house(tmp_path, "anna", "ben") as opened:
        async with opened.device("ben") as ben:
            await ben.rest()
        await say(opened, "one", "two", "three")
        relay = opened.relay
        await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, PruneHistory(relay.state.seq)))
        async with opened.device("ben") as ben:
            assert missed((await ben.until("chats"))["payload"]) == 3
            await prune(opened, 2)
            assert missed((await ben.until("chats"))["payload"]) == 1


@pytest.mark.parametrize("version", [1, 2])
async def test_a_device_that_was_away_during_a_prune_is_told_all_of_it_while_all_is_still_in_memory(
    version: int, tmp_path: Path
) -> None:
    """It used to be told only where the relay was started again between the prune and its coming back."""
    async with house(tmp_path, "anna", "ben") as opened:
        await say(opened, "one", "two")
        async with opened.device("ben", path=f"/ws?v={version}") as ben:
            await ben.rest()
        await say(opened, "three", "four")
        relay = opened.relay
        await submit(relay.log, Command(relay.clock(), ADMIN, NO_DEVICE, PruneHistory(relay.state.seq)))
        await prune(opened, 4)
        async with opened.device("ben", path=f"/ws?v={version}") as ben:
            if version == 1:
                told = await ben.until("chats")
                assert missed(told["payload"]) == 0
            else:
                told = await ben.until("chatsStale")
            assert told["id"] == relay.state.pruned
            await ben.ack(told)
            await say(opened, "five")
            assert (await ben.until("new"))["payload"]["message"] == "five"
        async with opened.device("ben", path=f"/ws?v={version}") as ben:
            told_again = [one["eventType"] for one in await ben.rest() if one["type"] == "event"]
            assert "chats" not in told_again
            assert "chatsStale" not in told_again
