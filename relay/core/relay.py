"""The relay without its network: opened on a data directory, with the state as the log has it.

`relay serve` puts connections in front of it; the command line uses it as it is while no relay runs.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from relay.core.admin import Admin
from relay.core.admin.imports import IMPORT_CURSOR
from relay.core.clock.clock import Clock, RelayClock
from relay.core.clock.proof import machine_proof
from relay.core.delivery.hub import Frame, Hub
from relay.core.delivery.replay import Replays
from relay.core.engine import Engine
from relay.core.files.uploads import Uploads
from relay.core.maintenance.disk_room import DiskRoom
from relay.core.maintenance.retention import Retention
from relay.core.maintenance.statistics import LatencySamples, Statistics
from relay.core.model.recovery import load_state
from relay.core.service.dispatch import Service
from relay.core.service.search import Searches
from relay.settings import LimitsSection, Settings
from relay.store.data_dir import empty, written_by
from relay.store.data_dir.opening import opened
from relay.store.files.reserve import Reserve
from relay.store.log.log import Log
from relay.store.queries import positions
from relay.store.sqlite import database, folding
from relay.store.sqlite.migrate import begin, upgrade
from relay.store.sqlite.wal import Wal

logger = logging.getLogger(__name__)

LOOKING_CACHE = 500
"""KiB that the connection of the writer's look-ups keeps: they are of all times, and seldom twice the same."""
PATIENCE = 10.0
"""Seconds after which a statement that reads is stopped: each is bounded, so that the disk hangs by then."""
COPYING_CACHE = 100
"""KiB that the connection keeps that copies the write-ahead log back: it reads no pages of its own."""


class Relay:
    """All that is open while a data directory is."""

    def __init__(
        self,
        data: Path,
        service: Service,
        reading: database.Connection,
        carrying: database.Connection,
        clock: RelayClock,
        lags: LatencySamples,
        reserve: Reserve,
    ) -> None:
        self.data = data
        self.service = service
        self.settings = settings = service.settings
        self.state = state = service.state
        self.log = log = service.log
        self.hub = hub = service.hub
        self.reading = reading
        self.clock = clock
        self.files = Uploads(data / "files", state, log, reading, clock, settings.files, hub.rights)
        self.meter = Statistics(data, log, hub, lags)
        self.room = DiskRoom(reserve, log)
        self.retention = Retention(state, log, carrying, clock, settings.retention, self.room.freeing)
        self.admin = Admin(
            state,
            log,
            hub,
            carrying,
            clock,
            self.meter,
            self.service,
            self.retention.prune,
            self.files,
            self.room,
        )

    def stop(self) -> None:
        """Take up nothing new, and let `log.run` return once everything that waits is written."""
        if not self.log.stopping:
            self.room.stop()
            self.log.stop()


@asynccontextmanager
async def open_relay(
    data: Path,
    *,
    clock: Clock | None = None,
    frame: Frame = bytes,
    settings: Settings | None = None,
    wait: float = 0.0,
) -> AsyncIterator[Relay]:
    """Open a data directory under its lock, make its file if there is none, and run the log's writer.

    On the way out all that waits is written. Args:
        data: the directory; it must exist.
        clock: gives the time, Unix milliseconds, and is believed; the machine's, as far as it can be, where None is
            given (see `RelayClock`).
        frame: makes a frame of a message, for whoever connects.
        settings: those in force; the defaults, and no limit of requests, where None is given.
        wait: seconds to wait for another process that has it open; the log says which.

    Raises:
        Locked: another process has it open.
        Emptied: the file is empty or missing, and was not always.
        NewerStore: a newer relay wrote the file.
        CannotUpgrade: an older one did, and the file cannot be brought to this one's version.
        sqlite3.Error: the file cannot be opened, or is damaged.
    """
    settings = settings or Settings(limits=LimitsSection(requests_per_second=0))
    time = _relay_clock(clock, settings)
    with opened(data, wait=wait, waiting=_say_who), _ungrouped():
        reserve = Reserve(data, settings.store.reserve_bytes)
        spent = reserve.disk_is_full
        if spent:
            reserve.spend()
        path = data / "relay.db"
        empty.refuse(path)
        if not path.exists():
            await begin(path)
        async with database.connect(path, writing=True) as writing:
            await upgrade(writing, path)
            await written_by.sign(writing, path)
            await folding.ensure(writing)
            writing.stay_at(path)
            async with (
                database.connect(path, writing=False, seconds=PATIENCE) as reading,
                # Nobody's reading may hold up the writer; no search, no replay and no export anybody's reading.
                database.connect(path, writing=False, cache=LOOKING_CACHE) as looking,
                database.connect(path, writing=False) as finding,
                database.connect(path, writing=False, seconds=PATIENCE) as replaying,
                database.connect(path, writing=False, cache=LOOKING_CACHE, seconds=PATIENCE) as carrying,
                database.connect(path, writing=False, cache=COPYING_CACHE) as copying,
            ):
                state, stale = await load_state(reading)
                hub = Hub(state, time, frame)
                rules = Engine(state, hub, stale)
                log = Log(writing, looking, Wal(copying, path), rules, await positions.cursors(reading))
                _, import_began = log.cursors.get(IMPORT_CURSOR, (0, 0))
                time.begin(max(state.at, import_began))
                service = Service(state, log, hub, reading, Searches(finding, log), Replays(replaying), time, settings)
                relay = Relay(data, service, reading, carrying, time, rules.lags, reserve)
                rules.on_files_released = relay.files.loosen
                rules.on_writer_held = service.charge_writer
                async with trio.open_nursery() as nursery:
                    await nursery.start(log.run)
                    if spent:
                        reserve.keep_rest()
                    await relay.room.begin()
                    try:
                        yield relay
                    finally:
                        relay.stop()
                if log.disk_full and not spent:
                    # Closing the file brings SQLite's log into it, which needs room.
                    reserve.spend()
        if spent or reserve.short:
            # SQLite's log is gone now, and there may be room again for the next start.
            reserve.fill()


def _say_who(holder: str) -> None:
    logger.info("waiting for %s", holder)


def _relay_clock(clock: Clock | None, settings: Settings) -> RelayClock:
    if isinstance(clock, RelayClock):
        return clock
    if clock is not None:
        return RelayClock(lambda: "whoever opened the relay", wall=lambda: clock() * 1_000_000, elapsed=lambda: 0)
    return RelayClock(machine_proof, days=lambda: settings.clock.plausible_days)


@contextmanager
def _ungrouped() -> Iterator[None]:
    """Let what is raised within come out as it is, and not as a group of one as nurseries have it."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            (error,) = error.exceptions
        raise error from error.__cause__
