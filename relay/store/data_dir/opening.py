"""Before a data directory is used: take its lock, and finish or remove the leftovers of killed processes.

Everything that writes to a data directory goes through `opened`.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.store.blobs import Blobs
from relay.store.files import directory, replacing, scratch
from relay.store.files.lock import locked, no_notice

logger = logging.getLogger(__name__)

SWEPT = ("", "backups")
"""The folders of a data directory that may contain scratch folders."""


@contextmanager
def opened(data: Path, *, wait: float = 0.0, waiting: Callable[[str], None] = no_notice) -> Iterator[None]:
    """Hold the lock of a data directory, once nothing in it is half done.

    Args:
        data: the directory.
        wait: seconds to wait for another process that has it.
        waiting: called once with the process that has it.

    Raises:
        NoDirectory: it does not exist.
        DanglingLink: a part that every command needs lies on a disk that is not mounted.
        Locked: another relay, or a command that writes, has it.
        OSError: the disk fails.
    """
    directory.require(data)
    directory.check_links(data)
    with locked(data, wait=wait, waiting=waiting):
        finish_interrupted(data)
        yield


def finish_interrupted(data: Path) -> None:
    """Finish an interrupted restore or repair, and remove the leftovers of dead processes. Call it only under the lock.

    Raises:
        OSError: a restore or a repair cannot be finished.
    """
    for plan, command in replacing.interrupted(data):
        kept = replacing.finish(data, plan)
        where = f"; what was there before is kept in {kept}" if kept else ""
        logger.warning("finished a %s that was interrupted%s", command, where)
    for folder in SWEPT:
        for path in scratch.sweep(data / folder):
            logger.info("removed %s, which an interrupted command had left", path)
    if count := Blobs(data / "files").sweep():
        logger.info("removed %d uploads that were never finished", count)


def finish_interrupted_replacement(data: Path) -> None:
    """Finish an interrupted restore or repair, for a command that then reads without the lock.

    Raises:
        DanglingLink: a part of it lies on a disk that is not mounted.
        Locked: it is still under way.
        OSError: it cannot be finished.
    """
    directory.check_links(data)
    if replacing.interrupted(data):
        with opened(data):
            pass


def leftovers(data: Path) -> list[Path]:
    """List the leftovers of dead processes in a data directory, which the next `opened` finishes or removes."""
    left = [path for folder in SWEPT for path in scratch.leftovers(data / folder)]
    return [*left, *(data / plan.committed for plan, _ in replacing.interrupted(data))]
