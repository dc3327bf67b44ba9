"""Messages for the log and the asker when SQLite refuses a read or a write. Every module that reads asks here."""

import logging
import sqlite3

import trio

from relay.logs import LastingFault
from relay.protocol.errors import RelayError
from relay.store.damage import DAMAGE_HELPS, is_damage
from relay.store.files import descriptors
from relay.store.files.disk_full import is_full

logger = logging.getLogger(__name__)

READ_FAULT_SECONDS = 60.0
"""Seconds until the same fault of reads is logged again: every client that asks again meets it."""


def what_failed(error: sqlite3.Error) -> str:
    """Say why SQLite failed, and what to do."""
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


class StoreFaults:
    """The faults of a served store: each that lasts is logged once, whoever meets it, and gets one answer."""

    def __init__(self) -> None:
        self.damage_told = False
        """Whether a damaged page was met, which the log has said."""
        self._unwritable = LastingFault(logger, "the store can be written again", logging.ERROR)
        self._reads_told: dict[str, float] = {}
        """When each fault of reads was logged last, trio's time."""

    def unwritten(self, error: sqlite3.Error) -> RelayError:
        """Log that a write failed, unless that was said, and make the answer to those who wanted it.

        Args:
            error: SQLite's error.
        """
        words = "the store cannot be written: %s"
        if not is_damage(error):
            self._unwritable.found(words, _named(error))
        elif self._first_damage():
            logger.error(words, _named(error))
        return refusal(error)

    def written(self) -> None:
        """Note that a write succeeded."""
        self._unwritable.gone()

    def unread(self, error: sqlite3.Error, reader: str, failed: str = "read") -> RelayError:
        """Log that a read failed, unless that was said, and make the answer to whoever asked.

        Args:
            error: SQLite's error.
            reader: what wanted to read, for the log.
            failed: what failed, if it is not known to be a read.
        """
        if self._is_news(error):
            logger.error("%s: the store cannot be %s: %s", reader, failed, _named(error))
        return RelayError.internal() if is_damage(error) else RelayError.unreadable()

    def _is_news(self, error: sqlite3.Error) -> bool:
        if is_damage(error):
            return self._first_damage()
        fault, now = str(error), trio.current_time()
        told = self._reads_told
        if now - told.get(fault, float("-inf")) < READ_FAULT_SECONDS:
            return False
        # SQLite's texts are few, but some name a file or a table.
        for old in [one for one, at in told.items() if now - at >= READ_FAULT_SECONDS]:
            del told[old]
        told[fault] = now
        return True

    def _first_damage(self) -> bool:
        """Return whether to log a damage: other pages work, so it has no end, and is told once a run."""
        first, self.damage_told = not self.damage_told, True
        return first


def _named(error: sqlite3.Error) -> str:
    """Say why SQLite failed, with its name for that."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{what_failed(error)} ({name})" if name else what_failed(error)
