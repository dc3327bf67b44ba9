"""Output of commands: tables for people, JSON for programs, one line for a failure."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import msgspec

from relay.cli.hints import as_typed
from relay.protocol.base import LATEST_DATE_MS


class Failure(Exception):
    """A command failed; the text is one line that says what to do."""

    exit_code = 1
    """1 failed, 2 wrong use (ARCHITECTURE.md, "The command line")."""


class WrongUse(Failure):
    """A command was used wrongly; the text is one line that says how to use it."""

    exit_code = 2


def confirm(question: str, *, yes: bool) -> None:
    """Ask for confirmation before something is lost.

    Args:
        question: the question, with its question mark.
        yes: whether `--yes` was given.

    Raises:
        WrongUse: there is no terminal to ask on, and `--yes` was not given.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise WrongUse(f"{question} Say so with --yes")
    import typer

    typer.confirm(question, abort=True)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int], None]]:
    """Show the progress of long work on stderr, if that is a terminal.

    Args:
        title: the name of the work.

    Yields:
        A function to call with the number of units done since its last call.
    """
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda count: bar.advance(task, count)


def as_json(value: object) -> None:
    """Print one JSON document. Bytes of a file's name that are not UTF-8 are shown by their numbers."""
    try:
        document = msgspec.json.encode(value)
    except UnicodeEncodeError:
        document = msgspec.json.encode(_printable(msgspec.to_builtins(value)))
    sys.stdout.flush()
    sys.stdout.buffer.write(document + b"\n")
    sys.stdout.buffer.flush()


def _printable(value: object) -> object:
    # Loaded only here: most commands need no codec.
    from relay.protocol.codec import printable

    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    return [_printable(one) for one in value] if isinstance(value, list) else value


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str) -> None:
    """Print a table for a person. On a terminal it fits the width; in a pipe each row is one line.

    Args:
        columns: the headings.
        rows: the cells, as many as there are headings.
        empty: the sentence to print if there are no rows; it may name commands in backticks.
    """
    texts = [[visible(str(cell)) for cell in row] for row in rows]
    if not texts:
        say(empty)
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
        print(COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], room: int) -> list[int] | None:
    """Fit columns into `room` characters, without breaking dates or words of headings. None if that is too narrow.

    Own code, because rich shrinks every column in proportion, even those with dates.
    """
    from rich.cells import cell_len

    cells = list(zip(columns, *rows, strict=True))
    whole = [max(map(cell_len, column)) for column in cells]
    widths = [min(UNBROKEN_CHARACTERS, max(map(cell_len, " ".join(column).split()))) for column in cells]
    spare = room - sum(widths) - len(COLUMN_GAP) * (len(widths) - 1)
    if spare < 0:
        return None
    for _ in range(spare):
        # Give each spare character to the column that lacks most.
        lacking = [want - width for want, width in zip(whole, widths, strict=True)]
        most = max(lacking)
        if most <= 0:
            break
        widths[lacking.index(most)] += 1
    return widths


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print each row as a block: its first cell, and below it the others that are not empty."""
    width = max(map(len, columns))
    for first, *rest in rows:
        print(first)
        for heading, cell in zip(columns[1:], rest, strict=True):
            if cell:
                print(f"  {heading.ljust(width)}  {cell}")


COLUMN_GAP = "  "
"""The space between two columns."""
UNBROKEN_CHARACTERS = 12
"""Longer words, such as ids, may be broken in a cell."""

CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, change colours, break a line or turn its direction (Unicode's Bidi_Control)."""


def say(line: str, *, error: bool = False) -> None:
    """Print one line for a person: control characters are shown as escapes, hints as they can be typed.

    Args:
        line: the text, which may contain names chosen by users.
        error: whether it goes to stderr.
    """
    print(visible(as_typed(line)), file=sys.stderr if error else sys.stdout, flush=error)


def visible(text: str) -> str:
    """Escape control characters, so that a text cannot act on the terminal or leave its line."""
    return CONTROL_CHARACTERS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def when(timestamp: int | None) -> str:
    """Format a time in Unix milliseconds: local, to the minute; `-` for none."""
    if not timestamp:
        return "-"
    # Older relays accepted dates after the year 9999.
    return datetime.fromtimestamp(min(timestamp, LATEST_DATE_MS) / 1000).astimezone().strftime("%Y-%m-%d %H:%M")


def moment(timestamp: int) -> str:
    """Format a time of today in Unix milliseconds: local, to the second."""
    return datetime.fromtimestamp(timestamp / 1000).astimezone().strftime("%H:%M:%S")


def yes(value: bool) -> str:
    """Format a boolean for a table: `yes` or nothing."""
    return "yes" if value else ""


UNITS = ("B", "KB", "MB", "GB", "TB")


def size(count: float) -> str:
    """Format a number of bytes in powers of 1,000."""
    for unit in UNITS:
        if abs(count) < 1_000 or unit == UNITS[-1]:
            break
        count /= 1_000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"


def duration(seconds: float) -> str:
    """Format a span of seconds in its two largest units."""
    parts: list[str] = []
    for name, length in (("y", 31_536_000), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count or (name == "s" and not parts):
            parts.append(f"{count:.0f} {name}")
        elif parts:
            break
    return " ".join(parts[:2])
