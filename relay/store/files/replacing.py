"""Replacing several files and folders together, so that a kill at any moment loses neither the old nor the new ones.

The new ones are completed in a scratch folder. Renaming that folder is the commit: from then on the replacement can
only be finished, by this process or the next one. The old ones go to a folder of their own, whose name is never reused.
Touches one directory; the caller holds its lock.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay.store.files.mounts import is_mounted
from relay.store.files.ownership import hand_over
from relay.store.files.scratch import sync, sync_tree

OLD = "old"
"""The folder for the old ones, within the committed folder."""
ABSENT = ".absent"
"""The suffix of an empty file among the old ones that stands for a missing item: putting them back removes the new
one."""


class Replacement(NamedTuple):
    """A plan: the files and folders to replace together."""

    committed: str
    """The name of the folder with the new ones once they are committed."""
    items: tuple[str, ...]
    """The names of files and folders, in the order in which they are replaced."""
    kept: str
    """The prefix of the folder that keeps the old ones."""
    followers: Mapping[str, tuple[str, ...]] = {}
    """By item, the files to move away before it that have no successors."""


STORE_WITH_FILES = Replacement(
    "relay.replacing",
    ("files", "tls", "relay.db"),
    "before-restore-",
    {"relay.db": ("relay.db-wal", "relay.db-shm", "relay.db-journal")},
)
"""The store with the uploaded files and the TLS authority. The store comes last: once it is in place, so is everything
else."""
REPAIRED_STORE = Replacement(
    "relay.repairing", ("relay.db",), "before-repair-", {"relay.db": STORE_WITH_FILES.followers["relay.db"]}
)
"""The store alone: uploads and the TLS authority stay where they are."""
OF_THE_STORE = ((STORE_WITH_FILES, "restore"), (REPAIRED_STORE, "repair"))
"""The plans that replace the store, each with the command that does it. Before anything reads the store, an interrupted
one has to be finished."""


def interrupted(directory: Path) -> list[tuple[Replacement, str]]:
    """List the replacements of the store that have to be finished, each with its command."""
    return [(plan, command) for plan, command in OF_THE_STORE if is_committed(directory, plan)]


def in_the_way(directory: Path, plan: Replacement) -> Path | None:
    """Name the first item that cannot be moved because a disk is mounted there; None if all can be moved."""
    return next((path for item in plan.items if is_mounted(path := directory / item)), None)


def commit(directory: Path, new: Path, plan: Replacement) -> Path | None:
    """Replace the items of a plan.

    Args:
        directory: the directory of the items.
        new: the folder within it that holds the new ones, under the plan's names.
        plan: the plan.

    Returns:
        The folder that keeps the old ones; None if there were none.

    Raises:
        OSError: the disk fails. Either the old ones are still in place, or `finish` continues.
    """
    mounted = in_the_way(directory, plan)
    if mounted is not None:
        # After the commit there is no way back.
        raise OSError(errno.EBUSY, "a disk is mounted there", str(mounted))
    # The folder exists if an undo of this very folder was killed.
    (new / OLD).mkdir(mode=0o750, exist_ok=True)
    for item in plan.items:
        # Do this while there is a way back: a full disk refuses even an empty file.
        _note_absent(new / OLD, item, absent=os.path.lexists(new / item) and not os.path.lexists(directory / item))
    # After a crash the service may continue this, and it is not root.
    hand_over(directory)
    sync_tree(new)
    new.rename(directory / plan.committed)
    sync(directory)
    return finish(directory, plan)


def _note_absent(old: Path, item: str, *, absent: bool) -> None:
    note = old / f"{item}{ABSENT}"
    if absent:
        note.touch()
    else:
        note.unlink(missing_ok=True)


def is_committed(directory: Path, plan: Replacement) -> bool:
    """Return whether an interrupted replacement has to be finished."""
    return (directory / plan.committed).is_dir()


def finish(directory: Path, plan: Replacement) -> Path | None:
    """Finish a committed replacement, wherever it was interrupted. Does nothing if there is none.

    Returns:
        The folder that keeps the old ones; None if there were none.

    Raises:
        OSError: the disk fails; it can be called again.
    """
    committed = directory / plan.committed
    if not committed.is_dir():
        return None
    old, kept = committed / OLD, None
    for item in plan.items:
        # As long as the new one is here, the one in the directory is the old one.
        waits, removes = os.path.lexists(committed / item), (committed / f"{item}{ABSENT}").exists()
        if not waits and not removes:
            continue
        if waits and not os.path.lexists(directory / item) and not os.path.lexists(old / item):
            # Earlier relays did not record this at the commit.
            _note_absent(old, item, absent=True)
        for name in (*plan.followers.get(item, ()), item):
            if os.path.lexists(directory / name):
                anchor(directory / name, directory, committed)
                (directory / name).rename(old / name)
        # Sync in this order: the old one must be gone on disk before the new one takes its name.
        sync(old)
        sync(directory)
        if removes:
            # It must be gone on disk before a new one is in place, which it would remove.
            (committed / f"{item}{ABSENT}").unlink()
            sync(committed)
        if waits:
            (committed / item).rename(directory / item)
        sync(directory)
        sync(committed)
    if old.is_dir() and any(path.suffix != ABSENT for path in old.iterdir()):
        kept = free_name(directory, plan.kept)
        old.rename(kept)
    # Sync once more before this folder is removed: a killed attempt may have moved files without syncing.
    sync(directory)
    sync(committed)
    shutil.rmtree(committed)
    sync(directory)
    return kept


def anchor(link: Path, folder: Path, spare: Path) -> None:
    """Make a relative link absolute, so that it leads to the same file from any folder. Does nothing to anything else.

    Args:
        link: a path that may be a link.
        folder: the folder to which it is relative.
        spare: a folder for the new link until it takes the name of the old one.
    """
    if not link.is_symlink() or (target := link.readlink()).is_absolute():
        return
    successor = spare / f"{link.name}.link"
    successor.unlink(missing_ok=True)
    successor.symlink_to(os.path.realpath(folder / target))
    successor.replace(link)


def free_name(directory: Path, prefix: str) -> Path:
    """Return a new name: the prefix, a number above all others there, and the time.

    The number gives the order, because a clock may be set back.
    """
    number = max((_number(path.name, prefix) for path in directory.glob(f"{prefix}*")), default=0) + 1
    return directory / f"{prefix}{number}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def kept(directory: Path, plan: Replacement) -> list[Path]:
    """List the folders with the items that replacements put aside, the earliest first."""
    found = [path for path in directory.glob(f"{plan.kept}*") if path.is_dir()]
    return sorted(found, key=lambda path: _number(path.name, plan.kept))


def _number(name: str, prefix: str) -> int:
    number = name.removeprefix(prefix).partition("-")[0]
    return int(number) if number.isdigit() else 0
