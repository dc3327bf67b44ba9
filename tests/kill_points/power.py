"""A disk after a power cut: derives its possible contents from the calls that a program made.

Only synced data is certain. File contents: each page written since the file's last sync may or may not be there. Names:
those made, moved or removed since their directory's last sync may or may not be there; a rename is one step, as in
journaling file systems. Pure except for `lay_out`.
"""

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

PAGE = 512
"""Bytes that are written completely or not at all."""
_HEAD = struct.Struct("<cHHQQ")


class Call(NamedTuple):
    """One call that changed the disk, as points.c writes it."""

    op: str
    path: str
    other: str
    offset: int
    data: bytes
    size: int


def calls(trace: Path) -> Iterator[Call]:
    """Read the output of points.c."""
    raw = trace.read_bytes()
    at = 0
    while at < len(raw):
        op, first, second, offset, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        path, other = raw[at : at + first].decode(), raw[at + first : at + first + second].decode()
        at += first + second
        data = raw[at : at + size] if op == b"W" else b""
        at += len(data)
        yield Call(op.decode(), path, other, offset, data, size)


@dataclass(eq=False)
class File:
    """A file: its content for the program, and its certain content on disk."""

    now: bytearray = field(default_factory=bytearray)
    sure: bytes = b""
    dirty: set[int] = field(default_factory=set)
    mode: int = 0o600

    def write(self, offset: int, data: bytes) -> None:
        if len(self.now) < offset:
            self.now.extend(bytes(offset - len(self.now)))
        self.now[offset : offset + len(data)] = data
        self.dirty.update(range(offset // PAGE, (offset + len(data) - 1) // PAGE + 1))

    def truncate(self, size: int) -> None:
        kept = len(self.now)
        del self.now[size:]
        self.now.extend(bytes(size - len(self.now)))
        self.dirty.update(range(min(size, kept) // PAGE, max(size, kept) // PAGE + 1))

    def sync(self) -> None:
        self.sure = bytes(self.now)
        self.dirty.clear()

    def left(self, chance: random.Random, share: float) -> bytes:
        """A possible content on disk, with a share of the unsynced pages."""
        if not self.dirty:
            return self.sure
        sizes = (len(self.sure), len(self.now))
        size = sizes[chance.random() < share] if share else len(self.sure)
        found = bytearray(self.sure[:size].ljust(size, b"\0"))
        for page in self.dirty:
            if chance.random() < share:
                part = bytes(self.now[page * PAGE : (page + 1) * PAGE])
                if page * PAGE < size:
                    end = min(size, page * PAGE + len(part))
                    found[page * PAGE : end] = part[: end - page * PAGE]
        return bytes(found)


@dataclass(eq=False)
class Folder:
    """A directory: its names for the program, and those certainly on disk."""

    now: dict[str, "Folder | File"] = field(default_factory=dict)
    sure: dict[str, "Folder | File"] = field(default_factory=dict)


class Disk:
    """All files below one directory."""

    def __init__(self, there: Path, root: Path) -> None:
        """Read the existing files as synced; calls name them by this root."""
        self.root = str(root)
        self.top = _load(there)
        self._moves: list[tuple[Folder, str, Folder, str]] = []

    def apply(self, call: Call) -> None:
        """Apply a call."""
        match call.op:
            case "C":
                self._parent(call.path).now[_name(call.path)] = File()
            case "T":
                self._file(call.path).truncate(call.offset)
            case "W":
                self._file(call.path).write(call.offset, call.data)
            case "D":
                self._parent(call.path).now[_name(call.path)] = Folder()
            case "U":
                del self._parent(call.path).now[_name(call.path)]
            case "M":
                found = self._find(call.path)
                if isinstance(found, File):
                    found.mode = call.offset
            case "R":
                self._rename(call)
            case "L":
                self._parent(call.other).now[_name(call.other)] = self._file(call.path)
            case "S":
                self._sync(self._find(call.path))
            case "Y":
                _sync_all(self.top)
            case _:
                raise AssertionError(call.op)

    def _rename(self, call: Call) -> None:
        source, target = self._parent(call.path), self._parent(call.other)
        target.now[_name(call.other)] = source.now.pop(_name(call.path))
        self._moves.append((source, _name(call.path), target, _name(call.other)))

    def _sync(self, found: "Folder | File") -> None:
        if isinstance(found, File):
            found.sync()
            return
        found.sure = dict(found.now)
        # A rename is one step: if one of its two directories has it, so has the other.
        for move in list(self._moves):
            source, name, target, other = move
            if found is source or found is target:
                if source is not target:
                    moved = target.now.get(other)
                    if found is source and moved is not None:
                        target.sure[other] = moved
                    if found is target and name not in source.now:
                        source.sure.pop(name, None)
                self._moves.remove(move)

    def lay_out(self, target: Path, chance: random.Random, share: float) -> None:
        """Write a possible remainder into a new directory.

        Args:
            target: the directory.
            chance: the random source.
            share: the share of unsynced data that remains: 0 nothing, 1 everything.
        """
        together = chance.random() < share
        moving = {id(folder) for move in self._moves for folder in (move[0], move[2])}

        def write(folder: Folder, place: Path) -> None:
            place.mkdir()
            newest = together if id(folder) in moving else chance.random() < share
            for name, one in (folder.now if newest else folder.sure).items():
                path = place / name
                if isinstance(one, Folder):
                    write(one, path)
                else:
                    path.write_bytes(one.left(chance, share))
                    path.chmod(one.mode)

        write(self.top, target)

    def _parts(self, path: str) -> list[str]:
        return [part for part in path.removeprefix(self.root).split("/") if part not in ("", ".")]

    def _find(self, path: str) -> "Folder | File":
        found: Folder | File = self.top
        for part in self._parts(path):
            assert isinstance(found, Folder)
            found = found.now[part]
        return found

    def _parent(self, path: str) -> Folder:
        found = self._find("/".join(self._parts(path)[:-1]))
        assert isinstance(found, Folder)
        return found

    def _file(self, path: str) -> File:
        found = self._find(path)
        assert isinstance(found, File)
        return found


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _load(path: Path) -> Folder:
    folder = Folder()
    for one in path.iterdir():
        if one.is_dir():
            folder.now[one.name] = _load(one)
        elif one.is_file():
            content = one.read_bytes()
            folder.now[one.name] = File(bytearray(content), content, set(), one.stat().st_mode & 0o777)
    folder.sure = dict(folder.now)
    return folder


def _sync_all(folder: Folder) -> None:
    folder.sure = dict(folder.now)
    for one in folder.now.values():
        if isinstance(one, Folder):
            _sync_all(one)
        else:
            one.sync()
