"""`relay check`: verifies the store, and that everything derived from the log agrees with it.

Changes nothing. A relay may run meanwhile, so the check reads in many short transactions. A difference is looked at
twice, because a change between two transactions may look like one.
"""

import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from relay import threads
from relay.core.model import snapshot
from relay.core.model.entities import PEOPLE_OF_TYPE
from relay.core.model.recovery import EMPTY_SNAPSHOT
from relay.core.model.state import State
from relay.store import contents, integrity, kinds
from relay.store.blobs import Blobs
from relay.store.damage import is_damage
from relay.store.data_dir import empty
from relay.store.data_dir.errors import is_damaged
from relay.store.data_dir.opening import finish_interrupted_replacement
from relay.store.queries import log_entries, snapshots, stored_files
from relay.store.sqlite import database
from relay.store.sqlite.read_only import readable
from relay.store.sqlite.read_views import TooBusy, Views

ENTRIES_PER_READ = 10_000
"""Entries read at a time."""
VIEW_ATTEMPTS = 5
READ_SECONDS = 60.0
"""How long a check reads the contents of files, unless it is to read all: a card may hold an hour's worth."""
CONTENTS = "contents of files"
AGREEMENT = "state and log agree"


class CheckResult(NamedTuple):
    """One check and its findings: `wrong` is empty if everything is in order."""

    what: str
    wrong: list[str]
    unread: int = 0
    """Files whose content was not read for lack of time."""


async def check(data: Path, progress: Callable[[str], None], read_seconds: float = READ_SECONDS) -> list[CheckResult]:
    """Check a data directory.

    Args:
        data: the directory.
        progress: called with the name of each check before it runs.
        read_seconds: how long to read the contents of files.

    Raises:
        NotAStore: the file is not a relay's.
        OlderStore: the relay has to upgrade the store first, at its next start.
        Locked: the store is being replaced at the moment.
        sqlite3.DatabaseError: the file is too damaged to be read.
    """
    findings: list[CheckResult] = []
    finish_interrupted_replacement(data)
    async with _views(data / "relay.db") as (views, reading):
        for what, check_part in integrity.CHECKS.items():
            progress(what)
            with _noting_damage(findings, what):
                findings.append(CheckResult(what, await _twice(check_part, views)))
        progress(AGREEMENT)
        with _noting_damage(findings, AGREEMENT):
            findings.append(CheckResult(AGREEMENT, await _check_agreement(reading)))
    progress(CONTENTS)
    with _noting_damage(findings, CONTENTS):
        findings.append(await _check_contents(data, read_seconds))
    return findings


@contextmanager
def _noting_damage(findings: list[CheckResult], what: str) -> Iterator[None]:
    """Make a finding of a page that cannot be read: the other checks go on."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        findings.append(CheckResult(what, [f"not checked: {error}"]))


async def _twice(check_part: integrity.Check, views: Views) -> list[str]:
    """Repeat a check that found something: an entry removed between two transactions may look wrong."""
    try:
        wrong = await check_part(views)
        again = await check_part(views) if wrong else []
    except TooBusy:
        return ["not checked: the relay writes too much just now. Check again when it is quieter"]
    except sqlite3.OperationalError as error:
        if not is_damaged(error):
            raise
        return [f"not checked: {error}"]
    return [one for one in wrong if one in again]


async def _check_contents(data: Path, seconds: float) -> CheckResult:
    """Find files whose content is missing, spoilt or unreadable. All are looked at, and read as long as time allows."""
    wrong: dict[str, str] = {}
    unread = 0
    until = time.monotonic() + seconds
    for digest, size in _from_anywhere(await _digests(data)):
        try:
            fault = await _fault(data, digest, size, until)
        except _OutOfTime:
            unread += 1
        else:
            if fault:
                wrong[digest] = fault
    if wrong:
        # A running relay may have removed a file between the reads of the store and of the disk.
        still = {digest for digest, _ in await _digests(data)}
        wrong = {digest: fault for digest, fault in wrong.items() if digest in still}
    return CheckResult(CONTENTS, sorted(wrong.values())[: integrity.SHOWN_FAULTS], unread)


async def _digests(data: Path) -> list[tuple[str, int]]:
    async with _views(data / "relay.db") as (_, reading):
        return await stored_files.digests(reading)


def _from_anywhere(digests: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Begin at any file, so that repeated checks that run out of time read all of them."""
    begin = secrets.randbelow(len(digests)) if digests else 0
    return digests[begin:] + digests[:begin]


async def _fault(data: Path, digest: str, size: int, until: float) -> str:
    """Say what is wrong with a file; nothing if it is whole.

    Raises:
        _OutOfTime: it looks right, and there is no time to read it.
    """
    path = Blobs(data / "files").path(digest)
    verdict = contents.look(path, size)
    if verdict.condition is contents.Condition.SPOILT:
        return f"{path} is spoilt: it should have {size} bytes"
    if verdict.condition is contents.Condition.WHOLE:

        def read(reader: contents.ProvenReader, _size: int) -> None:
            while True:
                if time.monotonic() >= until:
                    raise _OutOfTime
                if not reader.read():
                    return

        # An interrupted check need not wait for a disk.
        verdict = await threads.run(contents.prove, path, read, abandon=True)
    return "" if verdict.condition is contents.Condition.WHOLE else f"{path} {contents.words(verdict)}"


class _OutOfTime(Exception):
    """There is no time to read more files."""


@asynccontextmanager
async def _views(path: Path) -> AsyncIterator[tuple[Views, database.Connection]]:
    empty.refuse_to_read(path)
    with readable(path) as address:
        async with database.connect(path, writing=False, address=address) as reading:
            await database.recognise_current(reading)
            yield Views(reading, path), reading


class _HistoryRemoved(Exception):
    """Retention removed entries during the check that the check needs."""


async def _check_agreement(reading: database.Connection) -> list[str]:
    """Build the state twice, from the snapshot and from the beginning of the log, and compare the two."""
    for _ in range(VIEW_ATTEMPTS):
        try:
            return await _compare_states(reading)
        except _HistoryRemoved:
            continue
    return ["not checked: history was removed during the check. Check again later"]


async def _compare_states(reading: database.Connection) -> list[str]:
    number = await snapshots.base_round(reading)
    base = await snapshots.base(reading)
    slow = State() if base is None else snapshot.load(base)
    known = await _snapshot(reading)
    ((upto,),) = await reading.execute("SELECT coalesce(max(seq), 0) FROM log")
    try:
        quick = snapshot.load(known)
        await _apply_entries(reading, snapshot.StateRecovery(quick, known), known.seq, upto, number)
        await _apply_entries(reading, snapshot.StateRecovery(slow, base or EMPTY_SNAPSHOT), slow.seq, upto, number)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        if await snapshots.base_round(reading) != number:
            raise _HistoryRemoved from error
        return [f"the log does not add up at entry {slow.seq + 1}: {error!r}"]
    one, other = snapshot.plain_data(quick), snapshot.plain_data(slow)
    wrong = [f"{part} differ" for part in one if one[part] != other[part]]
    return wrong + _wrong_people(slow) + await _compare_counts(reading, slow, upto, number)


def _wrong_people(state: State) -> list[str]:
    """Find dialogs that are not readable by exactly two people, and notes not readable by exactly one."""
    wrong = [
        f"chat {key} is of the type {chat.type!r} and has {len(state.members[key])} people"
        for key, chat in state.chats.items()
        if not chat.gone and PEOPLE_OF_TYPE.get(chat.type, len(state.members[key])) != len(state.members[key])
    ]
    return wrong[: integrity.SHOWN_FAULTS]


async def _compare_counts(
    reading: database.Connection, state: State, upto: int, number: tuple[int, int] | None
) -> list[str]:
    """Compare the number of messages of each chat with the messages in the log, as of the entry `upto`.

    Both states could share an error of the rules, so this counts the messages directly. A message deleted after
    `upto` counts: its row has the deletion's message id, which is above the chat's last one.
    """
    counts = dict.fromkeys(state.chats, 0)
    after = 0
    while after < upto:
        rows = await reading.execute(
            "SELECT seq, chat, message_id, CASE WHEN deleted THEN changed ELSE 0 END FROM log"
            " WHERE seq > ? AND seq <= ? AND kind = ? ORDER BY seq LIMIT ?",
            (after, upto, kinds.NEW, ENTRIES_PER_READ),
        )
        if await snapshots.base_round(reading) != number:
            raise _HistoryRemoved
        for seq, key, message_id, deleted_by in rows:
            after = seq
            chat = state.chats.get(key)
            if chat is None or message_id <= chat.pruned or 0 < deleted_by <= chat.last_message_id:
                continue
            counts[key] += 1
        if len(rows) < ENTRIES_PER_READ:
            break
    # A chat's count still includes the messages that retention removed.
    wrong = [
        f"chat {key} counts {chat.count} messages, and {counts[key]} are in the log"
        for key, chat in state.chats.items()
        if not chat.gone and (chat.count < counts[key] if chat.pruned else chat.count != counts[key])
    ]
    return wrong[: integrity.SHOWN_FAULTS]


async def _snapshot(reading: database.Connection) -> snapshots.Snapshot:
    """Read all tables of the snapshot in one transaction."""
    await reading.execute("BEGIN")
    try:
        return await snapshots.snapshot(reading)
    finally:
        with trio.CancelScope(shield=True):
            await reading.execute("COMMIT")


async def _apply_entries(
    reading: database.Connection,
    catching: snapshot.StateRecovery,
    after: int,
    upto: int,
    number: tuple[int, int] | None,
) -> None:
    while after < upto:
        entries = await log_entries.entries(reading, after, ENTRIES_PER_READ)
        # A new base is written before any entry is removed.
        if await snapshots.base_round(reading) != number:
            raise _HistoryRemoved
        if not entries:
            return
        for entry in entries:
            after = entry.seq
            if after > upto:
                return
            catching.apply(entry)
