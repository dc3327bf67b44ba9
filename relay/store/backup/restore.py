"""Restoring a backup in place of a store, or undoing that: bringing back the store that a restore put aside.

The new store is unpacked and verified in a scratch folder; `replacing` then swaps it in, so that a kill at any moment
loses nothing. Touches one data directory, under its lock.
"""

import errno
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple, cast

from relay.store import kinds
from relay.store.backup.archive import FILES_FOLDER, TLS_FOLDER, LogEnd, end, named_files, verify
from relay.store.blobs import DIGEST_CHARACTERS
from relay.store.contents import PIECE_BYTES, ContentSource, ProvenReader, SourceFailed
from relay.store.data_dir.errors import is_damaged, what_helps
from relay.store.data_dir.opening import opened
from relay.store.files import directory, replacing, scratch, tls_folder
from relay.store.files.directory import STORE
from relay.store.files.lock import WAIT_SECONDS, wait_seconds
from relay.store.sqlite import closed
from relay.store.sqlite.database import NewerStore, NotAStore
from relay.store.sqlite.read_only import read

NO_NAME = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
"""The system's errors for an invalid file name of an entry."""
ASIDE = ".before-restore"
"""Suffix of the names that a restore by relay 0.1.0 gave to old files."""


class CannotRestore(Exception):
    """A backup cannot be restored, with the reason as a sentence for people."""


class Loss(NamedTuple):
    """The data that the present store has and the restored one lacks."""

    messages: int = 0
    people: int = 0
    changes: int = 0
    """Entries of other kinds: edits, members, sign-ins, uploads; receipts are not counted."""

    def __bool__(self) -> bool:
        return any(self)

    def __str__(self) -> str:
        counts = ((self.messages, "message"), (self.people, "person"), (self.changes, "other change"))
        words = [f"{count} {word if count == 1 else PLURAL[word]}" for count, word in counts if count]
        return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


PLURAL = {"message": "messages", "person": "people", "other change": "other changes"}


class PreparedRestore(NamedTuple):
    """A verified store that may replace the present one."""

    data: Path
    folder: Path
    """The folder with the store and its uploaded files, which may still be changed."""
    last: int
    """The highest `seq` of this store and the present one: no device can have seen a later event."""
    loss: Loss
    present: bool
    """Whether a store is present now."""
    incomplete: list[str]
    """Uploaded files of the store that are missing or damaged."""

    def commit(self) -> Path | None:
        """Put it in place; return the folder with what was there before, or None if nothing was.

        Raises:
            OSError, sqlite3.Error: the disk fails; the present store stays, or the next command finishes it.
        """
        closed.make_sure(self.folder / STORE)
        (self.folder / FILES_FOLDER).mkdir(mode=0o750, exist_ok=True)
        with ExitStack() as held:
            if (self.folder / TLS_FOLDER).is_dir() or (self.folder / f"{TLS_FOLDER}{replacing.ABSENT}").exists():
                held.enter_context(tls_folder.locked(self.data / TLS_FOLDER))
            return replacing.commit(self.data, self.folder, replacing.STORE_WITH_FILES)


@contextmanager
def unpacked(backup: Path, data: Path, wait: float = WAIT_SECONDS) -> Iterator[PreparedRestore]:
    """Unpack and verify a backup in the data directory, under its lock.

    Args:
        backup: a file that `back_up` wrote.
        data: the data directory; it is created if it does not exist.
        wait: seconds to wait for another command that has it.

    Raises:
        NoDirectory: the data directory cannot be made.
        Locked: a relay runs.
        CannotRestore: the backup is damaged, or not a backup.
        OSError: the backup cannot be read, or the data directory cannot be written.
    """
    with _reachable():
        directory.make(data)
    with _held(data, wait), scratch.folder(data, "restore") as here:
        with backup.open("rb") as archive:
            try:
                broken = _unpack_all(archive, backup, here)
            except SourceFailed as failed:
                # The backup cannot be read; the data directory's disk has not failed.
                raise OSError(failed.error.errno, failed.error.strerror, str(backup)) from None
        if not (here / STORE).is_file():
            raise CannotRestore(f"{backup} is not a backup of a relay: name another")
        yield _prepared(data, here, str(backup), broken)


@contextmanager
def replaced_store(data: Path, wait: float = WAIT_SECONDS) -> Iterator[PreparedRestore]:
    """Prepare the store that the last restore put aside, under the data directory's lock.

    Args:
        data: the data directory.
        wait: seconds to wait for another command that has it.

    Raises:
        NoDirectory: there is no data directory.
        Locked: a relay runs.
        CannotRestore: there is no such store, or it cannot be read.
        OSError: the data directory cannot be written.
    """
    if not directory.is_there(data):
        raise CannotRestore(f"there is no data directory {data}: no restore has put anything aside in it")
    with _held(data, wait):
        kept = replacing.kept(data, replacing.STORE_WITH_FILES)
        if not kept and (data / f"{STORE}{ASIDE}").is_file():
            with scratch.folder(data, "restore") as here:
                _copy_of_early_relay(data, here)
                yield _prepared(data, here, str(data / f"{STORE}{ASIDE}"), set())
            return
        if not kept:
            raise CannotRestore(f"no restore has put anything aside in {data}")
        for name in replacing.STORE_WITH_FILES.items:
            # Earlier relays moved relative links as they were.
            replacing.anchor(kept[-1] / name, data, kept[-1])
        if not (kept[-1] / STORE).is_file():
            raise CannotRestore(f"there is no store in {kept[-1]}")
        yield _prepared(data, kept[-1], str(kept[-1]), set())


@contextmanager
def _held(data: Path, wait: float) -> Iterator[None]:
    """Hold the lock of a data directory, and make sure that all its parts can be reached.

    Raises:
        CannotRestore: a part is on a disk that is not mounted, so nobody knows what would be lost.
    """
    with _reachable():
        directory.check_links(data, replacing.STORE_WITH_FILES.items)
        with opened(data, wait=wait_seconds(data, wait)):
            yield


@contextmanager
def _reachable() -> Iterator[None]:
    """Turn the error for an unusable part of the data directory into a reason not to restore."""
    try:
        yield
    except directory.UnusablePart as error:
        raise CannotRestore(directory.about_file(error)) from None


def _copy_of_early_relay(data: Path, target: Path) -> None:
    """Copy the store that a restore by relay 0.1.0 put aside; that restore may have been killed half way.

    It renamed the store first, then its write-ahead log, then the uploads, and then moved in those of the backup. So if
    there is no store, a log belongs to the old one, and uploads may belong to either; a start removes unneeded ones.
    """
    gone = not directory.is_there(data / STORE)
    shutil.copyfile(data / f"{STORE}{ASIDE}", target / STORE)
    log = data / f"{STORE}-wal"
    if not (gone and log.is_file()):
        log = data / f"{STORE}-wal{ASIDE}"
    if log.is_file():
        shutil.copyfile(log, target / f"{STORE}-wal")
    for uploads in (data / f"{FILES_FOLDER}{ASIDE}", data / FILES_FOLDER):
        if uploads.name != FILES_FOLDER or gone:
            _share_uploads(uploads, target / FILES_FOLDER)


def _share_uploads(uploads: Path, target: Path) -> None:
    """Link uploads into another folder; their contents never change."""
    for path in uploads.glob("??/*"):
        place = target / path.parent.name / path.name
        if len(path.name) != DIGEST_CHARACTERS or not path.is_file() or place.exists():
            continue
        place.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        try:
            place.hardlink_to(path)
        except OSError:
            # Not every file system supports links.
            shutil.copyfile(path, place)


def _prepared(data: Path, folder: Path, name: str, broken: set[str]) -> PreparedRestore:
    mounted = replacing.in_the_way(data, replacing.STORE_WITH_FILES)
    if mounted is not None:
        raise CannotRestore(f"{mounted} is a disk of its own and cannot be put aside: unmount it first")
    wanted = _wanted(folder / STORE, name)
    present = data / STORE
    there = directory.is_there(present)
    found = _found(present) if there else None
    try:
        missing = _missing(folder)
    except sqlite3.Error as error:
        raise _cannot_read(name, error, data) from None
    return PreparedRestore(
        data=data,
        folder=folder,
        last=max(found.seq if found else 0, wanted.seq),
        loss=_loss(present, folder / STORE) if found else Loss(),
        present=there,
        incomplete=sorted(broken | missing),
    )


def _unpack_all(archive: IO[bytes], backup: Path, target: Path) -> set[str]:
    """Unpack everything; return the uploaded files whose content does not match their name."""
    try:
        # A backup is not compressed, so no entry is larger than the file.
        with tarfile.open(fileobj=cast("IO[bytes]", ContentSource(archive)), mode="r:") as tar:
            return {member.name for member in tar if not _unpack(tar, member, target)}
    except (tarfile.TarError, EOFError):
        # tarfile's message has a line for each format that it tried.
        raise CannotRestore(f"{backup} is not a backup of a relay, or only a part of one: name another") from None


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> bool:
    """Unpack one file, if a backup may contain it: the archive is not trusted. Returns whether its content is right.

    tarfile's own filters came with Python 3.11.4, and Debian 12 has 3.11.2.
    """
    name = PurePosixPath(member.name)
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    upload = len(name.parts) > 1 and name.parts[0] == FILES_FOLDER and ".." not in name.parts
    tls = len(name.parts) == 2 and name.parts[0] == TLS_FOLDER and name.name in tls_folder.TLS_FILES
    if content is None or not (str(name) == STORE or upload or tls):
        raise _not_in_a_backup(member)
    path = target / name
    reader = ProvenReader(content, name.name)
    with content, _made(path, member) as file:
        if tls:
            path.chmod(0o600 if path.suffix == ".key" else 0o644)
        while piece := reader.read(PIECE_BYTES):
            file.write(piece)
    return reader.is_whole()


def _made(path: Path, member: tarfile.TarInfo) -> IO[bytes]:
    """Create the file that an entry is unpacked to.

    Raises:
        CannotRestore: the name is not possible, or another entry's file is in its way.
        OSError: the disk is full, or fails.
    """
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        return path.open("wb")
    except OSError as error:
        if error.errno in NO_NAME:
            raise _not_in_a_backup(member) from None
        raise


def _not_in_a_backup(member: tarfile.TarInfo) -> CannotRestore:
    return CannotRestore(f"the archive has {member.name!r}, which is in no backup of a relay")


def _wanted(store: Path, name: str) -> LogEnd:
    try:
        found = end(store)
        verify(store)
    except NotAStore:
        raise CannotRestore(f"{name} is not a backup of a relay: name another") from None
    except NewerStore:
        raise CannotRestore(f"{name} was written by a newer relay: install that one first") from None
    except sqlite3.Error as error:
        if is_damaged(error):
            raise CannotRestore(f"{name} is damaged ({error})") from None
        raise _cannot_read(name, error, store.parent) from None
    return found


def _cannot_read(name: Path | str, error: sqlite3.Error, folder: Path) -> CannotRestore:
    return CannotRestore(f"{name} cannot be read ({error}): {what_helps(error, folder)}")


def _found(store: Path) -> LogEnd | None:
    """Read the end of the present store's log; None if it is damaged, or not a store."""
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
        raise _cannot_read(store, error, store.parent) from None


def _loss(present: Path, wanted: Path) -> Loss:
    """Count the entries that the present store has and the other lacks. A damaged one counts as empty."""
    try:
        with read(present) as store:
            store.execute("ATTACH ? AS wanted", (wanted.absolute().as_uri() + "?mode=ro",))
            (counts,) = store.execute(
                "SELECT count(*) FILTER (WHERE kind = ?1), count(*) FILTER (WHERE added), count(*) FROM ("
                " SELECT kind, kind = ?2 AND extra->>'$.change' = 'userAdded' AS added FROM main.log AS mine"
                "  WHERE kind NOT IN (?3, ?4, ?5) AND NOT EXISTS (SELECT 1 FROM wanted.log AS theirs"
                "   WHERE theirs.seq = mine.seq AND theirs.kind = mine.kind AND theirs.at = mine.at"
                "    AND theirs.chat = mine.chat AND theirs.actor = mine.actor))",
                (kinds.NEW, kinds.USER, kinds.DLVRD, kinds.READ, kinds.NOTE),
            )
    except sqlite3.Error as error:
        if is_damaged(error):
            return Loss()
        raise _cannot_read(present, error, present.parent) from None
    messages, people, everything = counts
    return Loss(messages, people, everything - messages - people)


def _missing(folder: Path) -> set[str]:
    """Return the uploaded files of a store that are missing."""
    return {name for name in named_files(folder / STORE) if not (folder / name).is_file()}
