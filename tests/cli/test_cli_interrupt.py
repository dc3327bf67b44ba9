"""Ctrl-C: at any moment it ends the command silently, with the usual exit code of shells."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import done

PROGRAM = """
import builtins, sys
from relay.__main__ import main
wanted, sys.argv = sys.argv[1], ["relay", *sys.argv[2:]]
plain = builtins.__import__
def interrupted(name, *more):
    if name == wanted:
        raise KeyboardInterrupt
    return plain(name, *more)
builtins.__import__ = interrupted
main()
"""


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("user", "list"), "relay.cli.app"),
        (("user", "list"), "typer"),
        (("user", "list"), "relay.net"),
        (("check",), "relay.core.maintenance.check"),
        (("serve", "--listen", "127.0.0.1:0"), "relay.serve"),
        (("serve", "--listen", "127.0.0.1:0"), "relay.core.relay"),
    ],
)
def test_importing_modules_prints_nothing(command: tuple[str, ...], module: str, tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    arguments = [sys.executable, "-c", PROGRAM, module, *command, "--data", str(tmp_path)]
    ran = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=30)
    assert (ran.returncode, ran.stdout, ran.stderr.strip()) == (130, "", "")
