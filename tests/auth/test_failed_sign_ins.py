"""Failed sign-ins are logged and counted, and unused devices are signed out."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import logs
from relay.core.auth import failures
from relay.net.sockets.epoll import Readiness
from relay.net.sockets.transport import ANONYMOUS_SEND_BUFFER_BYTES, SEND_BUFFER_BYTES, SocketTransport
from relay.protocol import control
from relay.settings import AuthSection, Settings
from tests.support.http_relay import http_relay

# Failed sign-ins are recorded.


async def test_failed_sign_ins_are_logged_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await relay.user("anna")
        with caplog.at_level(logging.WARNING):
            await browser.post("/session", json={"userId": "anna", "password": "hunter22222"})
            await browser.post("/session", json={"userId": "a-secret-typed-here", "password": "x"})
            await browser.post("/session", json={"invite": "made-up-code"})
        metrics = (await browser.get("/metrics")).text
        status = await relay.ask("status.show", control.Empty())
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "sign-in failed from 127.0.0.1: a wrong password, for user anna",
        "sign-in failed from 127.0.0.1: a wrong password, for no known user",
        "sign-in failed from 127.0.0.1: an invite that lets nobody in, for no known user",
    ]
    assert "\nrelay_sign_in_failures_total 3.0\n" in metrics
    assert status.sign_in_failures == 3


async def test_a_refused_invite_of_a_disabled_user_is_logged_with_their_id(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_relay(tmp_path) as relay, relay.browser() as browser:
        await relay.user("anna")
        code = await relay.invite("anna")
        await relay.ask("user.change", control.ChangeUser(id="anna", disabled=True))
        with caplog.at_level(logging.WARNING):
            assert (await browser.post("/session", json={"invite": code})).status_code == 401
    assert caplog.messages == ["sign-in failed from 127.0.0.1: an invite that lets nobody in, for user anna"]


@pytest.fixture
def limit(caplog: pytest.LogCaptureFixture) -> Iterator[logs.RepeatLimit]:
    """The limit of a relay's log."""
    limit = logs.RepeatLimit()
    caplog.handler.addFilter(limit)
    yield limit
    caplog.handler.removeFilter(limit)


def test_many_failed_sign_ins_do_not_fill_the_log(caplog: pytest.LogCaptureFixture, limit: logs.RepeatLimit) -> None:
    counted = failures.FailedSignIns()
    for _ in range(1_000):
        counted.note("10.0.0.9", "password", "anna")
    assert counted.total == 1_000
    assert len(caplog.records) == logs.REPEATS
    limit.tell(all_of_them=True)
    assert caplog.messages[-1] == (
        f"{1_000 - logs.REPEATS} more like this were not logged: sign-in failed from 10.0.0.9: a wrong password,"
        " for user anna"
    )


@pytest.mark.usefixtures("limit")
def test_no_flood_of_failed_sign_ins_hides_one_for_another_user(caplog: pytest.LogCaptureFixture) -> None:
    counted = failures.FailedSignIns()
    for number in range(1_000):
        counted.note(f"10.0.{number // 256}.{number % 256}", "password", None)
        counted.note("10.0.0.9", "wait", f"user{number}")
        counted.note("10.0.0.9", "password", "ben")
    caplog.clear()
    counted.note("10.0.0.9", "password", "anna")
    assert caplog.messages == ["sign-in failed from 10.0.0.9: a wrong password, for user anna"]


# Unused devices.


async def test_device_that_was_away_too_long_has_to_sign_in_again(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    settings = Settings(auth=AuthSection(device_days=30))
    async with http_relay(tmp_path, settings, clock=lambda: now) as relay, relay.browser() as browser:
        used, unused = await relay.user("anna"), await relay.user("ben")

        async def status(token: str) -> int:
            return (await browser.get("/session", headers={"Authorization": f"Bearer {token}"})).status_code

        async with relay.socket(used):
            pass
        now += 20 * 86_400_000
        assert await status(used) == 200
        now += 20 * 86_400_000
        assert (await status(used), await status(unused)) == (200, 401)


async def test_device_last_seen_survives_a_restart(tmp_path: Path) -> None:
    now = 1_800_000_000_000
    settings = Settings(auth=AuthSection(device_days=30))
    async with http_relay(tmp_path, settings, clock=lambda: now) as relay:
        token = await relay.user("anna")
        async with relay.socket(token):
            pass
        now += 29 * 86_400_000
        async with relay.socket(token):
            pass
    now += 29 * 86_400_000
    async with http_relay(tmp_path, settings, clock=lambda: now) as relay, relay.browser() as browser:
        answer = await browser.get("/session", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200


async def test_invalid_network_in_the_settings_is_reported_in_one_line(tmp_path: Path) -> None:
    from relay.settings import Loaded, WrongSettings

    file = tmp_path / "relay.toml"
    file.write_text('[http]\ntrusted_proxies = ["10.0.0.0/33"]\n')
    with pytest.raises(WrongSettings, match=r"http.trusted_proxies: must be addresses and networks"):
        Loaded(file, options={}, environment={})


def test_the_kernel_buffers_little_before_sign_in() -> None:
    class Nobody(Readiness):
        def watch(self, *_what: object) -> None:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()[:2]):
        connected, _ = listener.accept()
        with connected:
            transport = SocketTransport(connected, Nobody())
            before = connected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
            transport.grow_buffer()
            after = connected.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert before <= 2 * ANONYMOUS_SEND_BUFFER_BYTES
    assert after >= SEND_BUFFER_BYTES
