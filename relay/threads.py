"""Worker threads: the pools and their work, and errors if the system has no thread left.

There are three pools, so that no work waits for a thread of other work: trio's own (40 threads) for files that people
wait for, one for the relay's own work on its disk, and one for name look-ups (`net/sockets/name_lookups.py`), which
slow name servers may block. Passwords have one as well (`core/auth/passwords.py`).
"""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import trio

from relay.thread_limit import NoThreads, lacks_threads

__all__ = ["NoThreads", "clean_up", "lacks_threads", "run", "run_own"]

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

OWN_THREADS = 4
"""Threads for the relay's own work on its disk. A few suffice for the reserve, the write-ahead log and a
certificate."""
_OWN: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("threads of the relay's own work")


async def run(
    work: Callable[[*Arguments], T],
    *arguments: *Arguments,
    limiter: trio.CapacityLimiter | None = None,
    abandon: bool = False,
) -> T:
    """Do blocking work in a thread.

    Args:
        work: the work.
        arguments: its arguments.
        limiter: the pool; by default that for files that people wait for.
        abandon: whether a cancelled caller leaves the thread to itself.

    Raises:
        NoThreads: the system has no thread left.
    """
    try:
        return await trio.to_thread.run_sync(work, *arguments, limiter=limiter, abandon_on_cancel=abandon)
    except RuntimeError as error:
        if lacks_threads(error):
            raise NoThreads from None
        raise


async def run_own(work: Callable[[*Arguments], T], *arguments: *Arguments, abandon: bool = False) -> T:
    """Do the relay's own work on its disk in a thread that uploads and downloads cannot occupy.

    See `run` for its arguments and errors.
    """
    try:
        limiter = _OWN.get()
    except LookupError:
        limiter = trio.CapacityLimiter(OWN_THREADS)
        _OWN.set(limiter)
    return await run(work, *arguments, limiter=limiter, abandon=abandon)


async def clean_up(work: Callable[[*Arguments], object], *arguments: *Arguments) -> None:
    """Do short work that must be done: in a thread, or here if there is none."""
    with trio.CancelScope(shield=True):
        try:
            await run(work, *arguments)
        except NoThreads:
            work(*arguments)
