"""One relay per store: advisory locks that end with their process, and a record of the holder.

Two locks (flock) are taken. The lock on the directory cannot be lost: removing `relay.lock` does not let a second relay
in. Earlier relays use the lock on `relay.lock`, whose content names the holder. If `relay.db` is a link, both are taken
for its target as well. A store whose file has two names has been refused before (`directory`).
"""

import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from relay.store.files import directory, scratch
from relay.store.files.ownership import give_to, hand_over
from relay.store.files.reserve import open_lock
from relay.store.files.room import NO_ROOM

WAIT_SECONDS = 10.0
"""Seconds that a start of the relay, and a command, wait for the process that has the directory."""
LOCK_RETRY_SECONDS = 0.1
"""Seconds between two attempts to take the lock."""
SERVING = "relay serve"
"""The record's name for a serving relay, which unlike other commands does not end by itself."""
RECORD_BYTES = 64
"""Maximum bytes of the record."""


class Locked(Exception):
    """Another process has the data directory open."""

    def __init__(self, data: Path, holder: str) -> None:
        super().__init__(f"{holder} already has {data} open")
        self.holder = holder
        """The process and its command: `process 12 (relay prune)`."""


def no_notice(_holder: str) -> None:
    """Do nothing."""


class _Held(Exception):
    """Another process has this lock."""


@contextmanager
def locked(data: Path, *, wait: float = 0.0, waiting: Callable[[str], None] = no_notice) -> Iterator[None]:
    """Hold the locks of a data directory.

    Args:
        data: the directory.
        wait: seconds to wait for another process that has it; blocks the thread meanwhile.
        waiting: called once with the process that has it.

    Raises:
        Locked: another relay, or a command that writes, has it; the message names its process.
        OSError: the lock's file cannot be made, or cannot be written for a reason other than a full disk.
    """
    stores = [data / directory.STORE]
    if (linked := directory.store_file(data)) != stores[0]:
        stores.append(linked)
    patience = _Patience(data, wait, waiting)
    with ExitStack() as locks:
        for store in stores:
            patience.enter(locks, partial(_held, store, data), partial(_holder, store, data))
        try:
            yield
        finally:
            hand_over(data)


class _Patience:
    """The time limit for waiting, and whether the wait was reported."""

    def __init__(self, data: Path, wait: float, waiting: Callable[[str], None]) -> None:
        self._data = data
        self._until = time.monotonic() + wait
        self._waiting = waiting
        self._said = False

    def enter(
        self, locks: ExitStack, take: Callable[[], AbstractContextManager[None]], holder: Callable[[], str]
    ) -> None:
        """Take one lock.

        Args:
            locks: the stack that will release it.
            take: tries to take it.
            holder: names the process that has it.

        Raises:
            Locked: another process still has it when the time is up.
        """
        while True:
            try:
                locks.enter_context(take())
            except _Held:
                who = holder()
                if time.monotonic() >= self._until:
                    raise Locked(self._data, who) from None
                if not self._said:
                    self._waiting(who)
                    self._said = True
                time.sleep(LOCK_RETRY_SECONDS)
            else:
                return


@contextmanager
def _held(store: Path, data: Path) -> Iterator[None]:
    """Hold both locks of the directory in which a store is.

    Args:
        store: the file, or one that it leads to.
        data: the data directory, whose reserved names are given up if the lock's file needs one.

    Raises:
        _Held: another process has one of them.
    """
    with ExitStack() as opened:
        # Several stores in one directory have only their own locks; this process has locked scratch already.
        if store.name == directory.STORE and not scratch.SCRATCH_NAME.fullmatch(store.parent.name):
            _lock_directory(store.parent, opened)
        descriptor = _lock_file(store, data, opened)
        try:
            _write_record(descriptor)
        except OSError as error:
            # The system's error for a descriptor has no file name.
            raise OSError(error.errno, error.strerror, str(_lock_of(store))) from None
        yield


def _write_record(descriptor: int) -> None:
    """Write the holder of a lock into its file. Without room it stays empty: the lock holds anyway."""
    record = f"{os.getpid()} {_command()}".strip().encode() + b"\n"
    try:
        # Overwrite the former record, which needs no more room on a full disk.
        os.pwrite(descriptor, record, 0)
        os.ftruncate(descriptor, len(record))
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        # The former holder's record would name a process that has ended.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)


def _lock_directory(folder: Path, opened: ExitStack) -> None:
    """Lock a directory, if it is readable and its file system has such locks. SQLite needs one that does."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        opened.callback(os.close, descriptor)
        _flock(descriptor, fcntl.LOCK_EX)


def _lock_file(store: Path, data: Path, opened: ExitStack) -> int:
    """Open and lock the file beside a store; return its descriptor."""
    path = _lock_of(store)
    while True:
        descriptor = open_lock(path, data)
        opened.callback(os.close, descriptor)
        _flock(descriptor, fcntl.LOCK_EX)
        # If the file was removed meanwhile, this lock is on a file that no other process finds.
        with suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(descriptor)):
                # Outside the data directory, it does not change owner with the rest.
                give_to(store, descriptor)
                return descriptor


def _flock(descriptor: int, how: int) -> None:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _Held from None


def _lock_of(store: Path) -> Path:
    """Name the lock of a store: `relay.lock` beside `relay.db`."""
    return store.with_suffix(".lock")


def holder(data: Path) -> str | None:
    """Name the process that has a data directory; None if there is none, or it is unknown."""
    store = data / directory.STORE
    for path in (_lock_of(store), data):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError:
            return None
        except OSError:
            continue
        try:
            _flock(descriptor, fcntl.LOCK_SH)
        except _Held:
            return _holder(store, data)
        except OSError:
            continue
        finally:
            os.close(descriptor)
    return None


def wait_seconds(data: Path, most: float) -> float:
    """Return how long a command should wait for the directory, in seconds: `most`, or 0 for a serving relay."""
    who = holder(data)
    return 0.0 if who is None or SERVING in who else most


def _holder(store: Path, data: Path) -> str:
    """Name the process that has a store, and its directory if it is another one."""
    try:
        record = _lock_of(store).read_bytes()[:RECORD_BYTES]
    except OSError:
        record = b""
    process, _, command = record.decode(errors="replace").strip().partition(" ")
    where = "" if store.parent == data else f"in {store.parent}"
    words = " ".join(word for word in (command, where) if word)
    return (f"process {process}" if process else "another process") + (f" ({words})" if words else "")


def _command() -> str:
    """Name the command of this process, `relay prune`, without its arguments, which may be message texts."""
    program = Path(sys.argv[0])
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    ours = program.name.startswith("relay") or program.parent.name == "relay"
    return f"relay {word}" if ours and re.fullmatch(r"[a-z]{1,16}", word) else ""
