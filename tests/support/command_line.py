"""The command line as tests use it: run in this process, against a relay in another one or against its file."""

import contextlib
import io
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec

from relay.__main__ import main
from relay.cli.offline import COMMAND_TUNING, CommandTuning, command_tuning
from tests.support.log_secrets import TALKATIVE, check

WAIT_SECONDS = 60.0
"""Maximum seconds for a start of the relay."""


class Ran(NamedTuple):
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its output as one JSON document."""
        return msgspec.json.decode(self.out)


class Undone(AssertionError):
    """A command that had to succeed failed."""

    def __init__(self, ran: Ran) -> None:
        super().__init__(ran)
        self.ran = ran


def said(ran: Ran) -> str:
    """The one line of a failed command."""
    assert (ran.code, ran.out) == (1, ""), ran
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1, ran.err
    return ran.err.removeprefix("relay: ").rstrip("\n")


def modes(data: Path) -> dict[str, str]:
    """The mode of each file in a data directory, as shown by `ls`."""
    return {path.name: stat.filemode(path.lstat().st_mode) for path in data.iterdir()}


def run(
    *arguments: str | Path,
    data: Path | None = None,
    stdin: str = "",
    whole_hints: bool = False,
    tuning: CommandTuning = COMMAND_TUNING,
) -> Ran:
    """Run `relay ARGUMENTS`.

    Args:
        arguments: the typed arguments.
        data: the data directory.
        stdin: the piped input.
        whole_hints: whether the commands in a text keep their `--data`.
        tuning: numbers of the command line.
    """
    argv = ["relay", *map(str, arguments)]
    if data is not None:
        argv += ["--data", str(data)]
    raw = io.BytesIO()
    out, err = io.TextIOWrapper(raw, write_through=True), io.StringIO()
    code: Any = 0
    umask = os.umask(0o022)
    with (
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        patch.object(sys, "argv", argv),
        patch.object(sys, "stdin", io.StringIO(stdin)),
        patch.dict(os.environ, {"COLUMNS": "200"}),
    ):
        # `uv run pytest` must not appear in the relay's hints.
        os.environ.pop("UV_RUN_RECURSION_DEPTH", None)
        before = command_tuning.set(tuning)
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            command_tuning.reset(before)
            os.umask(umask)
    named = "" if data is None or whole_hints else f" --data {shlex.quote(str(data.absolute()))}`"
    said = (raw.getvalue().decode(), err.getvalue())
    return Ran(code, *(text.replace(named, "`") if named else text for text in said))


def done(*arguments: str | Path, data: Path | None = None, stdin: str = "", whole_hints: bool = False) -> Ran:
    """Run a command that must succeed; see `run`."""
    ran = run(*arguments, data=data, stdin=stdin, whole_hints=whole_hints)
    if ran.code:
        raise Undone(ran)
    return ran


class Running(NamedTuple):
    """A relay in a process of its own."""

    process: subprocess.Popen[str]
    data: Path
    url: str
    log: Path


@contextlib.contextmanager
def running(data: Path, *options: str, environment: dict[str, str] | None = None) -> Iterator[Running]:
    """Run a relay on a free port, and stop it in order."""
    log = data.parent / f"{data.name}.log"
    with log.open("w") as target:
        process = subprocess.Popen(
            [sys.executable, "-m", "relay", "serve", "--listen", "127.0.0.1:0", "--data", str(data), *options],
            stderr=target,
            text=True,
            env=os.environ | TALKATIVE | (environment or {}),
        )
    try:
        yield Running(process, data, _wait_for_url(process, log), log)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)
    check(log.read_text(), data)


def _wait_for_url(process: subprocess.Popen[str], log: Path) -> str:
    until = time.monotonic() + WAIT_SECONDS
    while process.poll() is None and time.monotonic() < until:
        found = re.search(r"listening on (\S+)\n(?:.*\n)*data in", log.read_text())
        if found:
            return found[1]
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise AssertionError(log.read_text())
