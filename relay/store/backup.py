"""A backup is one tar file: the store as it was at one moment, and every uploaded file that it names.

Made while a relay runs, by SQLite's online backup; put back only where nothing newer is lost.
"""

import errno
import os
import shutil
import sqlite3
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple
from urllib.parse import quote

from relay.store import directory, emptied
from relay.store.database import NewerStore, NotAStore, identify
from relay.store.faults import is_damaged
from relay.store.lock import locked
from relay.store.statements import Statement

STORE = "relay.db"
FILES = "files"
PAGES = 4_096
"""Pages copied between two reports of progress."""

Progress = Callable[[int, int], None]
"""Told how much is done, and of how much."""


class CannotRestore(Exception):
    """What is in the way, for a person."""


class End(NamedTuple):
    """Where a store's log ends."""

    seq: int
    at: int
    version: int


_END = Statement("SELECT seq, at FROM log WHERE seq = (SELECT max(seq) FROM log)")
_TABLES = Statement("SELECT count(*) FROM sqlite_master")


def end(path: Path) -> End:
    """Read where a store's log ends.

    Raises:
        NotAStore, NewerStore: it is no relay's store, or a newer relay's.
        sqlite3.Error: it cannot be read.
    """
    emptied.refuse_to_read(path)
    with closing(_read(path)) as store:
        version = _recognise(store)
        last = store.execute(_END).fetchone()
    seq, at = last or (0, 0)
    return End(seq, at, version)


def _read(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(bytes(path))}?mode=ro", uri=True)


def _recognise(store: sqlite3.Connection) -> int:
    ((version,),) = store.execute("PRAGMA user_version")
    ((application,),) = store.execute("PRAGMA application_id")
    ((tables,),) = store.execute(_TABLES)
    identify(version, application, tables)
    return int(version)


def back_up(data: Path, target: Path, progress: Progress = lambda _done, _all: None) -> End:
    """Write a backup of a data directory. A relay may run meanwhile; the target appears when it is whole and synced.

    Raises:
        NotAStore, NewerStore, sqlite3.Error: the store cannot be read.
        OSError: the target cannot be written, or an uploaded file cannot be read, which is then named.
    """
    emptied.refuse_to_read(data / STORE)
    target = target.absolute()
    with tempfile.TemporaryDirectory(prefix=".relay-backup-", dir=target.parent) as scratch:
        copy = Path(scratch, STORE)
        part = Path(scratch, "part.tar")
        with tarfile.open(part, "w") as tar:
            # Files first, then the store, then the files that came meanwhile: what the store names is then there.
            added = set(_add_files(tar, data / FILES, set()))
            _copy_store(data / STORE, copy, progress)
            added.update(_add_files(tar, data / FILES, added))
            tar.add(copy, STORE)
        # Whoever holds it can put the relay up elsewhere.
        part.chmod(0o600)
        _sync(part)
        finish = end(copy)
        part.replace(target)
        _sync(target.parent)
    return finish


def _copy_store(source: Path, target: Path, progress: Progress) -> None:
    with closing(_read(source)) as store, closing(sqlite3.connect(target)) as copy:
        # One view for all steps: without it SQLite begins again whenever somebody writes between two of them.
        store.execute("BEGIN")
        _recognise(store)
        try:
            store.backup(copy, pages=PAGES, progress=lambda _status, left, total: progress(total - left, total))
            copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            # The store was just read: what fails now is the writing of its copy.
            full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error)) from None


def _add_files(tar: tarfile.TarFile, directory: Path, have: set[str]) -> Iterator[str]:
    if not directory.is_dir():
        return
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if name in have or not path.is_file() or path.name.startswith("."):
            continue
        try:
            tar.add(path, f"{FILES}/{name}", recursive=False)
        except FileNotFoundError:
            continue
        yield name


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def unpacked(backup: Path, data: Path) -> Iterator[Path]:
    """Unpack a backup beside the data directory, on the same disk.

    Raises:
        CannotRestore: it is no backup.
        OSError: it cannot be read, or there is no room for what is in it.
    """
    with tempfile.TemporaryDirectory(prefix=".relay-restore-", dir=data) as scratch:
        with backup.open("rb") as archive:
            _unpack_all(archive, backup, Path(scratch))
        if not Path(scratch, STORE).is_file():
            raise CannotRestore(f"{backup} is no backup of a relay")
        yield Path(scratch)


def _unpack_all(archive: IO[bytes], backup: Path, target: Path) -> None:
    try:
        with tarfile.open(fileobj=archive) as tar:
            for member in tar:
                _unpack(tar, member, target)
    except (tarfile.TarError, EOFError, zlib.error):
        # What tarfile says has many lines: all that the file is not either.
        raise CannotRestore(f"{backup} is no backup of a relay, or is not all of one") from None


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    """Take out one file, if it is one that a backup has: whoever made the archive may be anybody.

    tarfile's own filters came with Python 3.11.4, and Debian 12 has 3.11.2.
    """
    name = PurePosixPath(member.name)
    content = tar.extractfile(member) if member.isreg() else None
    upload = len(name.parts) > 1 and name.parts[0] == FILES and ".." not in name.parts
    if content is None or not (str(name) == STORE or upload):
        raise CannotRestore(f"the archive has {member.name!r}, which is in no backup of a relay")
    path = target / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


class Restored(NamedTuple):
    """What a restore did."""

    last: int
    """The greatest `seq` that the backup or the store before it had: no device can have seen a later event."""
    kept: Path | None
    """Where the store is that was there before, if there was one."""


def restore(backup: Path, data: Path, *, force: bool = False) -> Restored:
    """Put a backup in place. What was there is kept beside it, under a name that ends in `.before-restore`.

    A store that cannot be read is kept under a name of its own that ends in `.unreadable`, which nothing removes.

    Args:
        backup: what `back_up` wrote.
        data: the data directory; no relay may run on it.
        force: whether a store that has more than the backup may go.

    Raises:
        NoDirectory: there can be no data directory.
        Locked: a relay runs.
        CannotRestore: the backup is not good, or older than what is there.
        OSError: the backup cannot be read, or the data directory not written.
    """
    directory.make(data)
    with locked(data), unpacked(backup, data) as scratch:
        wanted = _wanted(scratch / STORE, backup)
        present = data / STORE
        there = present.exists()
        found = _found(present) if there else End(0, 0, 0)
        if found is not None and found.seq > wanted.seq and not force:
            raise CannotRestore(
                f"{data} has {found.seq - wanted.seq} entries more than the backup, and they would be gone:"
                " use --force if that is meant (the present store is kept beside it)"
            )
        suffix = _free_suffix(data) if found is None else ".before-restore"
        _put_aside(data, suffix)
        for path in sorted((scratch / FILES).rglob("*")):
            place = data / FILES / path.relative_to(scratch / FILES)
            if path.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
        _sync(scratch / STORE)
        (scratch / STORE).replace(present)
        _sync(data)
    return Restored(max(found.seq if found else 0, wanted.seq), data / f"{STORE}{suffix}" if there else None)


def _wanted(store: Path, backup: Path) -> End:
    try:
        return end(store)
    except NotAStore:
        raise CannotRestore(f"{backup} is no backup of a relay") from None
    except NewerStore:
        raise CannotRestore(f"{backup} was written by a newer relay: install that one first") from None
    except sqlite3.Error as error:
        raise CannotRestore(f"{backup} is damaged ({error})") from None


def _found(store: Path) -> End | None:
    """Read where the present store ends; None for one that is damaged, or no store at all."""
    if not store.is_file():
        return None
    try:
        return end(store)
    except NotAStore:
        return None
    except NewerStore:
        raise CannotRestore(f"{store} was written by a newer relay: install that one first") from None
    except sqlite3.Error as error:
        if is_damaged(error):
            return None
        raise CannotRestore(f"{store} cannot be read: {error}") from None


ASIDE = (STORE, f"{STORE}-wal", f"{STORE}-shm", FILES)
"""What a restore puts aside."""


def _free_suffix(data: Path) -> str:
    """The first name for an unreadable store that nothing has yet: it may be all there is, and is not replaced."""
    suffixes = (f".unreadable{f'-{number}' if number > 1 else ''}" for number in count(1))
    return next(one for one in suffixes if not any(os.path.lexists(data / f"{name}{one}") for name in ASIDE))


def _put_aside(data: Path, suffix: str) -> None:
    for name in ASIDE:
        present, aside = data / name, data / f"{name}{suffix}"
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        if present.exists():
            present.replace(aside)
