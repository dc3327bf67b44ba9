"""Devices of a user: how many may be signed in, and which one gives way (PROTOCOL.md, section 9)."""

from pathlib import Path

from relay.core.model.changes import Hook
from relay.core.relay import open_relay
from relay.core.rules import commands
from relay.core.rules.users import MOST_DEVICES
from relay.protocol import control
from tests.support.memory_log import MemoryLog


def signed_in(log: MemoryLog, user: str = "User1") -> list[int]:
    key = log.state.user_keys[user]
    return [one.key for one in log.state.devices.values() if one.user == key and not one.revoked_at and not one.hook]


def sign_in(log: MemoryLog, label: str, user: str = "User1", hook: Hook | None = None) -> int:
    key: int = log.do(None, commands.AddDevice(log.state.user_keys[user], label, f"{user} {label}", hook)).device
    return key


def test_a_sign_in_beyond_the_bound_signs_out_the_device_that_was_unused_for_longest() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    others = [sign_in(log, "phone", "User2")]
    mine = [sign_in(log, str(n)) for n in range(MOST_DEVICES)]
    assert signed_in(log) == mine
    # All were used since but one; the first came before it.
    log.last_seen = {key: log.now + key for key in mine if key != mine[40]}
    new = sign_in(log, "new")
    assert signed_in(log) == [*mine[:40], *mine[41:], new]
    assert signed_in(log, "User2") == others


def test_a_device_that_was_never_used_counts_from_its_sign_in() -> None:
    log = MemoryLog()
    log.add_users("User1")
    mine = [sign_in(log, str(n)) for n in range(MOST_DEVICES)]
    log.last_seen = {mine[0]: log.now + 1}
    sign_in(log, "new")
    assert mine[1] not in signed_in(log)
    assert mine[0] in signed_in(log)


def test_hooks_neither_count_nor_give_way() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    log.group("User1", "User2")
    hooks = [sign_in(log, f"hook {n}", hook=Hook(chat="g-1")) for n in range(5)]
    mine = [sign_in(log, str(n)) for n in range(MOST_DEVICES)]
    assert signed_in(log) == mine
    sign_in(log, "another hook", hook=Hook(chat="g-1"))
    assert signed_in(log) == mine
    sign_in(log, "new")
    assert not any(log.state.devices[key].revoked_at for key in hooks)


async def test_the_store_tells_which_device_was_unused_for_longest(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await relay.admin.handle("user.add", control.AddUser(id="anna"))
        for n in range(MOST_DEVICES):
            await relay.admin.handle("device.add", control.AddDevice(user_id="anna", label=str(n)))
        devices = list(relay.state.devices.values())
        for device in devices:
            if device.label != "7":
                relay.log.keep_cursor(device.key, relay.state.seq, relay.state.at + 1_000)
        await relay.admin.handle("chat.create", control.MakeChat(name="ops", owner="anna"))
    async with open_relay(tmp_path) as relay:
        await relay.admin.handle("device.add", control.AddDevice(user_id="anna", label="new"))
        assert [device.label for device in relay.state.devices.values() if device.revoked_at] == ["7"]
