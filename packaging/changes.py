"""Debian's changelog, made from relay/CHANGELOG.md. Reads that one file."""

import datetime as dt
import email.utils
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

CHANGELOG = Path(__file__).resolve().parent.parent / "relay" / "CHANGELOG.md"
HEAD = re.compile(r"^## (\S+) (?:\(unreleased\)|- (\d{4}-\d{2}-\d{2}))$", re.MULTILINE)
NOON = dt.time(12, tzinfo=dt.UTC)


class Release(NamedTuple):
    """One release on the page."""

    version: str
    date: str | None
    """YYYY-MM-DD; None if it is not out yet."""
    items: list[str]
    """The changes: each paragraph or list item in one line."""


def releases(text: str) -> Iterator[Release]:
    """Read the page, newest release first."""
    parts = HEAD.split(text)
    for version, date, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        blocks = re.split(r"\n(?=- )|\n\n", re.sub(r"^### .*$", "", body, flags=re.MULTILINE))
        items = [" ".join(block.removeprefix("- ").split()) for block in map(str.strip, blocks) if block]
        yield Release(version, date, items)


def debian(package: str, maintainer: str, version: str, epoch: int) -> str:
    """Write Debian's changelog.

    Args:
        package: its name.
        maintainer: name and address.
        version: that of the package, used for the newest release.
        epoch: seconds since 1970, the date of that release if the page has none.
    """
    entries = []
    known = list(releases(CHANGELOG.read_text("utf-8")))
    # Each date is later than the one before it, as lintian requires, even if a build has an early date.
    earliest = 0
    for release in reversed(known):
        at = max(earliest, epoch if release.date is None else _noon(release.date))
        earliest = at + 1
        items = "\n".join(
            textwrap.fill(item, 80, initial_indent="  * ", subsequent_indent="    ") for item in release.items
        )
        head = f"{package} ({version if release is known[0] else release.version}) stable; urgency=medium"
        entries.append(f"{head}\n\n{items}\n\n -- {maintainer}  {email.utils.formatdate(at)}\n")
    return "\n".join(reversed(entries))


def _noon(date: str) -> int:
    return int(dt.datetime.combine(dt.date.fromisoformat(date), NOON).timestamp())
