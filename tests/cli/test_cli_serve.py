"""`relay serve` as a command: its help, its refusals and their wording."""

import errno
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from relay.cli.basic import serve
from relay.core.tuning import DiskTuning, Tuning
from relay.net.listeners import CannotServe, open_listeners
from relay.net.sockets.socket_file import SocketFile
from relay.serve import explained
from relay.store.files.directory import about_file
from relay.store.files.lock import locked
from relay.store.sqlite.database import NewerStore
from relay.thread_limit import NoThreads
from tests.support.command_line import Ran, done, running
from tests.support.relay_process import program

IMPATIENT = Tuning(disk=DiskTuning(lock_wait_seconds=0.2))


def start(*arguments: str | Path) -> Ran:
    """Run `relay serve` in a case in which it must end by itself."""
    command = [sys.executable, "-m", "relay", "serve", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"}
    ran = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=30, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def refused(*arguments: str | Path, code: int = 1) -> str:
    ran = start(*arguments)
    assert (ran.code, ran.out) == (code, ""), ran
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1
    assert "Errno" not in ran.err
    return ran.err.removeprefix("relay: ").rstrip("\n")


def test_serve_has_help_like_other_commands() -> None:
    shown, other = done("serve", "--help").out, done("status", "--help").out
    shape = re.compile(
        r"^(?:Usage: relay \w+ \[OPTIONS\]|  Example: relay .*|Options:|  --help +Show .*)$", re.MULTILINE
    )
    assert len(shape.findall(shown)) == len(shape.findall(other)) == 4
    for line in filter(None, (serve.__doc__ or "").splitlines()):
        assert line.strip() in shown
    assert done("serve", "-h").out == shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "foo"), "--listen: 'foo' is not an address to listen on: it should look like 0.0.0.0:8765"),
        (("--listen", "127.0.0.1:99999"), "--listen: '127.0.0.1:99999' is not an address to listen on"),
        (("--data", ""), "--data: name a directory, or leave it out"),
        (("--data",), "--data: expected one argument"),
        (("--frob",), "unrecognized arguments: --frob"),
    ],
)
def test_wrong_use_exits_with_2(arguments: tuple[str, ...], said: str) -> None:
    assert refused(*arguments, code=2).startswith(said)


def test_impossible_directory_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert refused("--data", file) == f"{file} is not a directory: name another with --data"
    why = "(Not a directory): name another directory with --data"
    assert refused("--data", file / "x") == f"{file}/x cannot be made {why}"
    why = "(No such file or directory): name another directory with --data"
    assert refused("--data", "/proc/foo") == f"/proc/foo cannot be made {why}"


def test_directory_in_use_is_reported_with_its_process_and_advice(tmp_path: Path) -> None:
    command = [sys.executable, *program(IMPATIENT), "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
    with locked(tmp_path):
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 1
    who = f"process {os.getpid()}"
    said = f"relay: {who} already has {tmp_path} open: stop it first, or name another directory with --data"
    assert ran.stderr.splitlines() == [f"waiting for {who}", said]


def test_file_of_another_program_is_reported_with_advice(tmp_path: Path) -> None:
    store = sqlite3.connect(tmp_path / "relay.db")
    store.executescript("PRAGMA application_id = 7; CREATE TABLE other (x);")
    store.close()
    said = refused("--listen", "127.0.0.1:0", "--data", tmp_path)
    assert said.startswith(f"the store in {tmp_path} cannot be opened: ")
    assert said.endswith("Move it away, or name another directory with --data")


def test_unusable_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "relay.lock").mkdir()
    said = refused("--listen", "127.0.0.1:0", "--data", tmp_path)
    assert said == f"{tmp_path}/relay.lock cannot be used (Is a directory): name another directory with --data"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(errno.EACCES, "no", "/d/relay.lock"), "you may not use /d/relay.lock: run this as"),
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "/d/x cannot be written: its disk is full"),
        (OSError("AF_UNIX path too long"), "/d cannot be used (AF_UNIX path too long): name another directory"),
        (sqlite3.OperationalError("disk I/O error"), "the store in /d cannot be opened (disk I/O error): check that"),
        (
            sqlite3.DatabaseError("malformed"),
            "the store in /d is damaged (malformed) at its head, where no repair helps: put a backup in its place with",
        ),
        (NewerStore("this file is newer"), "the store in /d cannot be opened: this file is newer"),
        (CannotServe("something else"), "something else"),
        (NoThreads(), "the relay cannot start: there are no threads left"),
    ],
)
def test_obstacle_to_serving_is_reported_with_advice(error: Exception, said: str) -> None:
    assert explained(error, Path("/d")).startswith(said)


def test_the_journal_gets_a_record_of_a_failed_start(tmp_path: Path) -> None:
    file, journal = tmp_path / "file", tmp_path / "journal"
    file.touch()
    script = (
        "import functools, os, sys; from relay import logs; from relay.serve import main; status = os.fstat(2);"
        "os.environ['JOURNAL_STREAM'] = f'{status.st_dev}:{status.st_ino}';"
        "logs.set_up = functools.partial(logs.set_up, journal=sys.argv[1]);"
        "sys.exit(main(['--data', sys.argv[2]]))"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(journal))
        listening.settimeout(5)
        command = [sys.executable, "-c", script, str(journal), str(file)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert (ran.returncode, ran.stdout, ran.stderr) == (1, "", "")
        record = listening.recv(65_536).decode().splitlines()
    assert f"MESSAGE={file} is not a directory: name another with --data" in record
    assert "PRIORITY=3" in record


def test_empty_file_in_place_of_a_store_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()
    (tmp_path / "backups").mkdir()
    (tmp_path / "backups" / "monday.tar").touch()
    said = refused("--listen", "127.0.0.1:0", "--data", tmp_path)
    assert said.startswith(f"the store in {tmp_path} is damaged (relay.db is empty, but there was a store: backups/")


def test_port_in_use_is_refused_with_advice(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused("--listen", f"127.0.0.1:{port}", "--data", tmp_path)
    assert said.startswith(f"cannot listen on 127.0.0.1:{port}")
    assert f"Another program has port {port}" in said
    assert "--listen" in said


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
def test_unspecified_ipv6_address_includes_ipv4_unless_both_are_given() -> None:
    # The link of an invite has the machine's IPv4 address, and so has systemd's socket.
    (alone,) = open_listeners(["[::]:0"])
    with alone:
        port = alone.getsockname()[1]
        assert _answers("127.0.0.1", port)
        assert _answers("::1", port)
    beside = open_listeners([f"[::]:{port}", f"127.0.0.1:{port}"])
    try:
        assert _answers("127.0.0.1", port)
        assert _answers("::1", port)
    finally:
        for one in beside:
            one.close()


def _catches(process: subprocess.Popen[bytes], number: int) -> bool:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_reload_signal_does_not_end_a_starting_relay(tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    said = tmp_path / "said"
    with locked(tmp_path), said.open("wb") as log:
        command = [sys.executable, "-m", "relay", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path)]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 30
        while not _catches(process, signal.SIGHUP) and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
    try:
        while b"settings read again" not in said.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None
        assert b"settings read again" in said.read_bytes()
    finally:
        process.terminate()
        process.wait()


def test_reload_signal_before_the_imports_does_not_end_the_relay(tmp_path: Path) -> None:
    start = (
        "import os, signal, sys; sys.argv = ['relay', 'serve', '--nonsense']; import relay.__main__ as command\n"
        "class Importing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'relay.serve': os.kill(os.getpid(), signal.SIGHUP)\n"
        "sys.meta_path.insert(0, Importing()); command.main()"
    )
    ended = subprocess.run([sys.executable, "-c", start], capture_output=True, timeout=60, check=False)
    assert ended.returncode == 2, "it came to its options"
    assert b"--nonsense" in ended.stderr


def test_data_directory_may_have_a_long_path(tmp_path: Path) -> None:
    # octos-org/octos#2248, mcdonc/klangk#1531: the control socket's path was too long for an address.
    data = tmp_path.joinpath(*["a-folder-within-another-one"] * 5)
    done("user", "add", "anna", data=data)
    with running(data):
        done("user", "add", "ben", data=data)
        assert done("status", "--json", data=data).json["users"] == 2
    assert not (data / "relay.sock").exists()
    assert "ben" in done("user", "list", data=data).out


def test_error_without_a_home_asks_for_data_option() -> None:
    script = (
        "import pwd, sys\n"
        "pwd.getpwuid = {}.__getitem__\n"
        "from relay import serve\n"
        "sys.exit(serve.main(['--listen', '127.0.0.1:0']))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_DATA_HOME")}
    ran = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, timeout=30, check=False
    )
    said = "relay: there is no home directory to look for the data in: name a directory with --data\n"
    assert (ran.returncode, ran.stderr) == (1, said)


@pytest.mark.parametrize("how", ["missing", "a file", "read-only"])
def test_runtime_directory_that_cannot_be_used_is_named_with_what_helps(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "runtime"
    if how == "a file":
        runtime.touch()
    elif how == "read-only":
        if not os.geteuid():
            # Nothing is unwritable for root but what the kernel itself holds.
            runtime = Path("/proc/self")
        else:
            runtime.mkdir(mode=0o500)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(runtime))
    why = {"missing": "is not there", "a file": "is not a directory", "read-only": "cannot be written by this user"}
    assert refused("--data", tmp_path / "data", "--listen", "127.0.0.1:0") == (
        f"{runtime}, which RUNTIME_DIRECTORY names for the control socket, {why[how]}: RuntimeDirectory= in the unit"
        " has systemd make it; without systemd unset that variable, and the socket is in the data directory"
    )


def test_control_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as error:
        SocketFile(tmp_path / "missing" / "relay.sock", None).bind()
    assert about_file(error.value, tmp_path).startswith(f"{tmp_path}/missing/relay.sock cannot be used")
