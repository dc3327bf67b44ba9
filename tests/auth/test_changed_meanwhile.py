"""The grounds on which a request was checked may change before its turn: it is then refused, or undone."""

import ast
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import relay as package
from relay.core.auth.sign_in import WRONG
from relay.core.relay import Relay
from relay.core.rules import commands
from relay.core.rules.sign_in import MAX_DEVICES
from relay.keys import NO_DEVICE, DeviceKey, UserKey
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from tests.support.held_writer import held_writer
from tests.support.http_relay import HttpRelay, http_relay
from tests.support.memory_log import MemoryLog, code

OLD, NEW, OWN = "correct horse", "battery staple", "another staple"

ANNA = UserKey(1)

ENDS: dict[str, tuple[str, Any]] = {
    "changed": ("user.password", control.SetPasswordRequest(id="anna", password=NEW)),
    "changed, signing out": ("user.password", control.SetPasswordRequest(id="anna", password=NEW, sign_out=True)),
    "taken away": ("user.password", control.SetPasswordRequest(id="anna", password="")),
    "of a disabled user": ("user.change", control.ChangeUser(id="anna", disabled=True)),
    "of a removed user": ("user.change", control.ChangeUser(id="anna", removed=True)),
}


async def with_password(relay: HttpRelay) -> None:
    await relay.ask("user.add", control.AddUser(id="anna"))
    await relay.ask("user.password", control.SetPasswordRequest(id="anna", password=OLD))


async def sign_in(browser: httpx.AsyncClient, password: str = OLD) -> httpx.Response:
    return await browser.post("/session", json={"userId": "anna", "password": password})


def signed_in(relay: Relay) -> list[DeviceKey]:
    return [device.key for device in relay.state.devices.values() if not device.revoked_at]


# Sign-ins by a password.


@pytest.mark.parametrize("end", list(ENDS))
async def test_sign_in_is_refused_if_the_password_ends_while_it_waits(tmp_path: Path, end: str) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await with_password(relay)
        async with held_writer(relay.relay.log) as writer:
            ended = await writer.queue(partial(relay.ask, *ENDS[end]))
            entered = await writer.queue(partial(sign_in, browser))
        assert not isinstance(ended[0], RelayError)
        assert entered[0].status_code == 401
        assert entered[0].json()["error"]["message"] == WRONG
        assert signed_in(relay.relay) == []
        assert relay.relay.service.signing_in.refusals.total == 1


@pytest.mark.parametrize("sign_out", [True, False])
async def test_password_change_after_a_sign_in_signs_its_device_out_only_on_request(
    tmp_path: Path, *, sign_out: bool
) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await with_password(relay)
        change = control.SetPasswordRequest(id="anna", password=NEW, sign_out=sign_out)
        async with held_writer(relay.relay.log) as writer:
            entered = await writer.queue(partial(sign_in, browser))
            changed = await writer.queue(partial(relay.ask, "user.password", change))
        assert entered[0].status_code == 200
        assert changed[0].count == sign_out
        assert len(signed_in(relay.relay)) == (0 if sign_out else 1)


async def test_sign_ins_waiting_for_their_hash_are_refused_after_a_password_change(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await with_password(relay)
        answers: list[httpx.Response] = []

        async def enter() -> None:
            answers.append(await sign_in(browser))

        async with trio.open_nursery() as nursery:
            # One hash at a time: the admin's comes first, and the others are checked against the old password.
            nursery.start_soon(partial(relay.ask, *ENDS["changed, signing out"]))
            await trio.lowlevel.checkpoint()
            for _ in range(4):
                nursery.start_soon(enter)
        assert [answer.status_code for answer in answers] == [401] * 4
        assert signed_in(relay.relay) == []


# Changes of one's own password.


@pytest.mark.parametrize("first", ["admin", "own"])
async def test_admins_new_password_wins_over_a_simultaneous_change(tmp_path: Path, first: str) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await with_password(relay)
        await sign_in(browser)
        (device,) = signed_in(relay.relay)
        signing_in = relay.relay.service.signing_in
        by_admin = partial(signing_in.set_password, "anna", NEW)
        by_user = partial(signing_in.change_password, ANNA, device, OLD, OWN, sign_out_others=True)
        async with held_writer(relay.relay.log) as writer:
            ended = {}
            for who in ("admin", "own") if first == "admin" else ("own", "admin"):
                ended[who] = await writer.queue(by_admin if who == "admin" else by_user)
        assert ended["admin"] == [0]
        assert ended["own"] == [0] if first == "own" else code(ended["own"][0]) == "unauthorized"
        assert (await sign_in(browser, NEW)).status_code == 200
        assert (await sign_in(browser, OWN)).status_code == 401


async def test_second_change_with_the_same_old_password_is_refused(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        await with_password(relay)
        change = partial(relay.relay.service.signing_in.change_password, ANNA, NO_DEVICE, OLD, sign_out_others=False)
        async with held_writer(relay.relay.log) as writer:
            one = await writer.queue(partial(change, NEW))
            other = await writer.queue(partial(change, OWN))
        assert one == [0]
        assert code(other[0]) == "unauthorized"


async def test_first_password_is_refused_if_an_admin_has_set_one_meanwhile(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await relay.ask("user.add", control.AddUser(id="anna"))
        signing_in = relay.relay.service.signing_in
        async with held_writer(relay.relay.log) as writer:
            await writer.queue(partial(signing_in.set_password, "anna", NEW))
            own = await writer.queue(
                partial(signing_in.change_password, ANNA, NO_DEVICE, None, OWN, sign_out_others=False)
            )
        assert code(own[0]) == "unauthorized"
        assert (await sign_in(browser, NEW)).status_code == 200


# No way around the check.


def test_checked_password_is_made_only_by_the_password_check() -> None:
    root = Path(package.__file__).parent
    makers = set()
    for path in root.rglob("*.py"):
        calls = (node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call))
        if any(ast.unparse(call).endswith("CheckedPassword") for call in calls):
            makers.add(path.relative_to(root).as_posix())
    assert makers == {"core/auth/passwords.py"}


@pytest.mark.parametrize("ask", [commands.AddDevice(UserKey(1), "phone", "hash"), commands.SetPassword("anna", "hash")])
def test_without_a_checked_password_only_an_admin_adds_devices_and_sets_passwords(ask: Any) -> None:
    log = MemoryLog()
    log.add_users("anna")
    assert code(log.do("anna", ask)) == "forbidden"
    assert not isinstance(log.do(None, ask), RelayError)


@pytest.mark.parametrize(
    "checked", [commands.CheckedPassword(UserKey(2), "x"), commands.CheckedPassword(UserKey(1), "")]
)
def test_checked_password_signs_in_only_its_own_user(checked: commands.CheckedPassword) -> None:
    log = MemoryLog()
    log.add_users("anna", "ben")
    log.do(None, commands.SetPassword("ben", "x"))
    assert code(log.do("anna", commands.SignInByPassword(checked, "phone", "hash"))) == "unauthorized"


# Commands of a user without a device: a temporary token, a message that the admin sends for them.


@pytest.mark.parametrize(
    "ask",
    [
        requests.ProfileRequest(name="Other"),
        requests.CreateChat(type="group", name="Crew", participants=["ben"]),
        requests.New(chat_id="ben", client_message_id="1", message="the first one"),
        requests.New(chat_id="anna", client_message_id="1", message="a note"),
        commands.ChangePassword(commands.CheckedPassword(UserKey(1), ""), "hash"),
        commands.AddFile(id="f", digest="0", name="a", mimetype="text/plain", size=1, width=None, height=None, loose=1),
    ],
    ids=lambda ask: type(ask).__name__,
)
def test_deviceless_command_is_refused_if_its_user_was_disabled_meanwhile(ask: Any) -> None:
    log = MemoryLog()
    log.add_users("anna", "ben")
    log.do(None, control.ChangeUser(id="anna", disabled=True))
    before = len(log.entries)
    assert code(log.do("anna", ask)) == "forbidden"
    assert len(log.entries) == before


# Devices that are signed out for new ones.


async def test_device_that_connects_while_a_sign_in_waits_stays_signed_in(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        phone = await relay.user("anna")
        for number in range(2, MAX_DEVICES + 1):
            await relay.ask("device.add", control.AddDeviceRequest(user_id="anna", label=str(number)))
        async with relay.socket(phone):
            """Its first connection has to be written, so it cannot come while the writer is held."""
        code_ = await relay.invite("anna")
        for device in range(2, MAX_DEVICES + 1):
            relay.relay.log.keep_cursor(DeviceKey(device), 0, relay.relay.clock() + 60_000)
        async with held_writer(relay.relay.log) as writer:
            entered = await writer.queue(partial(browser.post, "/session", json={"invite": code_}))
            async with relay.socket(phone) as socket:
                writer.release()
                assert (await socket.request(requests.PROFILE, requests.ProfileRequest())).id
        assert entered[0].status_code == 200
        assert [device.key for device in relay.relay.state.devices.values() if device.revoked_at] == [2]


async def test_device_that_disconnects_while_a_sign_in_waits_is_signed_out(tmp_path: Path) -> None:
    async with http_relay(tmp_path) as relay:
        phone = await relay.user("anna")
        for number in range(2, MAX_DEVICES + 1):
            await relay.ask("device.add", control.AddDeviceRequest(user_id="anna", label=str(number)))
            relay.relay.log.keep_cursor(DeviceKey(number), 0, relay.relay.clock() + 60_000)
        async with relay.socket(phone):
            """As above."""
        add = partial(relay.ask, "device.add", control.AddDeviceRequest(user_id="anna"))
        async with held_writer(relay.relay.log) as writer:
            async with relay.socket(phone):
                added = await writer.queue(add)
            with trio.fail_after(5):
                while relay.relay.hub.presence.subscribers:
                    await trio.sleep(0.005)
        assert not isinstance(added[0], RelayError)
        assert [device.key for device in relay.relay.state.devices.values() if device.revoked_at] == [1]
