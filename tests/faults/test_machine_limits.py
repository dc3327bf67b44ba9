"""The machine's limits: no descriptors, a stopped process, an unresponsive systemd; clients stay connected."""

import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import h11
import pytest
import trio
import trio.testing

from relay.client import connect
from relay.net.http.request import HttpRequest
from relay.net.http.response import HttpError
from relay.net.sockets import descriptors, systemd
from relay.net.sockets.descriptors import SpareDescriptor
from relay.net.tuning import NetTuning
from relay.net.websocket.keepalive import LAST_READ_SECONDS, OVERSLEPT_SECONDS, SILENCE_SECONDS, Keepalive
from tests.support.client_frames import client_frame
from tests.support.command_line import done, run, running
from tests.support.relay_process import RelayProcess, add_users
from tests.support.relay_process import running as relay_running

LIMIT = 96
"""The limit of a process with too few descriptors."""
SMALL = ["prlimit", f"--nofile={LIMIT}:{LIMIT}"]


# Descriptors.


@pytest.fixture
def limits() -> Iterator[None]:
    """Restore this process's limits afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("limits")
def test_soft_limit_is_raised_for_the_connections() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert descriptors.raise_limit(800) == 800
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (800 + descriptors.OTHER_DESCRIPTORS, hard)


def test_a_low_hard_limit_allows_fewer_connections_and_is_logged(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    program = "import sys; from relay.__main__ import main; sys.argv[0] = 'relay'; main()"
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    arguments = ["serve", "--listen", f"127.0.0.1:{port}", "--data", str(data)]
    relay = subprocess.Popen(
        [*SMALL, sys.executable, "-c", program, *arguments], stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert relay.stderr is not None
        said = ""
        while "listening" not in said:
            line = relay.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        assert f"only {LIMIT - LIMIT // 4} connections are possible, not 4000" in said
        status = done("status", "--json", data=data).json
        assert (status["maxConnections"], status["wantedConnections"]) == (LIMIT - LIMIT // 4, 4_000)
        assert "LimitNOFILE" in run("doctor", data=data).out
    finally:
        relay.send_signal(signal.SIGTERM)
        relay.communicate(timeout=20)


@contextmanager
def crowd(url: str, count: int) -> Iterator[list[socket.socket]]:
    """Open this many connections that send nothing."""
    host, port = url.split("/")[2].split(":")
    sockets = []
    try:
        for _ in range(count):
            sockets.append(socket.create_connection((host, int(port)), timeout=10))
        yield sockets
    finally:
        for one in sockets:
            one.close()


def _answers(sockets: list[socket.socket]) -> list[bytes]:
    """Return the bytes received so far."""
    answered = []
    for one in sockets:
        one.settimeout(0.05)
        try:
            answered.append(one.recv(4_096))
        except TimeoutError:
            continue
    return answered


async def test_without_descriptors_new_connections_get_503_and_others_continue(tmp_path: Path) -> None:
    tokens = await add_users(tmp_path / "data", "User1", "User2")
    async with (
        relay_running(tmp_path / "data", prefix=SMALL, net=NetTuning(room_again_seconds=1.0)) as relay,
        connect(relay.url, tokens["User1"]) as client,
    ):
        with crowd(relay.url, 2 * LIMIT) as sockets:
            answered = await trio.to_thread.run_sync(_answers, sockets)
            turned_away = [answer for answer in answered if answer.startswith(b"HTTP/1.1 503 ")]
            assert len(turned_away) >= LIMIT
            assert b"Retry-After: 5" in turned_away[0]
            assert turned_away[0].partition(b"\r\n\r\n")[2].endswith(b"try again...\n")
            await client.send("User2", "hello")
            assert await trio.to_thread.run_sync(lambda: run("user", "add", "User3", data=relay.data).code) == 0
            assert relay.log.count("no more connections can be accepted") == 1
        async with connect(relay.url, tokens["User2"]):
            pass
        with trio.fail_after(30):
            while "connections are accepted again" not in relay.log:
                await trio.sleep(0.2)
        assert relay.log.count("no more connections can be accepted") == 1


def test_spare_descriptor_is_available_again_after_each_use() -> None:
    spare = SpareDescriptor()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        assert not spare.reject(listener, plain=True)
        for _ in range(3):
            with closing(socket.create_connection(listener.getsockname())) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert spare.reject(listener, plain=True)
                client.settimeout(5)
                assert client.recv(4_096).startswith(b"HTTP/1.1 503")
        with closing(socket.create_connection(listener.getsockname())) as client:
            assert spare.reject(listener, plain=False)
            assert client.recv(4_096) == b"", "TLS would need a handshake first"
    spare.close()


# systemd.


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The path of systemd's socket; no notification was sent yet."""
    answered = systemd.Manager()
    monkeypatch.setattr(systemd, "manager", answered)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield tmp_path / "notify"
    answered.close()


@pytest.mark.usefixtures("limits")
def test_a_watchdog_ping_needs_no_new_descriptor(manager: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(manager))
        listening.settimeout(5)
        systemd.notify("READY=1")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        systemd.notify("WATCHDOG=1")
        assert [listening.recv(100), listening.recv(100)] == [b"READY=1", b"WATCHDOG=1"]


def test_failing_notifications_of_systemd_are_logged_once(manager: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    for _ in range(3):
        systemd.notify("WATCHDOG=1")
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        listening.bind(str(manager))
        for _ in range(3):
            systemd.notify("WATCHDOG=1")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        "systemd cannot be notified of WATCHDOG=1",
        "systemd can be notified again",
    ]


# A stopped process.


class Peer:
    """An object with a timeout."""

    timeout = SILENCE_SECONDS
    exempt = False

    def __init__(self) -> None:
        self.heard = trio.current_time()
        self.ended = False

    def timed_out(self) -> None:
        self.ended = True


async def test_a_silent_peer_times_out_after_a_last_read(autojump_clock: trio.testing.MockClock) -> None:
    keepalive, peer = Keepalive(), Peer()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keepalive.run)
        keepalive.watch(peer)
        await trio.sleep(SILENCE_SECONDS + LAST_READ_SECONDS / 2)
        assert not peer.ended
        await trio.sleep(LAST_READ_SECONDS)
        assert peer.ended
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("stall", "ended"), [(OVERSLEPT_SECONDS / 2, True), (OVERSLEPT_SECONDS + 1, False), (3_600.0, False)]
)
def test_silence_while_the_relay_is_stopped_does_not_count(
    stall: float, ended: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = trio.testing.MockClock(rate=0.0)

    async def stand_still() -> None:
        keepalive, peers = Keepalive(), [Peer() for _ in range(3)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keepalive.run)
            for peer in peers:
                keepalive.watch(peer)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(SILENCE_SECONDS + stall)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LAST_READ_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
            over = [peer.ended for peer in peers]
            assert over == [ended] * 3
            clock.jump(SILENCE_SECONDS - 1)
            await trio.testing.wait_all_tasks_blocked()
            assert [peer.ended for peer in peers] == over
            clock.jump(1.0)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LAST_READ_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
            assert all(peer.ended for peer in peers), "and after that the rule holds as ever"
            nursery.cancel_scope.cancel()

    trio.run(stand_still, clock=clock)
    assert caplog.text.count("stood still") == (0 if ended else 1)


@pytest.mark.parametrize(("stall", "arrives"), [(OVERSLEPT_SECONDS / 2, False), (3_600.0, True)])
def test_body_that_waits_while_the_relay_is_stopped_is_not_late(stall: float, arrives: bool) -> None:
    clock = trio.testing.MockClock(rate=0.0)

    async def stand_still() -> str:
        keepalive, pieces = Keepalive(), [b"", b"hello"]
        sent = trio.Event()

        async def piece() -> bytes:
            await sent.wait()
            return pieces.pop()

        head = h11.Request(method="POST", target="/", headers=[("Host", "relay"), ("Content-Length", "5")])
        request = HttpRequest(head, "127.0.0.1", piece, keepalive.timeout)
        answers: list[str] = []

        async def read() -> None:
            try:
                answers.append((await request.body(100, 10.0)).decode())
            except HttpError as error:
                answers.append(str(error.status))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(keepalive.run)
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(10.0 + stall)
            await trio.testing.wait_all_tasks_blocked()
            clock.jump(LAST_READ_SECONDS)
            await trio.testing.wait_all_tasks_blocked()
            sent.set()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        return answers[0]

    assert trio.run(stand_still, clock=clock) == ("hello" if arrives else "408")


async def test_stale_entries_of_the_heap_are_removed(autojump_clock: trio.testing.MockClock) -> None:
    keepalive = Keepalive()
    for _ in range(10_000):
        with keepalive.timeout(10):
            pass
    assert len(keepalive) < 5_000
    with keepalive.timeout(10) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keepalive.run)
            await trio.sleep(30)
    assert scope.cancelled_caught


async def _ping(relay: RelayProcess, token: str, count: int) -> list[socket.socket]:
    """Connect this many devices, each with a ping waiting in its socket."""
    host, port = relay.url.split("/")[2].split(":")
    head = (
        f"GET /ws HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
    sockets = []
    for _ in range(count):
        one = socket.create_connection((host, int(port)), timeout=10)
        one.sendall(head)
        assert one.recv(4_096).startswith(b"HTTP/1.1 101 ")
        one.sendall(client_frame(1, b"ping"))
        sockets.append(one)
    return sockets


@pytest.mark.skipif("not config.getoption('--stall')", reason="takes 40 s: ask for it with --stall")
async def test_a_relay_that_was_stopped_for_40_s_disconnects_no_client(tmp_path: Path) -> None:
    tokens = await add_users(tmp_path / "data", "User1", "User2")
    async with relay_running(tmp_path / "data") as relay:
        sockets = await _ping(relay, tokens["User1"], 30)
        os.kill(relay.pid, signal.SIGSTOP)
        for _ in range(8):
            await trio.sleep(5)
            for one in sockets:
                one.sendall(client_frame(1, b"ping"))
        os.kill(relay.pid, signal.SIGCONT)
        with trio.fail_after(10):
            while "stood still" not in relay.log:
                await trio.sleep(0.05)
        status = await trio.to_thread.run_sync(lambda: done("status", "--json", data=relay.data).json)
        assert status["connections"] == 30
        assert relay.log.count("stood still") == 1
        for one in sockets:
            one.close()


@pytest.mark.skipif("not config.getoption('--stall')", reason="takes 15 s: ask for it with --stall")
def test_handshakes_under_way_when_the_relay_is_stopped_are_finished(tmp_path: Path) -> None:
    done("tls", "init", data=tmp_path / "data")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with running(tmp_path / "data", "--tls") as relay:
        port = int(relay.url.split(":")[2].split("/")[0])
        under_way = []
        for _ in range(20):
            plain = socket.create_connection(("127.0.0.1", port), timeout=20)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing)
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            plain.sendall(outgoing.read())
            under_way.append((plain, tls, incoming, outgoing))
        for plain, tls, incoming, _ in under_way:
            while not _shaken(tls):
                incoming.write(plain.recv(65_536))
        # The relay waits for the last message of each handshake.
        relay.process.send_signal(signal.SIGSTOP)
        for plain, tls, _, outgoing in under_way:
            tls.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            plain.sendall(outgoing.read())
        time.sleep(13)
        relay.process.send_signal(signal.SIGCONT)
        for plain, tls, incoming, _ in under_way:
            assert _read(plain, tls, incoming).startswith(b"HTTP/1.1 200 ")
            plain.close()


def _shaken(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _read(plain: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO) -> bytes:
    while True:
        data = plain.recv(65_536)
        assert data, "the connection was closed"
        incoming.write(data)
        try:
            return tls.read(4_096)
        except ssl.SSLWantReadError:
            continue
