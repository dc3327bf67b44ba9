"""Writing much beside a relay that syncs small commits: a disk that has half a gigabyte to write lets those wait.

So what was written goes to the disk every few megabytes, and whoever writes rests for as long as that took. Touches the
files that it is given.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

EVERY = 4 << 20
"""Bytes between two syncs."""
LONGEST = 0.25
"""Seconds of one rest at most."""


class Pace:
    """Rests after work, for as long as the work took."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def rest(self) -> None:
        """Rest."""
        time.sleep(min(LONGEST, time.monotonic() - self._since))
        self._since = time.monotonic()


class _Gentle:
    """A file to be written from its beginning to its end."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._pace = Pace()
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
