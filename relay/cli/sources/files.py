"""The files of an export, however they are packed.

An export is somebody else's: nothing outside of it is read, and nothing in it is unpacked beyond what it says it holds
and what memory has room for.
"""

import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, TypeVar, cast

import msgspec

from relay.cli.sources.said import Enclosed, NotUnderstood

T = TypeVar("T")

MEMBERS = 500_000
"""Files that an archive may hold."""
LIST_BYTES = 128 * 2**20
"""Bytes of a file that is one list in JSON, which is read at once."""
LINE_BYTES = 32 * 2**20
"""Bytes of a line in a file that is read line by line."""
PIECE = 2**20
"""Bytes that are unpacked at a time."""
BESIDE = ("data", "files")
"""Folders beside an export in one file that its own files are in: whatever else lies there is none of it."""


class Files:
    """A directory, a zip file, a tar file or a single file, all the same to who reads."""

    def __init__(self, path: Path) -> None:
        """Look at what there is.

        Raises:
            NotUnderstood: it cannot be read, is compressed where it must not be, or holds too much.
        """
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._tar: Path | None = None
        self.unpacked = 0
        """Bytes that an archive says its files have together."""
        try:
            with _readable(path):
                sizes = self._look()
        except OSError as error:
            raise NotUnderstood(f"{path} cannot be read: {error.strerror}") from None
        if len(sizes) > MEMBERS:
            raise NotUnderstood(f"{path} holds more than {MEMBERS:,} files")
        self.unpacked = 0 if path.is_dir() else sum(sizes.values())
        self.names = sorted(sizes)
        # Some zip files have everything in one folder more.
        tops = {name.partition("/")[0] for name in self.names}
        self._within = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in self.names) else ""
        self._sizes = {name.removeprefix(self._within): size for name, size in sizes.items()}
        self.names = [name.removeprefix(self._within) for name in self.names]

    def _look(self) -> dict[str, int]:
        """Find the names and sizes of all files."""
        path = self._path
        if path.is_dir():
            found = (str(one.relative_to(path)) for one in path.rglob("*"))
            inside = {name: file for name in found if (file := _inside(path, name)) is not None}
            return {name: file.stat().st_size for name, file in inside.items()}
        if tarfile.is_tarfile(path):
            self._tar = path
            return self._look_into_tar(path)
        if zipfile.is_zipfile(path):
            self._zip = zipfile.ZipFile(path)
            return {one.filename: one.file_size for one in self._zip.infolist()}
        path.open("rb").close()
        return {}

    @staticmethod
    def _look_into_tar(path: Path) -> dict[str, int]:
        sizes: dict[str, int] = {}
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    # A link names another file, which stands there by itself.
                    if member.isfile():
                        sizes[member.name] = member.size
                    # What was seen is not needed again, and tarfile would keep it.
                    tar.members = []  # type: ignore[attr-defined]
                    if len(sizes) > MEMBERS:
                        break
        except tarfile.ReadError:
            raise NotUnderstood(f"{path} is compressed: unpack it first, for instance with gunzip or unxz") from None
        return sizes

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.names

    def open(self, name: str) -> IO[bytes]:
        """Open a file that is there.

        Raises:
            NotUnderstood: it is none, or leads outside.
        """
        if self._tar is not None:
            return _Unpacked(self._tar, self._within + name)
        if self._zip is not None:
            with _readable(name):
                return self._zip.open(self._within + name)
        file = _inside(self._path, self._within + name)
        if file is None:
            raise NotUnderstood(f"{self._path}: {name} is no file in it")
        return file.open("rb")

    def records(self, name: str, kind: type[T]) -> list[T]:
        """What a JSON file lists; nothing where there is no such file.

        Raises:
            NotUnderstood: it is something else, or too large.
        """
        if not self.has(name):
            return []
        try:
            return msgspec.json.decode(self._content(name, LIST_BYTES), type=list[kind])  # type: ignore[valid-type]
        except ValueError as error:
            raise NotUnderstood(f"{name}: {error}") from None

    def enclosed(self, *candidates: str) -> Enclosed | None:
        """A file by the first of these names that is there."""
        for name in candidates:
            if name in self._sizes:
                size = self._sizes[name]
                return Enclosed(Path(name).name, size, lambda name=name, size=size: self._content(name, size))  # type: ignore[misc]
            if self.names or PurePosixPath(name).parts[:1] not in [(folder,) for folder in BESIDE]:
                continue
            beside = _inside(self._path.parent, name)
            if beside is not None:
                return Enclosed(beside.name, beside.stat().st_size, beside.read_bytes)
        return None

    def _content(self, name: str, most: int) -> bytes:
        if self._sizes.get(name, 0) > most:
            raise NotUnderstood(f"{name} is larger than {most:,} bytes")
        content = bytearray()
        with self.open(name) as file, _readable(name):
            # In pieces: a zip file unpacks as much at once as is asked for, whatever it says it holds.
            while piece := file.read(PIECE):
                content += piece
                if len(content) > most:
                    raise NotUnderstood(f"{name} is larger than {most:,} bytes")
        return bytes(content)

    def first_with(self, ending: str) -> Callable[[], Iterator[bytes]] | None:
        """The first file of a kind, as a way to read its lines from the beginning."""
        if not self.names and self._path.is_file():
            return lambda: _lines(self._path.open("rb"), str(self._path))
        for name in self.names:
            if name.endswith(ending):
                return lambda: _lines(self.open(name), name)
        return None


class _Unpacked(io.BufferedReader):
    """A file in a tar file, which is closed with it."""

    def __init__(self, path: Path, name: str) -> None:
        self._tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed with this one
        content = self._tar.extractfile(name)
        if content is None:
            raise NotUnderstood(f"{path}: {name} is no file")
        super().__init__(cast("io.RawIOBase", content))

    def close(self) -> None:
        """See `io.BufferedReader`."""
        super().close()
        self._tar.close()


def _inside(folder: Path, name: str) -> Path | None:
    """A file below a folder by the name that an export gives it.

    None where there is none, where the name begins elsewhere or climbs out, and where a link leads outside.
    """
    parts = PurePosixPath(name).parts
    if not parts or parts[0] == "/" or ".." in parts or "\0" in name:
        return None
    try:
        file = folder.joinpath(*parts).resolve(strict=True)
        return file if file.is_relative_to(folder.resolve(strict=True)) and file.is_file() else None
    except (OSError, RuntimeError):
        return None


@contextmanager
def _readable(what: object) -> Iterator[None]:
    """Say in words what is wrong with an archive.

    Raises:
        NotUnderstood: it is damaged, or packed in a way that cannot be read.
    """
    try:
        yield
    except RuntimeError as error:
        # An encrypted one; NotImplementedError is one too.
        raise NotUnderstood(f"{what} cannot be unpacked: {error}") from None
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError) as error:
        raise NotUnderstood(f"{what} is damaged: {error}") from None


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    with file, _readable(name):
        while line := file.readline(LINE_BYTES + 1):
            if len(line) > LINE_BYTES:
                raise NotUnderstood(f"{name}: a line is longer than {LINE_BYTES:,} bytes")
            yield line
