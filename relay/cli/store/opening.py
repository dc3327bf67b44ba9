"""The common beginning of the store's commands: finding it, and saying in one line why it cannot be used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relay.cli.output import Failure
from relay.store.data_dir import empty
from relay.store.data_dir.errors import FAULTS, what_to_do
from relay.store.data_dir.opening import finish_interrupted_replacement
from relay.store.files import directory


def existing_store(data: Path) -> Path:
    """Find the store of a data directory. A missing one is not begun: perhaps its disk is not mounted.

    Raises:
        Failure: there is none, or it cannot be used.
    """
    path = data / directory.STORE
    if not path.exists():
        with plain_faults(data):
            finish_interrupted_replacement(data)
            empty.refuse(path)
    if not path.exists():
        raise Failure(f"there is no relay in {data}: `relay serve` makes one, or name its directory with --data")
    return path


@contextmanager
def plain_faults(data: Path) -> Iterator[None]:
    """Turn errors of the store into a failure that says in one line what to do."""
    try:
        yield
    except FAULTS as error:
        raise Failure(what_to_do(error, data)) from None
