"""A relay for browsers: the real one, started as users start it, and Chromium's options."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.support.log_secrets import TALKATIVE, check

if TYPE_CHECKING:
    from pathlib import Path

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def run(*arguments: str, data: Path) -> str:
    """Run the command line."""
    command = [sys.executable, "-m", "relay", *arguments, "--data", str(data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Relay:
    """A relay that can be stopped, frozen and started again on the same port."""

    def __init__(self, data: Path, tokens: dict[str, list[str]], *options: str) -> None:
        self.data = data
        self._log = data.parent / f"{data.name}.log"
        self.options = options
        self.tokens = {user: list(some) for user, some in tokens.items()}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [
            sys.executable,
            "-m",
            "relay",
            "serve",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--data",
            str(self.data),
            *self.options,
        ]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=log, env={**os.environ, **TALKATIVE}
            )
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail("the relay did not start")

    def stop(self) -> None:
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(20)
            self.process = None
            check(self._log.read_text(), self.data)

    def freeze(self) -> None:
        """Freeze it: sockets stay open and nothing answers, as on a sleeping laptop."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def token(self, user: str) -> str:
        """Return the token of an unused device."""
        return self.tokens[user].pop()
