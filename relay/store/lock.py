"""One relay to a data directory: an advisory lock that dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.store.ownership import hand_over


class Locked(Exception):
    """Another process has the data directory open."""


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the lock of a data directory.

    Raises:
        Locked: another relay, or a command that writes, has it; the message names its process.
        OSError: the lock's file cannot be written.
    """
    path = data / "relay.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Locked(f"process {owner} already has {data} open") from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            # By a descriptor the system does not know the name.
            raise OSError(error.errno, error.strerror, str(path)) from None
        try:
            yield
        finally:
            hand_over(data)
    finally:
        os.close(descriptor)
