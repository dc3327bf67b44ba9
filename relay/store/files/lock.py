"""One relay to a data directory: an advisory lock that dies with its process, and says who has it."""

import fcntl
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.store.files.ownership import hand_over

NAME = "relay.lock"
WAIT = 10.0
"""Seconds that a start of the relay and a command wait for whoever has the directory."""
LOOK = 0.1
"""Seconds between two looks at whether it is free."""
SERVING = "relay serve"
"""What a relay is called for, which does not end by itself as other commands do."""
RECORD = 64
"""Bytes that say who has it, at most."""


class Locked(Exception):
    """Another process has the data directory open."""

    def __init__(self, data: Path, holder: str) -> None:
        super().__init__(f"{holder} already has {data} open")
        self.holder = holder
        """The process and its command: `process 12 (relay prune)`."""


def nobody(_holder: str) -> None:
    """Tell nobody that one waits."""


@contextmanager
def locked(data: Path, *, wait: float = 0.0, waiting: Callable[[str], None] = nobody) -> Iterator[None]:
    """Hold the lock of a data directory.

    Args:
        data: the directory.
        wait: seconds to wait for whoever has it; blocks the thread meanwhile.
        waiting: told once who is waited for.

    Raises:
        Locked: another relay, or a command that writes, has it; the message names its process.
        OSError: the lock's file cannot be written.
    """
    path = data / NAME
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(descriptor, data, wait, waiting)
        try:
            # Over what is there, so that a full disk needs no more room for it.
            record = f"{os.getpid()} {_command()}".strip().encode() + b"\n"
            os.pwrite(descriptor, record, 0)
            os.ftruncate(descriptor, len(record))
        except OSError as error:
            # By a descriptor the system does not know the name.
            raise OSError(error.errno, error.strerror, str(path)) from None
        try:
            yield
        finally:
            hand_over(data)
    finally:
        os.close(descriptor)


def _take(descriptor: int, data: Path, wait: float, waiting: Callable[[str], None]) -> None:
    until = time.monotonic() + wait
    said = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            if time.monotonic() >= until:
                raise Locked(data, holder) from None
            if not said:
                waiting(holder)
                said = True
            time.sleep(LOOK)
        else:
            return


def holder(data: Path) -> str | None:
    """Name who has the lock now; None where nobody has, or it cannot be told."""
    try:
        descriptor = os.open(data / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(descriptor)
    finally:
        os.close(descriptor)
    return None


def wait_seconds(data: Path) -> float:
    """Seconds that a command waits which needs the directory to itself: a relay does not end by itself."""
    who = holder(data)
    return 0.0 if who is None or SERVING in who else WAIT


def _holder(descriptor: int) -> str:
    process, _, command = os.pread(descriptor, RECORD, 0).decode(errors="replace").strip().partition(" ")
    return f"process {process or 'unknown'}" + (f" ({command})" if command else "")


def _command() -> str:
    """What this process was called for, `relay prune`: never what follows, which may be what people say."""
    program = Path(sys.argv[0])
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    ours = program.name.startswith("relay") or program.parent.name == "relay"
    return f"relay {word}" if ours and re.fullmatch(r"[a-z]{1,16}", word) else ""
