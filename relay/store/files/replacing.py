"""Replacing what is in use by something else, so that being killed at any moment loses neither.

What is new waits whole in a scratch folder. One rename of that folder commits: from then on the replacement is only
ever finished, by this process or by the next that looks. What was in place goes into a folder of its own whose name
is never used again. Touches one directory; whoever calls holds a lock on it.
"""

import errno
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from relay.store.files.ownership import hand_over
from relay.store.files.scratch import sync, sync_tree

OLD = "old"
"""The folder, within the one that is committed, that takes what was in place."""


class Replacement(NamedTuple):
    """What is replaced together."""

    committed: str
    """The name of the folder that holds what is new, once it is committed."""
    items: tuple[str, ...]
    """What is replaced, in this order."""
    kept: str
    """How the name of the folder begins in which what was in place is kept."""
    followers: Mapping[str, tuple[str, ...]] = {}
    """Of each item what goes along with it when it leaves, before it, and is never part of what is new."""


STORE = Replacement(
    "relay.replacing",
    ("files", "tls", "relay.db"),
    "before-restore-",
    {"relay.db": ("relay.db-wal", "relay.db-shm", "relay.db-journal")},
)
"""The store with the uploaded files and the TLS authority. The store comes last: once it is in place, everything is."""


def in_the_way(directory: Path, plan: Replacement) -> Path | None:
    """Name what is in place and cannot be moved, since a disk is mounted there; None where nothing is."""
    return next((path for item in plan.items if os.path.ismount(path := directory / item)), None)


def commit(directory: Path, new: Path, plan: Replacement) -> Path | None:
    """Put what is new in place of what is there.

    Args:
        directory: where it goes.
        new: the folder within it that holds what is new, by the names of the plan.
        plan: what is replaced.

    Returns:
        Where what was in place is kept; None where nothing was.

    Raises:
        OSError: the disk fails. What was in place is still there, or `finish` goes on.
    """
    mounted = in_the_way(directory, plan)
    if mounted is not None:
        # Once it is committed there is no way back.
        raise OSError(errno.EBUSY, "a disk is mounted there", str(mounted))
    # It is there where one was killed that was to bring back what this folder keeps.
    (new / OLD).mkdir(mode=0o750, exist_ok=True)
    # Whoever goes on after a crash may be the service, which is not root.
    hand_over(directory)
    sync_tree(new)
    new.rename(directory / plan.committed)
    sync(directory)
    return finish(directory, plan)


def is_committed(directory: Path, plan: Replacement) -> bool:
    """Whether a replacement was interrupted that has to be finished."""
    return (directory / plan.committed).is_dir()


def finish(directory: Path, plan: Replacement) -> Path | None:
    """Finish a replacement that is committed, wherever it was interrupted; does nothing where none is.

    Returns:
        Where what was in place is kept; None where nothing was.

    Raises:
        OSError: the disk fails; it can be called again.
    """
    committed = directory / plan.committed
    if not committed.is_dir():
        return None
    old, kept = committed / OLD, None
    for item in plan.items:
        # As long as the new one waits here, what has its name outside is the old one.
        if not os.path.lexists(committed / item):
            continue
        for name in (*plan.followers.get(item, ()), item):
            if os.path.lexists(directory / name):
                (directory / name).rename(old / name)
        # Names on disk in this order: the new one must not take the old one's place before that has gone.
        sync(old)
        sync(directory)
        (committed / item).rename(directory / item)
        sync(directory)
        sync(committed)
    if old.is_dir() and any(old.iterdir()):
        kept = free_name(directory, plan.kept)
        old.rename(kept)
    # Once more, for whoever was killed before: what they moved may not be on disk, and this folder goes.
    sync(directory)
    sync(committed)
    shutil.rmtree(committed)
    sync(directory)
    return kept


def free_name(directory: Path, prefix: str) -> Path:
    """Give a name after all those with its beginning: a number, which no clock can turn back, and the time."""
    number = max((_number(path.name, prefix) for path in directory.glob(f"{prefix}*")), default=0) + 1
    return directory / f"{prefix}{number}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def kept(directory: Path, plan: Replacement) -> list[Path]:
    """Name what replacements put aside, the earliest first."""
    found = [path for path in directory.glob(f"{plan.kept}*") if path.is_dir()]
    return sorted(found, key=lambda path: _number(path.name, plan.kept))


def _number(name: str, prefix: str) -> int:
    number = name.removeprefix(prefix).partition("-")[0]
    return int(number) if number.isdigit() else 0
