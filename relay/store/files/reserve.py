"""A file that reserves room on the store's disk, and empty files that reserve names: given up when the disk is full.

Freeing a full disk needs some room itself: for SQLite's log and its index, the lock, and the entries of a prune.
A start needs names for its
files, too (inodes). Blocking file operations on these files beside the store.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from relay.store.files import room
from relay.store.files.directory import store_file
from relay.store.files.ownership import give_to
from relay.store.files.room import NO_ROOM, START_NAMES, UNCOUNTED

logger = logging.getLogger(__name__)

SMALL_DISK_DIVISOR = 4
"""On a small disk, at most a quarter is reserved."""
START_AND_STOP_BYTES = 512 * 1_024
"""Bytes that a start and a stop need. A disk with less left, or less than the reserve's size, counts as full."""
UNRESERVED_BYTES = 128 * 1_024
"""Bytes left free for a store that was opened on a full disk: the index of its log takes 32 KiB."""


class Reserve:
    """The room reserved on one disk."""

    def __init__(self, data: Path, most: int) -> None:
        """Prepare; nothing is written yet.

        Args:
            data: the data directory.
            most: bytes to reserve; 0 for none.
        """
        # Beside the target of a link, because that disk must not be full.
        self._store = store_file(data)
        self._folder = self._store.parent
        self._path = self._store.with_suffix(".reserve")
        self._names = [self._store.with_suffix(f".reserve.{number}") for number in range(1, START_NAMES + 1)]
        self._most = most
        self.short = False
        """Whether the disk lacks the room for it; the remaining room is for freeing the disk."""
        self.names_spent = False
        """Whether a start needed the reserved names. Another object may have given them up before."""
        self._last_error: str | None = None
        """The last logged error, so that each is logged once."""

    @property
    def size(self) -> int:
        """Bytes reserved now."""
        try:
            return self._path.stat().st_size
        except OSError:
            return 0

    @property
    def target_size(self) -> int:
        """Bytes to reserve."""
        if not self._most:
            return 0
        disk = os.statvfs(self._folder)
        return min(self._most, disk.f_blocks * disk.f_frsize // SMALL_DISK_DIVISOR)

    def store_may_have(self, size: int) -> bool:
        """Return whether the disk has room for a store of this size in bytes."""
        disk = os.statvfs(self._folder)
        return size - self._store.stat().st_size <= disk.f_bavail * disk.f_frsize

    @property
    def disk_is_full(self) -> bool:
        """Whether so little is free that even a start may fail. A quota may leave less than the disk has."""
        needed = min(START_AND_STOP_BYTES, self.target_size)
        disk = room.of(self._folder)
        if disk.free < needed:
            return True
        # Without a free inode, no file can be written to find out.
        return bool(disk.names) and needed > 0 and room.refusal(self._folder, needed) is not None

    def spend_names(self) -> None:
        """Give back the reserved names if fewer are free than a start needs. The start should follow at once."""
        if room.of(self._folder).names >= START_NAMES:
            return
        self.names_spent = True
        kept = [path for path in self._names if path.exists()]
        if not kept:
            return
        logger.warning("the disk has no free inodes: releasing the %d that are reserved for a start", len(kept))
        for path in kept:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def keep_names(self) -> None:
        """Reserve names for the next start, as many as the disk has.

        Raises:
            OSError: no file can be made there, for a reason other than a full disk.
        """
        wanted = bool(self._most) and room.of(self._folder).names != UNCOUNTED
        for path in self._names:
            if not wanted:
                path.unlink(missing_ok=True)
            elif not path.exists():
                try:
                    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                except OSError as error:
                    if error.errno in NO_ROOM:
                        return
                    raise
                try:
                    give_to(self._store, descriptor)
                finally:
                    os.close(descriptor)

    def spend(self) -> None:
        """Give back the room. The work that needs it should follow at once."""
        freed = self.size
        self.short = bool(self._most)
        if not freed:
            return
        try:
            self._path.unlink()
        except OSError as error:
            logger.warning("%s cannot be given up: %s", self._path, error.strerror)
            return
        logger.warning("the disk is full: releasing %d reserved bytes so that it can be freed", freed)

    def keep_rest(self) -> None:
        """Reserve the remaining room after `spend`, so that only work that frees the disk uses it."""
        with suppress(OSError):
            disk = os.statvfs(self._folder)
            left = self.size + disk.f_bavail * disk.f_frsize - UNRESERVED_BYTES
            if left > self.size:
                self._take(min(left, self.target_size))
        self.short = True

    def fill(self) -> None:
        """Reserve the room if the disk has it. Sets `short` if it does not."""
        try:
            self.keep_names()
            wanted, size = self.target_size, self.size
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
            self._last_error = None

    def _take(self, wanted: int) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        before = 0
        try:
            give_to(self._store, descriptor)
            before = min(wanted, os.fstat(descriptor).st_size)
            os.ftruncate(descriptor, before)
            # Allocate blocks: setting the length alone would leave a hole, which takes no room.
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
        if not self.short and what != self._last_error:
            logger.warning("cannot reserve space in %s: %s", self._path, what)
            self._last_error = what


def open_lock(path: Path, data: Path) -> int:
    """Open the file of a lock, and make it if it is missing. A start or a command needs it before all others.

    Args:
        path: the file.
        data: the data directory, whose reserved names are given up if the disk has no free one.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be made.
    """
    try:
        return _open_lock(path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        Reserve(data, 0).spend_names()
        return _open_lock(path)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
