"""Tasks that run as long as the relay: a system error never ends one of them, nor the relay."""

import ast
import datetime as dt
import errno
import gc
import logging
import os
import signal
import sqlite3
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path

import pytest
import trio

import relay
from relay import logs, serve
from relay.client import connect
from relay.core.relay import open_relay
from relay.core.tuning import RetentionTuning, Tuning
from relay.net.tls.authority import Authority
from relay.protocol import control
from relay.protocol.errors import RelayError
from relay.settings import Loaded
from relay.settings.sections import SettingValue
from relay.tasks.background import PAUSE_SECONDS, REPEAT_SECONDS, keep_running
from relay.threads import NoThreads
from tests.support.relay_process import add_users, running

FAULTS: list[Exception] = [
    OSError(errno.ESTALE, "Stale file handle"),
    NoThreads(),
    sqlite3.OperationalError("disk I/O error"),
    OverflowError("Python int too large to convert to SQLite INTEGER"),
    RelayError.unavailable(),
    ExceptionGroup("of a nursery", [ExceptionGroup("of another", [OSError(errno.EIO, "Input/output error")])]),
]

STARTERS = {
    "relay.serve": 8,
    "relay.net.server": 7,
    "relay.net.webhooks.outgoing": 1,
    "relay.store.log.log": 2,
}
"""The modules that start tasks without an end, and how many each starts."""
WITH_AN_END = {
    ("relay.core.relay", "relay.log.run"): "the writer itself: it answers its jobs with their errors",
    ("relay.serve", "control.serve"): "a socket that cannot be made keeps the relay from starting; then it is rebound",
    ("relay.serve", "server.run"): "ends with the relay",
    ("relay.net.server", "self._listen"): "waits in keep_running",
    ("relay.net.server", "self._serve_socket"): "one connection",
    ("relay.net.server", "self._until_there_is_room"): "sleeps and logs",
    ("relay.net.control_socket", "listen"): "its errors make the socket again",
    ("relay.net.control_socket", "_until_gone"): "one connection",
    ("relay.net.webhooks.outgoing", "self._serve"): "one hook, waits in keep_running",
    ("relay.net.webhooks.post", "_send"): "one post",
    ("relay.net.websocket.session", "self._finish_close"): "one connection",
    ("relay.net.websocket.session", "self._cut_off"): "one connection",
    ("relay.net.websocket.session", "self._run_replay"): "one connection",
    ("relay.net.websocket.outbox", "self._drain"): "one connection",
    ("relay.store.sqlite.read_views", "run"): "one read",
}
"""The relay's other tasks, and why an error in them does not end the relay."""
STARTS = (".start_soon", "nursery.start", "serving.start")
ELSEWHERE = ("cli", "client", "bench")
"""Packages that run in other processes."""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_task_continues_after_a_system_error_that_is_logged_once(
    fault: Exception, autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    starts: list[float] = []

    async def run() -> None:
        starts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if len(starts) < 4:
            raise fault

    began = trio.current_time()
    await keep_running("retention", run)
    assert [round(at - began, 3) for at in starts] == [0, PAUSE_SECONDS, 2 * PAUSE_SECONDS, 3 * PAUSE_SECONDS]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("retention: ")


async def test_task_that_fails_for_hours_is_logged_again_and_so_is_another_error(
    autojump_clock: trio.abc.Clock, caplog: pytest.LogCaptureFixture
) -> None:
    starts = 0

    async def run() -> None:
        nonlocal starts
        starts += 1
        await trio.lowlevel.checkpoint()
        if starts <= 4:
            raise OSError(errno.EIO, "first" if starts <= 3 else "second")

    await keep_running("retention", run, pause=REPEAT_SECONDS / 2)
    assert ["first" in one.getMessage() for one in caplog.records] == [True, True, False]


async def test_bug_in_a_task_is_not_hidden() -> None:
    async def run() -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await keep_running("retention", run)


async def test_a_task_ends_when_it_is_cancelled(autojump_clock: trio.abc.Clock) -> None:
    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError(errno.EIO, "while it ended")

    with trio.move_on_after(1) as scope:
        await keep_running("retention", run)
    assert scope.cancelled_caught


def _started() -> list[tuple[str, str]]:
    """List the functions that the relay's modules start in nurseries, by module."""
    package = Path(relay.__file__).parent
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[1] in ELSEWHERE:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(STARTS):
                found.append((".".join(parts), ast.unparse(node.args[0])))
            if isinstance(node, ast.Await) and ast.unparse(node.value).startswith("keep_running("):
                found.append((".".join(parts), "keep_running"))
    return found


def test_every_task_without_an_end_is_kept_running() -> None:
    kept = Counter(module for module, started in _started() if started == "keep_running")
    assert dict(kept) == STARTERS, "a new one belongs here, and is walked below"
    assert {one for one in _started() if one[1] != "keep_running"} == set(WITH_AN_END)


class _Faults:
    """Makes each task fail twice before it runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failed: Counter[str] = Counter()
        self.going: set[str] = set()
        for module in STARTERS:
            monkeypatch.setattr(import_module(module), "keep_running", self.keep_running)

    async def keep_running(self, name: str, run: Callable[[], Awaitable[None]], pause: float = PAUSE_SECONDS) -> None:
        async def failing() -> None:
            if self.failed[name] < 2:
                self.failed[name] += 1
                raise OSError(errno.ESTALE, "Stale file handle")
            self.going.add(name)
            await run()

        assert pause > 0
        await keep_running(name, failing, 0.01)


@asynccontextmanager
async def _serving(
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: Mapping[str, SettingValue],
    tuning: Tuning | None = None,
) -> AsyncIterator[Callable[[], str]]:
    """Serve in this process; yield a function that returns the address once the relay listens."""
    caplog.set_level(logging.INFO)
    # The speed settings of a separate process would stay in this one.
    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr(gc, "set_threshold", lambda *_counts: None)
    loaded = Loaded(None, options={"listen": ["127.0.0.1:0"], **options}, environment={})

    def address() -> str:
        said = [one.getMessage().split()[-1] for one in caplog.records if "listening on" in one.getMessage()]
        return said[0] if said else ""

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve.serve, data, loaded, tuning, None, logs.RepeatLimit())
        with trio.fail_after(20):
            while not address():
                await trio.sleep(0.02)
        yield address
        os.kill(os.getpid(), signal.SIGTERM)


async def test_relay_with_every_task_failing_keeps_serving(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    data = tmp_path / "data"
    tokens = await add_users(data, "User1", "User2")
    async with open_relay(data) as closed:
        await closed.admin.handle("chat.create", control.MakeChat(name="Team", owner="User1", participants=["User2"]))
        await closed.admin.handle("hook.add", control.AddHook(chat="Team", add=True, url="http://127.0.0.1:9/"))
    Authority(data / "tls").make(["127.0.0.1"], dt.datetime.now(dt.UTC))
    faults = _Faults(monkeypatch)
    async with _serving(data, monkeypatch, caplog, {"tls.on": True}) as address:
        with trio.fail_after(20):
            while len(faults.going) < sum(STARTERS.values()):
                await trio.sleep(0.02)
        trusted = ssl.create_default_context(cafile=str(data / "tls" / "ca.crt"))
        async with connect(address(), tokens["User1"], tls=trusted) as client:
            with trio.fail_after(20):
                await client.send("User2", "it goes on")
    assert faults.failed == dict.fromkeys(faults.going, 2)
    logged = Counter(one.getMessage().split(":")[0] for one in caplog.records if "Stale" in one.getMessage())
    assert logged == dict.fromkeys(faults.going, 1)


@pytest.mark.parametrize("days", [0, 30])
async def test_relay_with_a_briefly_missing_directory_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, days: int
) -> None:
    data, away = tmp_path / "data", tmp_path / "away"
    tokens = await add_users(data, "User1", "User2")
    often = Tuning(retention=RetentionTuning(period_seconds=0.05, retry_seconds=0.05))
    async with (
        _serving(data, monkeypatch, caplog, {"retention.days": days}, often) as address,
        connect(address(), tokens["User1"]) as client,
    ):
        await client.send("User2", "before")
        data.rename(away)
        await trio.sleep(0.5)
        assert not data.exists()
        away.rename(data)
        with trio.fail_after(10):
            await client.send("User2", "after")
    failed = [one.getMessage() for one in caplog.records if one.getMessage().startswith("retention: ")]
    assert len(failed) == bool(days)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_restarted_service_creates_no_empty_store_in_place_of_a_moved_one(
    tmp_path: Path, how: signal.Signals
) -> None:
    data, away, runtime = tmp_path / "data", tmp_path / "away", tmp_path / "runtime"
    runtime.mkdir()
    tokens = await add_users(data, "User1", "User2")
    async with running(data, environment={"RUNTIME_DIRECTORY": str(runtime)}) as process:
        data.rename(away)
        await process.stop(how)
        assert not data.exists()
        for made in (False, True):
            if made:
                # systemd makes a state directory that is missing.
                data.mkdir()
            with pytest.raises(AssertionError, match=r"the store that was served from .* is gone"):
                await process.start()
            assert not (data / "relay.db").exists()
        data.rmdir()
        away.rename(data)
        await process.start()
        async with connect(process.url, tokens["User1"]) as client:
            await client.send("User2", "all is there")
        # A stop of the service clears its runtime directory, after which a new store may begin.
        await process.stop()
        data.rename(away)
        (runtime / "served").unlink()
        await process.start()
        assert (data / "relay.db").exists()


def test_unit_keeps_the_trace_of_the_store_across_a_restart() -> None:
    unit = Path(relay.__file__).parent.parent / "systemd" / "relay.service"
    assert "RuntimeDirectoryPreserve=restart" in unit.read_text().splitlines()
