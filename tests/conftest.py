"""Options of the whole test suite, and fixtures that isolate its tests."""

import gc
import os
import sys
import traceback
import warnings
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

MEMORY = Path("/dev/shm")
MEMORY_BYTES = 2**30
"""Free memory that is needed before the tests' files are put there."""

# Stores of many tests are kept for a while, so each should reserve little.
os.environ.setdefault("RELAY_STORE_RESERVE_BYTES", str(2**16))


def _use_memory() -> None:
    """Keep the tests' directories in memory: otherwise most of a test's time is waiting for a disk.

    PYTEST_DEBUG_TEMPROOT names another place, as CI steps that need a disk do.
    """
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK):
        there = os.statvfs(MEMORY)
        # Tests build programs and libraries in their directories.
        if there.f_bavail * there.f_frsize >= MEMORY_BYTES and not there.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _keep_bytecode() -> None:
    """Keep compiled modules even if the environment forbids it: each process of a test would compile all of them again.

    Images for containers forbid it so that nothing appears beside the sources, and here it does not either.
    """
    if sys.dont_write_bytecode and sys.pycache_prefix is None:
        sys.dont_write_bytecode = False
        sys.pycache_prefix = str(Path(__file__).parent.parent / ".pytest_cache" / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix


_use_memory()
_keep_bytecode()

# The time of one example depends more on other users of the machine than on the code.
# One commit has one verdict: the examples are the same in each run, except with `--hypothesis-profile=elsewhere`.
settings.register_profile("relay", deadline=None, derandomize=True)
settings.register_profile("elsewhere", deadline=None)
settings.load_profile("relay")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-seconds",
        type=float,
        default=0.0,
        help="how long each fuzz target in tests/fuzz runs after its short part (default: not at all)",
    )
    parser.addoption(
        "--kill-rounds", type=int, default=5, help="how often a relay under load is killed and started again"
    )
    parser.addoption(
        "--kill-points",
        default="1",
        metavar="N|all",
        help="at how many of the calls that change the disk each command is killed, in each way (default: 1)",
    )
    parser.addoption(
        "--kill-points-seconds",
        type=float,
        default=0.0,
        help="kill at as many calls as fit into so many seconds, spread over all commands",
    )
    parser.addoption("--kill-points-seed", type=int, default=0, help="which calls a sample takes")
    parser.addoption(
        "--model-examples",
        type=int,
        default=15,
        help="how many conversations the model test acts out (default: 15; more also make a failure smaller)",
    )
    parser.addoption(
        "--rulebook-steps",
        type=int,
        default=300,
        help="how many steps random people take while their windows are compared with the rulebook's model",
    )
    parser.addoption(
        "--rulebook-seed", type=int, default=None, help="begin the rulebook's random stories elsewhere, repeatably"
    )
    parser.addoption(
        "--roundtrip-stores",
        type=int,
        default=2,
        help="how many random stores are exported, imported and exported again (default: 2)",
    )
    parser.addoption("--stall", action="store_true", help="stop a relay for as long as its patience lasts, and longer")
    parser.addoption(
        "--long-run",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="how long two hundred people use a relay to which everything happens (default: not at all)",
    )
    parser.addoption(
        "--long-run-seed", type=int, default=0, help="repeat the long run of this seed, as far as that goes"
    )
    parser.addoption(
        "--long-run-rate", type=float, default=60.0, help="things done per second in a long run (default: 60)"
    )
    parser.addoption("--browser", action="store_true", help="run the tests of the web client in Chromium too")
    parser.addoption("--pictures", metavar="DIR", help="keep the browser tests' pictures of every screen there")


LONG = ("fuzz_seconds", "kill_points_seconds", "long_run", "stall")
"""Options that set the length of a test."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remove the time limit if an option asks for more: CI limits each of its steps itself."""
    option = config.option
    more = (
        option.kill_rounds > 5
        or option.kill_points != "1"
        or option.rulebook_steps > 300
        or option.roundtrip_stores > 2
    )
    if more or any(getattr(option, name) for name in LONG):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


def pytest_collection_finish() -> None:
    """Exempt imported modules from garbage collection: they stay, and each collection would visit them again."""
    gc.collect()
    gc.freeze()


def pytest_runtest_teardown() -> None:
    """Restore the priority that a command lowered: it ran here as another user, who cannot raise it again."""
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Close the files that a failed test left open: found later, they would fail an unrelated test."""
    report = yield
    # A test that skips itself raises, too, but leaves nothing; a collection for each would take seconds in total.
    if report.failed and call.excinfo is not None and not item.config.option.usepdb:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _let_go(call.excinfo.value, set())
            gc.collect()
    return report


def _let_go(error: BaseException | None, seen: set[int]) -> None:
    """Clear the local variables of all frames of an exception, its causes and its members."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    traceback.clear_frames(error.__traceback__)
    for frame, _ in traceback.walk_tb(error.__traceback__):
        # Reading it updates the copy that the report was made from.
        _ = frame.f_locals
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for one in (error.__cause__, error.__context__, *members):
        _let_go(one, seen)


@pytest.fixture
def kill_rounds(request: pytest.FixtureRequest) -> int:
    """How often to kill and restart a relay under load."""
    return int(request.config.getoption("--kill-rounds"))


@pytest.fixture
def fuzz_seconds(request: pytest.FixtureRequest) -> float:
    """Return the seconds each fuzz target should run; skip the test if none were requested."""
    seconds: float = request.config.getoption("--fuzz-seconds")
    if not seconds:
        pytest.skip("a long run: ask for it with --fuzz-seconds")
    return seconds
