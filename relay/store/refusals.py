"""A write that SQLite refused: what the log says of it, and what the sender is told. Touches nothing."""

import sqlite3

from relay.protocol.errors import RelayError
from relay.store.damage import DAMAGE_HELPS, is_damage
from relay.store.files import descriptors
from relay.store.files.disk_full import is_full


def what_failed(error: sqlite3.Error) -> str:
    """Say why a write failed, and what to do."""
    if descriptors.exhausted(error):
        return descriptors.what_helps()
    if is_damage(error):
        return f"{error}: {DAMAGE_HELPS}"
    cause = error.__cause__
    return f"{error}: {cause.strerror}" if isinstance(cause, OSError) else str(error)


def refusal(error: sqlite3.Error) -> RelayError:
    """Make the answer to those whose write failed."""
    if is_full(error):
        return RelayError.storage_full()
    return RelayError.internal() if is_damage(error) else RelayError.unavailable()
