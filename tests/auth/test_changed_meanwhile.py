"""What a request was checked against may change before its turn comes: then it is refused, and else it is undone."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.rules import commands, users
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from tests.support.held_writer import held_writer
from tests.support.http_relay import http_relay
from tests.support.memory_log import MemoryLog, code

# Commands of a user without a device: a temporary token, a message that the admin sends for them.


@pytest.mark.parametrize(
    "ask",
    [
        requests.ProfileRequest(name="Other"),
        requests.CreateChat(type="group", name="Crew", participants=["ben"]),
        requests.New(chat_id="ben", client_message_id="1", message="the first one"),
        requests.New(chat_id="anna", client_message_id="1", message="a note"),
        commands.SetPassword("anna", "hash"),
        commands.AddFile(id="f", digest="0", name="a", mimetype="text/plain", size=1, width=None, height=None, loose=1),
    ],
    ids=lambda ask: type(ask).__name__,
)
def test_a_command_of_a_user_who_was_disabled_while_it_waited_is_refused_also_without_a_device(ask: Any) -> None:
    log = MemoryLog()
    log.add_users("anna", "ben")
    log.do(None, control.ChangeUser(id="anna", disabled=True))
    before = len(log.entries)
    assert code(log.do("anna", ask)) == "forbidden"
    assert len(log.entries) == before


# Devices that give way.


async def test_a_device_that_connects_while_a_sign_in_waits_for_its_turn_stays_signed_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "MOST_DEVICES", 3)
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        phone = await relay.user("anna")
        for label in ("second", "third"):
            await relay.ask("device.add", control.AddDevice(user_id="anna", label=label))
        async with relay.socket(phone):
            """Its first connection has to be written, so it cannot come while the writer is held."""
        code_ = await relay.invite("anna")
        for device in (2, 3):
            relay.relay.log.keep_cursor(device, 0, relay.relay.clock() + 60_000)
        async with held_writer(relay.relay.log) as writer:
            entered = await writer.queue(partial(browser.post, "/session", json={"invite": code_}))
            async with relay.socket(phone) as socket:
                writer.release()
                assert await socket.request("profile", requests.ProfileRequest())
        assert entered[0].status_code == 200
        assert [device.key for device in relay.relay.state.devices.values() if device.revoked_at] == [2]


async def test_a_device_that_disconnects_while_a_sign_in_waits_for_its_turn_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "MOST_DEVICES", 1)
    async with http_relay(tmp_path) as relay:
        phone = await relay.user("anna")
        async with relay.socket(phone):
            """As above."""
        add = partial(relay.ask, "device.add", control.AddDevice(user_id="anna"))
        async with held_writer(relay.relay.log) as writer:
            async with relay.socket(phone):
                added = await writer.queue(add)
            with trio.fail_after(5):
                while relay.relay.hub.presence.subscribers:
                    await trio.sleep(0.005)
        assert not isinstance(added[0], RelayError)
        assert [device.key for device in relay.relay.state.devices.values() if device.revoked_at] == [1]
