"""What commands print: tables for people, JSON for programs, one line for what went wrong."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table


class Failure(Exception):
    """What could not be done, in one line that says what to do."""


def as_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows for a person, or the sentence that says there are none."""
    rows = list(rows)
    if not rows:
        print(empty)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        shown.add_column(column, overflow="fold")
    for row in rows:
        shown.add_row(*(str(cell) for cell in row))
    Console(highlight=False).print(shown)


def when(timestamp: int | None) -> str:
    """A time for a person: local, to the minute."""
    if not timestamp:
        return "-"
    return datetime.fromtimestamp(timestamp / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def yes(value: bool) -> str:
    """A yes or nothing, for a table's cell."""
    return "yes" if value else ""
