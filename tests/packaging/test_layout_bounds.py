"""Every row of "What bounds it" in ARCHITECTURE.md names a bound, its owner and its test, and these exist.

Each large number of a bound is a number of the owner's code, or of the tuning and settings.
"""

import ast
import math
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


TUNING = [TOP / "relay" / name for name in ("core/tuning.py", "net/tuning.py", "store/log/tuning.py")] + [
    TOP / "relay/settings/sections.py",
    TOP / "relay/store/sqlite/wal.py",
]
"""Modules whose numbers bound other modules."""
NUMBER = re.compile(r"(?<![\w^.])(\d[\d,]*\d|\d)(?: (KiB|MiB|MB)\b)?")
UNITS = {"": (1,), "KiB": (2**10,), "MiB": (2**20,), "MB": (10**6, 2**20)}
SMALL = 100
"""Smaller numbers are in every module by chance."""
DERIVED = {
    ("characters whose folded form is remembered", "46,000"),  # counted in Unicode's tables
    ("a peer that takes nothing", "4409"),  # a close code
    ("a message, and an unfinished one", "1013"),
    ("connections without a descriptor", "503"),
    ("events sent and not acknowledged", "18"),  # measured, as are the next five
    ("client ids that are not in their table yet", "10"),
    ("client ids of messages that retention removed", "4"),
    ("client ids and authors of late messages that marks look for", "70,000"),
    ("memory of one of these", "64"),
    ("memory of one of these", "32"),
    ("people of the directory that a request reads", "10"),
    ("client ids that are not in their table yet", "65,536"),  # eight times `held_keys`
    ("client ids of messages that retention removed", "65,536"),  # in the text of a statement
    ("a connection that is over", "160,000"),  # the product of the collector's thresholds
}
"""Numbers that follow from others, or are not bounds."""


def value(node: ast.AST) -> float | None:
    """Return the value of a number, or of one that is calculated from numbers, such as `4 * 2**20`."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            parts = value(left), value(right)
            return None if None in parts else math.prod(part for part in parts if part is not None)
        case ast.BinOp(left=left, op=ast.Pow() | ast.LShift() as by, right=ast.Constant(value=int() as power)):
            base = value(left)
            return None if base is None else base**power if isinstance(by, ast.Pow) else base * 2**power
    return None


def numbers(path: Path) -> set[float]:
    """Return the numbers in the code of a module."""
    text = path.read_text("utf-8")
    if path.suffix == ".js":
        code = re.sub(r"/\*.*?\*/|//.*", "", text, flags=re.DOTALL)
        return {float(found.replace("_", "")) for found in re.findall(r"(?<![\w.])\d[\d_]*", code)}
    return {number for node in ast.walk(ast.parse(text)) if (number := value(node)) is not None}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:40])
def test_number_of_a_bound_is_in_the_code_of_its_owner(row: list[str]) -> None:
    subject, bound, owner, _ = row
    files = [next(root / name for root in ROOTS if (root / name).exists()) for name in FILE.findall(owner)]
    there = set[float]().union(*map(numbers, (*files, *TUNING)))
    for number, unit in NUMBER.findall(bound):
        count = int(number.replace(",", ""))
        if (count >= SMALL or unit) and (subject, number) not in DERIVED:
            assert there & {count * size for size in UNITS[unit]}, f"{number} {unit} is not in {owner}"
