"""Opens the store of a relay that does not run, under its lock, and waits for a process that has it open.

Loads trio and the relay only when a store is opened.
"""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from relay.cli.output import Failure, say
from relay.exception_groups import first_error
from relay.store.files import directory, lock, replacing

if TYPE_CHECKING:
    from relay.core.admin.status import Runtime
    from relay.core.relay import Relay
    from relay.settings import Settings

T = TypeVar("T")


class CommandTuning(NamedTuple):
    """Numbers of the command line that no user has a reason to change."""

    wait_seconds: float = lock.WAIT_SECONDS
    """Seconds to wait for the process that has the data directory."""
    answer_seconds: float = 10.0
    """Seconds that a relay may take for the first byte of an answer."""
    batch_messages: int = 200
    """Messages that an import sends at a time."""


COMMAND_TUNING = CommandTuning()
command_tuning: ContextVar[CommandTuning] = ContextVar("command_tuning", default=COMMAND_TUNING)
"""Those of the command that runs. Tests set small ones: typer passes only the command line to a command."""


class Busy(Failure):
    """Another process has the data directory open and does not answer: a relay that starts or stops, or a command."""

    def __init__(self, data: Path, holder: str) -> None:
        super().__init__(f"{holder} already has {data} open, but its control socket does not answer")
        self.holder = holder


class Damaged(Failure):
    """The store is damaged, with advice. An export may still read the rest of it."""


class Waiting:
    """Waits for the process that has the data directory open: says so once, and gives up after a while."""

    def __init__(self) -> None:
        self._until = time.monotonic() + command_tuning.get().wait_seconds
        self._said = False

    def go_on(self, busy: Busy) -> None:
        """Wait a moment before the next try.

        Raises:
            Busy: the time is up.
        """
        if time.monotonic() >= self._until:
            raise busy
        if not self._said:
            say(f"relay: waiting for {busy.holder}", error=True)
            self._said = True
        time.sleep(lock.LOCK_RETRY_SECONDS)


def in_trio(run: Callable[[Callable[[], Awaitable[T]]], T], main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` in trio and return its result. An exception is raised without the groups around it."""
    try:
        return run(main)
    except BaseExceptionGroup as group:
        raise first_error(group) from None


def existing_store(data: Path) -> Path:
    """Find the store of a data directory. A missing one is not begun: perhaps its disk is not mounted.

    Raises:
        Failure: there is none, or it cannot be used.
    """
    from relay.store.data_dir import empty
    from relay.store.data_dir.opening import finish_interrupted_replacement

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
    from relay.store.data_dir.errors import FAULTS, what_to_do

    try:
        yield
    except FAULTS as error:
        raise Failure(what_to_do(error, data)) from None


def _find(data: Path, *, make: bool) -> None:
    """Make sure that there is a store, or that one may be begun.

    Raises:
        Busy: a relay that is starting may be about to begin it.
        Failure: there is none, and this command may not begin one.
    """
    from relay.store.data_dir import empty

    if make or (data.exists() and not data.is_dir()):
        directory.make(data)
        return
    store = data / directory.STORE
    if not store.exists() and (who := lock.holder(data)) is not None:
        raise Busy(data, who)
    with plain_faults(data):
        existing_store(data)
        empty.refuse(store)
        empty.refuse_to_read(store)


def _can_only_be_read(data: Path) -> bool:
    """Return whether a store is whole and on a disk that is mounted read-only, where nothing can be locked."""
    return (
        directory.is_there(data / directory.STORE)
        and directory.is_read_only(data)
        and not replacing.is_committed(data, replacing.STORE_WITH_FILES)
    )


@asynccontextmanager
async def _read(
    data: Path, *, settings: "Settings", runtime: "Runtime", damaged: bool = False
) -> AsyncIterator["Relay"]:
    """Open a store that can only be read; one that an older relay wrote is upgraded in a copy."""
    from relay.core.relay import open_relay, read_relay
    from relay.store.backup.archive import copy_store
    from relay.store.sqlite.database import OlderStore

    async with AsyncExitStack() as steps:
        try:
            relay = await steps.enter_async_context(
                read_relay(data, settings=settings, runtime=runtime, damaged=damaged)
            )
        except OlderStore:
            copy = Path(steps.enter_context(TemporaryDirectory(prefix="relay-read-")))
            copy_store(data / directory.STORE, copy / directory.STORE)
            relay = await steps.enter_async_context(open_relay(copy, settings=settings, runtime=runtime))
        yield relay


@asynccontextmanager
async def opened(data: Path, *, make: bool, reads: bool = False, damaged: bool = False) -> AsyncIterator["Relay"]:
    """Open the store of a relay that does not run.

    Args:
        data: the data directory.
        make: whether to begin a store if there is none.
        reads: whether only requests that read will come, so that a read-only disk will do.
        damaged: whether to go on without what cannot be read.

    Raises:
        Busy: another process has it open.
        Damaged: it is damaged.
        Failure: there is none, or it cannot be opened.
    """
    from relay.core.admin.status import Runtime
    from relay.core.relay import open_relay
    from relay.net.sockets.hostnames import browser_address
    from relay.settings import Loaded
    from relay.store.data_dir.errors import FAULTS, tells_of_damage, what_to_do

    settings = Loaded(options={}, environment=os.environ).settings
    _find(data, make=make)
    try:
        host, _, port = settings.listen[0].rpartition(":")
        address = partial(
            browser_address, settings.http.public_url, host.strip("[]"), int(port), secure=settings.tls.on
        )
        runtime = Runtime(browser_address=address)
        opening = partial(_read if reads and _can_only_be_read(data) else open_relay, data)
        if damaged:
            opening = partial(_read, data, damaged=True)
        async with opening(settings=settings, runtime=runtime) as relay:
            yield relay
    except* lock.Locked as errors:
        error = first_error(errors)
        assert isinstance(error, lock.Locked)
        raise Busy(data, error.holder) from None
    except* FAULTS as errors:
        error = first_error(errors)
        assert isinstance(error, FAULTS)
        raise (Damaged if tells_of_damage(error) else Failure)(what_to_do(error, data)) from None
