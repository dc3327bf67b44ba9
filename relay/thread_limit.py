"""Detects that the system has no thread left, and reports it. Imports nothing that commands would not load anyway."""

import errno

WHAT_HELPS = (
    "there are no threads left (EAGAIN): raise the limit of processes, TasksMax= of the service, the pids limit of"
    " the container or `ulimit -u`, and try again"
)


class NoThreads(OSError):
    """The system has no thread left."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, WHAT_HELPS)


def lacks_threads(error: BaseException | None) -> bool:
    """Return whether an error, or its cause, says that no thread could be started."""
    while error is not None:
        # CPython has no class for it.
        if isinstance(error, NoThreads) or (isinstance(error, RuntimeError) and "can't start new thread" in str(error)):
            return True
        error = error.__cause__
    return False
