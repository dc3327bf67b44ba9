"""Commands that need a running relay: status, the live screen, tail, settings; and their messages without one.

Longer than other modules: all tests share one running relay, whose start costs more than the tests.
"""

import contextlib
import datetime as dt
import os
import pty
import queue
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from relay.cli import control_client, status
from relay.cli.offline import CommandTuning
from relay.cli.output import Failure
from relay.net.tls.authority import Authority
from relay.protocol import control
from relay.protocol.base import Wire
from relay.protocol.control.table import PRUNE, STATUS_SHOW, USER_LIST
from relay.protocol.request_type import RequestType
from tests.support.command_line import Running, done, run, running


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("live")
    (home / "relay.toml").write_text("[limits]\nconnections = 77\n")
    options = ("--config", str(home / "relay.toml"))
    with running(home / "data", *options, environment={"RELAY_LIMITS_BURST": "5000"}) as relay:
        for user in ("anna", "ben"):
            done("user", "add", user, data=relay.data)
        yield relay


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


STATUS = {
    "listening", "publicUrl", "trustedProxies",
    "version", "pid", "data", "url", "uptime", "connections", "maxConnections", "mostConnections", "wantedConnections",
    "users", "usersOnline", "chats",
    "messagesPerSecond", "deliveriesPerSecond", "requestsPerSecond", "medianLag", "highLag", "batchSize", "commitMs",
    "longestWait", "writingFor",
    "writeFailing", "writeFailures", "outboxBytes", "slowReaders", "lastEvent", "storeBytes", "walBytes", "diskFree",
    "diskFilesFree",
    "signInFailures", "diskSecondsLeft", "memoryBytes", "cpu", "clockAhead", "indexBehind",
    "indexRemaking", "damaged",
    "logAhead",
    "diskFull", "reserveBytes",
}  # fmt: skip


def test_status_shows_who_is_online_and_the_rates(relay: Running) -> None:
    done("send", "--as", "anna", "ben", "hello", data=relay.data)
    status = done("status", "--json", data=relay.data).json
    assert set(status) == STATUS
    assert (status["pid"], status["users"], status["maxConnections"]) == (relay.process.pid, 2, 77)
    assert status["memoryBytes"] > 10_000_000
    assert status["medianLag"] is not None
    text = done("status", data=relay.data).out
    assert "people      0 of 2 online" in text
    assert max(map(len, text.splitlines())) <= 80


def test_status_names_slow_readers_and_warns_of_a_disk_that_fills_up(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = control_client.ask(relay.data, STATUS_SHOW, control.Empty())
    slow = control.SlowReader(user_id="anna", device_id=1, bytes=2_500_000, seconds=90)
    worse = msgspec.structs.replace(now, slow_readers=[slow], disk_seconds_left=3_600, write_failing=True)
    monkeypatch.setattr(status, "look", lambda _data: worse)
    text = run("status", data=relay.data)
    said = text.out + text.err
    assert "slowest: anna 2.5 MB for 1 min" in said
    assert "the store cannot be written" in said
    assert "the disk will be full in" in said


def test_admin_can_confirm_the_machines_clock(relay: Running) -> None:
    assert "the relay uses the machine's clock: 20" in done("clock", "trust", data=relay.data).out
    moment = done("clock", "trust", "--json", data=relay.data).json["timestamp"]
    assert abs(moment / 1_000 - time.time()) < 60


@pytest.mark.parametrize("options", [(), ("--watch",), ("--watch", "--json")])
def test_status_exits_with_1_without_a_relay(options: tuple[str, ...], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "relay", "status", *options, "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith(f"relay: no relay runs on {tmp_path}")
    assert ran.stderr.count("\n") == 1


def test_watching_into_a_pipe_prints_each_sample_and_waits_for_a_relay_that_stopped(
    relay: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = status.look
    looks = 0

    def sometimes(data: Path) -> Any:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise Failure("no relay runs")
        if looks == 5:
            raise KeyboardInterrupt
        return look(data)

    monkeypatch.setattr(status, "look", sometimes)
    ran = done("status", "--watch", "--every", "0.2", data=relay.data)
    assert looks == 5
    assert ran.out.count("\npeople ") == 3
    assert ran.out.count("no relay runs: waiting for it") == 1


def test_watching_on_a_terminal_draws_a_screen(relay: Running) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "relay", "status", "--watch", "--every", "0.2", "--data", str(relay.data)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.STDOUT) as watching:
        os.close(theirs)
        shown = b""
        while b"Ctrl-C ends" not in shown:
            shown += os.read(ours, 65_536)
        watching.send_signal(signal.SIGINT)
        # The end restores the screen: without a reader it would wait.
        with contextlib.suppress(OSError):
            while os.read(ours, 65_536):
                pass
        assert watching.wait(20) == 0
    os.close(ours)


def test_settings_in_force_are_those_of_the_running_relay(relay: Running) -> None:
    settings = {one["key"]: one for one in done("config", "show", "--json", data=relay.data).json}
    assert set(settings["limits.burst"]) == {"key", "value", "source", "unit", "default", "atStart"}
    assert (settings["limits.burst"]["value"], settings["limits.burst"]["source"]) == (5000, "RELAY_LIMITS_BURST")
    assert settings["limits.connections"]["value"] == 77
    assert settings["listen"]["source"] == "--listen"
    assert "RELAY_LIMITS_BURST" in done("config", "show", data=relay.data).out


def test_a_signal_reloads_settings_and_names_those_that_need_a_restart(relay: Running) -> None:
    file = relay.data.parent / "relay.toml"
    file.write_text("[limits]\nconnections = 78\nframe_bytes = 2048\n")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "settings read again" in relay.log.read_text())
    assert "changed limits.connections, limits.frame_bytes" in relay.log.read_text()
    assert done("status", "--json", data=relay.data).json["maxConnections"] == 78
    file.write_text("[limits]\nconections = 1\n")
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "did you mean limits.connections?" in relay.log.read_text())
    assert done("status", "--json", data=relay.data).json["maxConnections"] == 78


def test_a_signal_loads_a_renewed_certificate(tmp_path: Path) -> None:
    # eclipse-mosquitto/mosquitto#524, hashicorp/vault#7765.
    folder = tmp_path / "certificates"
    made = Authority(folder)
    made.make(["localhost", "127.0.0.1"], dt.datetime.now(dt.UTC))
    files = {"RELAY_TLS_CERTIFICATE": str(made.leaf), "RELAY_TLS_KEY": str(made.leaf_key)}
    with running(tmp_path / "data", "--tls", environment=files) as relay:
        port = int(relay.url.rsplit(":", 1)[1].partition("/")[0])
        before = ssl.get_server_certificate(("127.0.0.1", port))
        made.issue(["localhost", "127.0.0.1"], dt.datetime.now(dt.UTC))
        relay.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "loaded the certificate" in relay.log.read_text())
        now = ssl.get_server_certificate(("127.0.0.1", port))
        assert now != before
        assert made.leaf.read_text().startswith(now.strip())


def test_config_check_finds_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RELAY_STORE_RESERVE_BYTES", raising=False)
    file = tmp_path / "relay.toml"
    file.write_text(done("config", "show", "--default").out)
    assert done("config", "check", file).out.startswith(f"{file}: right, 0 of ")
    file.write_text("[limits]\nconections = 1\n")
    ran = run("config", "check", file)
    assert (ran.code, ran.err) == (
        1,
        f"relay: {file}: limits.conections is unknown: did you mean limits.connections?\n",
    )


class Tail:
    """A `relay tail` in a process of its own, and what it prints."""

    def __init__(self, relay: Running, *options: str) -> None:
        self._relay = relay
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "relay", "tail", "--data", str(relay.data), *options],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._lines.put(line)

    def line(self) -> str:
        return self._lines.get(timeout=10)

    def json(self) -> Any:
        return msgspec.json.decode(self.line())

    def ready(self) -> None:
        """Repeat an action until it is seen, then skip its remaining output."""
        until = time.monotonic() + 30
        while self._lines.empty():
            assert time.monotonic() < until, "nothing is seen"
            done("send", "--as", "anna", "ben", "ready?", data=self._relay.data)
            time.sleep(0.2)
        while not self._lines.empty():
            self.line()
            time.sleep(0.2)

    def stop(self) -> int:
        self._process.send_signal(signal.SIGINT)
        self._reader.join(5)
        return self._process.wait(5)


def test_tail_shows_all_chats_without_texts(relay: Running) -> None:
    done("user", "add", "carl", data=relay.data)
    with Tail(relay, "--json") as everything, Tail(relay, "--texts", "anna~ben") as texts:
        texts.ready()
        everything.ready()
        texts.ready()
        done("send", "--as", "anna", "ben", "secret plan", data=relay.data)
        done("send", "--as", "carl", "carl", "to myself", data=relay.data)
        done("send", "--as", "anna", "ben", "\x1b[2Jend", data=relay.data)
        while (first := everything.json())["characters"] != len("secret plan"):
            pass
        lines = [first, *(everything.json() for _ in range(3))]
        assert "anna: secret plan" in texts.line()
        assert r"anna: \x1b[2Jend" in texts.line()
        assert (everything.stop(), texts.stop()) == (0, 0)
    assert [line["eventType"] for line in lines] == ["new", "chats", "new", "new"]
    assert lines[0]["chat"] == "anna~ben"
    assert "message" not in lines[0]
    assert lines[2]["chat"] == "carl"


def test_tail_as_a_user_shows_what_the_user_sees(relay: Running) -> None:
    with Tail(relay, "--as", "ben", "--json") as listening:
        wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
        done("send", "--as", "anna", "ben", "for ben", data=relay.data)
        event = listening.json()
        assert listening.stop() == 0
    assert (event["eventType"], event["payload"]["message"]) == ("new", "for ben")


@pytest.mark.parametrize("called", ["ops", "anna~ben", "ben"])
def test_tail_as_a_user_finds_a_chat_by_every_name_of_other_commands(relay: Running, called: str) -> None:
    group = done("chat", "create", "Ops", "anna", "ben", data=relay.data).out.strip()
    try:
        with Tail(relay, "--as", "anna", called) as listening:
            wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
            done("send", "--as", "ben", "anna" if called == "ops" else group, "elsewhere", data=relay.data)
            done("send", "--as", "ben", group if called == "ops" else "anna", "here", data=relay.data)
            assert listening.line().endswith("ben: here\n")
            assert listening.stop() == 0
    finally:
        done("chat", "delete", group, "--yes", data=relay.data)


def test_tail_as_a_user_refuses_unknown_chats_and_disabled_users(relay: Running) -> None:
    assert "there is no group or channel 'nowhere'" in run("tail", "nowhere", "--as", "anna", data=relay.data).err
    done("user", "add", "dora", data=relay.data)
    assert "'dora' is not in the dialog" in run("tail", "anna~ben", "--as", "dora", data=relay.data).err
    done("user", "disable", "dora", data=relay.data)
    refused = run("tail", "--as", "dora", data=relay.data)
    assert (refused.code, "'dora' is disabled" in refused.err) == (1, True)


def test_tail_as_a_user_says_why_it_cannot_connect_and_waits(tmp_path: Path) -> None:
    (tmp_path / "relay.toml").write_text("[limits]\nconnections = 1\n")
    with running(tmp_path / "data", "--config", str(tmp_path / "relay.toml")) as relay:
        for user in ("anna", "ben"):
            done("user", "add", user, data=relay.data)
        command = [sys.executable, "-u", "-m", "relay", "tail", "--as", "ben", "--data", str(relay.data)]
        with Tail(relay, "--as", "anna"):
            wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
            waiting = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            assert waiting.stderr is not None
            assert waiting.stdout is not None
            assert waiting.stderr.readline().startswith("relay: cannot connect yet: ")
        wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
        done("send", "--as", "anna", "ben", "now", data=relay.data)
        assert "anna: now" in waiting.stdout.readline() + waiting.stdout.readline()
        waiting.send_signal(signal.SIGINT)
        assert waiting.communicate(timeout=10)[1] == ""


def test_data_directory_with_a_name_outside_utf8_is_shown_by_the_numbers_of_its_bytes(tmp_path: Path) -> None:
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    with running(data) as relay:
        assert done("status", "--json", data=relay.data).json["data"].endswith("/caf\\xe9")
        done("backup", str(tmp_path / "b.tar"), data=relay.data)


def test_with_tls_addresses_say_so_and_local_commands_need_no_certificate(tmp_path: Path) -> None:
    assert "Start the relay with --tls" in done("tls", "init", data=tmp_path / "data").out
    with running(tmp_path / "data", "--tls") as relay:
        assert "The relay runs with TLS" in done("tls", "show", data=tmp_path / "data").out
        assert relay.url.startswith("wss://127.0.0.1:")
        assert done("status", "--json", data=relay.data).json["url"] == relay.url
        for user in ("anna", "ben"):
            done("user", "add", user, data=relay.data)
        with Tail(relay, "--as", "ben", "--json") as listening:
            wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
            done("send", "--as", "anna", "ben", "for ben", data=relay.data)
            assert [listening.json()["eventType"] for _ in range(2)] == ["chats", "new"]


def test_tail_says_that_the_relay_stopped(tmp_path: Path) -> None:
    with running(tmp_path / "data") as relay:
        done("user", "add", "anna", data=relay.data)
        command = [sys.executable, "-m", "relay", "tail", "--data", str(relay.data)]
        tail = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert tail.stdout is not None
        seen = threading.Thread(target=tail.stdout.readline)
        seen.start()

        def heard_of_a_rename() -> bool:
            done("user", "rename", "anna", "Anna", data=relay.data)
            return not seen.is_alive()

        wait_for(heard_of_a_rename)
    _, said = tail.communicate(timeout=10)
    assert (tail.returncode, said) == (1, "relay: the relay stopped: nothing more happens\n")


def test_tail_as_a_user_waits_for_a_relay_that_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "relay", "tail", "--as", "anna", "--json", "--data", str(tmp_path / "data")]
    with running(tmp_path / "data") as relay:
        done("user", "add", "anna", data=relay.data)
        tail = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
    assert tail.stdout is not None
    assert tail.stderr is not None
    assert tail.stderr.readline() == "relay: the relay stopped: waiting for it\n"
    with running(tmp_path / "data") as relay:
        wait_for(lambda: done("status", "--json", data=relay.data).json["usersOnline"] == 1)
        done("send", "--as", "anna", "anna", "again", data=relay.data)
        while '"again"' not in (line := tail.stdout.readline()):
            assert line, "it ended"
        tail.send_signal(signal.SIGINT)
        assert tail.wait(10) == 0
    tail.communicate()


def test_tail_needs_a_running_relay(tmp_path: Path) -> None:
    assert run("tail", data=tmp_path).code == 1
    assert run("tail", "--as", "ben", data=tmp_path).code == 1


def test_log_of_a_relay_contains_no_text_and_no_token(relay: Running) -> None:
    token = done("device", "add", "anna", data=relay.data).out.strip()
    done("send", "--as", "anna", "ben", "quite-private-words", data=relay.data)
    log = relay.log.read_text()
    assert "quite-private-words" not in log
    assert token not in log
    assert "admin request device.add" in log


IMPATIENT = CommandTuning(answer_seconds=0.3)


@pytest.fixture
def stuck(relay: Running) -> Iterator[Running]:
    relay.process.send_signal(signal.SIGSTOP)
    try:
        yield relay
    finally:
        relay.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    "command", [("user", "list"), ("status",), ("prune",), ("export",), ("tail",), ("user", "import", "-")]
)
def test_unresponsive_relay_is_reported_with_its_process(command: tuple[str, ...], stuck: Running) -> None:
    ran = run(*command, data=stuck.data, stdin="anna,Anna\n", tuning=IMPATIENT)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"relay: the relay (process {stuck.process.pid}) does not answer: `systemctl restart")
    assert ran.err.count("\n") == 1


def test_doctor_reports_an_unresponsive_relay(stuck: Running) -> None:
    ran = run("doctor", data=stuck.data, tuning=IMPATIENT)
    assert f"BAD relay       the relay (process {stuck.process.pid}) does not answer" in ran.out


@pytest.mark.parametrize(
    ("kind", "payload", "first", "limited"),
    [
        (PRUNE, control.Prune(), b"", False),
        (USER_LIST, control.Empty(), b"", True),
        (USER_LIST, control.Empty(), b"\n", False),
    ],
)
def test_short_request_has_a_time_limit_for_its_first_line_only(
    kind: RequestType[Any, Any], payload: Wire, first: bytes, limited: bool
) -> None:
    here, there = socket.socketpair()

    def answer() -> None:
        there.recv(65_536)
        there.sendall(first)
        time.sleep(0.5)
        with contextlib.suppress(BrokenPipeError):
            there.sendall(b"\n")
        there.close()

    answering = threading.Thread(target=answer)
    answering.start()
    with here, pytest.raises(Failure, match="does not answer" if limited else "stopped before"):
        control_client.exchange(here, kind, payload, lambda _item: None, seconds=0.2)
    answering.join()


def ask_raw(relay: Running, data: bytes, answers: int) -> list[dict[str, object]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(relay.data / "relay.sock"))
        connection.sendall(data)
        with connection.makefile("rb") as lines:
            return [msgspec.json.decode(lines.readline()) for _ in range(answers)]


def test_control_socket_is_for_its_owner_and_group_only(relay: Running) -> None:
    assert (relay.data / "relay.sock").stat().st_mode & 0o777 == 0o660


def test_other_users_are_refused_by_their_credentials_whatever_the_mode(relay: Running) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    path = relay.data / "relay.sock"
    relay.data.chmod(0o755)
    path.chmod(0o666)
    try:
        ran = subprocess.run(
            [sys.executable, "-c", STRANGER, str(relay.data)], capture_output=True, text=True, check=False, timeout=10
        )
    finally:
        path.chmod(0o660)
        relay.data.chmod(0o750)
    assert '"code":"forbidden"' in ran.stdout, ran.stderr
    assert "members of the group relay may" in ran.stdout


STRANGER = """
import os, socket, sys
connection = socket.socket(socket.AF_UNIX)
os.chdir(sys.argv[1])
os.setgroups([]); os.setgid(12345); os.setuid(12345)
connection.connect("relay.sock")
connection.sendall(b'{"type":"request","id":"1","payloadType":"user.list","payload":{}}\\n')
print(connection.makefile().readline())
"""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b'{"type":"request","id":"1","payloadType":"no.such","payload":{}}\n', "unknown_request"),
        (b'{"type":"request","id":"1","payloadType":"user.show","payload":{}}\n', "bad_request"),
        (b'{"type":"ack","id":1}\n', "bad_request"),
        (b"{broken\n", "bad_request"),
    ],
)
def test_control_socket_survives_garbage(line: bytes, code: str, relay: Running) -> None:
    good = b'{"type":"request","id":"2","payloadType":"user.list","payload":{}}\n'
    refused, answered = ask_raw(relay, line + good, 2)
    assert refused["error"]["code"] == code  # type: ignore[index]
    assert answered["id"] == "2"


def tmux(*arguments: str) -> str:
    return subprocess.run(["tmux", "-L", "relay-test", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(not shutil.which("tmux"), reason="there is no tmux to show it in")
def test_the_live_screen_fits_80_by_24_in_a_real_terminal(relay: Running) -> None:
    command = f"{sys.executable} -m relay status --watch --data {relay.data}"
    tmux("new-session", "-d", "-x", "80", "-y", "24", "-s", "live", command)
    try:
        wait_for(lambda: "Ctrl-C ends" in tmux("capture-pane", "-p", "-t", "live"))
        for count in range(20):
            done("send", "--as", "anna", "ben", f"word {count}", data=relay.data)
        wait_for(
            lambda: "▇" in tmux("capture-pane", "-p", "-t", "live") or "█" in tmux("capture-pane", "-p", "-t", "live")
        )
        shown = tmux("capture-pane", "-p", "-t", "live")
        lines = shown.splitlines()
        assert len(lines) <= 24
        assert max(map(len, lines)) <= 80
        for word in ("relay", "people", "traffic", "delivery", "writer", "disk", "in/s", "slow readers"):
            assert word in shown
        assert "…" not in shown
        tmux("send-keys", "-t", "live", "C-c")
        wait_for(
            lambda: (
                subprocess.run(
                    ["tmux", "-L", "relay-test", "has-session", "-t", "live"], capture_output=True, check=False
                ).returncode
            )
        )
    finally:
        subprocess.run(["tmux", "-L", "relay-test", "kill-session", "-t", "live"], capture_output=True, check=False)
