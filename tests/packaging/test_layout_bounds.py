"""Every row of "What bounds it" in ARCHITECTURE.md names a bound, its owner and its test, and these exist."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGE = (TOP / "relay/ARCHITECTURE.md").read_text("utf-8").partition("## What bounds it")[2]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip()[1:-1])]
    for line in PAGE.splitlines()
    if line[:2] == "| "
][1:]
ROOTS = [TOP / "relay", TOP / "relay/core", TOP / "relay/web", TOP]
FILE = re.compile(r"(?:\w+/)*\w+\.(?:py|js)\b")
NAME = re.compile(r"`(?:\w+\.)?(\w+)`")
TEST = re.compile(r"\btest_\w+|\b[\w.]+\.test\.mjs|tests/kill_points|tests/bench/attack\.py")
UNTESTED = re.compile(r"\u2013 \(.+\)")
"""A bound without a test, with the reason."""
TESTS = {path.stem: path for path in TOP.glob("tests/**/test_*.py")} | {
    path.name: path for path in TOP.glob("tests/web/*.mjs")
}
QUOTED = re.compile(r"(test_\w+|[\w.]+\.test\.mjs): `…?(\w+)…?`")
"""A test by a part of its name."""


def test_table_of_bounds_is_read() -> None:
    assert len(ROWS) > 140


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:40])
def test_bound_has_an_owner_and_a_test_that_exist(row: list[str]) -> None:
    assert len(row) == 4
    subject, bound, owner, test = row
    assert subject
    assert bound
    files = [next((root / name for root in ROOTS if (root / name).exists()), None) for name in FILE.findall(owner)]
    assert files, f"{owner!r} names no module"
    assert None not in files, f"{owner!r} names a module that does not exist"
    text = "".join(path.read_text("utf-8") for path in files if path)
    assert [name for name in NAME.findall(owner) if not re.search(rf"\b{name}\b", text)] == []
    tests = TEST.findall(test)
    assert tests or UNTESTED.fullmatch(test), f"{test!r} names no test, and no reason why there is none"
    assert [one for one in tests if one not in TESTS and not (TOP / one).exists()] == []
    for one, part in QUOTED.findall(test):
        assert part in TESTS[one].read_text("utf-8"), f"{one} has no test {part}"
