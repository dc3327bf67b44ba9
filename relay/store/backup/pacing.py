"""Long work in a process beside the relay: leaves the processor to the relay, and the disk between its own short syncs.

The relay's small commits would wait for a disk that has half a gigabyte to write. So each megabyte is synced and
followed by a rest, at the pace of all background work (`portion`). Touches the files that it is given, and the
process's niceness.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from relay.store.portion import rest_after

SYNC_BYTES = 1 << 20
"""Bytes between two syncs: a commit of the relay may wait until this much is on disk."""
NICENESS = 10
"""The niceness of a process beside the relay, as in relay-backup.service."""


@contextmanager
def low_priority() -> Iterator[None]:
    """Return the relay's process priority until the end of the block."""
    nice, policy = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    _yield_processor(max(nice, NICENESS), os.SCHED_IDLE)
    try:
        yield
    finally:
        # Only root may undo it; any other process ends soon and has nothing urgent left.
        _yield_processor(nice, policy)


def _yield_processor(nice: int, policy: int) -> None:
    """Set niceness and scheduling if this process may: in a service's sandbox it may not, and the unit sets them."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    # Niceness alone would let this process keep the processor for some milliseconds after the relay's threads wake up.
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


class RestingPace:
    """Rests after work, for as long as `portion` says."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def rest(self) -> None:
        """Rest for the work since the last call."""
        time.sleep(rest_after(time.monotonic() - self._since))
        self._since = time.monotonic()


class _PacedFile:
    """A file that is written from beginning to end, with a sync and a rest after each megabyte."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pace = RestingPace()
        self._written = 0

    def write(self, data: bytes) -> int:
        self._written += len(data)
        if self._written >= SYNC_BYTES:
            self._written = 0
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._pace.rest()
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def truncate(self) -> int:
        return self._file.truncate()


@contextmanager
def open_paced(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing at the pace of background work."""
    with path.open("wb") as file:
        yield cast("IO[bytes]", _PacedFile(file))
