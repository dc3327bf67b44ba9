"""An empty entry, for a chat list that needs an event id of its own."""

from pathlib import Path

import pytest
import trio

from relay.core.delivery.catch_up import EmptyEntries
from relay.core.relay import open_relay
from relay.keys import ChatKey, UserKey
from tests.support.disk import people, say


@pytest.mark.parametrize("chat", [1, 0, 99], ids=["a chat", "a name", "a chat that is gone"])
async def test_empty_entry_is_written_for_any_change_of_the_list(chat: ChatKey, tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", "first")
        before = relay.state.seq
        EmptyEntries(relay.state, relay.log, relay.clock).request(UserKey(1), chat)
        with trio.fail_after(5):
            while relay.state.seq == before:
                await trio.sleep(0.001)
