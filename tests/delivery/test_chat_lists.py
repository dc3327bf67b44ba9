"""Chat lists that are made while the chats themselves change."""

from pathlib import Path

import msgspec
import trio
import trio.testing

from relay.core.delivery.chat_lists import CONCURRENT_LISTS
from relay.core.relay import open_relay
from relay.core.rules import commands
from relay.protocol import requests
from tests.support.disk import answers, command, people, say


async def test_delayed_chat_list_omits_chats_that_the_user_left_meanwhile(
    tmp_path: Path,
) -> None:
    """This once ended the removed user's connection: the list was made from the chats before the wait."""
    async with open_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        await people(relay, "User1", "User2")
        for name in ("Crew", "Deck"):
            made = requests.CreateChat(type="group", name=name, participants=["User2"])
            await answers(relay, command(relay, "User1", made, f"g-{name}"))
            await say(relay, "User1", f"g-{name}", name)
        listing = relay.service.chat_lists.concurrent
        listed: list[msgspec.Raw] = []

        async def list_chats() -> None:
            listed.append(await relay.service.chat_lists.whole(relay.state.user_keys["User2"]))

        holders = [object() for _ in range(CONCURRENT_LISTS)]
        for holder in holders:
            await listing.acquire_on_behalf_of(holder)
        nursery.start_soon(list_chats)
        await trio.testing.wait_all_tasks_blocked()
        await answers(relay, command(relay, "User1", commands.RemoveParticipants("g-Deck", ["User2"])))
        for holder in holders:
            listing.release_on_behalf_of(holder)
        with trio.fail_after(5):
            while not listed:
                await trio.sleep(0.01)
        assert [chat["id"] for chat in msgspec.json.decode(listed[0])] == ["g-Crew"]
