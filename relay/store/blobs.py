"""The contents of uploaded files: beside the store, one copy of each, named by its SHA-256.

Plain blocking file work for a thread; what a content belongs to is not known here. A content that is on its
way, or goes, is kept from being taken away, or used, meanwhile: see `Blobs.pin`.
"""

import hashlib
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from relay.store.files.scratch import sync

INCOMING = "."
"""What the names of files begin with that are not whole yet; a backup leaves them out."""
DIGEST = 64
"""Characters of a content's name."""


class BlobWriter:
    """A content that is being written. Its methods block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._hash = hashlib.sha256()
        self._file: BinaryIO = path.open("xb", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        """Add to it.

        Raises:
            OSError: the disk is full, or broken.
        """
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        """Bring it to disk and give its digest.

        Raises:
            OSError: the disk is full, or broken.
        """
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def discard(self) -> None:
        """Leave nothing of it, wherever it was."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class Blobs:
    """The directory of contents."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._pinned: Counter[str] = Counter()
        self._candidates: list[set[str]] = []
        self._durable: set[Path] = set()
        """Folders whose names this process has brought to disk: one that is there may be from before a crash."""

    def path(self, digest: str) -> Path:
        """Where a content is, or would be."""
        return self.directory / digest[:2] / digest

    def begin(self) -> BlobWriter:
        """Begin a content.

        Raises:
            OSError: the directory cannot be written.
        """
        self._make(self.directory)
        return BlobWriter(self.directory / f"{INCOMING}{secrets.token_hex(8)}")

    @contextmanager
    def pin(self, digest: str) -> Iterator[None]:
        """Keep a content from being taken away until whoever needs it is in the log."""
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
        """Give the contents that may be taken away once it is known of them that nothing needs them.

        One that arrives meanwhile is no longer among them: the answer may be older than its arrival.
        """
        leaving = set(digests)
        self._candidates.append(leaving)
        try:
            yield leaving
        finally:
            self._candidates = [other for other in self._candidates if other is not leaving]

    def place(self, incoming: BlobWriter, digest: str) -> None:
        """Give a finished content its name, durably; where it is there already the two are the same.

        Raises:
            OSError: the disk is full, or broken.
        """
        path = self.path(digest)
        self._make(path.parent)
        incoming.path.replace(path)
        sync(path.parent)

    def _make(self, folder: Path) -> None:
        """Make a folder whose name is on disk."""
        folder.mkdir(mode=0o750, exist_ok=True)
        if folder not in self._durable:
            sync(folder.parent)
            self._durable.add(folder)

    def quarantine(self, digest: str) -> Path | None:
        """Take a content that nothing needs out of the way at once; None where it is needed after all, or gone.

        The rest, which may take long, is `Path.unlink` of what this gives.
        """
        if digest in self._pinned:
            return None
        aside = self.directory / f"{INCOMING}{digest}"
        with suppress(FileNotFoundError):
            return self.path(digest).replace(aside)
        return None

    def sweep(self) -> int:
        """Remove what was never finished; only while nothing is being written. Gives how many there were."""
        count = 0
        for path in self.directory.glob(f"{INCOMING}*"):
            path.unlink(missing_ok=True)
            count += 1
        return count

    def digests(self) -> Iterator[list[str]]:
        """Name the contents that are there, a directory at a time."""
        if not self.directory.is_dir():
            return
        for directory in sorted(self.directory.iterdir()):
            if directory.is_dir():
                yield [path.name for path in directory.iterdir() if len(path.name) == DIGEST]

    def free(self) -> int:
        """Bytes that may still be written where contents are."""
        known = os.statvfs(self.directory if self.directory.is_dir() else self.directory.parent)
        return known.f_bavail * known.f_frsize
