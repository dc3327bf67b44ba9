"""The `relay` command as the user can type it, derived from how this process was started."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from relay.settings import WrongSettings, data_directory

Which = Callable[[str], str | None]
"""Finds a program on the PATH."""


def line(words: str, data: Path | None = None) -> str:
    """Make a command line for the user to type.

    Args:
        words: the words after `relay`.
        data: the data directory of the command; `--data` is added if the command would not find it by itself.
    """
    typed = f"{_program()} {words}"
    if data is None or data.absolute() == _default_directory():
        return typed
    return f"{typed} --data {shlex.quote(str(data.absolute()))}"


def needs_directory() -> Path | None:
    """Find the directory in which the lines must be typed; None for any."""
    words = shlex.split(_program())
    relative = words[0] == "uv" or ("/" in words[0] and not words[0].startswith("/"))
    # `python3 -m` finds modules in the current directory.
    beside = "-m" in words and Path(__file__).resolve().parents[1] == Path.cwd()
    return Path.cwd() if relative or beside else None


def _program() -> str:
    return spelled(sys.argv[0], sys.orig_argv, os.environ, shutil.which)


def spelled(program: str, started: Sequence[str], environment: Mapping[str, str], which: Which) -> str:
    """Spell the `relay` command.

    Args:
        program: `sys.argv[0]`.
        started: `sys.orig_argv`, the interpreter and its arguments.
        environment: the environment of the process.
        which: finds a program on the PATH.
    """
    if "UV_RUN_RECURSION_DEPTH" in environment:
        return "uv run relay"
    if Path(program).name == "__main__.py":
        return f"{_shortest(started[0], which)} -m relay"
    return _shortest(program, which)


def _shortest(program: str, which: Which) -> str:
    name = Path(program).name
    return name if which(name) == program else shlex.quote(program)


def _default_directory() -> Path | None:
    """Find the data directory that commands in another terminal use without `--data`; None if there is none."""
    try:
        return None if os.environ.get("RELAY_DATA") else data_directory().absolute()
    except WrongSettings:
        return None
