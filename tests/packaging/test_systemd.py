"""The relay under systemd: readiness, watchdog pings, inherited sockets, and a stop that cuts nobody off."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from relay import serve
from relay.core.relay import open_relay
from relay.net.server import RESTART_REASON, STOP_SECONDS, Server
from relay.net.sockets import hostnames, systemd
from relay.net.websocket.frames import CLOSE, parse_close
from relay.protocol import control
from tests.support.client_frames import client_frame

HEAD = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer %s\r\n"
)
WAIT_SECONDS = 20


class NotifySocket:
    """The socket that systemd listens on, and the datagrams that came, each as a list of assignments."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(WAIT_SECONDS)

    def next(self) -> list[str]:
        return self._socket.recv(4096).decode().split("\n")

    def waiting(self) -> list[list[str]]:
        self._socket.setblocking(False)
        found = []
        while True:
            try:
                found.append(self.next())
            except BlockingIOError:
                self._socket.settimeout(WAIT_SECONDS)
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NotifySocket]:
    path = tmp_path / "notify"
    monkeypatch.setenv("NOTIFY_SOCKET", str(path))
    with_socket = NotifySocket(path)
    yield with_socket
    with_socket.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    one = socket.create_server(("127.0.0.1", 0))
    yield one
    one.close()


@pytest.mark.parametrize("kept", [["new"], ["new", "latest"], ["new", "latest", "previous"]])
def test_backup_by_the_timer_is_put_in_place_without_a_failure(tmp_path: Path, kept: list[str]) -> None:
    for name in kept:
        (tmp_path / f"{name}.tar").write_text(name)
    unit = (Path(__file__).parents[2] / "systemd" / "relay-backup.service").read_text()
    for line in re.findall(r"^ExecStartPost=(.+)$", unit, re.MULTILINE):
        # As systemd does: it replaces $BACKUPS in the words itself.
        words = [word.replace("${BACKUPS}", str(tmp_path)) for word in shlex.split(line.lstrip("-").replace("$$", "$"))]
        subprocess.run(words, check=True, capture_output=True, env=os.environ | {"BACKUPS": str(tmp_path)})
    found = {path.stem: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"latest": "new"} | ({"previous": "latest"} if "latest" in kept else {})


def test_notify_without_systemd_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    systemd.notify("READY=1")


def test_assignments_arrive_in_one_datagram(manager: NotifySocket) -> None:
    systemd.notify("READY=1", "STATUS=über alles bereit")
    assert manager.waiting() == [["READY=1", "STATUS=über alles bereit"]]


def test_address_with_a_leading_at_sign_is_abstract(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"chat-relay-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as abstract:
        abstract.bind(f"\0{name}")
        abstract.settimeout(WAIT_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        systemd.notify("WATCHDOG=1")
        assert abstract.recv(100) == b"WATCHDOG=1"


def test_unresponsive_systemd_stops_nothing(
    tmp_path: Path, manager: NotifySocket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(systemd, "manager", told := systemd.Manager(seconds=0.01))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "missing"))
    systemd.notify("READY=1")
    assert "READY=1: [Errno 2]" in caplog.text
    caplog.clear()
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    for _ in range(10_000):
        systemd.notify("WATCHDOG=1")
        if "WATCHDOG=1" in caplog.text:
            break
    assert "WATCHDOG=1: timed out" in caplog.text
    told.close()


def test_watchdog_of_another_process_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    assert systemd.watchdog_seconds() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert systemd.watchdog_seconds() == 30.0
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert systemd.watchdog_seconds() is None


async def test_watchdog_pings_come_at_half_the_period_and_only_after_a_proof(
    manager: NotifySocket, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    stuck = False

    async def prove() -> str:
        if stuck:
            await trio.sleep_forever()
        return "well"

    with trio.move_on_after(46):
        await systemd.send_watchdog(prove)
    assert manager.waiting() == [["WATCHDOG=1", "STATUS=well"]] * 4  # at 0, 15, 30 and 45 s

    stuck = True
    with trio.move_on_after(100):
        await systemd.send_watchdog(prove)
    assert manager.waiting() == []


async def test_without_a_watchdog_nothing_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)

    async def prove() -> str:
        raise AssertionError("a proof costs a write")

    await systemd.send_watchdog(prove)


# The writer's proof.


async def test_probe_of_an_idle_store_is_a_commit(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        log = tmp_path / "relay.db-wal"
        before = log.stat().st_size
        assert await relay.log.probe()
        assert await relay.log.probe()
        assert log.stat().st_size > before


async def test_long_write_counts_as_alive_for_some_minutes(tmp_path: Path) -> None:
    proof_of_life = partial(serve.proof_of_life, probe_seconds=0.05, hung_write_seconds=0.4)
    async with open_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        server = Server(relay)
        assert "0 connections" in await proof_of_life(server)
        goes_on, arrived = trio.Event(), trio.Event()

        async def slow(_writing: object) -> None:
            arrived.set()
            await goes_on.wait()

        nursery.start_soon(relay.log.run_exclusive, slow)
        await arrived.wait()
        began = trio.current_time()
        assert "a write has been under way for" in await proof_of_life(server)
        assert not relay.log.background.waited_for, "no probe is left in the queue"
        await trio.sleep_until(began + 0.45)
        with trio.move_on_after(0.3) as scope:
            await proof_of_life(server)
        assert scope.cancelled_caught, "then nothing is proved any more"
        goes_on.set()
        assert "0 connections" in await proof_of_life(server)


async def test_probe_waits_for_a_stuck_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_relay(tmp_path) as relay, trio.open_nursery() as nursery:
        arrived, goes_on = trio.Event(), trio.Event()
        execute = relay.connections.writing.execute

        async def stuck(*arguments: Any, **options: Any) -> object:
            arrived.set()
            await goes_on.wait()
            return await execute(*arguments, **options)

        monkeypatch.setattr(relay.connections.writing, "execute", stuck)
        nursery.start_soon(relay.admin.handle, "user.add", control.AddUser(id="User1"))
        await arrived.wait()
        with trio.move_on_after(0.1) as waited:
            await relay.log.probe()
        assert waited.cancelled_caught
        goes_on.set()
        assert await relay.log.probe()


async def test_probe_of_an_unwritable_store_reports_it_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_relay(tmp_path) as relay:
        await relay.connections.writing.execute("PRAGMA query_only = ON")
        assert not await relay.log.probe()
        await relay.connections.writing.execute("PRAGMA query_only = OFF")
        assert await relay.log.probe()


# Inherited sockets.


def test_sockets_meant_for_another_process_are_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", "1")
    assert systemd.inherited_listeners() == []
    monkeypatch.delenv("LISTEN_PID")
    assert systemd.inherited_listeners() == []


INHERITING = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="chat")
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def inheriting(descriptor: int, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a Python that inherits a descriptor as from systemd."""
    return subprocess.Popen(
        [sys.executable, "-c", INHERITING, str(descriptor), *arguments],
        pass_fds=(descriptor,),
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_relay_serves_the_inherited_socket_and_reports_readiness(
    tmp_path: Path, manager: NotifySocket, listener: socket.socket
) -> None:
    data = tmp_path / "data"
    process = inheriting(listener.fileno(), "-m", "relay", "serve", "--data", str(data), WATCHDOG_USEC="400000")
    try:
        ready = manager.next()
        assert ready[0] == "READY=1"
        assert ready[1].startswith("STATUS=0 connections")
        with socket.create_connection(listener.getsockname(), WAIT_SECONDS) as client:
            client.settimeout(WAIT_SECONDS)
            client.sendall(HEAD % b"nobody" + b"\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 401 ")
        assert [manager.next()[0], manager.next()[0]] == ["WATCHDOG=1"] * 2

        process.send_signal(signal.SIGHUP)
        while (reload := manager.next())[0] == "WATCHDOG=1":
            pass
        assert reload[0] == "RELOADING=1"
        assert reload[1].startswith("MONOTONIC_USEC=")
        while (done := manager.next())[0] == "WATCHDOG=1":
            pass
        assert done == ["READY=1"]

        process.send_signal(signal.SIGTERM)
        while (last := manager.next())[0] == "WATCHDOG=1":
            pass
        assert last[0] == "STOPPING=1"
        assert process.wait(WAIT_SECONDS) == 0
        # The socket belongs to systemd: new clients wait for the next relay.
        with socket.create_connection(listener.getsockname(), WAIT_SECONDS):
            pass
    finally:
        process.kill()
        process.communicate()


def test_a_socket_that_does_not_listen_is_refused_by_name(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        process = inheriting(datagrams.fileno(), "-m", "relay", "serve", "--data", str(tmp_path))
        _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert said == "relay: systemd passes 'chat', which is not a listening TCP socket: see relay.socket\n"


def test_relay_without_a_network_learns_its_address_from_the_socket(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ("lo", "127.0.0.1") in hostnames.interfaces(listener)

    def closed(*_arguments: object) -> object:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", closed)
    monkeypatch.setattr(hostnames, "interfaces", lambda _of: [("lo", "127.0.0.1"), ("wlan0", "192.168.1.5")])
    assert hostnames.browser_address("", "::", 8765, listener=listener) == "http://192.168.1.5:8765"
    monkeypatch.setattr(hostnames, "interfaces", lambda _of: [("lo", "127.0.0.1"), ("docker0", "172.17.0.1")])
    assert hostnames.browser_address("", "::", 8765, listener=listener) == "http://127.0.0.1:8765"


# A stop.


@asynccontextmanager
async def served(data: Path) -> AsyncIterator[tuple[Server, Callable[[], Awaitable[trio.SocketStream]], bytes]]:
    """A relay on a loopback port: its server, a connect function, and an incomplete request of one user."""
    async with open_relay(data) as relay, trio.open_nursery() as nursery:
        await relay.admin.handle("user.add", control.AddUser(id="User1"))
        device = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id="User1"))
        assert isinstance(device, control.Token)
        listener = socket.create_server(("127.0.0.1", 0))
        server = Server(relay, [listener])
        address = listener.getsockname()
        await nursery.start(server.run)
        streams: list[trio.SocketStream] = []

        async def connect() -> trio.SocketStream:
            stream = await trio.open_tcp_stream(*address)
            streams.append(stream)
            # Accepting takes a turn or two.
            await trio.testing.wait_all_tasks_blocked(0.01)
            return stream

        yield server, connect, HEAD % device.token.encode()
        for stream in streams:
            await stream.aclose()


async def everything(stream: trio.SocketStream) -> bytes:
    return b"".join([data async for data in stream])


async def test_a_stop_closes_conversations_with_1012(tmp_path: Path) -> None:
    with trio.fail_after(WAIT_SECONDS):
        async with served(tmp_path) as (server, connect, head):
            stream = await connect()
            await stream.send_all(head + b"\r\n")
            answer = await stream.receive_some()
            assert answer.startswith(b"HTTP/1.1 101 ")
            server.stop()
            frames = (await stream.receive_some()) or b""
            while b"restarts" not in frames:
                frames += await stream.receive_some()
            assert parse_close(frames[-len(RESTART_REASON) - 2 :]) == (1012, RESTART_REASON)
            await stream.send_all(client_frame(CLOSE, (1012).to_bytes(2)))
            assert await everything(stream) == b""


async def test_stop_answers_connections_in_their_handshake(tmp_path: Path) -> None:
    with trio.fail_after(WAIT_SECONDS):
        async with served(tmp_path) as (server, connect, head):
            stream = await connect()
            await stream.send_all(head)
            await trio.testing.wait_all_tasks_blocked(0.01)
            server.stop()
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(b"\r\n")
            assert (await everything(stream)).startswith(b"HTTP/1.1 503 ")


async def test_a_stop_does_not_wait_long_for_silent_clients(tmp_path: Path) -> None:
    async with served(tmp_path) as (server, connect, _):
        silent = await connect()
        began = trio.current_time()
        server.stop()
        assert await everything(silent) == b""
        assert trio.current_time() - began < STOP_SECONDS / 2
