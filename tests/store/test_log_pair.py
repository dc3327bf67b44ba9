"""A write-ahead log is played only over the store that it belongs to."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest
import trio

from relay.core.admin.status import Runtime
from relay.core.relay import Relay, open_relay
from relay.store.backup import restore
from relay.store.sqlite import log_pair
from relay.store.sqlite.log_pair import OtherLog
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
        return [text for (text,) in store.execute("SELECT text FROM log WHERE kind = 'new' ORDER BY seq")]


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
    with pytest.raises(restore.CannotRestore, match="belongs to another relay.db"), restore.replaced_store(mixed):
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

    forget, number, note, fsync = log_pair.forget, log_pair.number, log_pair._note, os.fsync
    monkeypatch.setattr(log_pair, "forget", lambda store: (step(), forget(store), step()))
    monkeypatch.setattr(log_pair, "number", lambda store: (step(), number(store))[1])
    monkeypatch.setattr(log_pair, "_note", lambda *arguments: (step(), note(*arguments), step()))
    monkeypatch.setattr(os, "fsync", lambda file: (step(), fsync(file))[1])
    trio.run(begin)
    monkeypatch.undo()
    assert len(steps) > 5
    for place in steps:
        trio.run(serve, place, "third")
        assert texts(place) == ["first", "second", "third"]


def test_note_that_a_power_cut_tore_is_none(mixed: Path) -> None:
    (mixed / "relay.db-pair").write_bytes(b"0000")
    log_pair.refuse(mixed / "relay.db")


def test_upgrade_that_was_killed_leaves_no_note(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    trio.run(serve, data, "first")
    with sqlite3.connect(data / "relay.db") as store:
        ((version,),) = store.execute("PRAGMA user_version")
        store.execute(f"PRAGMA user_version = {version - 1}")
    store.close()
    # The last step fails, since what it adds is there.
    run("user", "list", data=data)
    assert not (data / "relay.db-pair").exists()
