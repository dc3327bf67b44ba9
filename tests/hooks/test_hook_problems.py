"""`relay hook list` names what keeps an incoming hook from posting: the same rules as for a message of its user."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.core.relay import Relay, open_relay
from relay.protocol import control
from relay.protocol.errors import RelayError


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path) as relay:
        for user in ("anna", "ben"):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        await relay.admin.handle("chat.create", control.MakeChat(type="channel", name="news", owner="anna"))
        yield relay


async def add(relay: Relay, chat: str, **more: Any) -> control.HookInfo:
    hook = await relay.admin.handle("hook.add", control.AddHook(chat=chat, **more))
    assert isinstance(hook, control.HookInfo)
    return hook


async def problem(relay: Relay) -> str | None:
    listed: Any = await relay.admin.handle("hook.list", control.Empty())
    (hook,) = listed
    found: str | None = hook.problem
    return found


async def test_a_hook_whose_user_may_only_read_in_its_channel_has_a_problem(relay: Relay) -> None:
    await add(relay, "news", user_id="ben", add=True)
    assert await problem(relay) is None
    await relay.admin.handle("chat.update", control.UpdateGroup(id="news", admins=[]))
    assert await problem(relay) == "ben may only read in the chat"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("change", ["disabled", "removed"])
async def test_hook_whose_dialog_partner_is_disabled_is_reported(change: str, begun: bool, relay: Relay) -> None:
    hook = await add(relay, "ben")
    if begun:
        say = control.Say(user_id=hook.user_id, chat_id="ben", message="first", client_message_id="1")
        await relay.admin.handle("say", say)
    assert await problem(relay) is None
    await relay.admin.handle("user.change", msgspec.structs.replace(control.ChangeUser(id="ben"), **{change: True}))
    assert await problem(relay) == "ben is disabled"


async def test_hook_for_a_disabled_user_is_refused(relay: Relay) -> None:
    await relay.admin.handle("user.change", control.ChangeUser(id="ben", disabled=True))
    with pytest.raises(RelayError, match="relay user enable ben"):
        await add(relay, "ben")
    assert await relay.admin.handle("hook.list", control.Empty()) == []


async def test_audit_accepts_a_removed_user_and_refuses_an_unknown_one(relay: Relay) -> None:
    await relay.admin.handle("user.change", control.ChangeUser(id="ben", removed=True))
    assert await relay.admin.handle("audit.list", control.Audit(actor="ben")) == []
    with pytest.raises(RelayError, match="there is no user 'nobody'"):
        await relay.admin.handle("audit.list", control.Audit(actor="nobody"))


async def test_disabled_user_does_not_become_owner_of_a_group(relay: Relay) -> None:
    await relay.admin.handle("user.change", control.ChangeUser(id="ben", disabled=True))
    with pytest.raises(RelayError, match="relay user enable ben"):
        await relay.admin.handle("chat.create", control.MakeChat(name="ops", owner="ben"))
