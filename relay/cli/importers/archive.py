"""The files of an export, however they are packed.

An export is somebody else's: nothing outside of it is read, and nothing in it is unpacked beyond what it says it holds
and what memory has room for.
"""

import codecs
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple, TypeVar, cast

import msgspec

from relay.cli.importers.base import NotUnderstood, SourceFile
from relay.cli.importers.names import as_utf8, shown_name, zip_name

T = TypeVar("T")

MEMBERS = 500_000
"""The most files of an archive."""
LIST_BYTES = 128 * 2**20
"""The most bytes of a file that is one JSON list, which is read at once."""
LINE_BYTES = 32 * 2**20
"""The most bytes of a line in a file that is read line by line."""
PIECE = 2**20
"""Bytes unpacked at a time."""
LISTS = ("users.json", "channels.json", "groups.json", "mpims.json", "dms.json")
"""Files at the top of a Slack export."""
BESIDE = ("data", "files")
"""Folders beside an export in one file that contain its files. Anything else there is not part of the export."""


class Archive:
    """A directory, a zip file, a tar file or a single file, with one interface for all.

    Names are as people see them: composed (NFC), with `/` between folders, without the folders that a Mac or Windows
    adds, and without those that everything lies in.
    """

    def __init__(self, path: Path) -> None:
        """Open an archive and list its files.

        Raises:
            NotUnderstood: it cannot be read, is compressed where it must not be, or holds too much.
        """
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._tar: Path | None = None
        self._places: dict[str, _Place] = {}
        """The place of each file in a tar file, which has no index and would be read through for each."""
        self.unpacked = 0
        """The bytes of all files together, as the archive declares them."""
        self.recoded: list[str] = []
        """Files that are not in UTF-8 and were read in an encoding of Windows."""
        try:
            with _readable(path):
                sizes = self._look()
        except OSError as error:
            raise NotUnderstood(f"{path} cannot be read: {error.strerror}") from None
        if len(sizes) > MEMBERS:
            raise NotUnderstood(f"{path} holds more than {MEMBERS:,} files")
        self.unpacked = 0 if path.is_dir() else sum(sizes.values())
        seen = {shown: name for name in reversed(sizes) if (shown := shown_name(name))}
        within = _root(seen)
        self._actual = {shown.removeprefix(within): name for shown, name in seen.items() if shown.startswith(within)}
        """The name of each file in the archive, by the name that readers use."""
        self._sizes = {shown: sizes[name] for shown, name in self._actual.items()}
        self.names = sorted(self._actual)

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
            self._members = {zip_name(one): one for one in self._zip.infolist() if not one.is_dir()}
            return {name: one.file_size for name, one in self._members.items()}
        path.open("rb").close()
        return {}

    def _look_into_tar(self, path: Path) -> dict[str, int]:
        sizes: dict[str, int] = {}
        opened = False
        try:
            with tarfile.open(path, "r:") as tar:
                opened = True
                for member in tar:
                    # A link points to another file, which is listed itself.
                    if member.isfile():
                        sizes[member.name] = member.size
                        self._places[member.name] = _Place(member.offset_data, member.size, member.sparse)
                    # Otherwise tarfile would keep every member in memory.
                    tar.members = []  # type: ignore[attr-defined]
                    if len(sizes) > MEMBERS:
                        break
        except tarfile.ReadError as error:
            if opened:
                raise NotUnderstood(f"{path} is damaged, or not all of it is there: {error}") from None
            raise NotUnderstood(f"{path} is compressed: unpack it first, for instance with gunzip or unxz") from None
        return sizes

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return name in self._sizes

    def open(self, name: str) -> IO[bytes]:
        """Open a file that is there.

        Raises:
            NotUnderstood: it is none, or leads outside.
        """
        actual = self._actual.get(name, name)
        if self._tar is not None:
            return _Unpacked(self._tar, self._places[actual])
        if self._zip is not None:
            with _readable(name):
                return self._zip.open(self._members[actual])
        file = _inside(self._path, actual)
        if file is None:
            raise NotUnderstood(f"{self._path}: {name} is no file in it")
        return file.open("rb")

    def records(self, name: str, kind: type[T]) -> list[T]:
        """Read a JSON file that is a list; return an empty list if there is no such file.

        Raises:
            NotUnderstood: it is something else, or too large.
        """
        if not self.has(name):
            return []
        content, recoded = as_utf8(self._content(name, LIST_BYTES))
        if recoded and name not in self.recoded:
            self.recoded.append(name)
        try:
            found: list[T | None] = msgspec.json.decode(content, type=list[kind | None], strict=False)  # type: ignore[valid-type]
        except ValueError as error:
            raise NotUnderstood(f"{name}: {error}") from None
        return [one for one in found if one is not None]

    def enclosed(self, *candidates: str) -> SourceFile | None:
        """Find a file by the first of these names that exists."""
        for candidate in candidates:
            name = shown_name(candidate) or candidate
            if name in self._sizes:
                size = self._sizes[name]
                return SourceFile(Path(name).name, size, lambda name=name, size=size: self._pieces(name, size), name)  # type: ignore[misc]
            if self.names or PurePosixPath(name).parts[:1] not in [(folder,) for folder in BESIDE]:
                continue
            beside = _inside(self._path.parent, name)
            if beside is not None:
                return SourceFile(beside.name, beside.stat().st_size, lambda beside=beside: _read(beside), name)  # type: ignore[misc]
        return None

    def _pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Read a file: no more bytes than it declares, or than the limit."""
        size = 0
        with self.open(name) as file, _readable(name):
            # In pieces: zipfile unpacks as much as is asked for, whatever size the entry declares.
            while piece := file.read(PIECE):
                size += len(piece)
                if size > most:
                    raise NotUnderstood(f"{name} is larger than {most:,} bytes")
                yield piece

    def _content(self, name: str, most: int) -> bytes:
        if self._sizes.get(name, 0) > most:
            raise NotUnderstood(f"{name} is larger than {most:,} bytes")
        content = bytearray()
        for piece in self._pieces(name, most):
            content += piece
        return bytes(content)

    def first_with(self, ending: str) -> Callable[[], Iterator[bytes]] | None:
        """Return a function that reads the lines of the first file of a kind from the beginning."""
        if not self.names and self._path.is_file():
            return lambda: _lines(self._path.open("rb"), str(self._path))
        for name in sorted(self.names, key=lambda name: (name.count("/"), name)):
            if name.endswith(ending):
                return lambda: _lines(self.open(name), name)
        return None


def _root(names: Iterable[str]) -> str:
    """Find the folder, with its `/`, of the export's own files: it may have been packed with other folders around."""
    folders: dict[str, set[str]] = {}
    lines: list[str] = []
    for name in names:
        folder, slash, file = name.rpartition("/")
        if file in LISTS:
            folders.setdefault(folder + slash, set()).add(file)
        elif file.endswith(".jsonl"):
            lines.append(folder + slash)
    slack = [folder for folder, found in folders.items() if "users.json" in found and len(found) > 1]
    return min(slack or lines or list(folders), key=lambda folder: (folder.count("/"), folder), default="")


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(PIECE):
            yield piece


class _Place(NamedTuple):
    """The place of a file in a tar file."""

    offset: int
    size: int
    sparse: Any
    """The parts that are stored, if the file is sparse, as in `tarfile`."""


class _Unpacked(io.BufferedReader):
    """An open file in a tar file; closing it closes the tar file."""

    def __init__(self, path: Path, place: _Place) -> None:
        self._tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed with this one
        member = tarfile.TarInfo()
        member.offset_data, member.size, member.sparse = place
        super().__init__(cast("io.RawIOBase", self._tar.extractfile(member)))

    def close(self) -> None:
        """See `io.BufferedReader`."""
        super().close()
        self._tar.close()


def _inside(folder: Path, name: str) -> Path | None:
    """Find a file below a folder by the name that the export gives it.

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
    """Turn errors of an archive into `NotUnderstood`.

    Raises:
        NotUnderstood: it is damaged, or packed in a way that cannot be read.
    """
    try:
        yield
    except RuntimeError as error:
        # An encrypted archive; NotImplementedError is a RuntimeError too.
        raise NotUnderstood(f"{what} cannot be unpacked: {error}") from None
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError) as error:
        raise NotUnderstood(f"{what} is damaged: {error}") from None


def _lines(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a file, in UTF-8; some may be empty."""
    with file, _readable(name):
        start = file.read(3)
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            yield from _wide_lines(start, file, name)
            return
        head = b"" if start == codecs.BOM_UTF8 else start
        while line := head + file.readline(LINE_BYTES + 1):
            head = b""
            if len(line) > LINE_BYTES:
                raise NotUnderstood(f"{name}: a line is longer than {LINE_BYTES:,} bytes")
            # The first piece may hold two short lines.
            yield from (as_utf8(one)[0] for one in line.removesuffix(b"\n").split(b"\n"))


def _wide_lines(start: bytes, file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield the lines of a UTF-16 file, as some editors of Windows save it."""
    decode = codecs.getincrementaldecoder("utf-16")().decode
    text = decode(start)
    while True:
        piece = file.read(PIECE)
        text += decode(piece, final=not piece)
        *whole, text = text.split("\n")
        if not piece:
            whole, text = [*whole, text], ""
        yield from (line.encode() for line in whole)
        if len(text) > LINE_BYTES:
            raise NotUnderstood(f"{name}: a line is longer than {LINE_BYTES:,} bytes")
        if not piece:
            return
