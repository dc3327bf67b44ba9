"""`relay check`: proves that the file is whole and that everything derived from the log agrees with it.

Changes nothing. A relay may run meanwhile, so it reads in many short views, and what changed between two of them is
no fault: what looks wrong is looked at again.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from relay.core.model import snapshot
from relay.core.model.recovery import NOTHING
from relay.core.model.state import State
from relay.store import integrity
from relay.store.blobs import Blobs
from relay.store.data_dir import empty
from relay.store.data_dir.opening import settle_for_reading
from relay.store.queries import log_entries, snapshots, stored_files
from relay.store.sqlite import database
from relay.store.sqlite.views import TooBusy, Views

FOLD = 10_000
"""Entries read at a time."""
TRIES = 5
CONTENTS = "contents of files"
AGREEMENT = "state and log agree"


class CheckResult(NamedTuple):
    """One thing that was checked; `wrong` says what is not as it should be, nothing where all is."""

    what: str
    wrong: list[str]


async def check(data: Path, progress: Callable[[str], None]) -> list[CheckResult]:
    """Check a data directory.

    Args:
        data: the directory.
        progress: told what is checked next.

    Raises:
        NotAStore: there is no relay's file.
        OlderStore: a start of this relay has to upgrade it first.
        Locked: it is being replaced right now.
        sqlite3.DatabaseError: the file is damaged so badly that it cannot be read at all.
    """
    findings = []
    settle_for_reading(data)
    async with _views(data / "relay.db") as (views, reading):
        for what, prove in integrity.CHECKS.items():
            progress(what)
            findings.append(CheckResult(what, await _twice(prove, views)))
        progress(AGREEMENT)
        findings.append(CheckResult(AGREEMENT, await _agreement(reading)))
    progress(CONTENTS)
    findings.append(CheckResult(CONTENTS, await _contents(data)))
    return findings


async def _twice(prove: integrity.Check, views: Views) -> list[str]:
    """Look again where something looks wrong: what was removed between two views may look so."""
    try:
        wrong = await prove(views)
        again = await prove(views) if wrong else []
    except TooBusy:
        return ["this could not be looked at: the relay writes too much just now. Check again when it is quieter"]
    return [one for one in wrong if one in again]


async def _contents(data: Path) -> list[str]:
    """Find files whose content is not there, or not whole."""
    wrong = await _wrong_contents(data)
    # A relay that runs may have let a file go between the look at the store and the look at the disk.
    return sorted(wrong & await _wrong_contents(data))[: integrity.SHOWN] if wrong else []


async def _wrong_contents(data: Path) -> set[str]:
    contents = Blobs(data / "files")
    wrong = set()
    async with _views(data / "relay.db") as (_, reading):
        for digest, size in await stored_files.digests(reading):
            path = contents.path(digest)
            there = path.stat().st_size if path.is_file() else None
            if there != size:
                wrong.add(f"{path} {'is missing' if there is None else f'has {there} bytes, not {size}'}")
    return wrong


@asynccontextmanager
async def _views(path: Path) -> AsyncIterator[tuple[Views, database.Connection]]:
    empty.refuse_to_read(path)
    async with database.connect(path, writing=False) as reading:
        await database.recognise_current(reading)
        yield Views(reading, path), reading


class _Moved(Exception):
    """History was removed meanwhile, and with it entries that would be missing."""


async def _agreement(reading: database.Connection) -> list[str]:
    """Build the state twice, from the snapshot and from the beginning of the log, and compare."""
    for _ in range(TRIES):
        try:
            return await _agree(reading)
        except _Moved:
            continue
    return ["this could not be looked at: history was removed meanwhile. Check again later"]


async def _agree(reading: database.Connection) -> list[str]:
    number = await snapshots.base_round(reading)
    base = await snapshots.base(reading)
    slow = State() if base is None else snapshot.load(base)
    known = await _snapshot(reading)
    ((upto,),) = await reading.execute("SELECT coalesce(max(seq), 0) FROM log")
    try:
        quick = snapshot.load(known)
        await _fold(reading, snapshot.CatchUp(quick, known), known.seq, upto, number)
        await _fold(reading, snapshot.CatchUp(slow, base or NOTHING), slow.seq, upto, number)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        if await snapshots.base_round(reading) != number:
            raise _Moved from error
        return [f"the log does not add up at entry {slow.seq + 1}: {error!r}"]
    one, other = snapshot.plain_data(quick), snapshot.plain_data(slow)
    return [f"{part} differ" for part in one if one[part] != other[part]]


async def _snapshot(reading: database.Connection) -> snapshots.Snapshot:
    """Read all tables of the snapshot in one view."""
    await reading.execute("BEGIN")
    try:
        return await snapshots.snapshot(reading)
    finally:
        with trio.CancelScope(shield=True):
            await reading.execute("COMMIT")


async def _fold(
    reading: database.Connection, catching: snapshot.CatchUp, after: int, upto: int, number: tuple[int, int] | None
) -> None:
    while after < upto:
        entries = await log_entries.entries(reading, after, FOLD)
        # A base that took this one's place comes before anything is removed.
        if await snapshots.base_round(reading) != number:
            raise _Moved
        if not entries:
            return
        for entry in entries:
            after = entry.seq
            if after > upto:
                return
            catching.apply(entry)
