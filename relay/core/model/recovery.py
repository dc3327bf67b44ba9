"""The state at a start: what the snapshot holds, and what the log has beyond it.

The snapshot is derived from the log. Where it is damaged the state comes from the log alone, which takes longer, and
the whole snapshot is stale. Reads only.
"""

import logging
import sqlite3

import msgspec

from relay.core.model.snapshot import CatchUp, DirtyRows, load
from relay.core.model.state import State
from relay.store.log import maintenance
from relay.store.queries import log_entries, snapshots
from relay.store.sqlite.database import Connection

logger = logging.getLogger(__name__)

FOLD = 10_000
"""Entries read at a time."""
NOTHING = snapshots.Snapshot(0, 0, 0, [], [], [], [], [])
"""What the log amounts to before its first entry."""
DAMAGED = (msgspec.DecodeError, KeyError, ValueError, TypeError, sqlite3.DatabaseError)
"""What a damaged snapshot fails with."""


async def load_state(reading: Connection) -> tuple[State, DirtyRows]:
    """Build the state as it was when the relay stopped; gives with it which rows of the snapshot are stale.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    try:
        return await _caught_up(reading, await snapshots.snapshot(reading))
    except DAMAGED as error:
        if isinstance(error, sqlite3.Error) and not maintenance.is_damage(error):
            raise
        logger.error(
            "what was kept of users and chats is damaged (%s): it is made once more from the log, which may take"
            " minutes; no message is lost",
            type(error).__name__,
        )
    state, _ = await _caught_up(reading, await snapshots.base(reading) or NOTHING)
    return state, DirtyRows.everything(state)


async def _caught_up(reading: Connection, kept: snapshots.Snapshot) -> tuple[State, DirtyRows]:
    """Load what was kept, and let what the log has beyond it take effect."""
    state, stale = load(kept), DirtyRows()
    catching = CatchUp(state, kept)
    while entries := await log_entries.entries(reading, state.seq, FOLD):
        for entry in entries:
            catching.apply(entry)
            stale.note(entry, state)
    # Not before: a chat's row may be ahead of the row of somebody who has just come.
    _look_for_gaps(state, kept)
    return state, stale


def _look_for_gaps(state: State, kept: snapshots.Snapshot) -> None:
    """See whether whoever has a device or is in a chat is there, and the chat as well.

    Raises:
        KeyError: a row is missing.
    """
    for device in state.devices.values():
        _ = state.users[device.user]
    for chat, user, _ in kept.members:
        _ = state.chats[chat], state.users[user]
