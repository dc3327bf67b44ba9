"""Missing and empty stores: tells a store that never existed from a lost one.

A new store is made only if nothing in the directory shows that there was another. A file system repaired after a power
cut, or an earlier relay's unfinished restore, may leave a directory without a store, which is an error.
"""

from pathlib import Path

from relay.store.files.directory import LINKED, check_links, is_there
from relay.store.sqlite.database import NotAStore

TRACES = (
    "relay.db-wal",
    "relay-*-to-*",
    "relay.db.*",
    "relay.replacing/*",
    "before-restore-*/*",
    "relay.repairing/*",
    "before-repair-*/*",
    "files.*",
    "files/*",
    "backups/*",
    "relay.reserve",
    "relay.reserve.*",
)
"""Files that only exist beside a store in use: its log and copies, uploads, backups, the reserve."""


class EmptiedStore(NotAStore):
    """The file contained a store, or may have."""


def is_empty(store: Path) -> bool:
    """Return whether the file exists and has no bytes.

    Raises:
        DanglingLink: it is a link to a missing target.
    """
    return is_there(store) and store.is_file() and not store.stat().st_size


def trace(data: Path) -> Path | None:
    """Find a file in a data directory that only exists beside a store in use."""
    found = (path for pattern in TRACES for path in data.glob(pattern))
    # A mounted disk has this folder of its own.
    return next((path for path in found if path.name != "lost+found"), None)


def refuse(store: Path) -> None:
    """Make sure that a new store may be made: there is none, and there never was.

    Args:
        store: the file; it need not exist. One that has bytes passes.

    Raises:
        EmptiedStore: it is missing or empty, and the files beside it show that there was one.
        DanglingLink: it, or a file that may show that there was one, is a link to a missing target.
    """
    there = is_there(store)
    if there and not is_empty(store):
        return
    # Traces may lie on a disk that is not mounted.
    check_links(store.parent, LINKED)
    found = trace(store.parent)
    if found is not None:
        state = "empty" if there else "missing"
        raise EmptiedStore(
            f"{store.name} is {state}, but there was a store: {found.relative_to(store.parent)} belonged to it"
        )


def refuse_to_read(store: Path) -> None:
    """Make sure that a file that is about to be read as a store is not empty.

    Raises:
        EmptiedStore: it is empty, or it is missing and there was one.
        DanglingLink: it is a link to a missing target.
    """
    if not is_there(store):
        refuse(store)
    if is_empty(store):
        raise EmptiedStore(f"{store.name} is empty")
