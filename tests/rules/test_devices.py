"""The limit on a user's devices, and the one that is signed out for a new one (PROTOCOL.md, section 9)."""

from pathlib import Path

import pytest
import trio

from relay.core.model.changes import Hook
from relay.core.relay import open_relay
from relay.core.rules import commands
from relay.core.rules.sign_in import MAX_DEVICES
from relay.keys import DeviceKey
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.protocol.requests import Invitation
from relay.store.entry import DeviceUses
from tests.support.memory_log import MemoryLog
from tests.support.sessions import T0, house


def signed_in(log: MemoryLog, user: str = "User1") -> list[int]:
    key = log.state.user_keys[user]
    return [one.key for one in log.state.devices.values() if one.user == key and not one.revoked_at and not one.hook]


def sign_in(
    log: MemoryLog,
    label: str,
    user: str = "User1",
    *,
    seen: dict[DeviceKey, int] | None = None,
    connected: list[DeviceKey] | None = None,
) -> DeviceKey:
    log.device_uses = DeviceUses(frozenset(connected or ()), seen or {})
    key: DeviceKey = log.do(None, commands.AddDevice(log.state.user_keys[user], label, f"{user} {label}")).device
    return key


def add_hook(log: MemoryLog, label: str, user: str = "User1") -> DeviceKey:
    key: DeviceKey = log.do(None, commands.MakeHook(hook=Hook(chat="g-1"), token_hash=label, user_id=user)).device
    return key


def test_sign_in_beyond_the_limit_signs_out_the_longest_unused_device() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    others = [sign_in(log, "phone", "User2")]
    mine = [sign_in(log, str(n)) for n in range(MAX_DEVICES)]
    assert signed_in(log) == mine
    # All but one were used since; the first came before it.
    new = sign_in(log, "new", seen={key: log.now + key for key in mine if key != mine[40]})
    assert signed_in(log) == [*mine[:40], *mine[41:], new]
    assert signed_in(log, "User2") == others


def test_never_used_device_counts_from_its_sign_in() -> None:
    log = MemoryLog()
    log.add_users("User1")
    mine = [sign_in(log, str(n)) for n in range(MAX_DEVICES)]
    sign_in(log, "new", seen={mine[0]: log.now + 1})
    assert mine[1] not in signed_in(log)
    assert mine[0] in signed_in(log)


def test_connected_device_stays_signed_in_however_long_ago_it_connected() -> None:
    log = MemoryLog()
    log.add_users("User1")
    mine = [sign_in(log, str(n)) for n in range(MAX_DEVICES)]
    new = sign_in(log, "new", seen={key: log.now + key for key in mine[2:]}, connected=mine[:2])
    assert signed_in(log) == [*mine[:2], *mine[3:], new]


def test_sign_in_beyond_the_limit_is_refused_while_all_devices_are_connected() -> None:
    log = MemoryLog()
    log.add_users("User1")
    mine = [sign_in(log, str(n)) for n in range(MAX_DEVICES)]
    log.device_uses = DeviceUses(frozenset(mine))
    refused = log.do(None, commands.AddDevice(log.state.user_keys["User1"], "new", "hash"))
    assert isinstance(refused, RelayError)
    assert refused.error.code == "conflict"
    assert signed_in(log) == mine


def test_hooks_neither_count_nor_are_signed_out() -> None:
    log = MemoryLog()
    log.add_users("User1", "User2")
    log.group("User1", "User2")
    hooks = [add_hook(log, f"hook {n}") for n in range(5)]
    mine = [sign_in(log, str(n)) for n in range(MAX_DEVICES)]
    assert signed_in(log) == mine
    add_hook(log, "another hook")
    assert signed_in(log) == mine
    sign_in(log, "new")
    assert not any(log.state.devices[DeviceKey(key)].revoked_at for key in hooks)


async def test_the_longest_unused_device_is_found_in_the_store(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await relay.admin.handle("user.add", control.AddUser(id="anna"))
        for n in range(MAX_DEVICES):
            await relay.admin.handle("device.add", control.AddDeviceRequest(user_id="anna", label=str(n)))
        devices = list(relay.state.devices.values())
        for device in devices:
            if device.label != "7":
                relay.log.keep_cursor(device.key, relay.state.seq, relay.state.at + 1_000)
        await relay.admin.handle("chat.create", control.MakeChat(name="ops", owner="anna"))
    async with open_relay(tmp_path) as relay:
        await relay.admin.handle("device.add", control.AddDeviceRequest(user_id="anna", label="new"))
        assert [device.label for device in relay.state.devices.values() if device.revoked_at] == ["7"]


@pytest.mark.parametrize("way", ["password", "invite", "admin"])
async def test_script_that_signs_in_at_each_run_leaves_the_connected_phone_signed_in(tmp_path: Path, way: str) -> None:
    async with house(tmp_path, "anna") as opened:
        relay = opened.relay
        signing_in, ask = relay.service.signing_in, relay.admin.handle
        await signing_in.set_password("anna", "correct horse battery")
        phone = await opened.open("anna")
        for _ in range(MAX_DEVICES):
            await ask("device.add", control.AddDeviceRequest(user_id="anna", label="cron"))
        for _ in range(2):
            if way == "password":
                await signing_in.by_password("anna", "correct horse battery", "cron", "10.0.0.5")
            elif way == "invite":
                invite = await ask("invite", control.AddInvite(user_id="anna"))
                assert isinstance(invite, Invitation)
                await signing_in.by_invite(invite.code, "cron", "10.0.0.5")
            else:
                await ask("device.add", control.AddDeviceRequest(user_id="anna", label="cron"))
        assert await phone.request("profile"), "it is still signed in"
        revoked = [device.label for device in relay.state.devices.values() if device.revoked_at]
        assert revoked == ["cron"] * 3


async def test_a_phone_that_has_just_disconnected_counts_as_used_until_now(tmp_path: Path) -> None:
    now = T0
    async with house(tmp_path, "anna", clock=lambda: now) as opened:
        relay = opened.relay
        phone = await opened.open("anna")
        for _ in range(MAX_DEVICES - 1):
            await relay.admin.handle("device.add", control.AddDeviceRequest(user_id="anna", label="cron"))
        now += 60_000
        await phone.close()
        await phone.closed()
        with trio.fail_after(5):
            while relay.hub.presence.subscribers:
                await trio.sleep(0.001)
        await relay.admin.handle("device.add", control.AddDeviceRequest(user_id="anna", label="cron"))
        assert [device.label for device in relay.state.devices.values() if device.revoked_at] == ["cron"]
