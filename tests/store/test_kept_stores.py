"""Stores of released relays open in this one with their contents; an unreleased build is named."""

import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import urllib.error
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import relay
from relay.core.relay import open_relay
from relay.store.data_dir import written_by
from relay.store.kinds import FILE
from relay.store.sqlite.schema import MIGRATIONS
from tests.support.command_line import done, run, running
from tests.support.kept_stores import (
    PASSWORD,
    STORES,
    Talker,
    answers,
    command,
    differences,
    http,
    replayed,
    serving,
    sign_in,
    unpack,
)

TOP = Path(__file__).parent.parent.parent
TODAY = (sys.executable, "-m", "relay")
FIRST = "983708a"
"""The first commit whose stores all later relays open."""
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in STORES.glob("*.tar.xz"))
CHANGES = "pwrite64,write,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat"
"""System calls that change the disk."""
TRACES = 3
"""Runs whose calls are counted before any is killed."""


def git(*arguments: str) -> str:
    """Ask git about this source tree; skip without git or its history."""
    try:
        ran = subprocess.run(["git", "-C", TOP, *arguments], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("the history of this source tree is not here")
    return ran.stdout


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A data directory of a released relay, and its known content."""
    data = tmp_path / "data"
    return data, unpack(request.param, data)


def test_every_release_left_a_store() -> None:
    assert VERSIONS
    assert not written_by.is_release(relay.__version__) or relay.__version__ in VERSIONS


def test_a_store_of_each_release_still_opens_with_its_contents(kept: tuple[Path, dict[str, Any]]) -> None:
    data, known = kept
    secrets = known["secrets"]
    found = answers(TODAY, data, secrets)
    assert list(differences(known["answers"], found)) == []
    with serving(TODAY, data) as url:
        for user, events in known["events"].items():
            got = {one["id"]: one for one in replayed(url, secrets["tokens"][user], [one["id"] for one in events])}
            assert list(differences(events, [got[one["id"]] for one in events])) == []
        for token in secrets["refused"]:
            with pytest.raises(urllib.error.HTTPError, match="401"):
                http(f"{url}{secrets['files'][0]}", token=token)
        with Talker(url, secrets["tokens"]["anna"]) as anna:
            # A client that did not get the answer before the upgrade sends it again.
            again = anna.ask("new", chatId=secrets["group"], message="again", clientMessageId="with-picture")
            old = known["answers"][f"anna: messages of {secrets['group']}"]
            assert again["messageId"] == next(
                one["messageId"] for one in old if one["clientMessageId"] == "with-picture"
            )
            assert anna.say(secrets["group"], "after the upgrade") == old[-1]["messageId"] + 1
        http(f"{url}/hooks/{secrets['hook']}", b'{"text": "still at work"}')
        assert sign_in(url, invite=secrets["invite"]) == "emil"
        assert sign_in(url, userId="ben", password=PASSWORD) == "ben"
    command(TODAY, data, "check")


def copies(data: Path) -> list[str]:
    return sorted(path.name for path in data.glob("relay-*.db"))


def log_of(path: Path, columns: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as store:
        # An upgrade takes the names of files out of the log; the files themselves have them.
        columns = columns.replace("extra", f"CASE WHEN kind = {FILE} THEN json_remove(extra, '$.name') ELSE extra END")
        return store.execute(f"SELECT {columns} FROM log ORDER BY seq").fetchall()


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as store:
        return int(store.execute("PRAGMA user_version").fetchone()[0])


def columns_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as store:
        return ", ".join(row[1] for row in store.execute("PRAGMA table_info(log)"))


def start(data: Path, *prefix: str) -> int:
    """Open and close a data directory, in a separate process."""
    script = (
        "import sys, trio; from pathlib import Path; from relay.core.relay import open_relay\n"
        "async def main():\n    async with open_relay(Path(sys.argv[1])): pass\ntrio.run(main)"
    )
    return subprocess.run(
        [*prefix, sys.executable, "-c", script, data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode


def points(trace: str, rounds: int) -> list[tuple[str, int]]:
    """Choose `count` of the calls in a trace, evenly spread: each by its name and its number in its thread.

    strace counts the calls per name and thread.
    """
    counts: Counter[tuple[str, str]] = Counter()
    found = []
    for thread, name in re.findall(r"^(\d+) +(\w+)\(", trace, re.MULTILINE):
        counts[thread, name] += 1
        found.append((name, counts[thread, name]))
    rounds = min(rounds, len(found))
    return [found[number * len(found) // rounds] for number in range(rounds)]


@pytest.mark.skipif(not shutil.which("strace"), reason="system calls are counted with strace")
@pytest.mark.parametrize("version", VERSIONS)
def test_killed_upgrade_continues_at_the_next_start(version: str, tmp_path: Path, kill_rounds: int) -> None:
    whole = tmp_path / "whole"
    unpack(version, whole)
    columns, before = columns_of(whole / "relay.db"), version_of(whole / "relay.db")
    if before == len(MIGRATIONS):
        pytest.skip(f"{version} and this relay have the same tables")
    log = log_of(whole / "relay.db", columns)
    trace = tmp_path / "trace"
    traces: list[str] = []
    for _ in range(TRACES):
        shutil.rmtree(whole)
        unpack(version, whole)
        assert start(whole, "strace", "-f", "-qq", "-e", f"trace={CHANGES}", "-e", "signal=none", "-o", str(trace)) == 0
        traces.append(trace.read_text())
    assert version_of(whole / "relay.db") == len(MIGRATIONS)
    assert copies(whole) == [f"relay-{before}-to-{len(MIGRATIONS)}.db"]
    # How much the end of a start writes depends on time: calls that the shortest run lacks need not come again.
    certain = set(points(min(traces, key=len), len(min(traces, key=len))))
    chosen = points(max(traces, key=len), kill_rounds // 2 + 1)
    killed = missed = 0
    for point in chosen:
        data = tmp_path / "killed"
        unpack(version, data)
        inject = f"inject={point[0]}:signal=KILL:when={point[1]}"
        ended = start(data, "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={CHANGES}", "-e", inject) != 0
        killed += ended
        missed += point in certain and not ended
        assert start(data) == 0, point
        assert version_of(data / "relay.db") == len(MIGRATIONS), point
        assert log_of(data / "relay.db", columns) == log, point
        (copy,) = copies(data)
        assert log_of(data / copy, columns) == log, point
        assert version_of(data / copy) == before, point
        assert [path.name for path in data.iterdir() if path.name.endswith(".part")] == [], point
        command(TODAY, data, "check")
        shutil.rmtree(data)
    assert missed <= 2, f"{missed} calls did not come, and {killed} of {len(chosen)} were killed"
    assert killed


def test_check_of_an_older_store_asks_for_a_start_and_reports_no_damage(
    kept: tuple[Path, dict[str, Any]],
) -> None:
    data, _ = kept
    before = (data / "relay.db").read_bytes()
    with closing(sqlite3.connect(data / "relay.db")) as store:
        ((version,),) = store.execute("PRAGMA user_version")
    ran = run("check", data=data)
    if version == len(MIGRATIONS):
        assert ran.code == 0
    else:
        assert ran.code == 1
        assert "start the relay once" in ran.err
        assert "damaged" not in ran.err
        assert (data / "relay.db").read_bytes() == before


def test_steps_of_a_store_never_change() -> None:
    """A store of an earlier relay is upgraded by the steps after its own, so its own steps must be the same."""
    known = (STORES / "steps.txt").read_text().split()
    steps = [hashlib.sha256(step.encode()).hexdigest() for step in MIGRATIONS]
    assert steps[: len(known)] == known, "a step that earlier stores have is another one now: add one in its place"
    missing = "".join(f"{step}\n" for step in steps[len(known) :])
    assert not missing, f"append these lines to tests/data/stores/steps.txt, and never change them:\n{missing}"


def test_first_release_explains_that_it_cannot_open_a_store_of_this_one(tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path / "data")
    archive = tmp_path / "old.tar"
    git("archive", "--output", str(archive), FIRST, "relay")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "old", filter="data")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    environment["PYTHONPATH"] = str(tmp_path / "old")
    for line in (["serve", "--listen", "127.0.0.1:0"], ["user", "list"], ["check"]):
        ran = subprocess.run(
            [sys.executable, "-c", "from relay.__main__ import main; main()", *line, "--data", tmp_path / "data"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert ran.returncode == 1, (line, ran)
        assert "was written by a newer relay" in ran.stderr, (line, ran)
        assert "Traceback" not in ran.stderr
    assert [one["id"] for one in done("user", "list", "--json", data=tmp_path / "data").json] == ["anna"]


# The last writer.


@pytest.mark.parametrize(
    ("version", "release"),
    [("", True), ("0.1.0", True), ("1.12", True), ("0.2.0.dev0", False), ("0.2.0rc1", False), ("1.0+local", False)],
)
def test_a_release_has_numbers_and_dots_only(version: str, release: bool) -> None:
    assert written_by.is_release(version) is release


def note(data: Path, version: str) -> None:
    with closing(sqlite3.connect(data / "relay.db")) as store, store:
        store.execute("UPDATE writer SET version = ?", [version])


async def test_a_store_names_the_relay_that_wrote_to_it_last(tmp_path: Path) -> None:
    async with open_relay(tmp_path):
        pass
    note(tmp_path, "0.1.7")
    async with open_relay(tmp_path) as opened:
        assert await opened.reading.execute(written_by.LAST) == [(relay.__version__,)]


def test_store_of_an_unreleased_relay_is_reported_in_the_log_and_by_doctor(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    said = "an unreleased build, 0.9.0.dev3, wrote to it last"
    note(data, "0.9.0.dev3")
    findings = json.loads(run("doctor", "--json", data=data).out)
    assert [one["level"] for one in findings if said in one["what"]] == ["note"]
    with running(data) as served:
        assert said in served.log.read_text()
    note(data, "0.9.0")
    assert said not in run("doctor", data=data).out
