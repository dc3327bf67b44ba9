"""The files of an export, however they are packed."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TypeVar, cast

import msgspec

from relay.cli.sources.said import Enclosed, NotUnderstood

T = TypeVar("T")


class Files:
    """A directory, a zip file, a tar file or a single file, all the same to who reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._zip: zipfile.ZipFile | None = None
        self._tar: Path | None = None
        try:
            if path.is_dir():
                self.names = sorted(str(one.relative_to(path)) for one in path.rglob("*") if one.is_file())
            elif tarfile.is_tarfile(path):
                self._tar = path
                with tarfile.open(path) as tar:
                    self.names = sorted(tar.getnames())
            elif zipfile.is_zipfile(path):
                self._zip = zipfile.ZipFile(path)
                self.names = sorted(self._zip.namelist())
            else:
                path.open("rb").close()
                self.names = []
        except OSError as error:
            raise NotUnderstood(f"{path} cannot be read: {error.strerror}") from None
        # Some zip files have everything in one folder more.
        tops = {name.partition("/")[0] for name in self.names}
        self._within = f"{tops.pop()}/" if len(tops) == 1 and all("/" in name for name in self.names) else ""
        self.names = [name.removeprefix(self._within) for name in self.names]

    def has(self, name: str) -> bool:
        """Whether there is a file of this name."""
        return name in self.names

    def open(self, name: str) -> IO[bytes]:
        """Open a file that is there."""
        if self._tar is not None:
            return _Unpacked(self._tar, self._within + name)
        if self._zip is not None:
            return self._zip.open(self._within + name)
        return (self._path / self._within / name).open("rb")

    def records(self, name: str, kind: type[T]) -> list[T]:
        """What a JSON file lists; nothing where there is no such file.

        Raises:
            NotUnderstood: it is something else.
        """
        if not self.has(name):
            return []
        with self.open(name) as file:
            try:
                return msgspec.json.decode(file.read(), type=list[kind])  # type: ignore[valid-type]
            except ValueError as error:
                raise NotUnderstood(f"{name}: {error}") from None

    def enclosed(self, *candidates: str) -> Enclosed | None:
        """A file by the first of these names that is there."""
        for name in candidates:
            if name in self.names:
                with self.open(name) as file:
                    size = file.seek(0, io.SEEK_END)
                return Enclosed(Path(name).name, size, lambda name=name: self._content(name))  # type: ignore[misc]
            beside = self._path.parent / name
            if not self.names and ".." not in Path(name).parts and beside.is_file():
                return Enclosed(beside.name, beside.stat().st_size, beside.read_bytes)
        return None

    def _content(self, name: str) -> bytes:
        with self.open(name) as file:
            return file.read()

    def first_with(self, ending: str) -> Callable[[], Iterator[bytes]] | None:
        """The first file of a kind, as a way to read its lines from the beginning."""
        if not self.names and self._path.is_file():
            return lambda: _lines(self._path.open("rb"))
        for name in self.names:
            if name.endswith(ending):
                return lambda: _lines(self.open(name))
        return None


class _Unpacked(io.BufferedReader):
    """A file in a tar file, which is closed with it."""

    def __init__(self, path: Path, name: str) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115 - closed with this one
        content = self._tar.extractfile(name)
        if content is None:
            raise NotUnderstood(f"{path}: {name} is no file")
        super().__init__(cast("io.RawIOBase", content))

    def close(self) -> None:
        """See `io.BufferedReader`."""
        super().close()
        self._tar.close()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        yield from file
