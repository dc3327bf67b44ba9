"""Whether an uploaded file is whole, spoilt, missing or unreadable: its name is the SHA-256 of its content.

Backup, export, restore, import, check and download all ask here. Blocking file work; reads uploaded files only.
"""

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import IO, NamedTuple, cast

from relay.store.blobs import DIGEST_CHARACTERS

PIECE_BYTES = 1 << 20
"""Bytes read at a time."""
_ABSENT = (errno.ENOENT, errno.ENOTDIR)


class Condition(Enum):
    """The condition of an uploaded file."""

    WHOLE = "whole"
    SPOILT = "spoilt"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class Verdict(NamedTuple):
    """The condition of an uploaded file, and the system's error if it cannot be read."""

    condition: Condition
    error: OSError | None = None


class SourceFailed(Exception):
    """The content cannot be read. This is not an `OSError`, so that nobody takes it for a failure of the target."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class ContentSource:
    """A file that is read here and there. Its errors are `SourceFailed`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        try:
            return self._file.read(size)
        except OSError as error:
            raise SourceFailed(error) from error

    def seek(self, offset: int) -> int:
        """Go to an offset."""
        return self._file.seek(offset)

    def tell(self) -> int:
        """Return the offset."""
        return self._file.tell()


class Proof:
    """Takes a content piece by piece, and knows at its end whether it is the content that its name says."""

    def __init__(self, name: str) -> None:
        """Begin with nothing.

        Args:
            name: the SHA-256 in hexadecimal. Any content fits a name of another length.
        """
        self.size = 0
        """Bytes so far."""
        self._name = name
        self._hash = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self._hash.update(piece)
        self.size += len(piece)

    def is_whole(self) -> bool:
        """Return whether all pieces together are the content that the name says."""
        return len(self._name) != DIGEST_CHARACTERS or self._hash.hexdigest() == self._name


class ProvenReader(Proof):
    """Reads a content and proves it."""

    def __init__(self, source: IO[bytes], name: str) -> None:
        """Begin to read `source`, from its beginning; for `name` see `Proof`."""
        super().__init__(name)
        self._source = ContentSource(source)

    def read(self, size: int = PIECE_BYTES) -> bytes:
        """Read the next bytes; none at the end.

        Raises:
            SourceFailed: the content cannot be read.
        """
        piece = self._source.read(size)
        self.add(piece)
        return piece


Use = Callable[[ProvenReader, int], None]
"""A function that reads a file's content to its end. Its second argument is the size in bytes."""


def read_all(reader: ProvenReader, _size: int) -> None:
    """Read a content without using it."""
    while reader.read():
        pass


def look(path: Path, size: int) -> Verdict:
    """Return the condition of a file as far as it shows without reading it.

    Args:
        path: the file.
        size: the bytes that it should have.
    """
    try:
        found = path.stat()
    except OSError as error:
        return _not_read(error)
    if not stat.S_ISREG(found.st_mode):
        return Verdict(Condition.MISSING)
    return Verdict(Condition.WHOLE if found.st_size == size else Condition.SPOILT)


def prove(path: Path, use: Use = read_all) -> Verdict:
    """Return the condition of a file by reading all of it.

    Args:
        path: the file, whose name is its SHA-256.
        use: what to do with the content meanwhile. Its own errors are raised.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return Verdict(Condition.MISSING)
        file = path.open("rb", buffering=0)
    except OSError as error:
        return _not_read(error)
    with file:
        reader = ProvenReader(cast("IO[bytes]", file), path.name)
        try:
            use(reader, os.fstat(file.fileno()).st_size)
        except SourceFailed as failed:
            return Verdict(Condition.UNREADABLE, failed.error)
    return Verdict(Condition.WHOLE if reader.is_whole() else Condition.SPOILT)


def words(verdict: Verdict) -> str:
    """Say what is wrong with a file, as the rest of a sentence that begins with its name."""
    if verdict.condition is Condition.UNREADABLE:
        return f"cannot be read: {verdict.error.strerror if verdict.error else 'the system refuses it'}"
    return "is missing" if verdict.condition is Condition.MISSING else "is spoilt: it is not what was uploaded"


def add_to_tar(tar: tarfile.TarFile, path: Path, name: str) -> Verdict:
    """Add an uploaded file to a tar file, and prove it meanwhile; remove it again if it cannot be read to its end.

    Args:
        tar: the tar file, which can be cut.
        path: the uploaded file.
        name: its name in the tar file.

    Raises:
        OSError: the tar file cannot be written.
    """
    begin, target = tar.offset, tar.fileobj
    assert target is not None

    def copy(reader: ProvenReader, size: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode, entry.mtime = size, 0o640, int(path.stat().st_mtime)
        tar.addfile(entry, cast("IO[bytes]", _Exactly(reader, size)))

    verdict = prove(path, copy)
    if tar.offset != begin and verdict.condition is Condition.UNREADABLE:
        target.seek(begin)
        target.truncate()  # type: ignore[attr-defined]
        tar.offset = begin
    return verdict


class _Exactly:
    """A content whose early end is a failure of the source: tarfile would report it of the target."""

    def __init__(self, reader: ProvenReader, size: int) -> None:
        self._reader = reader
        self._size = size

    def read(self, size: int) -> bytes:
        held = bytearray()
        while len(held) < size and (piece := self._reader.read(size - len(held))):
            held += piece
        if len(held) < size and self._reader.size < self._size:
            raise SourceFailed(OSError(errno.EIO, os.strerror(errno.EIO)))
        return bytes(held)


def _not_read(error: OSError) -> Verdict:
    return Verdict(Condition.MISSING) if error.errno in _ABSENT else Verdict(Condition.UNREADABLE, error)
