"""The control socket's file: it is recreated after removal, and another program's file stays untouched."""

import errno
import json
import logging
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from relay.net import control_socket
from relay.net.sockets.socket_file import LOOK_SECONDS, SocketFile
from relay.store.files import lock
from relay.store.refusals import StoreFaults
from tests.support.command_line import done, running

Harm = Callable[[Path], object]


def replace(path: Path) -> None:
    """Put a file that nobody listens on in place of the socket."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


HARMS: dict[str, Harm] = {
    "removed": Path.unlink,
    "moved away": lambda path: path.rename(path.with_name("elsewhere")),
    "replaced by a socket that nobody listens on": replace,
}


class Nothing:
    """Stands in for `Admin` without any request."""

    async def disconnected(self, _client: object) -> None:
        """Do nothing."""


class Broken:
    """Stands in for `Admin` with an unreadable store."""

    def __init__(self, data: Path, error: Exception) -> None:
        self.data = data
        self.faults = StoreFaults()
        self._error = error

    async def handle(self, *_request: object, **_how: object) -> object:
        """Fail like the store."""
        raise self._error

    async def disconnected(self, _client: object) -> None:
        """Do nothing."""


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[None]:
    """Serve a control socket without a relay."""
    async with trio.open_nursery() as nursery:
        await nursery.start(control_socket.serve, path, Nothing(), lambda: 1)
        yield
        nursery.cancel_scope.cancel()


def is_answered(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def test_commands_reach_the_relay_after_its_socket_was_removed(tmp_path: Path) -> None:
    with running(tmp_path / "data") as relay:
        path = relay.data / "relay.sock"
        path.unlink()
        assert done("user", "add", "anna", data=relay.data).code == 0
        relay.process.send_signal(signal.SIGTERM)
        assert relay.process.wait(10) == 0
        assert not path.exists()
    assert relay.log.read_text().count("it is made again") == 1


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
async def test_damaged_socket_file_is_recreated(tmp_path: Path, autojump_clock: trio.abc.Clock, harm: Harm) -> None:
    path = tmp_path / "relay.sock"
    async with serving(path):
        harm(path)
        await trio.sleep(2 * LOOK_SECONDS)
        assert is_answered(path)
        assert path.stat().st_mode & 0o777 == 0o660
    assert not path.exists()


def test_relay_with_a_just_removed_socket_stops_in_order(tmp_path: Path) -> None:
    with running(tmp_path / "data") as relay:
        (relay.data / "relay.sock").unlink()
        relay.process.send_signal(signal.SIGTERM)
        assert relay.process.wait(10) == 0


async def test_a_connection_survives_the_removal_of_the_file(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    path = tmp_path / "relay.sock"
    async with serving(path):
        before = await trio.open_unix_socket(path)
        await trio.testing.wait_all_tasks_blocked()
        path.unlink()
        await trio.sleep(2 * LOOK_SECONDS)
        for stream in (before, await trio.open_unix_socket(path)):
            await stream.send_all(b'{"type":"ack","id":1}\n')
            assert b"bad_request" in await stream.receive_some()
            await stream.aclose()


async def test_the_file_comes_back_each_time_it_is_removed(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    path = tmp_path / "relay.sock"
    async with serving(path):
        descriptors = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(20):
            path.unlink()
            await trio.sleep(2 * LOOK_SECONDS)
            assert is_answered(path)
        await trio.testing.wait_all_tasks_blocked()
        assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


async def test_socket_file_that_cannot_be_created_is_logged_once_and_created_later(
    tmp_path: Path, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    async with serving(folder / "relay.sock"):
        folder.rename(tmp_path / "gone")
        await trio.sleep(100 * LOOK_SECONDS)
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        folder.mkdir()
        await trio.sleep(2 * LOOK_SECONDS)
        assert is_answered(folder / "relay.sock")


def other_socket(path: Path) -> socket.socket:
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()
    return other


async def test_another_programs_socket_is_left_alone(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    path = tmp_path / "relay.sock"
    async with serving(path):
        path.unlink()
        other = other_socket(path)
        inode = path.stat().st_ino
        await trio.sleep(10 * LOOK_SECONDS)
        assert path.stat().st_ino == inode
    assert path.stat().st_ino == inode
    other.close()


async def test_foreign_file_in_place_of_the_socket_is_left_alone(
    tmp_path: Path, autojump_clock: trio.abc.Clock
) -> None:
    path = tmp_path / "relay.sock"
    async with serving(path):
        path.unlink()
        path.write_text("notes")
        await trio.sleep(10 * LOOK_SECONDS)
    assert path.read_text() == "notes"


def test_start_leaves_the_socket_of_another_program_and_reports_it(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    with other_socket(path), pytest.raises(OSError, match="another program listens there"):
        SocketFile(path, None).bind()
    assert path.exists()


def test_a_start_replaces_the_socket_that_a_killed_relay_left(tmp_path: Path) -> None:
    path = tmp_path / "relay.sock"
    other_socket(path).close()
    file = SocketFile(path, None)
    with file.bind():
        assert is_answered(path)
        file.remove()
    assert not path.exists()


def test_command_waits_longer_than_the_socket_is_missing() -> None:
    assert 3 * LOOK_SECONDS < lock.WAIT_SECONDS


@pytest.mark.parametrize(
    ("code", "refusal", "advice"),
    [
        (sqlite3.SQLITE_FULL, "storage_full", "remove old messages"),
        (sqlite3.SQLITE_IOERR, "unavailable", "relay doctor"),
        (sqlite3.SQLITE_CORRUPT, "internal", "stop the relay and run `relay repair`"),
    ],
)
async def test_request_that_fails_in_the_store_is_refused_with_advice(
    code: int, refusal: str, advice: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    error = sqlite3.OperationalError("it broke")
    error.sqlite_errorcode, error.sqlite_errorname = code, "SQLITE_SOMETHING"
    async with trio.open_nursery() as nursery:
        await nursery.start(control_socket.serve, tmp_path / "socket", Broken(tmp_path, error), lambda: 1)
        stream = await trio.open_unix_socket(tmp_path / "socket")
        await stream.send_all(b'{"type":"request","id":"1","payloadType":"user.list","payload":{}}\n')
        answer = json.loads(await stream.receive_some())
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert answer["error"]["code"] == refusal
    assert advice in answer["error"]["message"]
    assert ("SQLITE_SOMETHING" in caplog.text) == (refusal != "storage_full")


async def test_request_that_fails_in_the_system_is_refused_with_the_directory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "socket"
    async with trio.open_nursery() as nursery:
        broken = Broken(tmp_path, OSError(errno.ESTALE, "Stale file handle"))
        await nursery.start(control_socket.serve, path, broken, lambda: 1)
        stream = await trio.open_unix_socket(path)
        await stream.send_all(b'{"type":"request","id":"1","payloadType":"user.list","payload":{}}\n')
        answer = json.loads(await stream.receive_some())
        await stream.aclose()
        nursery.cancel_scope.cancel()
    assert answer["error"]["code"] == "unavailable"
    assert answer["error"]["message"].startswith(f"{tmp_path} cannot be used (Stale file handle)")
    assert caplog.records == []


async def test_failing_socket_is_recreated(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: trio.testing.MockClock,
) -> None:
    path = tmp_path / "relay.sock"
    serve_listeners, tries = trio.serve_listeners, 0

    async def failing_once(*arguments: Any, **options: Any) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError(errno.EIO, "Input/output error")
        await serve_listeners(*arguments, **options)

    monkeypatch.setattr(trio, "serve_listeners", failing_once)
    async with serving(path):
        await trio.sleep(3 * LOOK_SECONDS)
        assert is_answered(path)
    assert tries == 2
    assert "the control socket fails and is made again: [Errno 5] Input/output error" in caplog.text
