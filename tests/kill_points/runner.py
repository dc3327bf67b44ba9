"""Runs commands and kills them at each call that changes the disk; then checks the remains, and reports failures.

Started by `test_kill_points.py` with points.c before the C library; every run and every check is a fork of this
process, which has everything imported. Writes a line of JSON for each command: {"scenario", "mode", "points", "tried",
"failures"}.

    LD_PRELOAD=points.so PYTHONPATH=. python tests/kill_points/runner.py --scenario restore --mode kill
"""

import argparse
import ctypes
import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path

from relay.cli import app
from tests.kill_points import power
from tests.kill_points.scenario import ENVIRONMENT, Scenario, scratch
from tests.kill_points.scenarios import SCENARIOS
from tests.support.command_line import Undone

_shim = ctypes.CDLL(None)
MODES = ("kill", "half", "power", "full")
WAIT_SECONDS = 60
"""Time limit of a run or a check, in seconds."""


def arm(place: Path, *, at: int = 0, half: bool = False, trace: str = "") -> None:
    """Begin to count calls below a directory."""
    _shim.points_arm(str(place).encode(), ctypes.c_long(at), ctypes.c_int(half), trace.encode())


def forked(work: Callable[[], object]) -> tuple[int, str]:
    """Call a function in a fork; return the signal that ended it, or 0, and the failure."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        signal.alarm(WAIT_SECONDS)
        code = 0
        try:
            work()
        except BaseException:  # noqa: BLE001 - it is told
            _shim.points_disarm()
            code = 1
            os.write(write, traceback.format_exc()[-6_000:].encode())
        os._exit(code)
    os.close(write)
    with os.fdopen(read) as told:
        text = told.read()
    _, status = os.waitpid(pid, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number not in (0, signal.SIGKILL):
        text += f"ended by {signal.Signals(number).name}"
    elif not number and os.WEXITSTATUS(status) and not text:
        text = "failed"
    return number, text


class Trial:
    """One command on its prepared directory."""

    def __init__(self, scenario: Scenario, base: Path) -> None:
        self.scenario = scenario
        self.base = base / scenario.name
        self.base.mkdir()
        self.template = self.base / "template"
        self.template.mkdir()
        _must(forked(lambda: scenario.prepare(self.template)))
        self.trace = self.base / "trace"
        place = self._copy()

        def traced() -> None:
            arm(place, trace=str(self.trace))
            scenario.run(place)
            _shim.points_disarm()

        _must(forked(traced))
        # First check that it works without a kill.
        _must(forked(lambda: scenario.proved(place, complete=False)))
        self.root = place
        self.calls = list(power.calls(self.trace))
        self._disk, self._applied = power.Disk(self.template, place), 0
        shutil.rmtree(place)

    def _copy(self) -> Path:
        place = self.base / "place"
        shutil.rmtree(place, ignore_errors=True)
        for note in self.base.glob("*.answered"):
            note.unlink()
        shutil.copytree(self.template, place)
        return place

    def points(self, mode: str) -> list[int]:
        """The points at which a mode can end the command."""
        if mode == "full":
            # These calls need room. The command's other calls are covered by the next one of these.
            needy = [number for number, call in enumerate(self.calls, 1) if call.op in "WCD"]
            return needy if self.scenario.fills else []
        if mode == "half":
            return [number for number, call in enumerate(self.calls, 1) if call.op == "W" and call.size > 1]
        return list(range(1, len(self.calls) + 2))

    def kill(self, point: int, *, half: bool) -> str:
        """End it before or during a call; return the failure."""
        place = self._copy()

        def run() -> None:
            arm(place, at=point, half=half)
            self.scenario.run(place)
            _shim.points_disarm()

        number, wrong = forked(run)
        if wrong:
            return f"it failed by itself: {wrong}"
        del number
        return forked(lambda: self.scenario.after(place))[1]

    def fill(self, point: int) -> str:
        """Fill the disk from a call on, until the command has ended; return the failure."""
        place = self._copy()

        def run() -> None:
            _shim.points_fill(str(place).encode(), ctypes.c_long(point))
            try:
                self.scenario.command(place)
            except Undone as undone:
                ran = undone.ran
                assert ran.code == 1, ran
                *logged, said = ran.err.splitlines()
                assert said.startswith("relay: "), ran
                assert " full" in said or "there is no room" in said, ran
                assert " room" in said or "is reserved" in said, ran
                assert ".relay-" not in said, ran
                assert all(" full" in line for line in logged), ran
            _shim.points_disarm()
            assert not scratch(place), scratch(place)

        _, wrong = forked(run)
        return wrong or forked(lambda: self.scenario.after(place))[1]

    def cut(self, point: int, share: float, seed: int) -> str:
        """Cut the power after this many calls; return the failure."""
        if self._applied >= point:
            self._disk, self._applied = power.Disk(self.template, self.root), 0
        for call in self.calls[self._applied : point - 1]:
            self._disk.apply(call)
        self._applied = point - 1
        place = self._copy()
        shutil.rmtree(place)
        self._disk.lay_out(place, random.Random(seed), share)
        return forked(lambda: self.scenario.after(place))[1]


def _must(told: tuple[int, str]) -> None:
    if any(told):
        raise SystemExit(f"cannot prepare: {told[1] or told[0]}")


def spread(points: list[int], most: int, seed: int) -> list[int]:
    """Choose some of the points, evenly, with a start that depends on the seed."""
    if not most or most >= len(points):
        return points
    step = len(points) / most
    offset = random.Random(seed).random() * step
    return [points[min(len(points) - 1, int(offset + step * number))] for number in range(most)]


def shares(point: int, *, every: bool) -> Iterable[float]:
    """The shares of unsynced data that remain at a point."""
    return (0.0, 0.5, 1.0) if every else ((0.0, 0.5, 1.0)[point % 3],)


def main() -> None:
    """Try the requested points."""
    options = argparse.ArgumentParser()
    options.add_argument("--scenario", action="append", choices=SCENARIOS)
    options.add_argument("--mode", action="append", choices=MODES)
    options.add_argument("--points", type=int, default=0, help="how many of each command and mode; 0 for all")
    options.add_argument("--at", type=int, default=0, help="only this one")
    options.add_argument("--seconds", type=float, default=0.0, help="as many points as fit into so many, spread")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--keep", type=Path, help="leave what the first failure was seen on here")
    chosen = options.parse_args()
    os.environ.update(ENVIRONMENT)
    # Load the modules that a command needs once, not in every fork.
    app.build()
    base = Path(tempfile.mkdtemp(prefix="kp", dir=os.environ.get("PYTEST_DEBUG_TEMPROOT")))
    end = time.monotonic() + chosen.seconds
    left = len(chosen.scenario or SCENARIOS) * len(chosen.mode or MODES)
    try:
        for name in chosen.scenario or SCENARIOS:
            trial = Trial(SCENARIOS[name], base)
            for mode in chosen.mode or MODES:
                points = trial.points(mode)
                tried, failures, began = 0, [], time.monotonic()
                # Each gets the same share of the remaining time.
                enough = began + max(0.0, end - began) / left if chosen.seconds else float("inf")
                left -= 1
                some = [chosen.at] if chosen.at else spread(points, chosen.points, chosen.seed)
                if chosen.seconds:
                    random.Random(chosen.seed).shuffle(some)
                for point in some:
                    if time.monotonic() > enough:
                        break
                    for share in shares(point, every=not chosen.points) if mode == "power" else (None,):
                        tried += 1
                        if mode == "full":
                            wrong = trial.fill(point)
                        elif share is None:
                            wrong = trial.kill(point, half=mode == "half")
                        else:
                            wrong = trial.cut(point, share, chosen.seed + point)
                        if wrong:
                            failures.append(
                                {"point": point, "share": share, "call": _call(trial, point), "wrong": wrong}
                            )
                            if chosen.keep and not chosen.keep.exists():
                                shutil.copytree(trial.base / "place", chosen.keep)
                spent = round(time.monotonic() - began, 1)
                found = {"scenario": name, "mode": mode, "points": len(points), "tried": tried, "seconds": spent}
                print(json.dumps(found | {"failures": failures}), flush=True)
            shutil.rmtree(trial.base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _call(trial: Trial, point: int) -> str:
    if point > len(trial.calls):
        return "the end"
    call = trial.calls[point - 1]
    return f"{call.op} {call.path.removeprefix(str(trial.root))} {call.other.removeprefix(str(trial.root))}".rstrip()


if __name__ == "__main__":
    main()
