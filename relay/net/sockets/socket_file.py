"""The file of a Unix socket that the relay listens on: creates, watches and removes it without touching another's.

Touches one path.
"""

import errno
import logging
import os
import socket
import stat
from contextlib import ExitStack, suppress
from pathlib import Path

import trio

from relay.net.sockets.socket_path import fitting

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often to check that the file is still there. A command waits longer for a relay (`lock.WAIT_SECONDS`)."""
FILE_MODE = 0o660
"""The file's mode: its owner and group may connect."""


class SocketFile:
    """The file of one listening Unix socket."""

    def __init__(self, path: Path, group: int | None) -> None:
        """Note the file; `bind` creates it.

        Args:
            path: the file.
            group: the id of its group; None for the process's group.
        """
        self._path = path
        self._group = group
        # Kept open so that no other file can get the same inode number.
        self._file: int | None = None

    def bind(self) -> socket.socket:
        """Create the file and listen on it; replace a file that no program listens on.

        Raises:
            OSError: it cannot be created, or another program's file is there. It names the file.
        """
        _remove_unused(self._path)
        with ExitStack() as failed:
            listener = failed.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            try:
                with fitting(self._path) as place:
                    listener.bind(place)
            except OSError as error:
                error.filename = str(self._path)
                raise
            self._set_access()
            # No client can connect before this call, so the mode above is in force for all of them.
            listener.listen()
            file = os.open(self._path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            failed.pop_all()
        self.forget()
        self._file = file
        return listener

    def is_in_place(self) -> bool:
        """Return whether the path still leads to the file that `bind` made."""
        if self._file is None:
            return False
        try:
            # One check per second of a name in the kernel's cache is not worth a thread.
            return os.path.samestat(os.lstat(self._path), os.fstat(self._file))
        except OSError:
            return False

    async def bind_when_lost(self) -> socket.socket:
        """Wait until the file was removed or replaced, and bind again. Failures are logged and retried."""
        failure = ""
        while True:
            await trio.sleep(LOOK_SECONDS)
            if self.is_in_place():
                continue
            try:
                listener = self.bind()
            except OSError as error:
                if failure != (failure := str(error)):
                    logger.error("%s is gone and cannot be made, so no command works: %s", self._path, error)
                continue
            logger.warning("%s was removed or replaced while the relay was running: it is made again", self._path)
            return listener

    def remove(self) -> None:
        """Remove the file, unless it is gone or another has taken its place."""
        try:
            if self.is_in_place():
                os.unlink(self._path)  # noqa: PTH108 - one system call, not worth a thread
        except OSError as error:
            logger.warning("%s cannot be removed: %s", self._path, error.strerror)
        finally:
            self.forget()

    def _set_access(self) -> None:
        """Give the new file to its group, and let the group connect."""
        if self._group is not None and self._path.stat().st_gid != self._group:
            try:
                os.chown(self._path, -1, self._group)
            except PermissionError:
                logger.warning("%s stays with this user's group: the relay may not give it to another", self._path)
        self._path.chmod(FILE_MODE)

    def forget(self) -> None:
        """Forget the file, so that it counts as lost."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _remove_unused(path: Path) -> None:
    """Remove the socket file of a program that did not stop properly.

    Raises:
        OSError: the file is not a socket, or another program listens on it.
    """
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is not a socket is in the way: move it away", str(path))
    if _is_used(path):
        raise OSError(errno.EADDRINUSE, "another program listens there", str(path))
    with suppress(FileNotFoundError):
        path.unlink()


def _is_used(path: Path) -> bool:
    """Return whether a program listens on a socket's file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, fitting(path) as place:
        probe.setblocking(False)
        # EAGAIN: the queue of the program is full.
        return probe.connect_ex(place) in (0, errno.EAGAIN)
