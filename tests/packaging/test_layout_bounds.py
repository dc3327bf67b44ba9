"""Every row of "What bounds it" in ARCHITECTURE.md names a bound, its owner and its test, and these exist.

Each number of a bound has the value of the constant that it stands for.
"""

import math
import re
from importlib import import_module
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


SOURCES = TOP / "tests/data/bounds.txt"
"""Where each number of a bound comes from: below the row's subject a line for each number, in their order.

    8 ms = store/portion.py:AIM_SECONDS                   a constant or an attribute; or a calculation with them
    2,000 = store/log/index_upkeep.py "most=2_000"        a part of the code, which has the number
    46,000 = - counted in Unicode's tables                the reason why there is no such place
"""
TUNING = {"core/tuning.py", "net/tuning.py", "store/log/tuning.py", "store/sqlite/wal.py", "settings/sections.py"}
"""Modules whose numbers bound other modules."""
NUMBER = re.compile(
    r"(?<![\w^`.])(?:(?P<digits>\d+(?:,\d{3})*(?:\.\d+)?)(?:\^(?P<power>\d+))?"
    r"(?: (?P<unit>ms|s|min|minutes|days|KiB|MiB|MB)\b)?"
    r"|\b(?<!between )(?<!the )(?P<word>two|three|four|eight|twice|double)\b(?P<days> days)?"
    r"|\ban? (?P<part>fifth|quarter|twentieth|hour|day|week|minute)\b)"
)
"""Numbers in digits and the usual ones in words."""
UNITS = {"ms": 0.001, "s": 1, "min": 60, "minutes": 60, "days": 86_400, "KiB": 2**10, "MiB": 2**20, "MB": 10**6}
WORDS = {"two": 2, "three": 3, "four": 4, "eight": 8, "twice": 2, "double": 2} | {
    "fifth": 1 / 5,
    "quarter": 1 / 4,
    "twentieth": 1 / 20,
    "minute": 60,
    "hour": 3_600,
    "day": 86_400,
    "week": 604_800,
}
REFERENCE = re.compile(r"([\w/]+\.(?:py|js)):(\w+)((?:\.\w+|\[\d\])*)")
CALCULATION = re.compile(r"[\d. +*/]+")
"""A calculation whose references are replaced by values."""


def sources() -> dict[str, list[tuple[str, str]]]:
    """Return the numbers of each row and where they come from, by its subject."""
    found: dict[str, list[tuple[str, str]]] = {}
    rows: list[tuple[str, str]] = []
    for line in SOURCES.read_text("utf-8").splitlines():
        if line.startswith("  "):
            number, _, source = line.strip().partition(" = ")
            rows.append((number, source))
        else:
            rows = found.setdefault(line, [])
    return found


FROM = sources()


def shown(found: re.Match[str]) -> set[float]:
    """Return the values that a number of the table may mean, in seconds or bytes where it has a unit."""
    if found["digits"] is None:
        return {WORDS[found["word"] or found["part"]] * (86_400 if found["days"] else 1)}
    number = float(found["digits"].replace(",", "")) ** int(found["power"] or 1)
    return {number * UNITS.get(found["unit"] or "", 1)} | ({number * 2**20} if found["unit"] == "MB" else set())


def real(source: str) -> float:
    """Return the value of a constant, an attribute or a calculation with them."""
    expression = REFERENCE.sub(lambda found: repr(named(found[1], found[2], found[3])), source)
    assert CALCULATION.fullmatch(expression), f"{source!r} is not a calculation: {expression}"
    return calculated(expression)


def calculated(expression: str) -> float:
    """Return the value of digits and operators."""
    result = eval(expression, {"__builtins__": {}})
    assert isinstance(result, int | float)
    return result


def named(path: str, name: str, rest: str) -> float:
    """Return the value that a module's code gives a name.

    Args:
        path: the module, in `relay/`.
        name: a constant, or a class that is made without arguments.
        rest: attributes and indexes within it.
    """
    if path.endswith(".js"):
        text = (TOP / "relay" / path).read_text("utf-8")
        found = re.search(rf"^(?:export )?const {name} = ([\d_. *+]+);", text, re.MULTILINE)
        assert found, f"{path} has no constant {name}"
        return calculated(found[1].replace("_", ""))
    value = getattr(import_module(f"relay/{path[:-3]}".replace("/", ".")), name)
    if isinstance(value, type):
        value = value()
    for attribute, index in re.findall(r"\.(\w+)|\[(\d)\]", rest):
        value = getattr(value, attribute) if attribute else value[int(index)]
    assert isinstance(value, int | float), f"{path}:{name}{rest} is not a number"
    return value


def test_every_row_with_sources_is_in_the_table() -> None:
    assert FROM.keys() == {subject for subject, bound, *_ in ROWS if NUMBER.search(bound)}
    assert sum(map(len, FROM.values())) > 250
    reasons = [source for numbers in FROM.values() for _, source in numbers if source.startswith("- ")]
    assert len(reasons) < 40, reasons


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0])[:40])
def test_number_of_a_bound_is_that_of_the_code(row: list[str]) -> None:
    subject, bound, owner, _ = row
    found = list(NUMBER.finditer(bound))
    given = FROM.get(subject, [])
    assert [one[0] for one in found] == [number for number, _ in given], f"see {SOURCES}"
    for one, (number, source) in zip(found, given, strict=True):
        path, _, code = source.partition(' "')
        if source.startswith("- "):
            continue
        elsewhere = [
            one for one in FILE.findall(source) if not any(one in name or name in one for name in FILE.findall(owner))
        ]
        assert set(elsewhere) <= TUNING, f"{owner!r} does not name {elsewhere}"
        if code:
            assert code[:-1] in (TOP / "relay" / path).read_text("utf-8"), f"{path} has no {code}"
            in_code = {float(part.replace("_", "")) for part in re.findall(r"\d[\d_]*", code)}
            # A week in SQL is in milliseconds.
            assert in_code & (shown(one) | {1_000 * value for value in shown(one)}), f"{number} is not in {code}"
        else:
            assert any(math.isclose(real(source), value) for value in shown(one)), (
                f"{number} is {real(source)}: {source}"
            )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("4,096 and 0.5 ms", [4096, 0.0005]),
        ("2^25 pixels, 16 KiB, a day", [2**25, 16_384, 86_400]),
        ("three days; twice as many; a fifth", [259_200, 2, 0.2]),
        ("between two turns", []),
    ],
)
def test_numbers_of_a_bound_are_read_with_their_units(text: str, values: list[float]) -> None:
    assert [shown(found) for found in NUMBER.finditer(text)] == [{value} for value in values]
