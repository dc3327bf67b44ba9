"""A file that holds some room of the store's disk, to be given up when the disk is full.

What frees a full disk needs some room itself: SQLite's log and its index, the lock, the entry that says so. Plain
blocking file work on one file beside the store.
"""

import errno
import logging
import os
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = "relay.reserve"
SHARE = 4
"""Of a small disk no more than one of so many parts is set aside."""
LITTLE = 512 * 1_024
"""Bytes that a start and a stop need: with less left, or less than the reserve's size, a disk counts as full."""
LAST = 128 * 1_024
"""Bytes that are left to a store that was opened on a full disk: its shared index has 32 KiB."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Reserve:
    """The room that is set aside on one disk."""

    def __init__(self, data: Path, most: int) -> None:
        """Touch nothing yet.

        Args:
            data: the data directory.
            most: bytes to set aside; 0 for none.
        """
        self._path = data / NAME
        self._data = data
        self._most = most
        self.short = False
        """Whether the disk lacks the room for it: what is left belongs to what frees the disk."""
        self._odd: str | None = None

    @property
    def size(self) -> int:
        """Bytes that are set aside now."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    @property
    def wanted(self) -> int:
        """Bytes that should be."""
        if not self._most:
            return 0
        disk = os.statvfs(self._data)
        return min(self._most, disk.f_blocks * disk.f_frsize // SHARE)

    def store_may_have(self, size: int) -> bool:
        """Whether the disk has room for a store of so many bytes."""
        disk = os.statvfs(self._data)
        return size - (self._data / "relay.db").stat().st_size <= disk.f_bavail * disk.f_frsize

    @property
    def disk_is_full(self) -> bool:
        """Whether so little is left that even a start may fail."""
        disk = os.statvfs(self._data)
        return disk.f_bavail * disk.f_frsize < min(LITTLE, self.wanted)

    def spend(self) -> None:
        """Give the room back to the disk; what needs it should follow at once."""
        freed = self.size
        self.short = bool(self._most)
        if not freed:
            return
        try:
            self._path.unlink()
        except OSError as error:
            logger.warning("%s cannot be given up: %s", self._path, error.strerror)
            return
        logger.warning("the disk is full: %d bytes that were set aside are given up to free it", freed)

    def keep_rest(self) -> None:
        """Hold what is left of the room that was given up: what does not free the disk must not take it."""
        with suppress(OSError):
            disk = os.statvfs(self._data)
            left = self.size + disk.f_bavail * disk.f_frsize - LAST
            if left > self.size:
                self._take(min(left, self.wanted))
        self.short = True

    def fill(self) -> None:
        """Set the room aside where it is not, if the disk has it; note in `short` if it has not."""
        try:
            wanted, size = self.wanted, self.size
            if size == wanted:
                self.short = False
            elif not wanted:
                self._path.unlink(missing_ok=True)
                self.short = False
            else:
                self._take(wanted)
        except OSError as error:
            self._failed(error)
        else:
            self._odd = None

    def _take(self, wanted: int) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        before = 0
        try:
            before = min(wanted, os.fstat(descriptor).st_size)
            os.ftruncate(descriptor, before)
            # Blocks and not only a length: a hole takes up no room.
            os.posix_fallocate(descriptor, 0, wanted)
        except OSError:
            if before:
                os.ftruncate(descriptor, before)
            else:
                self._path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        self.short = False

    def _failed(self, error: OSError) -> None:
        self.short = error.errno in NO_ROOM
        what = error.strerror or str(error)
        if not self.short and what != self._odd:
            logger.warning("no room can be set aside in %s: %s", self._path, what)
            self._odd = what
