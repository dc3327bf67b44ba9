"""The files of an export: a folder, a zip file, a tar file or a single file.

An export is not trusted: nothing outside of it is read, and nothing in it is unpacked beyond its stated size and what
fits in memory.
"""

import codecs
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, TypeVar, cast

import msgspec

from relay.cli.importers.base import NotUnderstood, SourceFile
from relay.cli.importers.names import as_utf8, decode_json, shown_name, what_is_wrong, zip_name
from relay.protocol.codec import UNDECODABLE

T = TypeVar("T")
Flaws = Callable[[msgspec.DecodeError | UnicodeDecodeError], None]
"""Takes the error of an item that stays behind."""

PIECE_BYTES = 2**20
"""Bytes unpacked at a time."""
VOID_BYTES = 8
"""Maximum bytes of an empty list."""
SLACK_USERS = ("users.json", "org_users.json")
"""The lists of users in a Slack export; the export of a whole organization (Enterprise Grid) has the second."""
SLACK_LISTS = (*SLACK_USERS, "channels.json", "groups.json", "mpims.json", "dms.json")
"""The lists at the top of a Slack export."""
FILE_FOLDERS = ("data", "files")
"""Folders beside a single-file export that contain its files; nothing else beside it is part of it."""


class ArchiveBounds(NamedTuple):
    """How much of an export is held in memory."""

    files: int = 500_000
    """Maximum files in an archive."""
    list_bytes: int = 128 * 2**20
    """Maximum bytes of a file that is one JSON list: it is read at once."""
    line_bytes: int = 32 * 2**20
    """Maximum bytes of a line in a file that is read line by line."""


ARCHIVE_BOUNDS = ArchiveBounds()


class Archive:
    """A folder, a zip file, a tar file or a single file, all read in the same way.

    Names have the form that people see: composed (NFC), with `/` between folders, without the folders that macOS or
    Windows add, and without the folders around the whole export.
    """

    def __init__(self, path: Path, bounds: ArchiveBounds = ARCHIVE_BOUNDS) -> None:
        """List the files.

        Args:
            path: the archive or folder.
            bounds: how much of it is held in memory.

        Raises:
            NotUnderstood: it cannot be read, is compressed where it must not be, or contains too many files.
        """
        self._path = path
        self._bounds = bounds
        self._zip: zipfile.ZipFile | None = None
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._tar: Path | None = None
        self._places: dict[str, _TarPlace] = {}
        """The position of each file's content in a tar file, which has no list and would be read through each time."""
        self.unpacked = 0
        """The total stated size of all files in an archive, in bytes."""
        self.skipped: list[str] = []
        """Members that are not files, such as links to other places, by name."""
        self.recoded: list[str] = []
        """Files that are not in UTF-8 and were read as cp1252."""
        try:
            with _readable(path):
                sizes = self._look()
        except OSError as error:
            raise NotUnderstood(f"{path} cannot be read: {error.strerror}") from None
        if len(sizes) + len(self.skipped) > bounds.files:
            raise NotUnderstood(f"{path} holds more than {bounds.files:,} files")
        self.unpacked = 0 if path.is_dir() else sum(sizes.values())
        seen = {shown: name for name in reversed(sizes) if (shown := shown_name(name))}
        within = _root(seen)
        self._actual = {shown.removeprefix(within): name for shown, name in seen.items() if shown.startswith(within)}
        """The name in the archive or folder, by the name of a file."""
        self._sizes = {shown: sizes[name] for shown, name in self._actual.items()}
        self.outside = sorted(shown for shown in seen if not shown.startswith(within))
        """Files that are not in the folder of the export, by name."""
        self.names = sorted(self._actual)

    def _look(self) -> dict[str, int]:
        """Find the names and sizes of all files."""
        path = self._path
        if path.is_dir():
            sizes: dict[str, int] = {}
            for one in path.rglob("*"):
                name = str(one.relative_to(path))
                file = _inside(path, name)
                if file is not None:
                    sizes[name] = file.stat().st_size
                elif one.is_symlink() or not one.is_dir():
                    self.skipped.append(name)
            return sizes
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
                    if member.isfile():
                        sizes[member.name] = member.size
                        self._places[member.name] = _TarPlace(member.offset_data, member.size, member.sparse)
                    elif member.islnk() and member.linkname in self._places:
                        # Another name of a file that has several on the disk.
                        sizes[member.name] = sizes[member.linkname]
                        self._places[member.name] = self._places[member.linkname]
                    elif not member.isdir():
                        self.skipped.append(member.name)
                    # tarfile would keep each member in memory.
                    tar.members = []  # type: ignore[attr-defined]
                    if len(sizes) + len(self.skipped) > self._bounds.files:
                        break
        except tarfile.ReadError:
            if opened:
                raise NotUnderstood(f"{path} is damaged, or not all of it is there") from None
            raise NotUnderstood(f"{path} is compressed: unpack it first, for instance with gunzip or unxz") from None
        return sizes

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return name in self._sizes

    def is_void(self, name: str) -> bool:
        """Return whether a file has nothing in it, or an empty list."""
        return self._sizes[name] <= VOID_BYTES and not self._content(name, VOID_BYTES).strip(b"[]{}nul\r\n ")

    def open(self, name: str) -> IO[bytes]:
        """Open a file.

        Raises:
            NotUnderstood: it is no longer a file, or leads outside.
        """
        actual = self._actual.get(name, name)
        if self._tar is not None:
            return _TarFile(self._tar, self._places[actual])
        if self._zip is not None:
            with _readable(name):
                return self._zip.open(self._members[actual])
        file = _inside(self._path, actual)
        if file is None:
            raise NotUnderstood(f"{self._path}: {name} is not a file in it")
        return file.open("rb")

    def records(self, name: str, kind: type[T], flaws: Flaws) -> list[T] | None:
        """Read a JSON list, item by item; empty if the file is missing or has only `null`, which is Go's empty list.

        Args:
            name: the file.
            kind: the type of its items.
            flaws: gets the error of each item that is of another type.

        Returns:
            The items of that type; None if the file has JSON, but no list.

        Raises:
            NotUnderstood: it is not JSON, or too large.
        """
        if not self.has(name):
            return []
        content, recoded = as_utf8(self._content(name, self._bounds.list_bytes))
        if recoded and name not in self.recoded:
            self.recoded.append(name)
        decoder = msgspec.json.Decoder(list[kind | None] | None, strict=False)  # type: ignore[valid-type]
        try:
            found: list[T | None] | None = decode_json(decoder.decode, content)
        except msgspec.ValidationError:
            return self._sound_records(name, kind, content, flaws)
        except UNDECODABLE as error:
            raise NotUnderstood(what_is_wrong(error, name)) from None
        return [one for one in found or () if one is not None]

    @staticmethod
    def _sound_records(name: str, kind: type[T], content: bytes, flaws: Flaws) -> list[T] | None:
        """Read the items of a JSON list one by one, because at least one is of another type."""
        try:
            items = decode_json(msgspec.json.Decoder(list[msgspec.Raw]).decode, content)
        except msgspec.ValidationError:
            return None
        except UNDECODABLE as error:
            raise NotUnderstood(what_is_wrong(error, name)) from None
        decoder = msgspec.json.Decoder(kind | None, strict=False)
        sound: list[T] = []
        for item in items:
            try:
                one: T | None = decode_json(decoder.decode, bytes(item))
            except UNDECODABLE as error:
                flaws(error)
            else:
                sound += [one] if one is not None else []
        return sound

    def enclosed(self, *candidates: str) -> SourceFile | None:
        """Find a file by the first of these names that exists."""
        for candidate in candidates:
            name = shown_name(candidate) or candidate
            if name in self._sizes:
                size = self._sizes[name]
                return SourceFile(Path(name).name, size, lambda name=name, size=size: self._pieces(name, size), name)  # type: ignore[misc]
            if self.names or PurePosixPath(name).parts[:1] not in [(folder,) for folder in FILE_FOLDERS]:
                continue
            beside = _inside(self._path.parent, name)
            if beside is not None:
                return SourceFile(beside.name, beside.stat().st_size, lambda beside=beside: _read(beside), name)  # type: ignore[misc]
        return None

    def _pieces(self, name: str, most: int) -> Iterator[bytes]:
        """Read a file in pieces, up to `most` bytes in total."""
        size = 0
        with self.open(name) as file, _readable(name):
            # A zip file unpacks as much at once as requested, whatever its stated size.
            while piece := file.read(PIECE_BYTES):
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
        """Find the first file with this ending, and return a function that reads its lines from the beginning."""
        if not self.names and self._path.is_file():
            return lambda: _lines(self._path.open("rb"), str(self._path), self._bounds.line_bytes)
        for name in sorted(self.names, key=lambda name: (name.count("/"), name)):
            if name.endswith(ending):
                return lambda: _lines(self.open(name), name, self._bounds.line_bytes)
        return None


def is_slack(lists: Collection[str]) -> bool:
    """Return whether these lists make a Slack export: it has at least one of users and one of chats."""
    return 0 < len(set(SLACK_USERS).intersection(lists)) < len(lists)


def _root(names: Iterable[str]) -> str:
    """Find the folder, with its `/`, that contains the export itself: folders may have been packed around it."""
    folders: dict[str, set[str]] = {}
    lines: list[str] = []
    for name in names:
        folder, slash, file = name.rpartition("/")
        if file in SLACK_LISTS:
            folders.setdefault(folder + slash, set()).add(file)
        elif file.endswith(".jsonl"):
            lines.append(folder + slash)
    slack = [folder for folder, found in folders.items() if is_slack(found)]
    return min(slack or lines or list(folders), key=lambda folder: (folder.count("/"), folder), default="")


def _read(file: Path) -> Iterator[bytes]:
    with file.open("rb") as content:
        while piece := content.read(PIECE_BYTES):
            yield piece


class _TarPlace(NamedTuple):
    """The position of a file's content in a tar file."""

    offset: int
    size: int
    sparse: bytes | None
    """The parts of a sparse file that have content, in `tarfile`'s form: a list, though its types say bytes."""


class _TarFile(io.BufferedReader):
    """A file in a tar file; closing it closes the tar file."""

    def __init__(self, path: Path, place: _TarPlace) -> None:
        self._tar = tarfile.open(path, "r:")  # noqa: SIM115 - closed with this one
        member = tarfile.TarInfo()
        member.offset_data, member.size, member.sparse = place
        super().__init__(cast("io.RawIOBase", self._tar.extractfile(member)))

    def close(self) -> None:
        """See `io.BufferedReader`."""
        super().close()
        self._tar.close()


def _inside(folder: Path, name: str) -> Path | None:
    """Find a file below a folder by its name in the export.

    Returns:
        None if there is no such file, if the name is absolute or climbs out, or if a link leads outside.
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
def _readable(name: Path | str) -> Iterator[None]:
    """Turn the errors of a damaged archive into `NotUnderstood`.

    Raises:
        NotUnderstood: it is damaged, or packed in a way that cannot be read.
    """
    try:
        yield
    except NotImplementedError:
        raise NotUnderstood(f"{name} cannot be unpacked: it is packed in a way that is not known here") from None
    except RuntimeError:
        raise NotUnderstood(f"{name} cannot be unpacked: it is encrypted, pack it without a password") from None
    except (zipfile.BadZipFile, zlib.error, tarfile.TarError, EOFError, UnicodeDecodeError):
        # A name marked as UTF-8 need not be UTF-8.
        raise NotUnderstood(f"{name} is damaged, or not all of it is there") from None


def _lines(file: IO[bytes], name: str, most: int) -> Iterator[bytes]:
    """Read the lines of a file, of `most` bytes each, in UTF-8; some may be empty."""
    with file, _readable(name):
        start = file.read(3)
        if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            yield from _wide_lines(start, file, name, most)
            return
        head = b"" if start == codecs.BOM_UTF8 else start
        while line := head + file.readline(most + 1):
            head = b""
            if len(line) > most:
                raise NotUnderstood(f"{name}: a line is longer than {most:,} bytes")
            # The first read may have taken the end of a short line.
            yield from (as_utf8(one)[0] for one in line.removesuffix(b"\n").split(b"\n"))


def _wide_lines(start: bytes, file: IO[bytes], name: str, most: int) -> Iterator[bytes]:
    """Read lines of UTF-16, which some editors on Windows write."""
    decode = codecs.getincrementaldecoder("utf-16")().decode
    text = decode(start)
    while True:
        piece = file.read(PIECE_BYTES)
        text += decode(piece, final=not piece)
        *whole, text = text.split("\n")
        if not piece:
            whole, text = [*whole, text], ""
        yield from (line.encode() for line in whole)
        if len(text) > most:
            raise NotUnderstood(f"{name}: a line is longer than {most:,} bytes")
        if not piece:
            return
