"""A write-ahead log is played only over the store that it belongs to."""

import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.admin.status import Runtime
from relay.core.relay import Relay, open_relay
from relay.store import kinds
from relay.store.backup import restore
from relay.store.sqlite import log_pair, migrate
from relay.store.sqlite.database import Connection
from relay.store.sqlite.log_pair import OtherLog
from relay.store.sqlite.schema import MIGRATIONS
from tests.support.command_line import done, run, said
from tests.support.disk import people, say

STORE = ("relay.db", "relay.db-wal", "relay.db-pair")


async def serve(data: Path, text: str, killed: Path | None = None) -> None:
    """Open a store as a serving relay does, send a message, and copy the files as a kill would leave them."""
    async with open_relay(data, runtime=Runtime()) as relay:
        await send(relay, text)
        if killed is not None:
            copy(data, killed)


async def send(relay: Relay, text: str) -> None:
    if "ben" not in relay.state.user_keys:
        await people(relay, "anna", "ben")
    await say(relay, "anna", "ben", text, text)


def copy(data: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for name in STORE:
        if (data / name).exists():
            shutil.copyfile(data / name, target / name)


def texts(data: Path) -> list[str]:
    with sqlite3.connect(data / "relay.db") as store:
        return [text for (text,) in store.execute(f"SELECT message FROM log WHERE kind = {kinds.NEW} ORDER BY seq")]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A directory with the log of a killed relay, and beside it a copy of the store from before that relay's start."""
    data = tmp_path / "data"
    data.mkdir()
    trio.run(serve, data, "first")
    shutil.copyfile(data / "relay.db", tmp_path / "earlier.db")
    trio.run(serve, data, "second")
    trio.run(serve, data, "third", tmp_path / "killed")
    shutil.copyfile(tmp_path / "earlier.db", tmp_path / "killed" / "relay.db")
    return tmp_path / "killed"


@pytest.mark.parametrize("command", [("user", "list"), ("user", "add", "carl"), ("check",), ("backup",), ("export",)])
def test_store_beside_the_log_of_another_is_refused_by_commands(
    command: tuple[str, ...], mixed: Path, tmp_path: Path
) -> None:
    before = [(mixed / name).read_bytes() for name in STORE]
    target = [str(tmp_path / "target")] if command[0] in ("backup", "export") else []
    ran = run(*command, *target, data=mixed)
    assert ran.code == 1
    told = ran.out + ran.err
    assert "relay.db-wal in " in told, told
    assert "belongs to another relay.db than the one beside it" in told, told
    assert "Traceback" not in told
    assert [(mixed / name).read_bytes() for name in STORE] == before


def test_store_beside_the_log_of_another_is_not_served(mixed: Path) -> None:
    before = [(mixed / name).read_bytes() for name in STORE]
    with pytest.raises(OtherLog):
        trio.run(serve, mixed, "fourth")
    assert [(mixed / name).read_bytes() for name in STORE] == before


def test_advice_against_a_log_of_another_store_works(mixed: Path, tmp_path: Path) -> None:
    line = said(run("user", "list", data=mixed))
    assert line.endswith("remove only relay.db-pair")
    assert "move relay.db-wal and relay.db-pair away" in line
    for name in STORE[1:]:
        (mixed / name).rename(tmp_path / name)
    trio.run(serve, mixed, "fourth")
    assert texts(mixed) == ["first", "fourth"]


def test_backup_replaces_a_store_beside_the_log_of_another(mixed: Path, tmp_path: Path) -> None:
    done("backup", tmp_path / "backup.tar", data=tmp_path / "data")
    done("restore", tmp_path / "backup.tar", "--yes", data=mixed)
    assert not (mixed / "relay.db-pair").exists()
    trio.run(serve, mixed, "fourth")
    assert texts(mixed) == ["first", "second", "third", "fourth"]
    (aside,) = mixed.glob("before-restore-*")
    assert {path.name for path in aside.iterdir()} >= set(STORE)
    with pytest.raises(restore.CannotRestore, match=r"belongs to another relay\.db"), restore.replaced_store(mixed):
        pass


def test_killed_relay_starts_again_also_from_a_copy_and_without_the_note(tmp_path: Path) -> None:
    data, killed, bare = tmp_path / "data", tmp_path / "killed", tmp_path / "bare"
    data.mkdir()
    trio.run(serve, data, "first")
    trio.run(serve, data, "second", killed)
    assert log_pair.number(killed / "relay.db") == int((killed / "relay.db-pair").read_bytes(), 16)
    shutil.copytree(killed, bare)
    (bare / "relay.db-pair").unlink()
    for place in (killed, bare):
        assert done("check", data=place)
        trio.run(serve, place, "third")
        assert texts(place) == ["first", "second", "third"]


def test_start_killed_at_any_step_leaves_a_store_that_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, killed = tmp_path / "data", tmp_path / "killed"
    data.mkdir()
    trio.run(serve, data, "first")
    trio.run(serve, data, "second", killed)
    steps: list[Path] = []

    def step() -> None:
        steps.append(tmp_path / f"step-{len(steps)}")
        copy(killed, steps[-1])

    async def begin() -> None:
        async with open_relay(killed, runtime=Runtime()):
            step()

    def watch(owner: object, name: str) -> None:
        call = getattr(owner, name)

        def stepping(*arguments: Any, **options: Any) -> Any:
            step()
            return call(*arguments, **options)

        monkeypatch.setattr(owner, name, stepping)

    for name in ("forget", "number", "_note", "sync"):
        watch(log_pair, name)
    watch(os, "fsync")
    watch(os, "write")
    watch(Connection, "execute")
    trio.run(begin)
    monkeypatch.undo()
    noted = {(place / "relay.db-pair").exists() for place in steps}
    assert noted == {True, False}
    for place in steps:
        trio.run(serve, place, "third")
        assert texts(place) == ["first", "second", "third"]


def test_note_that_a_power_cut_tore_is_none(mixed: Path) -> None:
    (mixed / "relay.db-pair").write_bytes(b"0000")
    log_pair.refuse(mixed / "relay.db")


def test_interrupted_upgrade_leaves_no_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, killed = tmp_path / "data", tmp_path / "killed"
    data.mkdir()
    trio.run(serve, data, "first", killed)
    monkeypatch.setattr(migrate, "MIGRATIONS", (*MIGRATIONS, "CREATE TABLE one (two) STRICT; fail"))
    assert "cannot be brought to version" in said(run("user", "add", "carl", data=killed))
    assert not (killed / "relay.db-pair").exists()


def test_copy_of_a_stopped_relay_put_over_a_killed_one_is_refused(tmp_path: Path) -> None:
    data, stopped, killed = tmp_path / "data", tmp_path / "stopped", tmp_path / "killed"
    data.mkdir()
    trio.run(serve, data, "first")
    shutil.copytree(data, stopped)
    trio.run(serve, data, "second")
    trio.run(serve, data, "third", killed)
    shutil.copytree(stopped, killed, dirs_exist_ok=True)
    with pytest.raises(OtherLog):
        trio.run(serve, killed, "fourth")


def test_copy_of_a_killed_relay_put_over_another_starts(tmp_path: Path) -> None:
    data, earlier, later = tmp_path / "data", tmp_path / "earlier", tmp_path / "later"
    data.mkdir()
    trio.run(serve, data, "first")
    trio.run(serve, data, "second", earlier)
    trio.run(serve, data, "third", later)
    shutil.copytree(earlier, later, dirs_exist_ok=True)
    trio.run(serve, later, "fourth")
    assert texts(later) == ["first", "second", "fourth"]
