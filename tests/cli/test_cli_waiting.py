"""Commands and a starting relay wait for the process that has the data directory, and name it."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.cli.offline import CommandTuning
from relay.store.files import lock
from tests.support.command_line import done, run, running

HOLD = """
    import sys, time
    from pathlib import Path
    from relay.store.files.lock import locked
    data, command = Path(sys.argv[1]), sys.argv[2]
    sys.argv = ["/usr/bin/relay", command, "what people say"]
    with locked(data):
        print("locked", flush=True)
        sys.stdin.read()
"""


class Holder:
    """Another process that has the lock, as if it ran some command."""

    def __init__(self, data: Path, command: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(HOLD), str(data), command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "locked\n"

    def let_go(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@contextlib.contextmanager
def held(data: Path, command: str, seconds: float = 60.0) -> Iterator[Holder]:
    """Let another process hold the lock for this long."""
    holder = Holder(data, command)
    timer = threading.Timer(seconds, holder.let_go)
    timer.start()
    try:
        yield holder
    finally:
        timer.cancel()
        timer.join()
        holder.let_go()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    done("user", "add", "anna", data=directory)
    return directory


def test_a_command_waits_for_another_command_and_names_it(data: Path) -> None:
    with held(data, "prune", 0.5) as holder:
        ran = done("user", "list", "--json", data=data)
    assert [user["id"] for user in ran.json] == ["anna"]
    assert ran.err == f"relay: waiting for process {holder.process.pid} (relay prune)\n"


def test_command_gives_up_after_its_wait_and_names_the_process(data: Path) -> None:
    with held(data, "prune") as holder:
        for command in (("user", "list"), ("user", "import", "-")):
            ran = run(*command, data=data, stdin="ben,Ben\n", tuning=CommandTuning(wait_seconds=0.2))
            assert ran.code == 1
            name = f"process {holder.process.pid} (relay prune)"
            assert ran.err.splitlines() == [
                f"relay: waiting for {name}",
                f"relay: {name} already has {data} open, but its control socket does not answer",
            ]


def test_the_lock_record_has_no_arguments(data: Path) -> None:
    with held(data, "send"):
        assert "what people say" not in (data / "relay.lock").read_text()


def test_a_starting_relay_waits_for_a_command_and_names_it(data: Path) -> None:
    log = data.parent / f"{data.name}.log"

    def let_go() -> None:
        until = time.monotonic() + 8
        while time.monotonic() < until and not (log.exists() and "waiting for" in log.read_text()):
            time.sleep(0.02)
        holder.let_go()

    with held(data, "prune") as holder:
        waiter = threading.Thread(target=let_go)
        waiter.start()
        with running(data) as relay:
            said = relay.log.read_text()
        waiter.join()
    assert f"waiting for process {holder.process.pid} (relay prune)" in said


def test_commands_wait_for_a_relay_that_is_starting(data: Path) -> None:
    starting = subprocess.Popen(
        [sys.executable, "-m", "relay", "serve", "--listen", "127.0.0.1:0", "--data", str(data)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    try:
        until = time.monotonic() + 30
        while lock.holder(data) is None:
            assert time.monotonic() < until, "it does not start"
            time.sleep(0.001)
        assert done("status", "--json", data=data).json["pid"] == starting.pid
        assert done("user", "show", "anna", "--json", data=data).json["id"] == "anna"
    finally:
        starting.send_signal(signal.SIGTERM)
        starting.communicate(timeout=10)


def test_command_stops_waiting_when_the_relay_ends(data: Path) -> None:
    with held(data, "serve", 0.5) as holder:
        ran = run("status", data=data)
    assert ran.code == 1
    assert ran.err.splitlines()[0] == f"relay: waiting for process {holder.process.pid} (relay serve)"
    assert "no relay runs" in ran.err


def test_only_status_of_a_relay_waits_for_a_relay(data: Path) -> None:
    with held(data, "prune"):
        ran = run("status", data=data)
    assert ran.code == 1
    assert "waiting" not in ran.err


def test_unresponsive_relay_is_named(data: Path) -> None:
    with held(data, "serve") as holder:
        ran = run("status", data=data, tuning=CommandTuning(wait_seconds=0.2))
        assert ran.code == 1
        assert f"process {holder.process.pid} (relay serve) already has" in ran.err
        began = time.monotonic()
        # A restore does not wait for a relay, which does not end by itself.
        backup = data.parent / "backup.tar"
        done("backup", backup, data=data)
        ran = run("restore", backup, "--yes", data=data, tuning=CommandTuning(wait_seconds=60.0))
        assert "stop the relay first" in ran.err
        assert time.monotonic() - began < 30
