"""`relay serve`: opens the data directory, listens, and stops in order when told to.

Kept free of the command line's libraries, which a running relay need not hold in memory.
"""

import argparse
import errno
import faulthandler
import gc
import logging
import os
import signal
import socket
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import trio

from relay import __version__, invoked, logs, standard
from relay.core.relay import Relay, open_relay
from relay.net import control_socket as control
from relay.net.server import Server, listen
from relay.net.sockets import systemd
from relay.net.sockets.hostnames import browser_address
from relay.net.tls.authority import CannotMake
from relay.net.tls.certificates import Certificates
from relay.net.webhooks.outgoing import OutgoingHooks
from relay.net.websocket import frames
from relay.settings import Loaded, Settings, WrongSettings, control_socket, data_directory
from relay.store.data_dir.errors import FAULTS, what_to_do
from relay.store.files.directory import NoDirectory, about_file, make
from relay.store.files.lock import WAIT
from relay.store.files.reserve import LITTLE
from relay.store.sqlite.migrate import CannotUpgrade

logger = logging.getLogger(__name__)

ROOM_EVERY = 2.0
"""Seconds between two attempts to open a store whose disk is full."""
COLLECT_AFTER = (20_000, 4, 2)
"""Objects that may come to be before garbage in circles is looked for among the young ones (the interpreter's own is
700), and how often that is done before it is looked for among older ones: garbage is 160,000 objects at most."""
SWITCH_INTERVAL = 0.0005
"""Seconds that the store's thread waits for the interpreter while connections keep it busy."""
PROOF = 2.0
"""Seconds that the writer has to prove that it works, before it counts what it waits for."""
SLOW_WRITE = 300.0
"""Seconds that one write may take before nothing is proved any more, and systemd starts the relay again."""


_asked_early: list[bool] = []
"""Whether the settings were to be read again before the relay had started."""


class CannotServe(Exception):
    """What is in the way, for a person."""


IN_THE_WAY = (*FAULTS, NoDirectory, CannotServe, CannotMake, WrongSettings, OSError)
"""What a person can do something about: said in a line, not in a traceback."""


ABOUT = """
  Run the relay.

  Example: relay serve --listen 0.0.0.0:8765
"""


class Help(argparse.RawDescriptionHelpFormatter):
    """Writes help as the other commands do."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[argparse._MutuallyExclusiveGroup],
        prefix: str | None = None,
    ) -> None:
        """See `argparse.HelpFormatter`."""
        super().add_usage(usage, actions, groups, prefix or "Usage: ")


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, as the other commands do."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser`."""
        self.exit(2, f"relay: {message.removeprefix('argument ')}\n")


def parser() -> argparse.ArgumentParser:
    """The options of `relay serve`."""
    parser = Parser(
        prog="relay serve",
        usage="relay serve [OPTIONS]",
        description=ABOUT,
        formatter_class=Help,
        add_help=False,
    )
    options = parser.add_argument_group("Options")
    options.add_argument(
        "--listen",
        action="append",
        type=_listened_on,
        metavar="HOST:PORT",
        help="Where to listen (may be given again).",
    )
    options.add_argument("--tls", action="store_true", default=None, help="Speak TLS (see: relay tls init).")
    options.add_argument("--data", type=_directory, metavar="DIR", help="The data directory.")
    options.add_argument("--config", type=Path, metavar="FILE", help="The settings file.")
    options.add_argument("--help", action="help", help="Show this message and exit.")
    options.add_argument("-h", action="help", help=argparse.SUPPRESS)
    return parser


def _listened_on(text: str) -> str:
    try:
        address(text)
    except CannotServe as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _directory(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("name a directory, or leave it out")
    return Path(text)


def main(arguments: Sequence[str]) -> int:
    """Run the relay until it is told to stop. Gives the exit code."""
    standard.fill()
    standard.stand_in_for_stderr()
    options = parser().parse_args(arguments)
    logs.set_up("info")
    # Left to itself it would end the relay while that starts, which may take minutes: an upgrade, a full disk.
    signal.signal(signal.SIGHUP, lambda *_: _asked_early.append(True))
    # When systemd ends a relay that shows no sign of life, the journal gets to know where it hung.
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        settings = Loaded(
            options.config, options={"listen": options.listen, "tls.on": options.tls}, environment=os.environ
        )
        logs.set_level(settings.settings.log.level)
        data = data_directory(options.data)
        make(data)
        trio.run(serve, data, settings)
    except (*IN_THE_WAY, BaseExceptionGroup) as error:
        cause = _only(error)
        if not isinstance(cause, IN_THE_WAY):
            raise
        _say(_what_to_do(cause, data_directory(options.data)))
        return 1
    return 0


def _say(message: str) -> None:
    """Say what is in the way: to the journal as a record, to people as the other commands do."""
    if logs.stderr_is_the_journal():
        logger.error("%s", message)
    else:
        print(f"relay: {message}", file=sys.stderr)  # noqa: T201 - it is a command's last word, and no log


def _only(error: BaseException) -> BaseException:
    """Take the one cause out of the groups that nurseries put around it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _what_to_do(error: BaseException, data: Path) -> str:
    if isinstance(error, FAULTS):
        return what_to_do(error, data)
    return about_file(error, data) if isinstance(error, OSError) else str(error)


def address(text: str) -> tuple[str, int]:
    """Take HOST:PORT apart; a host may be in brackets, or missing for all.

    Raises:
        CannotServe: it is none.
    """
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65_535:
        raise CannotServe(f"{text!r} is no address to listen on: it should look like 0.0.0.0:8765")
    return host.strip("[]"), int(port)


def open_listeners(addresses: Iterable[str]) -> list[socket.socket]:
    """Take the sockets that systemd hands over; where it does not, listen on all addresses.

    Raises:
        CannotServe: one of them cannot be had.
    """
    try:
        listeners = systemd.inherited()
    except ValueError as error:
        raise CannotServe(str(error)) from None
    wanted = {} if listeners else {text: address(text) for text in addresses}
    ports = [port for _, port in wanted.values()]
    for text, (host, port) in wanted.items():
        try:
            # Where another address with this port is named, that one has IPv4.
            listeners += listen(host, port, both=ports.count(port) == 1)
        except OSError as error:
            raise CannotServe(f"cannot listen on {text}: {error.strerror or error}{_otherwise(error, port)}") from None
    return listeners


def _otherwise(error: OSError, port: int) -> str:
    """What helps where an address cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return f". Another program has port {port} (`ss -ltnp` names it): stop it, or take another one with --listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return ". This machine has no such address (`ip address` shows those it has)"
    if error.errno == errno.EACCES:
        return ". Ports below 1024 are for root: take another one with --listen"
    return ""


async def serve(data: Path, loaded: Loaded) -> None:
    """Serve until SIGTERM or SIGINT."""
    settings = loaded.settings
    listeners = open_listeners(settings.listen)
    async with _opened(data, settings) as relay:
        _settle_memory()
        certificates = Certificates(data, settings.tls, listeners[0], relay.clock.cautious) if settings.tls.on else None
        server = Server(relay, certificates)
        relay.admin.runtime.settings = loaded
        async with trio.open_nursery() as nursery:
            await nursery.start(control.serve, control_socket(data), relay.admin, relay.clock)
            nursery.start_soon(_stop_on_signal, server)
            nursery.start_soon(_reload_on_signal, loaded, certificates)
            nursery.start_soon(relay.meter.run)
            nursery.start_soon(relay.retention.run)
            nursery.start_soon(relay.room.run)
            nursery.start_soon(OutgoingHooks(relay).run)
            relay.admin.runtime.url = _nearest(_urls(listeners, secure=settings.tls.on)[0])
            relay.admin.runtime.listening = [urlsplit(url).netloc for url in _urls(listeners, secure=False)]
            relay.admin.runtime.plain_url = _nearest(_urls(listeners, secure=False)[0])
            # Asked for anew each time: at boot the relay is there before the network, and addresses change.
            relay.service.signing_in.address = partial(
                browser_address,
                settings.http.public_url,
                *listeners[0].getsockname()[:2],
                secure=settings.tls.on,
                listener=listeners[0],
            )
            async with trio.open_nursery() as serving:
                await serving.start(server.run, listeners)
                _welcome(relay, _urls(listeners, secure=settings.tls.on))
                systemd.notify("READY=1", f"STATUS={_summary(server)}")
                nursery.start_soon(systemd.show_life, lambda: _prove(server))
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _opened(data: Path, settings: Settings) -> AsyncIterator[Relay]:
    """Open the relay; on a disk so full that this fails, wait until somebody has made room.

    To end would mean to be started again every few seconds, and to fail again.
    """
    said = False
    async with AsyncExitStack() as stack:
        while True:
            opening = open_relay(data, frame=frames.encode_text, settings=settings, wait=WAIT)
            try:
                relay = await stack.enter_async_context(opening)
                break
            except (sqlite3.OperationalError, OSError) as error:
                if isinstance(error, CannotUpgrade) or not _for_want_of_room(error, data):
                    raise
                if not said:
                    logger.error("%s; the relay starts as soon as there is room", _what_to_do(error, data))
                    systemd.notify("STATUS=the disk is full: waiting for room")
                    said = True
            await trio.sleep(ROOM_EVERY)
        yield relay


def _for_want_of_room(error: Exception, data: Path) -> bool:
    if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return False
    disk = os.statvfs(data)
    return disk.f_bavail * disk.f_frsize < LITTLE and not disk.f_flag & os.ST_RDONLY


async def _prove(server: Server) -> str:
    """Wait for the writer; that this runs at all says that the loop does.

    A write that takes long is the disk's fault: a restart would not mend it, and would cut everybody off. So for some
    minutes the loop alone is proof enough.
    """
    log = server.relay.log
    while True:
        with trio.move_on_after(PROOF):
            # A store that cannot be written is no reason for a restart either: people can still read.
            written = await log.probe()
            return _summary(server) if written else "the store cannot be written: see the messages before"
        since = log.busy_since
        seconds = 0.0 if since is None else trio.current_time() - since
        if PROOF / 2 < seconds < SLOW_WRITE:
            return f"a write has been under way for {seconds:.0f} s: the disk is slow, and who sends waits"


def _summary(server: Server) -> str:
    presence = server.relay.hub.presence
    online = sum(map(presence.online, list(presence.subscribers)))
    return f"{len(server.sessions)} connections, {online} users online, version {__version__}"


def _settle_memory() -> None:
    """Keep the garbage collector from walking what stays for good, and from looking after every few messages."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _stop_on_signal(server: Server) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("%s: stopping", signal.Signals(number).name)
            systemd.notify("STOPPING=1", "STATUS=saying good-bye")
            server.stop()


async def _reload_on_signal(loaded: Loaded, certificates: Certificates | None) -> None:
    with trio.open_signal_receiver(signal.SIGHUP) as signals:
        if _asked_early:
            reload(loaded)
        async for _ in signals:
            systemd.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")
            reload(loaded)
            if certificates is not None:
                await certificates.look()
            systemd.notify("READY=1")


def reload(loaded: Loaded) -> None:
    """Put changed settings in force, and say which are and which wait."""
    try:
        changed, waiting = loaded.reload()
    except WrongSettings as error:
        logger.error("the settings stay as they were: %s", error)
        return
    logs.set_level(loaded.settings.log.level)
    logger.info("settings read again: %s", f"changed {', '.join(changed)}" if changed else "nothing changed")
    if waiting:
        logger.warning("these take effect at the next start: %s", ", ".join(waiting))


def _urls(listeners: Sequence[socket.socket], *, secure: bool) -> list[str]:
    """Where the listeners can be reached, as WebSocket addresses."""
    scheme = "wss" if secure else "ws"
    places = [listener.getsockname()[:2] for listener in listeners]
    return [f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/ws" for host, port in places]


def _nearest(url: str) -> str:
    """The address under which this machine itself reaches one."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def _welcome(relay: Relay, urls: Sequence[str]) -> None:
    for url in urls:
        logger.info("listening on %s", url)
    logger.info("for browsers: %s", relay.service.signing_in.address())
    logger.info("data in %s", relay.data)
    if not relay.state.users and not relay.settings.auth.open:
        within = invoked.needs_directory()
        logger.info(
            "\nNobody can sign in yet. In another terminal%s, for each user:\n"
            "  %s    (a link and its QR code for a browser)\n"
            "  %s; %s    (a token for a program)\n",
            f", in {within}" if within else "",
            invoked.line("invite anna --new --name Anna", relay.data),
            invoked.line("user add robot", relay.data),
            invoked.line("device add robot", relay.data),
        )
