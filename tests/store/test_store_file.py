"""The file: access to it, the state after a start, and its content after a crash."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from relay.core.model.state import State
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.keys import UserKey
from relay.protocol import control
from relay.store.data_dir.empty import EmptiedStore
from relay.store.files.lock import Locked, locked
from relay.store.log.tuning import LogTuning
from relay.store.queries import log_entries
from relay.store.sqlite.database import NewerStore, NotAStore
from relay.store.sqlite.schema import MIGRATIONS
from tests.support.disk import T0, answers, command, people, rows, say, talk
from tests.support.memory_log import facts_of


def child(script: str, *arguments: str) -> subprocess.Popen[str]:
    """Run a script in another process; it finds the tests' helpers."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )


async def test_second_relay_is_refused_with_the_name_of_the_first(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        with pytest.raises(Locked, match=f"process {os.getpid()} already has"), locked(tmp_path):
            pass
    async with open_relay(tmp_path):
        pass


def test_lock_holds_against_other_processes_and_ends_with_its_own(tmp_path: Path) -> None:
    script = """
        import sys, time
        from pathlib import Path
        from relay.store.files.lock import locked
        with locked(Path(sys.argv[1])):
            print("locked", flush=True)
            time.sleep(60)
    """
    with child(script, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(Locked, match=f"process {process.pid} "), locked(tmp_path):
            pass
        process.kill()
    with locked(tmp_path):
        pass


async def test_a_file_of_a_newer_relay_is_refused_and_left_alone(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1")
    with sqlite3.connect(tmp_path / "relay.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = rows(tmp_path, "SELECT * FROM log")
    with pytest.raises(NewerStore, match=rf"its version is 99, this relay knows {len(MIGRATIONS)}"):
        async with open_relay(tmp_path):
            pass
    assert rows(tmp_path, "SELECT * FROM log") == before


async def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "relay.db") as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()
    with pytest.raises(NotAStore, match="another program"):
        async with open_relay(tmp_path):
            pass
    assert rows(tmp_path, "SELECT name FROM sqlite_master") == [("recipes",)]


async def test_the_file_is_kept_safe_against_power_cuts(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        writing = relay.connections.writing
        assert await writing.execute("PRAGMA journal_mode") == [("wal",)]
        assert await writing.execute("PRAGMA synchronous") == [(2,)]
        assert await writing.execute("PRAGMA secure_delete") == [(1,)]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await relay.reading.execute("DELETE FROM log")


# The state after a start.


async def folded(relay: Relay) -> State:
    """The state from the whole log, without a snapshot."""
    state = State()
    while entries := await log_entries.entries(relay.reading, state.seq, 100):
        for entry in entries:
            state.apply(entry)
    return state


@pytest.mark.parametrize("seed", range(3))
async def test_snapshot_and_replay_of_the_log_agree(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    tuning = Tuning(log=LogTuning(snapshot_entries=13))
    async with open_relay(tmp_path, clock=lambda: T0, tuning=tuning) as relay:
        await people(relay, "User1", "User2", "User3")
        await talk(relay, chance, 60)
        state = facts_of(relay.state)
        assert facts_of(await folded(relay)) == state
        assert 0 < rows(tmp_path, "SELECT seq FROM snapshot")[0][0] < relay.state.seq
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        assert facts_of(relay.state) == state
        assert rows(tmp_path, "SELECT seq FROM snapshot") == [(relay.state.seq,)], "a stop leaves nothing to fold"


CRASH = """
    import random, sys, trio
    from pathlib import Path
    from tests.support.disk import people, talk
    from relay.core.relay import open_relay
    from relay.core.tuning import Tuning
    from relay.store.log.tuning import LogTuning

    tuning = Tuning(log=LogTuning(snapshot_entries=17))

    async def main():
        async with open_relay(Path(sys.argv[1]), tuning=tuning) as relay:
            await people(relay, "User1", "User2", "User3")
            chance = random.Random(int(sys.argv[2]))
            while True:
                await talk(relay, chance, 5)
                print("more", flush=True)

    trio.run(main)
"""


@pytest.mark.parametrize("seed", range(3))
async def test_a_start_after_a_crash_has_the_state_of_the_log(tmp_path: Path, seed: int) -> None:
    with child(CRASH, str(tmp_path), str(seed)) as process:
        assert process.stdout is not None
        for _ in range(5 + 4 * seed):
            assert process.stdout.readline() == "more\n"
        process.kill()
    async with open_relay(tmp_path) as relay:
        assert relay.state.seq > 20
        assert facts_of(relay.state) == facts_of(await folded(relay))
        assert rows(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        gaps = "SELECT chat FROM log WHERE kind <= 3 GROUP BY chat HAVING max(message_id) <> count(*)"
        assert rows(tmp_path, gaps) == []


BETWEEN = """
    import os, signal, sys, trio
    from pathlib import Path
    from tests.support.disk import people, say
    from relay.core.relay import open_relay
    from relay.store.idempotency import IdempotencyKeys

    async def main():
        async with open_relay(Path(sys.argv[1])) as relay:
            await people(relay, "User1", "User2")
            await say(relay, "User1", "User2", "answered")
            print("answered", flush=True)
            IdempotencyKeys.note = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            await say(relay, "User1", "User2", "not answered")
            print("never said", flush=True)

    trio.run(main)
"""


async def test_crash_between_commit_and_response_neither_loses_nor_doubles_anything(tmp_path: Path) -> None:
    with child(BETWEEN, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "answered\n"
    assert process.returncode == -signal.SIGKILL
    async with open_relay(tmp_path) as relay:
        assert (await say(relay, "User1", "User2", "answered")).message_id == 1
        assert (await say(relay, "User1", "User2", "not answered")).message_id == 2
        assert (await say(relay, "User1", "User2", "after it")).message_id == 3
        assert rows(tmp_path, "SELECT client_id FROM log WHERE kind = 1 ORDER BY message_id") == [
            ("answered",),
            ("not answered",),
            ("after it",),
        ]


async def test_time_does_not_go_back_after_a_restart(tmp_path: Path) -> None:
    async with open_relay(tmp_path, clock=lambda: T0) as relay:
        await people(relay, "User1", "User2")
        first: Any = await say(relay, "User1", "User2", "c1")
    async with open_relay(tmp_path, clock=lambda: T0 - 10**10) as relay:
        assert (await say(relay, "User1", "User2", "c2")).timestamp == first.timestamp


@pytest.mark.parametrize(
    "text",
    ["x" * 65_536, "\u2764\ufe0f \U0001f600", "'; DROP TABLE log; --", '{"a": [1]}', "line\n\ttab\\", "\ufffe\x01\x7f"],
)
async def test_texts_are_stored_as_sent(tmp_path: Path, text: str) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2")
        await say(relay, "User1", "User2", text[:128], text)
        await answers(relay, command(relay, None, control.ChangeUser(id="User2", name=text[:128])))
    async with open_relay(tmp_path) as relay:
        assert (await say(relay, "User1", "User2", text[:128], "again")).message_id == 1
        assert relay.state.users[UserKey(2)].name == text[:128]
    assert rows(tmp_path, "SELECT message FROM log WHERE kind = 1") == [(text,)]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root to leave files of root's")
async def test_files_made_by_root_belong_to_the_owner_of_the_directory(tmp_path: Path) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for directory in (data, elsewhere):
        directory.mkdir()
        (directory / "file").touch()
    (data / "folder").symlink_to(elsewhere)
    (data / "link").symlink_to(elsewhere / "file")
    os.link(elsewhere / "file", data / "same")
    os.chown(data, 65_534, 65_534)
    async with open_relay(data) as relay:
        await people(relay, "User1")
    subprocess.run([sys.executable, "-m", "relay", "tls", "init", "--data", str(data)], check=True, capture_output=True)
    made = {path.relative_to(data).as_posix(): path.lstat().st_uid for path in data.rglob("*")}
    assert made.keys() > {"relay.db", "relay.lock", "tls/relay.key", "file"}
    assert {name for name, owner in made.items() if owner != 65_534} == {"same"}
    assert (elsewhere / "file").stat().st_uid == elsewhere.stat().st_uid == 0


# An empty file.


@pytest.mark.parametrize(
    "trace", ["relay.db-wal", "relay-1-to-9.db", "relay.db.before-restore", "files/x", "backups/x", "relay.reserve"]
)
async def test_an_empty_file_beside_traces_of_a_store_is_refused(trace: str, tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).write_bytes(b"something")
    with pytest.raises(EmptiedStore, match=f"there was a store: {trace} belonged to it"):
        async with open_relay(tmp_path):
            pass
    assert (tmp_path / "relay.db").read_bytes() == b""
    assert (tmp_path / trace).read_bytes() == b"something"


@pytest.mark.parametrize(
    "trace", ["relay.db-wal", "relay.db.before-restore", "files/x", "before-restore-1-x/relay.db", "relay.reserve"]
)
async def test_a_missing_file_beside_traces_of_a_store_is_refused(trace: str, tmp_path: Path) -> None:
    (tmp_path / trace).parent.mkdir(exist_ok=True)
    (tmp_path / trace).write_bytes(b"something")
    with pytest.raises(EmptiedStore, match=f"relay.db is missing, but there was a store: {trace} belonged to it"):
        async with open_relay(tmp_path):
            pass
    assert not (tmp_path / "relay.db").exists()


async def test_an_empty_file_that_an_earlier_relay_left_at_its_first_start_is_used(tmp_path: Path) -> None:
    (tmp_path / "relay.db").touch()
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1")
