"""What commands print: tables for people, JSON for programs, one line for what went wrong."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import msgspec

from relay.protocol.base import LATEST_DATE


class Failure(Exception):
    """What could not be done, in one line that says what to do."""

    exit_code = 1
    """1 failed, 2 wrong use (ARCHITECTURE.md, "The command line")."""


class WrongUse(Failure):
    """What was typed cannot be meant, in one line that says what can."""

    exit_code = 2


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is gone.

    Raises:
        WrongUse: nobody can be asked.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUse(f"{question} Say so with --yes")
    import typer

    typer.confirm(question, abort=True)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int], None]]:
    """Show on a terminal's stderr how far a long work is; gives what to call with how much was done."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.advance(task, count)


def as_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.flush()
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.buffer.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows for a person, or the sentence that says there are none.

    In a terminal they fit its width, in a narrow one below each other; into a pipe each row is one line, whatever its
    length.
    """
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    if not texts:
        print(empty)
        return
    if not sys.stdout.isatty():
        _plain(columns, texts)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    widths = _widths(columns, texts, console.width)
    if widths is None:
        _blocks(columns, texts)
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for column, width in zip(columns, widths, strict=True):
        shown.add_column(column, overflow="fold", width=width)
    for row in texts:
        shown.add_row(*map(Text, row))
    console.print(shown)


def _plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        print(BETWEEN.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """How wide each column is, so that no word of a heading is broken, and no date; None where there is no room."""
    from rich.cells import cell_len

    cells = list(zip(columns, *rows, strict=True))
    whole = [max(map(cell_len, column)) for column in cells]
    widths = [min(LONGEST_UNBROKEN, max(map(cell_len, " ".join(column).split()))) for column in cells]
    spare = room - sum(widths) - len(BETWEEN) * (len(widths) - 1)
    if spare < 0:
        return None
    for _ in range(spare):
        # What there is goes to whoever lacks most.
        lacking = [want - width for want, width in zip(whole, widths, strict=True)]
        most = max(lacking)
        if most <= 0:
            break
        widths[lacking.index(most)] += 1
    return widths


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row below its first cell, with what there is of the others."""
    width = max(map(len, columns))
    for first, *rest in rows:
        print(first)
        for heading, cell in zip(columns[1:], rest, strict=True):
            if cell:
                print(f"  {heading.ljust(width)}  {cell}")


BETWEEN = "  "
"""What is between two columns."""
LONGEST_UNBROKEN = 12
"""Longer words, as ids may be, are broken in a table's cell."""

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What moves the cursor, changes colours, breaks a line or turns its direction (Unicode's Bidi_Control)."""


def say(line: str, *, error: bool = False) -> None:
    """Print one line for a person, whatever others wrote that stands in it; with `error` on stderr."""
    print(visible(line), file=sys.stderr if error else sys.stdout, flush=error)


def visible(text: str) -> str:
    """Show what somebody else wrote so that it does nothing to the terminal, and stays in its line."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def when(timestamp: int | None) -> str:
    """A time for a person: local, to the minute."""
    if not timestamp:
        return "-"
    # An older relay let dates in that nobody can write.
    return datetime.fromtimestamp(min(timestamp, LATEST_DATE) / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def moment(timestamp: int) -> str:
    """A time of today for a person: local, to the second."""
    return datetime.fromtimestamp(timestamp / 1000).astimezone().strftime("%H:%M:%S")


def yes(value: bool) -> str:
    """A yes or nothing, for a table's cell."""
    return "yes" if value else ""


UNITS = ("B", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Bytes for a person, in powers of 1,000."""
    for unit in UNITS:
        if abs(count) < 1_000 or unit == UNITS[-1]:
            break
        count /= 1_000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """A span of time for a person, in its two greatest units."""
    parts: list[str] = []
    for name, length in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count or (name == "s" and not parts):
            parts.append(f"{count:.0f} {name}")
        elif parts:
            break
    return " ".join(parts[:2])
