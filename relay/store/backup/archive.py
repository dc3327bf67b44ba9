"""A backup is one tar file: the store as of one moment, every uploaded file that it names, and the TLS authority.

SQLite's online backup makes it while a relay runs. Reads a data directory; writes the target, and scratch beside it.
"""

import errno
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay import __version__
from relay.keys import Seq, UnixMs
from relay.store import texts
from relay.store.backup import pacing
from relay.store.contents import Condition, Verdict, add_to_tar
from relay.store.data_dir import empty
from relay.store.data_dir.errors import UnreadableText, reason
from relay.store.data_dir.opening import finish_interrupted_replacement
from relay.store.files import directory, scratch, tls_folder
from relay.store.files.directory import STORE, log_of
from relay.store.sqlite.database import TABLES, NewerStore, NotAStore, identify
from relay.store.sqlite.read_only import read
from relay.store.sqlite.statements import Statement

FILES_FOLDER = "files"
TLS_FOLDER = "tls"
PORTION_PAGES = 1_024
"""Pages to copy between two rests and progress reports."""
HURRY_BYTES = 32 << 20
"""Bytes of the write-ahead log above which a backup stops resting."""
MARK = "chat-relay backup"
"""The beginning of the comment in a backup's head, which names the relay and the time for people and for
`is_backup`."""
_FIRST = re.compile(rf"{re.escape(STORE)}|{FILES_FOLDER}/[0-9a-f]{{2}}/[0-9a-f]{{64}}")
"""The first name in a backup of an early relay, which wrote no comment."""

INCOMPLETE = ".incomplete"
"""Suffix of the name of a backup that lacks an uploaded file, or has one that is spoilt."""

Progress = Callable[[int, int], None]
"""Called with the finished and the total amount."""


class NotReplaced(Exception):
    """The target is not a backup, or has entries where the store has none; a message for a person."""


class NoRoom(Exception):
    """A backup would fill the disk, with a message for a person."""


def beside(target: Path) -> Path:
    """Return where a backup goes that is not whole: beside the target, which may be the last whole one."""
    return target.with_name(f"{target.name}{INCOMPLETE}")


class LogEnd(NamedTuple):
    """The end of a store's log."""

    seq: Seq
    at: UnixMs
    version: int


_END = Statement("SELECT seq, at FROM log WHERE seq = (SELECT max(seq) FROM log)")


def end(path: Path) -> LogEnd:
    """Read the end of a store's log.

    Raises:
        NotAStore, NewerStore: it is not a relay's store, or it is a newer relay's.
        sqlite3.Error: it cannot be read.
    """
    empty.refuse_to_read(path)
    with read(path) as store:
        version = _recognise(store)
        last = store.execute(_END).fetchone()
    seq, at = last or (0, 0)
    return LogEnd(seq, at, version)


def _recognise(store: sqlite3.Connection) -> int:
    ((version,),) = store.execute("PRAGMA user_version")
    ((application,),) = store.execute("PRAGMA application_id")
    (tables,) = store.execute(TABLES)
    identify(version, application, *tables)
    return int(version)


def verify(path: Path) -> None:
    """Make sure that a store is whole: a damaged one must not be restored, nor replace a good backup.

    Raises:
        UnreadableText: a text in it cannot be read.
        sqlite3.Error: it is damaged otherwise, or cannot be read.
    """
    with read(path) as store:
        ((first, *_),) = store.execute("PRAGMA integrity_check(1)")
        if first != "ok":
            raise sqlite3.DatabaseError(" ".join(first.split()))
        unreadable = texts.flaws(store, 1)
    if unreadable:
        raise UnreadableText(unreadable[0])


def is_backup(path: Path) -> bool:
    """Return whether a file is a backup, by its head.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            if tar.pax_headers.get("comment", "").startswith(MARK):
                return True
            first = tar.next()
            return first is not None and _FIRST.fullmatch(first.name) is not None
    except (tarfile.TarError, EOFError, ValueError):
        return False


def back_up(
    data: Path,
    target: Path,
    progress: Progress = lambda _done, _all: None,
    lacks: Callable[[Mapping[str, Verdict]], None] = lambda _lost: None,
    *,
    force: bool = False,
) -> LogEnd:
    """Write a backup of a data directory. A relay may run meanwhile; the target appears once it is complete and synced.

    It contains the private key of the TLS authority, so only its owner may read it. A backup with an uploaded file that
    is missing, spoilt or unreadable goes to `beside(target)`, and the target stays as it is. A whole one removes it.

    Args:
        data: the data directory.
        target: the file to write; an earlier backup, or an empty file, is replaced.
        progress: called with the pages copied.
        lacks: called with the uploaded files that are not whole, by name, and with those of a TLS key that this user
            may not read: the backup then omits all of `tls/`.
        force: whether a store without a single entry may replace a backup that has some.

    Raises:
        NotReplaced: another file is there, or a backup with entries where the store has none.
        NoRoom: it would fill the disk.
        Locked: a restore is under way.
        DanglingLink: the store, the files or the TLS authority lie on a disk that is not mounted.
        NotAStore, NewerStore, sqlite3.Error: the store cannot be read, or is damaged: an earlier backup then stays.
        OSError: the target cannot be written.
    """
    finish_interrupted_replacement(data)
    directory.check_links(data, (TLS_FOLDER,))
    empty.refuse_to_read(data / STORE)
    target = target.absolute()
    for there in (target, beside(target)):
        if there.exists() and there.stat().st_size and not is_backup(there):
            raise NotReplaced(f"{there} is not a backup of a relay, and only those are replaced: name another file")
    # Scratch from killed backups would otherwise fill the disk.
    scratch.sweep(target.parent)
    _check_room(data, target.parent)
    with scratch.folder(target.parent, "backup") as here:
        copy, part = here / STORE, here / "part.tar"
        comment = f"{MARK}, made by version {__version__} on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        with (
            pacing.open_paced(part) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": comment}) as tar,
        ):
            # Files first, then the store, then the files that came meanwhile: this way every file that the store names
            # is included.
            found = _add_files(tar, data / FILES_FOLDER, {})
            copy_store(data / STORE, copy, progress)
            verify(copy)
            finish = end(copy)
            if not finish.seq and not force and _has_entries(target, here):
                raise NotReplaced(
                    f"{target} has messages or users, and the store in {data} has none: see whether its disk is"
                    " mounted; name another file, or use --force if that is meant"
                )
            found |= _add_files(tar, data / FILES_FOLDER, found)
            secret = _add_tls(tar, data / TLS_FOLDER)
            tar.add(copy, STORE)
        # A backup is enough to run the relay elsewhere.
        part.chmod(0o600)
        absent = Verdict(Condition.MISSING)
        lost = {
            name: verdict
            for name in named_files(copy)
            if (verdict := found.get(name, absent)).condition is not Condition.WHOLE
        }
        # A file that was deleted meanwhile does not count.
        still = named_files(data / STORE) if lost else set()
        lost = {name: lost[name] for name in sorted(lost.keys() & still)}
        scratch.put_in_place(part, beside(target) if lost else target)
        if not lost:
            beside(target).unlink(missing_ok=True)
    if lost or secret:
        lacks(lost | dict.fromkeys(secret, Verdict(Condition.UNREADABLE)))
    return finish


def _has_entries(backup: Path, here: Path) -> bool:
    """Return whether a backup may have entries: one that cannot be read may."""
    if not backup.exists() or not backup.stat().st_size:
        return False
    kept = here / "kept.db"
    try:
        with tarfile.open(backup, "r:") as tar, kept.open("wb") as file:
            content = tar.extractfile(STORE)
            assert content is not None
            shutil.copyfileobj(content, file)
        return end(kept).seq > 0
    except (tarfile.TarError, EOFError, KeyError, OSError, sqlite3.Error, NotAStore, NewerStore):
        return True
    finally:
        kept.unlink(missing_ok=True)


def named_files(store: Path) -> set[str]:
    """Return the uploaded files that a store names, as paths in the data directory."""
    with read(store) as opened:
        digests = [digest for (digest,) in opened.execute("SELECT DISTINCT digest FROM file")]
    return {f"{FILES_FOLDER}/{digest[:2]}/{digest}" for digest in digests}


def _check_room(data: Path, folder: Path) -> None:
    """Make sure that there is room for the backup and its copy of the store.

    On the disk that the relay writes to, as much again must stay free.

    Raises:
        NoRoom: there is too little.
    """
    store = (data / STORE).stat().st_size
    files = 0
    for path in _files(data / FILES_FOLDER):
        # One that cannot be looked at is named when it is copied.
        with suppress(OSError):
            files += path.stat().st_size
    need = 2 * store + files
    if folder.stat().st_dev == data.stat().st_dev:
        need = 2 * (store + files) + store
    free = shutil.disk_usage(folder).free
    if free < need:
        raise NoRoom(
            f"{folder} has {free / 1e6:,.1f} MB left and a backup needs {need / 1e6:,.1f}: make room there,"
            " or name a file on another disk"
        )


def copy_store(source: Path, target: Path, progress: Progress = lambda _done, _all: None) -> None:
    """Copy a store while a relay may write to it, at the pace of background work.

    Args:
        source: the store's file.
        target: the file to write; it must not exist.
        progress: called with the pages copied.

    Raises:
        NotAStore, NewerStore, sqlite3.Error: the store cannot be read, or is damaged.
        OSError: the target cannot be written.
    """
    with ExitStack() as steps:
        # Closed last, since that releases SQLite's locks on the copy.
        written = steps.enter_context(target.open("ab"))
        copy = steps.enter_context(closing(sqlite3.connect(target)))
        store = steps.enter_context(read(source))
        # Use one view for all steps: otherwise SQLite starts over whenever the relay writes between two of them.
        store.execute("BEGIN")
        _recognise(store)
        # The copy need not survive a crash. Each step is synced, so that the end does not write everything at once.
        copy.execute("PRAGMA synchronous = OFF")
        pace, log = pacing.RestingPace(), log_of(source)

        def step(_status: int, left: int, total: int) -> None:
            progress(total - left, total)
            os.fdatasync(written.fileno())
            # The write-ahead log grows while this view is open. Once it is large, the view should end soon.
            if left and (not log.exists() or log.stat().st_size < HURRY_BYTES):
                pace.rest()

        try:
            store.backup(copy, pages=PORTION_PAGES, progress=step)
            copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.OperationalError as error:
            # The store was read a moment ago, so writing the copy has failed.
            raise reason(error, target, source.stat().st_size) from None


def _files(directory: Path) -> Iterator[Path]:
    """Return the complete uploaded files."""
    for at, folders, names in os.walk(directory):
        folders.sort()
        yield from (Path(at, name) for name in sorted(names) if not name.startswith("."))


def _add_files(tar: tarfile.TarFile, directory: Path, have: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Add the uploaded files that are not in `have`, and return what became of each; one that is gone is left out."""
    found = {}
    for path in _files(directory):
        name = f"{FILES_FOLDER}/{path.relative_to(directory)}"
        if name not in have and (verdict := add_to_tar(tar, path, name)).condition is not Condition.MISSING:
            found[name] = verdict
        # Otherwise tarfile would keep every member in memory.
        tar.members = []  # type: ignore[attr-defined]
    return found


def _add_tls(tar: tarfile.TarFile, folder: Path) -> list[str]:
    """Add the TLS authority, if there is one and all of it can be read: a part of it would be useless.

    Returns:
        The names of files that this user may not read.

    Raises:
        OSError: an interrupted replacement of it cannot be finished.
    """
    if not folder.is_dir() and not tls_folder.is_half_replaced(folder):
        return []
    with ExitStack() as held:
        try:
            held.enter_context(tls_folder.locked(folder))
        except OSError as error:
            # This user may only read, or the disk is read-only. A complete authority can still be read.
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            if tls_folder.is_half_replaced(folder):
                return [f"{TLS_FOLDER}/{name}" for name in tls_folder.TLS_FILES]
        return _add_tls_files(tar, folder)


def _add_tls_files(tar: tarfile.TarFile, folder: Path) -> list[str]:
    there = [path for name in tls_folder.TLS_FILES if (path := folder / name).is_file()]
    secret = [f"{TLS_FOLDER}/{path.name}" for path in there if not os.access(path, os.R_OK)]
    if not secret:
        for path in there:
            tar.add(path.resolve(), f"{TLS_FOLDER}/{path.name}", recursive=False)
    return secret
