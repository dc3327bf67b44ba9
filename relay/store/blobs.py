"""Blobs: the contents of uploaded files beside the store, one copy of each, named by its SHA-256.

Plain blocking file work for a thread; this module does not know which files use a blob. A blob that is about to be used
is pinned, so that it is not deleted meanwhile: see `Blobs.pin`.
"""

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from relay.store.files import room
from relay.store.files.room import Room
from relay.store.files.scratch import sync

INCOMING = "."
"""Prefix of the names of unfinished files; a backup leaves them out."""
DIGEST_CHARACTERS = 64
"""Characters of a blob's name."""


class BlobWriter:
    """A blob that is being written. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        """Append to it.

        Raises:
            OSError: the disk is full, or fails.
        """
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Sync it and return its digest.

        Raises:
            OSError: the disk is full, or fails.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close it; the written bytes stay until a sweep removes them."""
        self._file.close()

    def discard(self) -> None:
        """Close and remove it."""
        self.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """The directory of blobs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pinned: Counter[str] = Counter()
        self._candidates: list[set[str]] = []
        self._durable: set[Path] = set()
        """Folders whose names this process has synced; another existing one may be unsynced since a crash."""

    def path(self, digest: str) -> Path:
        """Return the path of a blob, whether or not it exists."""
        return self.directory / digest[:2] / digest

    def begin(self) -> BlobWriter:
        """Begin to write a blob.

        Raises:
            OSError: the directory cannot be written.
        """
        self._make(self.directory)
        return BlobWriter(self.directory / f"{INCOMING}{secrets.token_hex(8)}")

    @contextmanager
    def pin(self, digest: str) -> Iterator[None]:
        """Keep a blob from being deleted until the file that needs it is in the log."""
        self._pinned[digest] += 1
        try:
            yield
        finally:
            self._pinned[digest] -= 1
            if not self._pinned[digest]:
                del self._pinned[digest]
            for leaving in self._candidates:
                leaving.discard(digest)

    @contextmanager
    def unpinned(self, digests: Iterable[str]) -> Iterator[set[str]]:
        """Yield the candidates for deletion while the caller finds out which of them no file needs.

        A blob that is pinned meanwhile leaves the set, because the caller's answer may be older.
        """
        leaving = set(digests)
        self._candidates.append(leaving)
        try:
            yield leaving
        finally:
            self._candidates = [other for other in self._candidates if other is not leaving]

    def put_in_place(self, incoming: BlobWriter, digest: str) -> None:
        """Give a finished blob its name, durably. If the name exists, the contents are the same.

        Raises:
            OSError: the disk is full, or fails.
        """
        path = self.path(digest)
        self._make(path.parent)
        incoming.path.replace(path)
        sync(path.parent)

    def _make(self, folder: Path) -> None:
        """Create a folder, durably."""
        folder.mkdir(mode=0o750, exist_ok=True)
        if folder not in self._durable:
            sync(folder.parent)
            self._durable.add(folder)

    def quarantine(self, digest: str) -> Path | None:
        """Rename a blob that no file needs, so that nothing uses it from now on.

        Returns:
            The path to unlink, which may take long; None if the blob is pinned or gone.
        """
        if digest in self._pinned:
            return None
        aside = self.directory / f"{INCOMING}{digest}"
        with suppress(FileNotFoundError):
            return self.path(digest).replace(aside)
        return None

    def sweep(self) -> int:
        """Remove unfinished files, while nothing is being written; return how many were removed.

        One that cannot be removed stays until the next sweep: a disk may be read-only for a moment.
        """
        count = 0
        for path in self.directory.glob(f"{INCOMING}*"):
            with suppress(OSError):
                path.unlink(missing_ok=True)
                count += 1
        return count

    def digests(self) -> Iterator[list[str]]:
        """Yield the names of all blobs, a folder at a time."""
        if not self.directory.is_dir():
            return
        # Other folders, such as a disk's own `lost+found`, may not be readable.
        for directory in sorted(self.directory.glob("[0-9a-f][0-9a-f]")):
            if directory.is_dir():
                yield [path.name for path in directory.iterdir() if len(path.name) == DIGEST_CHARACTERS]

    def room(self) -> Room:
        """Return the room on the disk of the blobs."""
        return room.of(self.directory if self.directory.is_dir() else self.directory.parent)
