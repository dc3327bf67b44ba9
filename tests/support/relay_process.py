"""A real `relay serve` in a separate process, for tests from outside: real sockets, real signals, real disks."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from relay.core.relay import open_relay
from relay.core.tuning import Tuning
from relay.net.tuning import NetTuning
from relay.protocol import control
from tests.support.log_secrets import TALKATIVE, check

START = 60.0
"""Seconds within which a relay must listen, also on a busy machine."""

_LISTENING = re.compile(rb"listening on (?P<url>ws://127\.0\.0\.1:\d+/ws)")


async def add_users(data: Path, *ids: str) -> dict[str, str]:
    """Make users and a device for each, while no relay runs; return their tokens."""
    data.mkdir(parents=True, exist_ok=True)
    tokens: dict[str, str] = {}
    async with open_relay(data) as relay:
        for user_id in ids:
            await relay.admin.handle("user.add", control.AddUser(id=user_id))
            token = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user_id))
            assert isinstance(token, control.Token)
            tokens[user_id] = token.token
    return tokens


class RelayProcess:
    """One relay; it can be killed and started again, on the same port."""

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        prefix: Sequence[str],
        tuning: Tuning | None = None,
        net: NetTuning | None = None,
    ) -> None:
        self.data = data
        self.url = ""
        self.process: trio.Process | None = None
        self._environment = {
            **os.environ,
            "PYTHONUNBUFFERED": "1",
            "PYTHONFAULTHANDLER": "1",
            **TALKATIVE,
            **environment,
        }
        self._command = [*prefix, sys.executable, *program(tuning, net)]
        self.log_file = data.parent / f"{data.name}.log"

    @property
    def log(self) -> str:
        """Its output so far."""
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start it and wait until it listens."""
        port = self.url.split(":")[2].split("/")[0] if self.url else "0"
        command = [
            *self._command,
            "serve",
            "--data",
            str(self.data),
            "--listen",
            f"127.0.0.1:{port}",
        ]
        said = self.log_file.stat().st_size if self.log_file.exists() else 0
        with self.log_file.open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                command, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        with trio.move_on_after(START):
            while self.process.poll() is None:
                found = _LISTENING.search(self.log_file.read_bytes(), said)
                if found:
                    self.url = found["url"].decode()
                    return
                await trio.sleep(0.01)
        # If it hangs, print a traceback.
        await self.stop(signal.SIGABRT)
        raise AssertionError(f"the relay did not start:\n{self.log[-6000:]}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and wait until it is gone; return its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        with trio.fail_after(START):
            return await self.process.wait()

    async def kill(self) -> None:
        """Kill it between any two of its instructions."""
        await self.stop(signal.SIGKILL)


def program(tuning: Tuning | None = None, net: NetTuning | None = None) -> list[str]:
    """Return Python's arguments that run the relay with these numbers; `serve` comes next."""
    if tuning is None and net is None:
        return ["-m", "relay"]
    given = ", ".join(
        f"{name}=json.decode({msgspec.json.encode(value)!r}, type={type(value).__name__})"
        for name, value in (("tuning", tuning), ("net", net))
        if value is not None
    )
    lines = (
        "import os, sys",
        "from msgspec import json",
        "from relay.__main__ import UMASK",
        "from relay.core.tuning import Tuning",
        "from relay.net.tuning import NetTuning",
        "from relay.serve import main",
        "sys.argv[0] = 'relay'",
        "os.umask(UMASK)",
        f"sys.exit(main(sys.argv[2:], {given}))",
    )
    return ["-c", "; ".join(lines)]


@asynccontextmanager
async def running(
    data: Path,
    *,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
    tuning: Tuning | None = None,
    net: NetTuning | None = None,
) -> AsyncIterator[RelayProcess]:
    """A relay on a data directory, stopped at the end.

    Args:
        data: its directory.
        environment: variables besides those of this process.
        prefix: the words before its command.
        tuning: the relay's tuning, for shorter waits.
        net: the server's tuning, as well.
    """
    relay = RelayProcess(data, environment or {}, prefix, tuning, net)
    await relay.start()
    try:
        yield relay
    finally:
        with trio.CancelScope(shield=True):
            await relay.kill()
    check(relay.log, data)


def resident(pid: int) -> int:
    """The bytes of memory that a process uses."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
