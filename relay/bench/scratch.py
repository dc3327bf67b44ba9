"""A temporary relay for a benchmark: users in a scratch directory, `relay serve` on one core, and its resource usage.

The directory is removed at the end.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import trio

from relay.bench.client import BenchClient, BenchRefused
from relay.core.relay import open_relay
from relay.protocol import control

START_SECONDS = 30.0
"""How long the relay may take to start."""
STOP_SECONDS = 10.0
"""How long it may take to stop before it is killed."""
_TICKS = os.sysconf("SC_CLK_TCK")
_RUN = (
    "import json, sys; sys.argv[0], sys.path[:0] = json.loads(sys.argv.pop(1)); from {} import main; sys.exit(main())"
)
_NO_SETTINGS = os.devnull
"""A settings file without a setting: the installed one (TLS, limits, retention) must not affect the measurement."""


def command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module's `main` with this interpreter and its import path.

    It has this program's name, by which its hints name the `relay` command.
    """
    return [sys.executable, "-c", _RUN.format(module), json.dumps([sys.argv[0], sys.path]), *arguments]


def last_line(said: str, default: str) -> str:
    """Return the last line that a program printed, which says why it failed.

    Args:
        said: its output.
        default: the text if it printed nothing.
    """
    return said.strip().rpartition("\n")[2].removeprefix("relay: ") or default


class Scratch:
    """A temporary relay; a context manager."""

    def __init__(self, users: int, *, directory: Path | None = None, core: int | None = None) -> None:
        """Prepare the relay; it starts with the `with` block.

        Args:
            users: how many users, with a device each.
            directory: where to make the scratch directory, whose disk is measured, too; the system's by default.
            core: the CPU core that the relay stays on; any by default.
        """
        self._users = users
        self._directory = directory
        self._core = core

    def __enter__(self) -> Self:
        self.data = Path(tempfile.mkdtemp(prefix="relay-bench-", dir=self._directory))
        try:
            self.tokens = trio.run(_add_users, self.data, self._users)
            self._start()
        except BaseException:
            shutil.rmtree(self.data, ignore_errors=True)
            raise
        return self

    def _start(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
        # The limit per user must not affect the measurement.
        environment["RELAY_LIMITS_REQUESTS_PER_SECOND"] = "1000000"
        begun = time.perf_counter()
        options = ("--listen", "127.0.0.1:0", "--data", str(self.data), "--config", _NO_SETTINGS)
        with (self.data / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(  # noqa: S603 - this very program
                command("relay.__main__", "serve", *options),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if self._core is not None:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.process.pid, {self._core})
        self.url = self._wait(begun + START_SECONDS)
        self.ready = time.perf_counter() - begun
        """Seconds from the start to the first sign-in."""

    def _wait(self, deadline: float) -> str:
        token = next(iter(self.tokens.values()))
        while True:
            said = (self.data / "serve.log").read_text(errors="replace")
            _, found, rest = said.partition("listening on ")
            if found and "\n" in rest:
                with contextlib.suppress(OSError, BenchRefused):
                    BenchClient.connect(url := rest.split()[0], token).close()
                    return url
            if time.perf_counter() > deadline or self.process.poll() is not None:
                raise BenchRefused(f"the relay to measure did not start: {last_line(said, 'it said nothing')}")
            time.sleep(0.002)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.data, ignore_errors=True)

    def processor(self) -> float:
        """Return the CPU seconds that the relay has used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory(self) -> int:
        """Return the relay's resident memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def _add_users(data: Path, count: int) -> dict[str, str]:
    tokens: dict[str, str] = {}
    async with open_relay(data) as relay:

        async def add(user_id: str) -> None:
            await relay.admin.handle("user.add", control.AddUser(id=user_id))
            made = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user_id))
            assert isinstance(made, control.Token)
            tokens[user_id] = made.token

        for number in range(count):
            await add(f"bench{number}")
    return tokens


def cores() -> Sequence[int]:
    """Return the CPU cores that this process may use."""
    return sorted(os.sched_getaffinity(0))
