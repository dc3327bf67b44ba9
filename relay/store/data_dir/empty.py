"""A store that is missing or has no bytes: whether there was never one, or everything that was in it is gone.

A start makes a new store only where nothing tells of another: a file system that is mended after a power cut, and a
restore that an older relay left half done, leave a directory without a store, and people must get to know of it.
"""

from pathlib import Path

from relay.store.files.directory import is_there
from relay.store.sqlite.database import NotAStore

TRACES = (
    "relay.db-wal",
    "relay-*-to-*",
    "relay.db.*",
    "relay.replacing/*",
    "before-restore-*/*",
    "files.*",
    "files/*",
    "backups/*",
    "relay.reserve",
)
"""What is only there where a store was in use: its log, its copies, what people uploaded, its backups, its reserve."""


class EmptiedStore(NotAStore):
    """There was a store in the file, or nobody can tell."""


def is_empty(store: Path) -> bool:
    """Tell whether the file exists and has no bytes.

    Raises:
        DanglingLink: it is a link that leads nowhere.
    """
    return is_there(store) and store.is_file() and not store.stat().st_size


def refuse(store: Path) -> None:
    """Make sure that a file which may be made, or made anew, never held a store.

    Args:
        store: the file; it need not be there.

    Raises:
        Emptied: it is missing or has no bytes, and what is beside it says that there was one.
    """
    there = is_there(store)
    if there and not is_empty(store):
        return
    found = next((path for trace in TRACES for path in store.parent.glob(trace)), None)
    if found is not None:
        state = "empty" if there else "missing"
        raise EmptiedStore(
            f"{store.name} is {state}, but there was a store: {found.relative_to(store.parent)} is of it"
        )


def refuse_to_read(store: Path) -> None:
    """Make sure that a file which is read as a store has anything in it.

    Raises:
        Emptied: it has no bytes, or is missing where there was one.
    """
    if not is_there(store):
        refuse(store)
    if is_empty(store):
        raise EmptiedStore(f"{store.name} is empty")
