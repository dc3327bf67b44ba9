"""`relay doctor`: what is wrong on this machine, and what to do about it.

Each check yields findings and changes nothing. A check whose tool is missing is skipped.
"""

import datetime as dt
import os
import shutil
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import typer

from relay.cli.control_client import ask_running
from relay.cli.doctor import reach
from relay.cli.doctor.finding import CHECK_SECONDS, Finding, Level, Subject
from relay.cli.hints import as_typed
from relay.cli.options import Data, Json
from relay.cli.output import Failure, as_json, duration, size, visible
from relay.cli.status import index_remaking
from relay.protocol import control
from relay.settings import Loaded, WrongSettings, data_directory
from relay.store.files.directory import is_read_only

UNIT = "relay"
SLOW_WRITE_SECONDS = 5.0
"""A write that takes longer is reported."""
LONG_WAIT_MS = 1_000.0
"""A wait for an answer that was longer is reported."""
LEAST_FREE_BYTES = 500_000_000
"""A disk with less free space is reported."""
WEAR_BYTES_A_DAY = 2_000_000_000
"""Bytes written a day that wear out a cheap SD card within a few years."""
OLDEST_SQLITE = (3, 38, 0)
"""The first version with the JSON operators that the store uses."""
EARLIEST_YEAR = 2025
"""A clock that shows an earlier year was never set."""


def doctor(data: Data = None, json: Json = False) -> None:
    """Check this machine: network, names, clock, disk, store, certificates, systemd and its journal.

    Exits with 1 if something needs doing.

    Example: relay doctor
    """
    found = [
        finding._replace(what=as_typed(finding.what), advice=as_typed(finding.advice))
        for finding in examine(data_directory(data))
    ]
    if json:
        as_json([finding._asdict() for finding in found])
    else:
        for finding in found:
            print(f"{_mark(finding.level)} {finding.check:<12}{finding.what}")
            if finding.advice:
                print(f"{'':<15}{finding.advice}")
    if any(finding.level == "bad" for finding in found):
        raise typer.Exit(1)


def _mark(level: Level) -> str:
    mark = {"good": "ok ", "note": " ! ", "bad": "BAD"}[level]
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return mark
    return f"\x1b[{ {'good': 32, 'note': 33, 'bad': 31}[level] }m{mark}\x1b[0m"


def examine(data: Path) -> Iterator[Finding]:
    """Run all checks on a data directory and yield what they find."""
    try:
        settings = Loaded(environment=os.environ, options={})
    except WrongSettings as error:
        settings = None
        yield Finding("settings", "bad", str(error), "Mend it, then `relay config check`.")
    try:
        status = ask_running(data, "status.show", control.Empty())
        yield _running(data, status)
    except Failure as failure:
        status = None
        yield Finding("relay", "bad", str(failure), "The relay could not be asked for more.")
    subject = Subject(data, status, settings)
    for check in CHECKS:
        try:
            yield from map(_in_one_line, check(subject))
        except Exception as error:  # noqa: BLE001 - the other checks must still run
            name = check.__name__.strip("_")
            yield _in_one_line(Finding(name, "note", f"could not be checked: {error}"))


def _in_one_line(finding: Finding) -> Finding:
    """Keep the output of another program in one line, without control characters."""
    return finding._replace(what=visible(" ".join(finding.what.split())))


def _running(data: Path, status: control.Status | None) -> Finding:
    if status is None:
        return Finding(
            "relay", "bad", f"no relay runs on {data}", "Start it: `systemctl start relay`, or `relay serve`."
        )
    if status.disk_full:
        return Finding(
            "relay",
            "bad",
            f"the disk is full: people can only read; {size(status.reserve_bytes)} are set aside to free it with",
            "Let old messages go (`relay prune`), or move other files away from that disk.",
        )
    if status.writing_for > SLOW_WRITE_SECONDS:
        return Finding(
            "relay",
            "bad",
            f"a write has been under way for {duration(status.writing_for)}: senders wait",
            "The disk is slow or failing: `journalctl -k` may say so.",
        )
    if status.write_failing:
        return Finding("relay", "bad", "the store cannot be written", "`journalctl -u relay` says why.")
    return Finding("relay", "good", f"version {status.version} runs, up {duration(status.uptime)}")


# The network.


def _names(_subject: Subject) -> Iterator[Finding]:
    name = f"{socket.gethostname().split('.')[0]}.local"
    resolver = shutil.which("avahi-resolve")
    if resolver is None:
        yield Finding(
            "names",
            "note",
            f"nobody can find {name}: avahi is not installed",
            "To be found by name: `apt install avahi-daemon avahi-utils`.",
        )
        return
    answer = _run(resolver, "-4", "-n", name)
    if answer is not None and "\t" in answer:
        yield Finding("names", "good", f"{name} is {answer.split()[-1]}")
    else:
        yield Finding("names", "note", f"{name} is not found on the network", "See `systemctl status avahi-daemon`.")


# The machine.


def _clock(subject: Subject) -> Iterator[Finding]:
    status = subject.status
    if status is not None and status.clock_ahead:
        yield Finding(
            "clock",
            "bad",
            f"it is {duration(status.clock_ahead)} past the log's last time, and neither NTP nor a real-time clock"
            " vouches for it: messages are dated from the log's last time, and nothing is deleted or ends by time",
            "Set it if it is wrong: `timedatectl set-time`. If it is right: `relay clock trust`. Where NTP keeps it,"
            " neither is needed (`relay help tuning`).",
        )
    elif status is not None and status.log_ahead:
        yield Finding(
            "clock",
            "bad",
            f"the log's last time is {duration(status.log_ahead)} ahead of the clock, and new messages are dated so",
            "Set the clock if it is wrong: `timedatectl set-time`. If it is right: `relay clock trust`.",
        )
    yield from _machine_clock()


def _machine_clock() -> Iterator[Finding]:
    now = dt.datetime.now(tz=dt.UTC)
    has_rtc = any(Path("/sys/class/rtc").glob("rtc*"))
    synced = _run("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if now.year < EARLIEST_YEAR:
        yield Finding("clock", "bad", f"it shows {now:%Y-%m-%d}", "Set it: `timedatectl set-time`, or connect to NTP.")
    elif synced == "yes":
        yield Finding("clock", "good", f"{now:%Y-%m-%d %H:%M} UTC, kept by NTP")
    elif has_rtc:
        yield Finding("clock", "good", f"{now:%Y-%m-%d %H:%M} UTC, kept by a battery (no NTP)")
    else:
        yield Finding(
            "clock",
            "note",
            f"{now:%Y-%m-%d %H:%M} UTC, with neither battery nor NTP: after a power cut it is behind",
            "Nothing is lost by it. For right times: an RTC module, or `timedatectl set-ntp true` with a server.",
        )


def _search(subject: Subject) -> Iterator[Finding]:
    status = subject.status
    if status is not None and status.index_remaking:
        yield Finding("search", "note", index_remaking(status))


def _disk(subject: Subject) -> Iterator[Finding]:
    if not subject.data.exists():
        return
    if is_read_only(subject.data):
        yield Finding("disk", "bad", f"{subject.data} cannot be written", "Mount its disk for writing; see `dmesg`.")
    usage = shutil.disk_usage(subject.data)
    left = subject.status.disk_seconds_left if subject.status else None
    text = f"{size(usage.free)} of {size(usage.total)} left"
    if left is not None:
        text += f", {duration(left)} at the present rate"
    if usage.free < LEAST_FREE_BYTES or (left is not None and left < 7 * 86_400):
        yield Finding("disk", "bad", text, "Make room, or let old messages go: `relay prune`, retention.days.")
    else:
        yield Finding("disk", "good", text)
    if subject.status is not None:
        yield from _wear(subject.status)
        yield from _waits(subject.status)


def _waits(status: control.Status) -> Iterator[Finding]:
    wait = status.longest_wait
    if wait is None:
        return
    text = f"the longest in the last hour was {wait.ms:,.0f} ms, for {wait.cause}"
    if wait.ms > LONG_WAIT_MS:
        yield Finding("waits", "note", text, "`relay help tuning` says what each of these is.")
    else:
        yield Finding("waits", "good", text)


def _wear(status: control.Status) -> Iterator[Finding]:
    try:
        lines = Path(f"/proc/{status.pid}/io").read_text().splitlines()
    except PermissionError:
        return
    written = next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))
    a_day = written / max(status.uptime, 3_600) * 86_400
    text = f"{size(a_day)} are written a day"
    if a_day > WEAR_BYTES_A_DAY:
        yield Finding("wear", "note", text, "An SD card wears out: put the data on an SSD (`relay help moving`).")
    else:
        yield Finding("wear", "good", text)


def _limits(subject: Subject) -> Iterator[Finding]:
    status = subject.status
    if status is None or status.max_connections is None or status.wanted_connections is None:
        return
    if status.max_connections < status.wanted_connections:
        yield Finding(
            "limits",
            "note",
            f"there can be {status.max_connections:,} connections and not {status.wanted_connections:,}"
            " (limits.connections), since the relay may have no more descriptors",
            "Raise LimitNOFILE= (`systemctl edit relay`), or `ulimit -n` before `relay serve`.",
        )
    else:
        yield Finding("limits", "good", f"descriptors for {status.max_connections:,} connections")


def _permissions(subject: Subject) -> Iterator[Finding]:
    open_to_all = []
    for path in (subject.data, subject.data / "relay.db", subject.data / "relay.sock"):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IRWXO and not (path.is_file() and not subject.data.stat().st_mode & stat.S_IXOTH):
            open_to_all.append(str(path))
    if open_to_all:
        yield Finding(
            "permissions",
            "bad",
            f"everybody on this machine may reach {', '.join(open_to_all)}",
            f"chmod o= {' '.join(open_to_all)}",
        )
    else:
        yield Finding("permissions", "good", "only the relay and its group reach the data")


# The store.


def _sqlite(subject: Subject) -> Iterator[Finding]:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        yield Finding("sqlite", "bad", f"version {sqlite3.sqlite_version} is too old", "Upgrade the system.")
    else:
        yield Finding("sqlite", "good", f"version {sqlite3.sqlite_version}")
    if not (subject.data / "relay.db").exists():
        return
    from relay.store.data_dir.errors import what_to_do

    try:
        damage = _damage(subject.data / "relay.db")
    except sqlite3.OperationalError as error:
        yield Finding("store", "bad", what_to_do(error, subject.data), "Nothing says that it is damaged.")
        return
    if damage:
        yield Finding("store", "bad", damage, "`relay check` says where; `relay restore` puts a backup in place.")
        return
    yield from _upgrade(subject.data / "relay.db")
    yield Finding("store", "good", "the file is whole (a quick look; `relay check` proves all of it)")


def _upgrade(path: Path) -> Iterator[Finding]:
    """Check the version of the store. A copy beside an older one means that an upgrade did not finish."""
    from relay.store.backup import archive
    from relay.store.data_dir import written_by
    from relay.store.sqlite.migrate import begun
    from relay.store.sqlite.schema import MIGRATIONS

    with closing(archive.read(path)) as store:
        ((version,),) = store.execute("PRAGMA user_version")
        ((told,),) = store.execute("SELECT count(*) FROM sqlite_master WHERE name = 'writer'")
        ((last,),) = store.execute(written_by.LAST) if told else [("",)]
    newest = len(MIGRATIONS)
    if not written_by.is_release(last):
        yield Finding(
            "writer",
            "note",
            f"the file: {written_by.UNRELEASED.format(version=last)}",
            "Releases are tested with stores of releases: keep a backup of before, and install a release.",
        )
    if version > newest:
        yield Finding(
            "upgrade",
            "bad",
            f"a newer relay{f' ({last})' if last else ''} wrote the file (version {version}; this one knows {newest})",
            "Install that relay again, or go back as `relay help upgrade` says.",
        )
    elif version < newest and (before := begun(path, version)):
        yield Finding(
            "upgrade",
            "bad",
            f"an upgrade of the file from version {version} to {newest} did not finish; what was"
            f" before is in {before.name}",
            "`systemctl restart relay` goes on with it; `journalctl -u relay` says what was in the way.",
        )
    elif version < newest:
        yield Finding(
            "upgrade", "note", f"the file is of version {version}; the next start of the relay makes it {newest}"
        )


def _damage(path: Path) -> str:
    """Return what is wrong with the file; an empty text if it is whole.

    Raises:
        sqlite3.OperationalError: it cannot be read now.
    """
    import trio

    from relay.store.data_dir.errors import is_damaged
    from relay.store.queries import storage
    from relay.store.sqlite import database

    async def look() -> str:
        async with database.connect(path, writing=False) as reading:
            # The store of a newer relay may be whole; its version is a finding of its own.
            with suppress(database.NewerStore):
                await database.recognise(reading)
            return await storage.damage(reading)

    try:
        return trio.run(look)
    except sqlite3.OperationalError as error:
        if not is_damaged(error):
            raise
        return str(error)
    except (sqlite3.Error, database.NotAStore) as error:
        return str(error)


def _leftovers(subject: Subject) -> Iterator[Finding]:
    from relay.cli.doctor.leftovers import examine

    for left in examine(subject.data):
        yield Finding("leftovers", left.level, left.what, left.advice)


# Certificates and systemd.


def _certificate(subject: Subject) -> Iterator[Finding]:
    url = urlsplit(subject.status.url or "") if subject.status else None
    openssl = shutil.which("openssl")
    if url is None or url.scheme != "wss" or openssl is None:
        return
    pem = ssl.get_server_certificate((url.hostname or "127.0.0.1", url.port or 443), timeout=CHECK_SECONDS)
    answer = _run(openssl, "x509", "-noout", "-enddate", stdin=pem) or ""
    ends = dt.datetime.strptime(answer.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=dt.UTC)
    left = (ends - dt.datetime.now(tz=dt.UTC)).total_seconds()
    if left < 0:
        yield Finding("certificate", "bad", f"it ended on {ends:%Y-%m-%d}", "See `relay help tls`.")
    elif left < 14 * 86_400:
        yield Finding("certificate", "note", f"it ends on {ends:%Y-%m-%d}", "See `relay help tls`.")
    else:
        yield Finding("certificate", "good", f"good until {ends:%Y-%m-%d}")


def _systemd(_subject: Subject) -> Iterator[Finding]:
    shown = _run("systemctl", "show", UNIT, "-p", "LoadState,ActiveState,UnitFileState,NRestarts") or ""
    unit = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        yield Finding("systemd", "note", "there is no unit relay.service here", "The Debian package brings it.")
        return
    state = f"{unit.get('ActiveState')}, {unit.get('UnitFileState')}, restarted {unit.get('NRestarts', '0')} times"
    if unit.get("ActiveState") != "active":
        yield Finding("systemd", "bad", state, "`systemctl status relay` says why.")
    elif unit.get("UnitFileState") not in ("enabled", "indirect", "static", "generated"):
        yield Finding("systemd", "note", state, "To start it with the machine: `systemctl enable relay`.")
    else:
        yield Finding("systemd", "good", state)
    exposure = _run("systemd-analyze", "security", "--no-pager", f"{UNIT}.service") or ""
    last = exposure.strip().splitlines()[-1:] or [""]
    if "exposure level" in last[0]:
        yield Finding("hardening", "good", last[0].lstrip("→ ").strip())


def _journal(_subject: Subject) -> Iterator[Finding]:
    errors = _run("journalctl", "-u", UNIT, "-p", "err", "--since", "-24h", "-n", "3", "-o", "cat", "--no-pager", "-q")
    if errors is None:
        return
    if errors:
        for line in errors.splitlines()[:3]:
            yield Finding("journal", "note", line, "All of them: `journalctl -u relay -p err`.")
    else:
        yield Finding("journal", "good", "no errors within a day")


def _run(*command: str, stdin: str = "") -> str | None:
    """Run one of the machine's tools. Return its output; None if it is missing or fails."""
    try:
        ran = subprocess.run(  # noqa: S603 - fixed commands
            command, input=stdin, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ran.stdout.strip() if ran.returncode == 0 else None


CHECKS: tuple[Callable[[Subject], Iterator[Finding]], ...] = (
    reach.network,
    _names,
    _clock,
    _search,
    _disk,
    _permissions,
    _limits,
    _sqlite,
    _leftovers,
    _certificate,
    _systemd,
    _journal,
)
