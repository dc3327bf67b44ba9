"""`relay check`: proves that the file is whole and that everything derived from the log agrees with it.

Reads one consistent view of the store; changes nothing. A relay may run meanwhile.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from relay.core import snapshot
from relay.core.state import State
from relay.store import database, emptied, proofs, queries
from relay.store.contents import Contents
from relay.store.opening import settle_for_reading
from relay.store.statements import Statement

FOLD = 10_000
"""Entries read at a time."""
_BEGIN = Statement("BEGIN")
_COMMIT = Statement("COMMIT")
CONTENTS = "contents of files"
AGREEMENT = "state and log agree"


class Finding(NamedTuple):
    """One thing that was checked; `wrong` says what is not as it should be, nothing where all is."""

    what: str
    wrong: list[str]


async def check(data: Path, progress: Callable[[str], None]) -> list[Finding]:
    """Check a data directory.

    Args:
        data: the directory.
        progress: told what is checked next.

    Raises:
        NotAStore: there is no relay's file.
        Locked: it is being replaced right now.
        sqlite3.DatabaseError: the file is damaged so badly that it cannot be read at all.
    """
    findings = []
    settle_for_reading(data)
    async with _one_view(data / "relay.db") as reading:
        for what, prove in proofs.PROOFS.items():
            progress(what)
            findings.append(Finding(what, await prove(reading)))
        progress(AGREEMENT)
        findings.append(Finding(AGREEMENT, await _agreement(reading)))
    progress(CONTENTS)
    findings.append(Finding(CONTENTS, await _contents(data)))
    return findings


async def _contents(data: Path) -> list[str]:
    """Find files whose content is not there, or not whole."""
    wrong = await _wrong_contents(data)
    # A relay that runs may have let a file go between the look at the store and the look at the disk.
    return sorted(wrong & await _wrong_contents(data))[: proofs.SHOWN] if wrong else []


async def _wrong_contents(data: Path) -> set[str]:
    contents = Contents(data / "files")
    wrong = set()
    async with _one_view(data / "relay.db") as reading:
        for digest, size in await queries.digests(reading):
            path = contents.path(digest)
            there = path.stat().st_size if path.is_file() else None
            if there != size:
                wrong.add(f"{path} {'is missing' if there is None else f'has {there} bytes, not {size}'}")
    return wrong


@asynccontextmanager
async def _one_view(path: Path) -> AsyncIterator[database.Connection]:
    emptied.refuse_to_read(path)
    async with database.connect(path, writing=False) as reading:
        await database.recognise(reading)
        await reading.execute(_BEGIN)
        yield reading
        await reading.execute(_COMMIT)


async def _agreement(reading: database.Connection) -> list[str]:
    """Build the state twice, from the snapshot and from the beginning of the log, and compare."""
    base = await queries.base(reading)
    slow = State() if base is None else snapshot.load(base)
    try:
        quick = snapshot.load(await queries.snapshot(reading))
        await _fold(reading, quick)
        await _fold(reading, slow)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        return [f"the log does not add up at entry {slow.seq + 1}: {error!r}"]
    one, other = snapshot.whole(quick), snapshot.whole(slow)
    return [f"{part} differ" for part in one if _comparable(one[part]) != _comparable(other[part])]


def _comparable(rows: Any) -> Any:
    return sorted(rows) if isinstance(rows, list) else rows


async def _fold(reading: database.Connection, state: State) -> None:
    while entries := await queries.entries(reading, state.seq, FOLD):
        for entry in entries:
            state.apply(entry)
