"""The relay without its network: a data directory, its log and the state that follows from it.

`relay serve` puts connections in front of it; the command line opens it directly while no relay runs.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import trio

from relay.core.admin import Admin
from relay.core.admin.importing.imports import IMPORT_CURSOR
from relay.core.admin.status import Runtime
from relay.core.auth.sign_in import SignIn
from relay.core.auth.tokens import Tokens
from relay.core.clock.clock import HOUR_MS, Clock, RelayClock
from relay.core.clock.proof import machine_proof
from relay.core.clock.steps import Step, Steps
from relay.core.delivery.announcements import Frame
from relay.core.delivery.catch_up import CatchUp, EmptyEntries
from relay.core.delivery.chat_lists import ChatLists
from relay.core.delivery.hub import Hub
from relay.core.delivery.replay import Replays
from relay.core.engine import Engine
from relay.core.files.uploads import FileRelease, Uploads
from relay.core.limits.user_limits import UserLimits
from relay.core.maintenance.disk_room import DiskRoom
from relay.core.maintenance.retention import Retention
from relay.core.maintenance.statistics import Statistics
from relay.core.model import changes
from relay.core.model.recovery import load_readable, load_state
from relay.core.model.snapshot import DirtyRows
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN, StepClock
from relay.core.service.acknowledgements import Acknowledgements, PendingAcknowledgements
from relay.core.service.device_uses import device_uses
from relay.core.service.dispatch import Service
from relay.core.service.handlers import HANDLERS
from relay.core.service.search import Searches
from relay.core.tuning import Tuning
from relay.exception_groups import ungrouped
from relay.keys import NO_DEVICE, DeviceKey, Seconds, UnixMs
from relay.settings import LimitsSection, Settings
from relay.store.command import Command
from relay.store.data_dir import empty, written_by
from relay.store.data_dir.opening import opened
from relay.store.files import directory
from relay.store.files.reserve import Reserve
from relay.store.log.log import Log
from relay.store.log.schedule import Cursors
from relay.store.queries import positions
from relay.store.sqlite import database, folding
from relay.store.sqlite.migrate import begin, upgrade
from relay.store.sqlite.read_only import readable
from relay.store.sqlite.wal import Wal

logger = logging.getLogger(__name__)

LOOKUP_CACHE_KIB = 500
"""KiB of the page cache of the connection that looks up facts: these are spread over the whole log and seldom
repeat."""
PROVED_CURSOR = DeviceKey(-1)
"""A cursor without a device: its `seen` is the time until which the clock that stamped the log was right."""
READ_SECONDS = 10.0
"""Seconds after which a reading statement is interrupted: each is bounded, so the disk must be hanging."""
CHECKPOINT_CACHE_KIB = 100
"""KiB of the page cache of the connection that checkpoints the write-ahead log: it reads no pages of its own."""


class Connections(NamedTuple):
    """The connections to the store. Reads must not delay the writer; searches, replays, exports must not delay them."""

    writing: database.Connection
    reading: database.Connection
    lookups: database.Connection
    """Looks up facts for the writer."""
    searching: database.Connection
    replaying: database.Connection
    exporting: database.Connection
    """Reads for exports, and finds the entries that retention removes."""
    checkpointing: database.Connection
    """Checkpoints the write-ahead log."""


class Relay:
    """Everything that is open while a data directory is open. The objects are made here, each from earlier ones."""

    def __init__(
        self,
        data: Path,
        connections: Connections,
        state: State,
        dirty: DirtyRows,
        cursors: Cursors,
        clock: RelayClock,
        frame: Frame,
        settings: Settings,
        reserve: Reserve,
        runtime: Runtime,
        tuning: Tuning,
    ) -> None:
        """Put the relay together.

        Args:
            data: the data directory.
            connections: the open connections to its store.
            state: the state as of the log.
            dirty: the rows that the snapshot lacks.
            cursors: every device's cursor, as it is on disk.
            clock: the time, from now on later than any in the store.
            frame: encodes a message as a frame for connections.
            settings: the settings in force.
            reserve: the last bytes of the disk.
            runtime: facts about the running relay.
            tuning: numbers that tests may make smaller.
        """
        self.data = data
        self.connections = connections
        self.settings = settings
        self.tuning = tuning
        self.state = state
        self.clock = clock
        self.reading = reading = connections.reading
        limits = UserLimits(settings.limits, tuning.limits)

        # The engine, which decides and publishes, and the log, which calls it.
        self.hub = hub = Hub(state, clock, frame, charge=limits.charge_fan_out, tuning=tuning.delivery)
        released = FileRelease()
        self.engine = engine = Engine(
            state,
            hub,
            dirty,
            on_writer_held=limits.charge_writer,
            on_files_released=released.note,
            device_uses=partial(device_uses, state, cursors, hub.presence),
        )
        pending_acks = PendingAcknowledgements(state, clock)
        wal = Wal(connections.checkpointing, data / directory.STORE, tuning.wal)
        self.log = log = Log(
            connections.writing, connections.lookups, wal, engine, cursors, pending_acks.apply, tuning.log
        )

        # The parts that answer connections.
        replays = Replays(connections.replaying, tuning.delivery)
        chat_lists = ChatLists(state, reading, hub.presence, tuning.delivery)
        self._empty_entries = EmptyEntries(state, log, clock)
        self.service = Service(
            state=state,
            log=log,
            hub=hub,
            reading=reading,
            limits=limits,
            tokens=Tokens(state, log, clock, settings.auth, tuning.service.temporary_tokens),
            signing_in=SignIn(state, log, clock, settings.auth, tuning.sign_in, runtime.browser_address),
            acknowledgements=Acknowledgements(state, log, clock, replays, pending_acks),
            chat_lists=chat_lists,
            catch_up=CatchUp(state, hub, replays, chat_lists, limits.list_bytes),
            searching=Searches(connections.searching, log),
            replaying=replays,
            clock=clock,
            settings=settings,
            tuning=tuning.service,
            handlers=HANDLERS,
        )
        self.files = Uploads(
            data / "files", state, log, reading, clock, settings.files, hub.rights, released, tuning.files
        )

        # Maintenance of the store, and the admin's requests.
        self.statistics = Statistics(data, log, hub, engine.lags)
        self.room = DiskRoom(reserve, log, tuning.disk)
        self.retention = Retention(
            state,
            log,
            connections.exporting,
            clock,
            settings.retention,
            self.room.freeing,
            tuning.retention,
            released,
        )
        hub.change_watchers += [self.retention.note, self.files.note]
        self.admin = Admin(
            state,
            log,
            hub,
            connections.exporting,
            clock,
            self.statistics,
            self.service,
            self.retention.prune,
            self.files,
            self.room,
            runtime,
        )

        self._proof_due = 0
        """The time of a proof that is noted at the next `tick`: an hour past the noted one (Unix ms)."""

    def tick(self, now: Seconds) -> None:
        """Send due announcements, and chat lists that changed a while ago; `now` is trio's time."""
        for user, chat in self.hub.tick(now):
            self._empty_entries.request(user, chat)
        if self.clock.proved_until > self._proof_due:
            self._note_proof(self.clock.proved_until, least=HOUR_MS)

    def watch_clock(self) -> None:
        """Record the steps of the clock from now on, and until when it was right."""
        if PROVED_CURSOR not in self.log.cursors:
            self.log.keep_cursor(PROVED_CURSOR, self.state.seq, self.clock.proved_until)
        self.clock.record_to(self._record_step)

    def _record_step(self, step: Step) -> None:
        self.log.append(Command(self.clock(), ADMIN, NO_DEVICE, StepClock(*step)), lambda _outcome: None)

    def _note_proof(self, proved: UnixMs, *, least: int) -> None:
        """Write down until when the clock was right, if that is more than `least` milliseconds later than noted."""
        noted = self.log.cursors.get(PROVED_CURSOR, (0, 0))[1]
        # What is already on disk covers a log without later entries.
        if proved - noted > least and self.state.at > noted:
            self.log.keep_cursor(PROVED_CURSOR, self.state.seq, proved)
            noted = proved
        self._proof_due = noted + HOUR_MS

    def stop(self) -> None:
        """Stop accepting commands; `log.run` returns once everything queued is written."""
        if not self.log.stopping:
            self._note_proof(self.clock.prove(), least=0)
            self.room.stop()
            self.log.stop()


@asynccontextmanager
async def open_relay(
    data: Path,
    *,
    clock: Clock | None = None,
    frame: Frame = bytes,
    settings: Settings | None = None,
    tuning: Tuning | None = None,
    wait: float = 0.0,
    runtime: Runtime | None = None,
) -> AsyncIterator[Relay]:
    """Open a data directory under its lock, create its store if there is none, and run the log's writer.

    On exit everything queued is written.

    Args:
        data: the directory; it must exist.
        clock: a trusted clock; None for the machine's clock as far as it is credible (`RelayClock`).
        frame: encodes a message as a frame for connections.
        settings: the settings in force; None for the defaults without a request limit.
        tuning: numbers that tests may make smaller; None for the defaults.
        wait: seconds to wait for another process that has it open; a log record names the process.
        runtime: facts about the running relay; None if it does not run.

    Raises:
        Locked: another process has it open.
        EmptiedStore: the file is empty or missing, but other files show that there was a store.
        NewerStore: a newer relay wrote the file.
        CannotUpgrade: an older relay wrote it, and it cannot be upgraded.
        sqlite3.Error: the file cannot be opened, or is damaged.
    """
    settings = settings or Settings(limits=LimitsSection(requests_per_second=0))
    tuning = tuning or Tuning()
    time = _relay_clock(clock, settings)
    with opened(data, wait=wait, waiting=_say_who), ungrouped():
        reserve = Reserve(data, settings.store.reserve_bytes)
        reserve.spend_names()
        spent = reserve.disk_is_full
        if spent:
            reserve.spend()
        path = data / directory.STORE
        empty.refuse(path)
        if not directory.is_there(path):
            await begin(path)
        # A relay that was killed may have erased a text in its log.
        left_over = directory.log_of(path).is_file()
        async with database.connect(path, writing=True, busy_seconds=tuning.disk.busy_seconds) as writing:
            await upgrade(writing, path)
            await written_by.sign(writing, path)
            await folding.ensure(writing)
            writing.stay_at(path)
            async with (
                database.connect(path, writing=False, seconds=READ_SECONDS) as reading,
                database.connect(path, writing=False, cache=LOOKUP_CACHE_KIB) as lookups,
                database.connect(path, writing=False) as searching,
                database.connect(path, writing=False, seconds=READ_SECONDS) as replaying,
                database.connect(path, writing=False, cache=LOOKUP_CACHE_KIB, seconds=READ_SECONDS) as exporting,
                database.connect(path, writing=False, cache=CHECKPOINT_CACHE_KIB) as checkpointing,
            ):
                connections = Connections(writing, reading, lookups, searching, replaying, exporting, checkpointing)
                relay = await _loaded(data, connections, time, frame, settings, reserve, runtime, tuning)
                if left_over:
                    relay.log.wal.erased()
                async with trio.open_nursery() as nursery:
                    await nursery.start(relay.log.run)
                    if spent:
                        reserve.keep_rest()
                    relay.watch_clock()
                    await relay.room.begin()
                    try:
                        yield relay
                    finally:
                        relay.stop()
                if relay.log.disk_full and not spent:
                    # Closing the file copies SQLite's log into it, which needs room.
                    reserve.spend()
        if spent or reserve.short or reserve.names_spent:
            # SQLite's log is gone now, and there may be room again for the next start.
            reserve.fill()


@asynccontextmanager
async def read_relay(
    data: Path, *, settings: Settings | None = None, runtime: Runtime | None = None, damaged: bool = False
) -> AsyncIterator[Relay]:
    """Open a data directory for admin requests that only read: on a disk that is mounted read-only, or damaged.

    Nothing is locked or changed, and no writer runs: a request that changes something would wait without end.

    Args:
        data: the directory.
        settings: the settings in force; None for the defaults.
        runtime: facts about the running relay; None if it does not run.
        damaged: whether to go on without what cannot be read, for an export.

    Raises:
        OlderStore: an older relay wrote the file, and it has to be upgraded first.
        NewerStore: a newer relay wrote it.
        sqlite3.Error: the file cannot be opened, or is damaged.
    """
    settings, tuning = settings or Settings(), Tuning()
    directory.check_links(data)
    path = data / directory.STORE
    empty.refuse(path)
    with readable(path) as address, ungrouped():
        async with database.connect(path, writing=False, address=address) as reading:
            await database.recognise_current(reading)
            connections = Connections(*[reading] * len(Connections._fields))
            reserve, time = Reserve(data, settings.store.reserve_bytes), _relay_clock(None, settings)
            yield await _loaded(data, connections, time, bytes, settings, reserve, runtime, tuning, damaged=damaged)


async def _loaded(
    data: Path,
    connections: Connections,
    time: RelayClock,
    frame: Frame,
    settings: Settings,
    reserve: Reserve,
    runtime: Runtime | None,
    tuning: Tuning,
    *,
    damaged: bool = False,
) -> Relay:
    """Put a relay together with the state in its store."""
    if damaged:
        state, dirty = await load_readable(connections.reading), DirtyRows()
    else:
        state, dirty = await load_state(connections.reading)
    cursors = await positions.cursors(connections.reading)
    _, import_began = cursors.get(IMPORT_CURSOR, (0, 0))
    _, proved_until = cursors.get(PROVED_CURSOR, (0, None if state.seq else 0))
    steps = Steps(
        Step(change.since, change.before, change.by)
        for change in map(changes.decode, await positions.clock_steps(connections.reading))
        if isinstance(change, changes.ClockStepped)
    )
    time.begin(max(state.at, import_began), proved_until=proved_until, steps=steps)
    return Relay(data, connections, state, dirty, cursors, time, frame, settings, reserve, runtime or Runtime(), tuning)


def _say_who(holder: str) -> None:
    logger.info("waiting for %s", holder)


def _relay_clock(clock: Clock | None, settings: Settings) -> RelayClock:
    if isinstance(clock, RelayClock):
        return clock
    if clock is not None:
        return RelayClock(lambda: "the caller's clock", wall=lambda: clock() * 1_000_000, elapsed=lambda: 0)
    return RelayClock(machine_proof, days=lambda: settings.clock.plausible_days)
