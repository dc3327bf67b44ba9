"""Adding a hook takes one turn: earlier changes are respected, and a refused hook leaves nothing behind."""

from functools import partial
from pathlib import Path

import pytest

from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.support.held_writer import held_writer
from tests.support.http_relay import HttpRelay, http_relay
from tests.support.memory_log import code


async def with_channel(relay: HttpRelay) -> str:
    """Make a channel owned by anna, with ben as an admin and carl as a reader."""
    for user in ("anna", "ben", "carl"):
        await relay.ask("user.add", control.AddUser(id=user))
    request = control.MakeChat(type="channel", name="news", owner="anna", participants=["ben", "carl"], admins=["ben"])
    return str((await relay.ask("chat.create", request)).id)


async def admins(relay: HttpRelay) -> list[str]:
    return sorted((await relay.ask("chat.show", control.OneChat(id="news"))).admins)


@pytest.mark.parametrize("hook_first", [True, False])
async def test_admin_who_loses_the_role_while_a_hook_is_added_stays_without_it(
    tmp_path: Path, *, hook_first: bool
) -> None:
    async with http_relay(tmp_path) as relay:
        await with_channel(relay)
        add = partial(relay.ask, "hook.add", control.AddHook(chat="news", user_id="carl", add=True))
        unmake = partial(relay.ask, "chat.update", control.UpdateGroup(id="news", admins=[]))
        async with held_writer(relay.relay.log) as writer:
            for work in (add, unmake) if hook_first else (unmake, add):
                await writer.queue(work)
        assert await admins(relay) == ([] if hook_first else ["carl"])


async def test_a_hook_keeps_the_admins_of_its_channel(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await with_channel(relay)
        bot = (await relay.ask("hook.add", control.AddHook(chat="news"))).user_id
        out = (await relay.ask("hook.add", control.AddHook(chat="news", url="http://bot.example/"))).user_id
        await relay.ask("hook.add", control.AddHook(chat="news", user_id="anna"))
        assert await admins(relay) == sorted(["ben", bot])
        assert out in (await relay.ask("chat.show", control.OneChat(id="news"))).participants


async def test_hook_for_a_user_removed_before_its_turn_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await with_channel(relay)
        take_out = partial(relay.ask, "chat.remove", control.ChatUsers(id="news", participants=["ben"]))
        add = partial(relay.ask, "hook.add", control.AddHook(chat="news", user_id="ben"))
        async with held_writer(relay.relay.log) as writer:
            await writer.queue(take_out)
            added = await writer.queue(add)
        assert code(added[0]) == "forbidden"
        assert await relay.ask("hook.list", control.Empty()) == []


@pytest.mark.parametrize("place", ["channel", "user"])
async def test_hook_whose_chat_ends_before_its_turn_is_refused_and_leaves_no_bot(tmp_path: Path, place: str) -> None:
    async with http_relay(tmp_path) as relay:
        chat = await with_channel(relay)
        end = (
            partial(relay.ask, "chat.delete", control.OneChat(id=chat))
            if place == "channel"
            else partial(relay.ask, "user.change", control.ChangeUser(id="carl", disabled=True))
        )
        add = partial(relay.ask, "hook.add", control.AddHook(chat=chat if place == "channel" else "carl"))
        async with held_writer(relay.relay.log) as writer:
            await writer.queue(end)
            added = await writer.queue(add)
        assert isinstance(added[0], RelayError)
        assert [user.id for user in relay.relay.state.users.values()] == ["anna", "ben", "carl"]
        assert await relay.ask("hook.list", control.Empty()) == []


async def test_an_outgoing_hook_begins_at_its_own_entry_in_the_log(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await with_channel(relay)
        rename = partial(relay.ask, "chat.update", control.UpdateGroup(id="news", name="the news"))
        async with held_writer(relay.relay.log) as writer:
            await writer.queue(rename)
            added = await writer.queue(
                partial(relay.ask, "hook.add", control.AddHook(chat="news", user_id="ben", url="http://bot.example/"))
            )
        assert relay.relay.log.cursors[added[0].device_id][0] == relay.relay.state.seq
