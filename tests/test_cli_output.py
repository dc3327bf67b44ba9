"""Tables in terminals of any width."""

import io
import re

import pytest

from relay.cli.output import table

COLUMNS = ("id", "name", "online", "devices", "last seen", "admin")
ROWS = (
    ("anna", "Anna Lindqvist", "yes", "2", "2026-11-24 10:00", ""),
    ("a-much-longer-id-of-somebody", "Somebody with a long name", "", "1", "2026-11-23 09:30", "yes"),
)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """What is printed to it comes to a person."""

    def isatty(self) -> bool:
        return True


def shown(width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stdout", terminal)
    table(COLUMNS, ROWS, "nobody")
    return COLOURS.sub("", terminal.getvalue()).splitlines()


@pytest.mark.parametrize("width", [40, 55, 70, 90, 120])
def test_no_heading_and_no_date_is_broken_at_any_width(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(width, monkeypatch)
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for word in (*" ".join(COLUMNS[1:]).split(), "Lindqvist", "2026-11-24", "10:00"):
        assert word in words


def test_where_there_is_room_it_is_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(120, monkeypatch)[0].split() == " ".join(COLUMNS).split()


def test_where_there_is_none_each_row_is_a_block_of_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(40, monkeypatch)
    assert lines[0] == "anna"
    assert lines[1:5] == [
        "  name       Anna Lindqvist",
        "  online     yes",
        "  devices    2",
        "  last seen  2026-11-24 10:00",
    ]
    assert lines[5] == "a-much-longer-id-of-somebody"
