"""A repeated import after an interruption ends in the same state as an undisturbed one."""

import shutil
from pathlib import Path

import msgspec
import pytest

from relay.core.clock.clock import DAY_MS, RelayClock
from relay.core.relay import Relay, open_relay
from relay.protocol import control

NOW = 1_790_000_000_000
THEN = NOW - 3_000 * DAY_MS
CLIENT = object()


def unproved_clock() -> RelayClock:
    """A right clock without proof."""
    return RelayClock(lambda: None, wall=lambda: NOW * 1_000_000, elapsed=lambda: 0)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole"
    path.mkdir()
    return path


async def send(relay: Relay, name: str, payload: msgspec.Struct) -> object:
    return await relay.admin.handle(name, payload, client=CLIENT)


def batch(*numbers: int, sender: str = "anna") -> control.MessagesImport:
    messages = [
        control.MessageImport(
            participants=["anna", "ben"], sender=sender, client_message_id=f"{one}", text=f"{one}", at=THEN + one
        )
        for one in numbers
    ]
    return control.MessagesImport(messages=messages)


async def begin(relay: Relay, *, local: bool) -> None:
    """Make anna and ben, here or by the import, and import their dialog."""
    for user in ("anna", "ben"):
        if local:
            await relay.admin.handle("user.add", control.AddUser(id=user))
            await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user))
        else:
            await send(relay, "import.user", control.UserImport(id=user, name=user, at=THEN))
    await send(relay, "import.chat", control.ChatImport(kind="dialog", participants=["anna", "ben"], at=THEN))


def unread(relay: Relay, user: str) -> int:
    ((key, chat),) = relay.state.chats.items()
    found = relay.state.user(user)
    assert found is not None
    assert found.key in relay.state.members[key]
    return relay.state.missed(chat, found.key)


async def test_messages_of_a_repeated_import_are_read_for_users_without_other_unread_messages(
    whole: Path, tmp_path: Path
) -> None:
    async with open_relay(whole, clock=unproved_clock()) as relay:
        await begin(relay, local=True)
        await send(relay, "import.messages", batch(1, 2, 3))
        shutil.copytree(whole, tmp_path / "cut")
        await send(relay, "import.messages", batch(4))
        await send(relay, "import.end", control.Empty())
        assert unread(relay, "ben") == 0
    async with open_relay(tmp_path / "cut", clock=unproved_clock()) as relay:
        assert unread(relay, "ben") == 3
        # The last one is in the export twice.
        for repeated in (batch(1, 2), batch(3, 4, 3)):
            await send(relay, "import.messages", repeated)
        await send(relay, "import.end", control.Empty())
        assert unread(relay, "ben") == 0


async def test_messages_of_a_repeated_import_stay_unread_for_users_with_other_unread_messages(
    whole: Path, tmp_path: Path
) -> None:
    async with open_relay(whole, clock=unproved_clock()) as relay:
        await begin(relay, local=True)
        say = control.Say(user_id="anna", chat_id="ben", message="have you read this?", client_message_id="own")
        await relay.admin.handle("say", say)
        await send(relay, "import.messages", batch(1, 2))
        shutil.copytree(whole, tmp_path / "cut")
        await send(relay, "import.end", control.Empty())
        assert unread(relay, "ben") == 3
    async with open_relay(tmp_path / "cut", clock=unproved_clock()) as relay:
        await send(relay, "import.messages", batch(1, 2))
        await send(relay, "import.end", control.Empty())
        assert unread(relay, "ben") == 3


async def test_right_clock_is_trusted_after_an_interrupted_import(whole: Path, tmp_path: Path) -> None:
    async with open_relay(whole, clock=unproved_clock()) as relay:
        await begin(relay, local=False)
        await send(relay, "import.messages", batch(1, 2))
        shutil.copytree(whole, tmp_path / "cut")
    async with open_relay(tmp_path / "cut", clock=unproved_clock()) as relay:
        assert relay.state.at == THEN + 2
        assert relay.clock.credible()
        assert relay.clock() == NOW
        await send(relay, "import.messages", batch(1, 2, 3))
        assert relay.state.at == THEN + 3, "messages that follow stand in their order"
        await send(relay, "import.end", control.Empty())
        assert relay.state.at == NOW


async def test_a_clock_that_stepped_back_forgets_when_an_import_began(tmp_path: Path) -> None:
    ahead = RelayClock(lambda: None, wall=lambda: (NOW + 100 * DAY_MS) * 1_000_000, elapsed=lambda: 0)
    async with open_relay(tmp_path, clock=ahead) as relay:
        await begin(relay, local=False)
    async with open_relay(tmp_path, clock=unproved_clock()) as relay:
        assert not relay.clock.credible()
        await relay.admin.handle("clock.trust", control.Empty())
        assert relay.clock.credible()
    async with open_relay(tmp_path, clock=unproved_clock()) as relay:
        assert relay.clock.credible()
