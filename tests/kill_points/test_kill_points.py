"""Each command that replaces something is killed at its calls that change the disk, and loses nothing.

The same holds if the disk becomes full, which the command reports in one line.

The rest of the package: points.c counts the calls and ends the process, power.py simulates a power cut instead,
scenario.py and scenarios.py have the commands and their conditions, runner.py tries them. By default one call for each
command and way to end it; all of them with `--kill-points all`.
"""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kill_points import power
from tests.kill_points.scenarios import SCENARIOS

HERE = Path(__file__).parent

Found = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """The runner's results, by command."""
    if not shutil.which("gcc"):
        pytest.skip("the layer that counts calls is built with gcc")
    library = tmp_path_factory.mktemp("points") / "points.so"
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "points.c"), "-ldl", "-lpthread"], check=True
    )
    points = request.config.getoption("--kill-points")
    seconds = request.config.getoption("--kill-points-seconds")
    options = ["--points", "0" if points == "all" or seconds else points, "--seconds", str(seconds)]
    options += ["--seed", str(request.config.getoption("--kill-points-seed"))]
    ran = subprocess.run(
        [sys.executable, str(HERE / "runner.py"), *options],
        env=os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": str(HERE.parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    by_command: Found = {}
    for line in ran.stdout.splitlines():
        outcome = json.loads(line)
        by_command.setdefault(outcome["scenario"], []).append(outcome)
    assert ran.returncode == 0, ran.stderr
    return by_command


@pytest.mark.parametrize("command", SCENARIOS)
def test_command_killed_anywhere_loses_nothing_and_leaves_nothing(
    command: str, found: Found, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = found[command]
    tried = ", ".join(f"{one['mode']} {one['tried']} of {one['points']} points" for one in outcome)
    if request.config.getoption("--kill-points") != "1" or request.config.getoption("--kill-points-seconds"):
        with capsys.disabled():
            print(f"\n{command}: {tried}", end=" ")
    assert all(one["tried"] or not one["points"] for one in outcome)
    failures = [failure | {"mode": one["mode"]} for one in outcome for failure in one["failures"]]
    assert not failures, "\n".join(
        f"{one['mode']} at {one['point']} ({one['call']}, {one['share']}): {one['wrong']}" for one in failures[:5]
    )


# The disk after a power cut.


def _disk(tmp_path: Path, *calls: tuple[str, str, str, bytes]) -> power.Disk:
    root = tmp_path / "root"
    root.mkdir()
    (root / "old").write_bytes(b"old")
    disk = power.Disk(root, root)
    for op, path, other, data in calls:
        full = str(root / other) if other else ""
        disk.apply(power.Call(op, str(root / path), full, 0, data, len(data)))
    return disk


def _left(tmp_path: Path, disk: power.Disk, share: float) -> dict[str, bytes]:
    target = tmp_path / f"left-{share}"
    disk.lay_out(target, random.Random(0), share)
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*") if path.is_file()}


def test_unsynced_data_may_be_lost(tmp_path: Path) -> None:
    calls = [("C", "new", "", b""), ("W", "new", "", b"new"), ("R", "new", "old", b"")]
    disk = _disk(tmp_path, *calls)
    assert _left(tmp_path, disk, 0) == {"old": b"old"}
    assert _left(tmp_path, disk, 1) == {"old": b"new"}


def test_a_rename_before_the_content_may_leave_an_empty_file(tmp_path: Path) -> None:
    calls = [("C", "new", "", b""), ("W", "new", "", b"new"), ("R", "new", "old", b""), ("S", "", "", b"")]
    assert _left(tmp_path, _disk(tmp_path, *calls), 0) == {"old": b""}


def test_data_synced_with_its_name_survives(tmp_path: Path) -> None:
    calls = [("C", "new", "", b""), ("W", "new", "", b"new"), ("S", "new", "", b""), ("R", "new", "old", b"")]
    assert _left(tmp_path, _disk(tmp_path, *calls, ("S", "", "", b"")), 0) == {"old": b"new"}


def test_moved_file_is_in_one_of_the_folders(tmp_path: Path) -> None:
    disk = _disk(tmp_path, ("D", "folder", "", b""), ("S", "", "", b""), ("R", "old", "folder/old", b""))
    for share in (0, 0.5, 1):
        assert len(_left(tmp_path, disk, share)) == 1


def test_move_synced_in_one_folder_survives(tmp_path: Path) -> None:
    calls = [("D", "folder", "", b""), ("S", "", "", b""), ("R", "old", "folder/old", b""), ("S", "", "", b"")]
    assert list(_left(tmp_path, _disk(tmp_path, *calls), 0)) == ["folder/old"]
