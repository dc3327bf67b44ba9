"""A backup is one tar file: the store as it was at one moment, and every uploaded file that it names.

Made while a relay runs, by SQLite's online backup; put back only where nothing newer is lost.
"""

import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from relay.store.lock import locked
from relay.store.schema import APPLICATION_ID, MIGRATIONS

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


def end(path: Path) -> End:
    """Read where a store's log ends.

    Raises:
        CannotRestore: it is no relay's store, or a newer relay's.
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
            ((application,),) = store.execute("PRAGMA application_id")
            ((version,),) = store.execute("PRAGMA user_version")
            if application != APPLICATION_ID:
                raise CannotRestore(f"{path} is no relay's store")
            if version > len(MIGRATIONS):
                raise CannotRestore(f"{path} was written by a newer relay: install that one first")
            ((seq, at),) = store.execute("SELECT coalesce(max(seq), 0), coalesce(max(at), 0) FROM log")
    except sqlite3.DatabaseError as error:
        raise CannotRestore(f"{path} cannot be read: {error}") from None
    return End(seq, at, version)


def back_up(data: Path, target: Path, progress: Progress = lambda _done, _all: None) -> End:
    """Write a backup of a data directory. A relay may run meanwhile; the target appears when it is whole and synced.

    Raises:
        OSError, sqlite3.Error: it could not be written.
    """
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
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as store,
        closing(sqlite3.connect(target)) as copy,
    ):
        # One view for all steps: without it SQLite begins again whenever somebody writes between two of them.
        store.execute("BEGIN")
        store.execute("SELECT count(*) FROM sqlite_master").fetchall()
        store.backup(copy, pages=PAGES, progress=lambda _status, left, total: progress(total - left, total))
        copy.execute("PRAGMA journal_mode = DELETE")


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
    """
    with tempfile.TemporaryDirectory(prefix=".relay-restore-", dir=data) as scratch:
        try:
            with tarfile.open(backup) as tar:
                for member in tar:
                    _unpack(tar, member, Path(scratch))
        except (tarfile.TarError, OSError) as error:
            raise CannotRestore(f"{backup} is no backup that can be read: {error}") from None
        if not Path(scratch, STORE).is_file():
            raise CannotRestore(f"{backup} is no backup of a relay")
        yield Path(scratch)


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


def restore(backup: Path, data: Path, *, force: bool = False) -> int:
    """Put a backup in place. What was there is kept beside it, under a name that ends in `.before-restore`.

    Args:
        backup: what `back_up` wrote.
        data: the data directory; no relay may run on it.
        force: whether a store that has more than the backup may go.

    Returns:
        The greatest `seq` that either had: no device can have seen a later event.

    Raises:
        Locked: a relay runs.
        CannotRestore: the backup is not good, or older than what is there.
    """
    data.mkdir(mode=0o750, parents=True, exist_ok=True)
    with locked(data), unpacked(backup, data) as scratch:
        wanted = end(scratch / STORE)
        present = data / STORE
        found = end(present) if present.exists() else End(0, 0, 0)
        if found.seq > wanted.seq and not force:
            raise CannotRestore(
                f"{data} has {found.seq - wanted.seq} entries more than the backup, and they would be gone:"
                " use --force if that is meant (the present store is kept beside it)"
            )
        _put_aside(data)
        for path in sorted((scratch / FILES).rglob("*")):
            place = data / FILES / path.relative_to(scratch / FILES)
            if path.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                path.replace(place)
        _sync(scratch / STORE)
        (scratch / STORE).replace(present)
        _sync(data)
    return max(found.seq, wanted.seq)


def _put_aside(data: Path) -> None:
    for name in (STORE, f"{STORE}-wal", f"{STORE}-shm", FILES):
        present, aside = data / name, data / f"{name}.before-restore"
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink(missing_ok=True)
        if present.exists():
            present.replace(aside)
