"""A store of no bytes: whether a first start was interrupted, or everything that was in it is gone.

SQLite makes an empty file before it writes into it, so that a crash of the very first start leaves one. A
file system that is mended after a power cut leaves one, too, and there the people must get to know of it.
"""

from pathlib import Path

from relay.store.database import NotAStore

TRACES = ("relay.db-wal", "relay-*-to-*", "relay.db.*", "files/*", "backups/*")
"""What is only there where a store was in use: its log, its copies, what people uploaded, its backups."""


class Emptied(NotAStore):
    """There was a store in the file, or nobody can tell."""


def is_empty(store: Path) -> bool:
    """Whether the file is there and has no bytes."""
    return store.is_file() and not store.stat().st_size


def refuse(store: Path) -> None:
    """Make sure that a file which may be written anew never held a store.

    Args:
        store: the file; it need not be there.

    Raises:
        Emptied: it has no bytes, and what is beside it says that it had.
    """
    if not is_empty(store):
        return
    found = next((path for trace in TRACES for path in store.parent.glob(trace)), None)
    if found is not None:
        raise Emptied(f"{store.name} is empty, but there was a store: {found.relative_to(store.parent)} is of it")


def refuse_to_read(store: Path) -> None:
    """Make sure that a file which is read as a store has anything in it.

    Raises:
        Emptied: it has no bytes.
    """
    if is_empty(store):
        raise Emptied(f"{store.name} is empty")
