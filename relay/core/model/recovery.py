"""The state at startup: the snapshot, and the entries of the log after it.

The snapshot is derived from the log. If it is damaged, the state comes from the log alone, which takes longer, and the
whole snapshot is dirty. Reads only.
"""

import logging
import sqlite3
from contextlib import suppress
from functools import partial

import msgspec

from relay.core.model.snapshot import DirtyRows, StateRecovery, load
from relay.core.model.state import State
from relay.store.damage import REPAIR_HELPS, is_damage
from relay.store.entry import Entry
from relay.store.queries import log_entries, snapshots
from relay.store.queries.log_entries import PastDamage, last_entry
from relay.store.sqlite.database import Connection
from relay.store.sqlite.reading import is_undecodable

logger = logging.getLogger(__name__)

READ_ENTRIES = 10_000
"""Entries per read."""
EMPTY_SNAPSHOT = snapshots.Snapshot(0, 0, 0, [], [], [], [], [])
"""The snapshot of an empty log."""
DAMAGED = (msgspec.DecodeError, KeyError, ValueError, TypeError, sqlite3.DatabaseError)
"""The exceptions that loading a damaged snapshot raises."""
UNREADABLE = (msgspec.DecodeError, KeyError, ValueError, TypeError)
"""The exceptions that an unreadable log raises."""


async def load_state(reading: Connection) -> tuple[State, DirtyRows]:
    """Build the state as of the last stop.

    Returns:
        The state, and the rows of the snapshot that are dirty.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    damage: Exception | None = None
    try:
        kept = await snapshots.snapshot(reading, exact=True)
        if kept.seq:
            return await _caught_up(reading, kept)
        # There is none yet, as in a new store and in one that was repaired.
    except DAMAGED as error:
        if isinstance(error, sqlite3.Error) and not (is_damage(error) or is_undecodable(error)):
            raise
        logger.error(
            "the snapshot of users and chats is damaged (%s): it is made again from the log, which may take minutes;"
            " no message is lost%s",
            type(error).__name__,
            f". Each start does so until you {REPAIR_HELPS}" if _is_page(error) else "",
        )
        damage = error
    try:
        state, _ = await _caught_up(reading, await snapshots.base(reading) or EMPTY_SNAPSHOT)
    except UNREADABLE as error:
        # If a text that is not UTF-8 is the only damage, the rest of the snapshot is right.
        if damage is None or not is_undecodable(damage):
            raise sqlite3.DatabaseError(
                "neither the snapshot of users and chats can be read nor the entries that it is made of"
            ) from error
        state, _ = await _caught_up(reading, await snapshots.snapshot(reading))
    return state, DirtyRows.everything(state)


async def load_readable(reading: Connection) -> State:
    """Build what can be read of the state, for an export: without what entries on damaged pages have changed.

    Raises:
        sqlite3.Error: the store cannot be read for another reason.
    """
    kept: snapshots.Snapshot | None = None
    for read in (snapshots.snapshot, snapshots.base):
        try:
            kept = await read(reading)
            break
        except DAMAGED as error:
            if isinstance(error, sqlite3.Error) and not (is_damage(error) or is_undecodable(error)):
                raise
    kept = kept or EMPTY_SNAPSHOT
    state = load(kept)
    catching = StateRecovery(state, kept)
    last = await last_entry(reading)

    async def page(after: int, _upto: int, count: int) -> list[Entry]:
        return await log_entries.entries(reading, after, count)

    entries = PastDamage(page, partial(log_entries.entry, reading))
    while found := await entries.read(state.seq, last, READ_ENTRIES):
        for entry in found:
            with suppress(*UNREADABLE):
                catching.apply(entry)
    # Parts of the log without a readable entry are tried by whoever reads up to here.
    state.seq = last
    return state


def _is_page(error: Exception) -> bool:
    """Return whether a page is damaged, where no other snapshot can be written either."""
    return isinstance(error, sqlite3.Error) and is_damage(error)


async def _caught_up(reading: Connection, kept: snapshots.Snapshot) -> tuple[State, DirtyRows]:
    """Load a snapshot, and apply the entries after it."""
    state, dirty = load(kept), DirtyRows()
    catching = StateRecovery(state, kept)
    while entries := await log_entries.entries(reading, state.seq, READ_ENTRIES):
        for entry in entries:
            catching.apply(entry)
            dirty.note(entry, state)
    # Check only now: a chat's row may be ahead of the row of a user who has just joined.
    _check_references(state, kept)
    return state, dirty


def _check_references(state: State, kept: snapshots.Snapshot) -> None:
    """Check that every device has its user, and every member its user and chat.

    Raises:
        KeyError: a row is missing.
    """
    for device in state.devices.values():
        _ = state.users[device.user]
    for chat, user, _ in kept.members:
        _ = state.chats[chat], state.users[user]
