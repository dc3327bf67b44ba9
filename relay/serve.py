"""`relay serve`: opens the data directory, puts the relay's parts together, listens, and stops on a signal.

Imports none of the command line's libraries, so that a running relay does not hold them in memory.
"""

import faulthandler
import gc
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import trio

from relay import __version__, logs, standard_streams, thread_limit, typed_command
from relay.core.admin.status import Runtime
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.exception_groups import only_error
from relay.net import control_socket as control
from relay.net.listeners import CannotServe, local_url, open_listeners, urls
from relay.net.server import Server
from relay.net.sockets import systemd
from relay.net.sockets.descriptors import ConnectionLimit
from relay.net.sockets.hostnames import browser_address
from relay.net.sockets.name_lookups import NameLookups
from relay.net.tls.certificates import Certificates
from relay.net.tls.reading import AuthorityError
from relay.net.tuning import NetTuning
from relay.net.webhooks.outgoing import OutgoingHooks
from relay.net.websocket import frames
from relay.serve_options import parser
from relay.settings import Loaded, Settings, WrongSettings, control_socket, data_directory, runtime_directory
from relay.store.data_dir import served
from relay.store.data_dir.errors import FAULTS, what_to_do
from relay.store.files import room
from relay.store.files.directory import NoDirectory, about_file, make
from relay.store.files.disk_full import is_full
from relay.store.files.reserve import START_AND_STOP_BYTES
from relay.store.sqlite.migrate import CannotUpgrade
from relay.tasks.background import keep_running

logger = logging.getLogger(__name__)

FULL_DISK_RETRY_SECONDS = 2.0
"""Seconds between two attempts to open a store on a full disk."""
COLLECTOR_THRESHOLDS = (20_000, 4, 2)
"""The thresholds of the garbage collector's generations (`gc.set_threshold`; Python's own first one is 700). At most
160,000 objects in reference cycles wait to be freed."""
SWITCH_SECONDS = 0.0005
"""Seconds that the store's thread waits for the interpreter lock while connections keep the main thread busy."""
PROBE_SECONDS = 2.0
"""Seconds that the writer may take for a probe before its current write is timed."""
HUNG_WRITE_SECONDS = 300.0
"""Seconds that one write may take before the relay stops pinging systemd's watchdog, and is restarted."""


_early_reloads: list[bool] = []
"""SIGHUPs that came before the relay had started."""


EXPECTED_ERRORS = (*FAULTS, NoDirectory, CannotServe, AuthorityError, WrongSettings, OSError)
"""Errors that a person can fix: reported in one line, without a traceback."""


def main(
    arguments: Sequence[str],
    tuning: Tuning | None = None,
    net: NetTuning | None = None,
    *,
    early_reloads: Sequence[bool] = (),
) -> int:
    """Run the relay until a signal stops it.

    Args:
        arguments: the arguments after `relay serve`.
        tuning: see `open_relay`.
        net: see `Server`.
        early_reloads: SIGHUPs that came before.

    Returns:
        The exit code.
    """
    standard_streams.open_closed()
    standard_streams.stand_in_for_stderr()
    options = parser().parse_args(arguments)
    repeats = logs.set_up("info")
    # By default SIGHUP would end a relay that is still starting, which may take minutes: an upgrade, a full disk.
    signal.signal(signal.SIGHUP, lambda *_: _early_reloads.append(True))
    _early_reloads.extend(early_reloads)
    # When systemd's watchdog ends a relay, the journal gets a traceback of where it hung.
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        settings = Loaded(
            options.config, options={"listen": options.listen, "tls.on": options.tls}, environment=os.environ
        )
        logs.set_level(settings.settings.log.level)
        data = data_directory(options.data)
        served.refuse(data, runtime_directory())
        make(data)
        # Do it here as well as later: a start may have to wait, for instance on a full disk.
        served.note(data, runtime_directory())
        trio.run(serve, data, settings, tuning, net, repeats)
    except (*EXPECTED_ERRORS, BaseExceptionGroup) as error:
        cause = only_error(error)
        if not isinstance(cause, EXPECTED_ERRORS):
            raise
        # Invalid settings may mean that there is no data directory to name.
        known = not isinstance(cause, WrongSettings)
        _report(explained(cause, data_directory(options.data)) if known else str(cause))
        return 1
    finally:
        repeats.tell(all_of_them=True)
    return 0


def _report(message: str) -> None:
    """Report an error: to the journal as a record, to people like the other commands."""
    if logs.stderr_is_the_journal():
        logger.error("%s", message)
    else:
        print(f"relay: {message}", file=sys.stderr)  # noqa: T201 - the error of a command, not a log record


def explained(error: BaseException, data: Path) -> str:
    """Say in one line why the relay cannot start or continue, and what to do."""
    if thread_limit.lacks_threads(error):
        return f"the relay cannot start: {thread_limit.WHAT_HELPS}"
    if isinstance(error, FAULTS):
        return what_to_do(error, data)
    return about_file(error, data) if isinstance(error, OSError) else str(error)


async def serve(
    data: Path,
    loaded: Loaded,
    tuning: Tuning | None = None,
    net: NetTuning | None = None,
    repeats: logs.RepeatLimit | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        data: the data directory.
        loaded: the settings in force.
        tuning: see `open_relay`.
        net: see `Server`.
        repeats: the limit on repeated log records, which is to tell of dropped ones.
    """
    settings = loaded.settings
    trio.socket.set_custom_hostname_resolver(NameLookups())
    listeners = open_listeners(settings.listen)
    limit = ConnectionLimit(settings.limits)
    runtime = Runtime(
        settings=loaded,
        url=local_url(listeners[0], secure=settings.tls.on),
        plain_url=local_url(listeners[0], secure=False),
        listening=[urlsplit(url).netloc for url in urls(listeners, secure=False)],
        browser_address=partial(
            browser_address,
            settings.http.public_url,
            *listeners[0].getsockname()[:2],
            secure=settings.tls.on,
            listener=listeners[0],
        ),
        most_connections=limit,
    )
    async with _opened(data, settings, runtime, tuning) as relay:
        _tune_garbage_collector()
        served.note(data, runtime_directory())
        certificates = (
            Certificates(data, settings.tls, listeners[0], relay.clock.earlier_time, relay.clock.credible)
            if settings.tls.on
            else None
        )
        server = Server(relay, listeners, certificates, net, most_connections=limit)
        async with trio.open_nursery() as nursery:
            await nursery.start(control.serve, control_socket(data), relay.admin, relay.clock)
            nursery.start_soon(keep_running, "stopping", partial(_stop_on_signal, server))
            nursery.start_soon(keep_running, "reloading", partial(_reload_on_signal, loaded, certificates))
            if repeats is not None:
                nursery.start_soon(keep_running, "the log", repeats.run)
            nursery.start_soon(keep_running, "the statistics", relay.statistics.run)
            nursery.start_soon(keep_running, "retention", relay.retention.run, relay.tuning.retention.retry_seconds)
            nursery.start_soon(keep_running, "the reserve", relay.room.run, relay.tuning.disk.fill_seconds)
            nursery.start_soon(keep_running, "the hooks", OutgoingHooks(relay).run)
            async with trio.open_nursery() as serving:
                await serving.start(server.run)
                _log_addresses(relay, urls(listeners, secure=settings.tls.on))
                systemd.notify("READY=1", f"STATUS={_summary(server)}")
                prove = partial(proof_of_life, server)
                nursery.start_soon(keep_running, "the watchdog", partial(systemd.send_watchdog, prove))
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _opened(data: Path, settings: Settings, runtime: Runtime, tuning: Tuning | None) -> AsyncIterator[Relay]:
    """Open the relay. On a full disk, wait until space is freed.

    If the relay exited instead, systemd would restart it every few seconds, only for it to fail again.
    """
    tuning = tuning or Tuning()
    said = False
    async with AsyncExitStack() as stack:
        while True:
            opening = open_relay(
                data,
                frame=frames.encode_text,
                settings=settings,
                tuning=tuning,
                wait=tuning.disk.lock_wait_seconds,
                runtime=runtime,
            )
            try:
                relay = await stack.enter_async_context(opening)
                break
            except (sqlite3.OperationalError, OSError) as error:
                if isinstance(error, CannotUpgrade) or not _is_disk_full(error, data):
                    raise
                if not said:
                    logger.error("%s; the relay starts as soon as there is room", explained(error, data))
                    systemd.notify("STATUS=the disk is full: waiting for room")
                    said = True
            await trio.sleep(FULL_DISK_RETRY_SECONDS)
        yield relay


def _is_disk_full(error: Exception, data: Path) -> bool:
    if isinstance(error, OSError) and error.errno not in room.NO_ROOM:
        return False
    disk = room.of(data)
    return (is_full(error) or disk.free < START_AND_STOP_BYTES or not disk.names) and not disk.read_only


async def proof_of_life(
    server: Server, *, probe_seconds: float = PROBE_SECONDS, hung_write_seconds: float = HUNG_WRITE_SECONDS
) -> str:
    """Wait until the relay has proved that it works, and return its status line for systemd.

    Running this function proves that the event loop works; a probe proves that the writer works. A long write is the
    disk's fault: a restart would not help and would disconnect everybody. So during a write of up to
    `hung_write_seconds`, the event loop alone is proof enough.

    Args:
        server: the relay's network side.
        probe_seconds: how long the writer may take for a probe before its current write is timed.
        hung_write_seconds: how long one write may take before this stops returning.
    """
    log = server.relay.log
    while True:
        with trio.move_on_after(probe_seconds):
            # Do not restart for an unwritable store: people can still read.
            written = await log.probe()
            return _summary(server) if written else "the store cannot be written: see the messages before"
        since = log.busy_since
        seconds = 0.0 if since is None else trio.current_time() - since
        if probe_seconds / 2 < seconds < hung_write_seconds:
            return f"a write has been under way for {seconds:.0f} s: the disk is slow, and senders wait"


def _summary(server: Server) -> str:
    presence = server.relay.hub.presence
    online = sum(map(presence.online, list(presence.subscribers)))
    return f"{len(server.sessions)} connections, {online} users online, version {__version__}"


def _tune_garbage_collector() -> None:
    """Exempt the objects made so far from garbage collection, and have it run less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def _stop_on_signal(server: Server) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("%s: stopping", signal.Signals(number).name)
            systemd.notify("STOPPING=1", "STATUS=saying good-bye")
            server.stop()


async def _reload_on_signal(loaded: Loaded, certificates: Certificates | None) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        if _early_reloads:
            reload(loaded)
        async for _ in signals:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            reload(loaded)
            if certificates is not None:
                await certificates.check()
            systemd.notify("READY=1")


def reload(loaded: Loaded) -> None:
    """Reload the settings, and log which of them changed and which wait for the next start."""
    try:
        changed, waiting = loaded.reload()
    except WrongSettings as error:
        logger.error("the settings stay as they were: %s", error)
        return
    logs.set_level(loaded.settings.log.level)
    logger.info("settings read again: %s", f"changed {', '.join(changed)}" if changed else "nothing changed")
    if waiting:
        logger.warning("these take effect at the next start: %s", ", ".join(waiting))


def _log_addresses(relay: Relay, urls: Sequence[str]) -> None:
    for url in urls:
        logger.info("listening on %s", url)
    logger.info("for browsers: %s", relay.service.signing_in.address())
    logger.info("data in %s", relay.data)
    if not relay.state.users and not relay.settings.auth.open:
        within = typed_command.needs_directory()
        logger.info(
            "\nNobody can sign in yet. In another terminal%s, for each user:\n"
            "  %s    (a link and its QR code for a browser)\n"
            "  %s; %s    (a token for a program)\n",
            f", in {within}" if within else "",
            typed_command.line("invite anna --new --name Anna", relay.data),
            typed_command.line("user add robot", relay.data),
            typed_command.line("device add robot", relay.data),
        )
