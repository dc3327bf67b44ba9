"""The standard streams of a command: full, closed, broken or binary; each case gives a line and an exit code."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.command_line import WAIT_SECONDS, Ran, done, run


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("streams") / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=where)
    done("send", "--as", "anna", "ben", "hello", data=where)
    return where


def shell(data: Path, line: str) -> Ran:
    """Run a line of shell in which `relay` is this program on the data directory."""
    relay = f'relay() {{ {shlex.quote(sys.executable)} -m relay "$@" --data {shlex.quote(str(data))}; }}'
    ran = subprocess.run(["bash", "-c", f"{relay}; {line}"], capture_output=True, text=True, check=False, timeout=30)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.parametrize(
    "command",
    ["user list", "user list --json", "export", "doctor", "device add anna", "user list --help"],
)
@pytest.mark.parametrize(("where", "reason"), [(">/dev/full", "its disk is full"), (">&-", "it is closed")])
def test_unwritable_output_is_reported(command: str, where: str, reason: str, data: Path) -> None:
    ran = shell(data, f"relay {command} {where}")
    assert ran == (1, "", f"relay: the output cannot be written: {reason}; what was changed stays changed\n")


@pytest.mark.parametrize("command", ["send --as anna ben -", "user import -", "user password anna"])
def test_closed_input_is_reported(command: str, data: Path) -> None:
    ran = shell(data, f"relay {command} <&-")
    assert ran == (1, "", "relay: there is nothing to read: standard input is closed\n")


def test_closed_input_is_not_asked_for_confirmation(data: Path) -> None:
    ran = shell(data, "relay user remove ben <&-")
    assert ran == (2, "", "relay: Remove ben for good? Say so with --yes\n")


def test_with_all_streams_closed_the_store_is_not_written_to_by_accident(data: Path) -> None:
    assert shell(data, "relay user add zoe <&- >&- 2>&-") == (1, "", "")
    assert "zoe" in done("user", "list", data=data).out
    assert done("check", data=data).code == 0


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_relay_serves_with_closed_standard_streams(closed: str, data: Path) -> None:
    line = f"exec {shlex.quote(sys.executable)} -m relay serve --listen 127.0.0.1:0 --data {shlex.quote(str(data))}"
    with subprocess.Popen(["bash", "-c", f"{line} {closed}"], stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + WAIT_SECONDS
            while (status := run("status", "--json", data=data)).code and process.poll() is None:
                assert time.monotonic() < until, status
            address = status.json["url"].replace("ws://", "http://").removesuffix("/ws")
            assert httpx.get(f"{address}/healthz").status_code == 200
            standard = [str(Path(f"/proc/{process.pid}/fd/{number}").readlink()) for number in (0, 1, 2)]
        finally:
            process.terminate()
    assert process.returncode == 0
    assert standard[2] == os.devnull
    assert not any(str(data) in file or "socket" in file for file in standard)


def test_closed_pipe_is_not_an_error(data: Path) -> None:
    assert shell(data, "for _ in 1 2 3; do relay export | head -c 1; done") == (0, "{{{", "")
    # A reader that is certainly gone before anything is written.
    read = "import os; r, w = os.pipe(); os.dup2(w, 1); os.close(r); os.close(w)"
    program = f"{read}; import sys; sys.argv = ['relay', 'schema']; from relay.__main__ import main; main()"
    gone = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=30)
    assert (gone.returncode, gone.stderr) == (1, b"")


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_binary_input_is_reported(locale: str, data: Path) -> None:
    ran = shell(data, f"printf 'a\\xffb' | LC_ALL={locale} relay send --as anna ben -")
    assert ran == (2, "", "relay: the input is not UTF-8 text\n")
