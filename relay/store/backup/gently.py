"""Work of a process beside the relay's: it leaves the relay the processor, and the disk between its own short syncs.

A disk that has half a gigabyte to write lets the relay's small commits wait. So all that is written goes to the disk
after each megabyte, and a rest follows, at the pace of all background work (`portion`). Touches the files that it is
given, and how nice this process is.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from relay.store.portion import rest_after

EVERY = 1 << 20
"""Bytes between two syncs: a commit of the relay's waits until so much is on the disk."""
NICE = 10
"""How much nicer than the relay a process beside it is, as in relay-backup.service."""


@contextmanager
def beside() -> Iterator[None]:
    """Let the relay have the processor first, until the end of the block where this process may take it back."""
    nice, policy = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0)
    _yield_processor(max(nice, NICE), os.SCHED_IDLE)
    try:
        yield
    finally:
        # Only root takes back what it gave up; else the process ends soon, and has nothing urgent left.
        _yield_processor(nice, policy)


def _yield_processor(nice: int, policy: int) -> None:
    """Ask for it, where this process may: in a service's sandbox it may not, and its unit has said how nice it is."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    # A process that is only nicer keeps the processor for some milliseconds when the relay's threads wake up.
    with suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_param(0))


class RestingPace:
    """Rests after work, as long as `portion` says."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def rest(self) -> None:
        """Rest."""
        time.sleep(rest_after(time.monotonic() - self._since))
        self._since = time.monotonic()


class _Gentle:
    """A file to be written from its beginning to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pace = RestingPace()
        self._written = 0

    def write(self, data: bytes) -> int:
        self._written += len(data)
        if self._written >= EVERY:
            self._written = 0
            self._file.flush()
            os.fdatasync(self._file.fileno())
            self._pace.rest()
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a new file for writing, gently."""
    with path.open("wb") as file:
        yield cast("IO[bytes]", _Gentle(file))
