"""Tables in terminals of any width."""

import io
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from relay.cli.output import table

COLUMNS = ("id", "name", "online", "devices", "last seen", "admin")
ROWS = (
    ("anna", "Anna Lindqvist", "yes", "2", "2026-11-24 10:00", ""),
    ("a-much-longer-id-of-somebody", "Somebody with a long name", "", "1", "2026-11-23 09:30", "yes"),
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """A terminal: a person reads it."""

    def isatty(self) -> bool:
        return True


def shown(width: int, columns: Sequence[str] = COLUMNS, rows: Sequence[Sequence[str]] = ROWS) -> list[str]:
    terminal = Terminal()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        patch.setattr("sys.stdout", terminal)
        table(columns, rows, "nobody")
    return COLOURS.sub("", terminal.getvalue()).splitlines()


def cells(longest: int, words: int) -> st.SearchStrategy[str]:
    return st.lists(st.text("xyz", min_size=1, max_size=longest), max_size=words).map(" ".join)


def tables(count: int) -> st.SearchStrategy[tuple[list[str], list[list[str]]]]:
    heading = st.text("abc", min_size=2, max_size=9)
    row = st.lists(cells(30, 5), min_size=count, max_size=count)
    return st.tuples(st.lists(heading, min_size=count, max_size=count), st.lists(row, min_size=1, max_size=4))


@given(st.integers(2, 9).flatmap(tables), st.integers(30, 120))
@example((["a"] * 4, [["x " * 20] * 3 + ["z" * 10]]), 30)
def test_no_heading_and_no_date_is_broken_at_any_width(drawn: tuple[list[str], list[list[str]]], width: int) -> None:
    columns, rows = drawn
    lines = shown(width, columns, rows)
    if "─" not in "".join(lines):
        return
    assert max(map(len, lines)) <= width
    words = set(" ".join(lines).split())
    assert words.issuperset(columns)
    assert words.issuperset(word for row in rows for cell in row for word in cell.split() if len(word) <= 12)


@pytest.mark.parametrize("width", [70, 80, 120])
def test_a_wide_terminal_shows_a_table(width: int) -> None:
    lines = shown(width)
    assert lines[0].split() == " ".join(COLUMNS).split()
    assert max(map(len, lines)) <= width


def test_a_narrow_terminal_shows_each_row_as_a_block() -> None:
    lines = shown(40)
    assert lines[0] == "anna"
    assert lines[1:5] == [
        "  name       Anna Lindqvist",
        "  online     yes",
        "  devices    2",
        "  last seen  2026-11-24 10:00",
    ]
    assert lines[5] == "a-much-longer-id-of-somebody"
