"""Checks of the machine: its name on the network, its clock, its disk, permissions and limits."""

import datetime as dt
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from relay.cli.doctor.finding import Finding, Subject
from relay.cli.doctor.tools import run_tool
from relay.cli.output import duration, size
from relay.protocol import control
from relay.store.files import room

LONG_WAIT_MS = 1_000.0
"""A longer wait for an answer is reported."""
LEAST_FREE_BYTES = 500_000_000
"""A disk with less free space is reported."""
WEAR_BYTES_A_DAY = 2_000_000_000
"""Bytes written per day that wear out a cheap SD card within a few years."""
EARLIEST_YEAR = 2025
"""A clock that shows an earlier year was never set."""


def names(_subject: Subject) -> Iterator[Finding]:
    """Check whether this machine is found by its name on the network."""
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
    answer = run_tool(resolver, "-4", "-n", name)
    if answer is not None and "\t" in answer:
        yield Finding("names", "good", f"{name} is {answer.split()[-1]}")
    else:
        yield Finding("names", "note", f"{name} is not found on the network", "See `systemctl status avahi-daemon`.")


def clock(subject: Subject) -> Iterator[Finding]:
    """Check the machine's clock, and whether the relay trusts it."""
    status = subject.status
    if status is not None and status.clock_ahead:
        yield Finding(
            "clock",
            "bad",
            f"it is {duration(status.clock_ahead)} past the log's last time, and neither NTP nor a real-time clock"
            " vouches for it: messages are dated from the log's last time, and nothing is deleted or ends by time",
            "Set it if it is wrong: `timedatectl set-time`. If it is right: `relay clock trust`. If NTP keeps it,"
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
    synced = run_tool("timedatectl", "show", "-p", "NTPSynchronized", "--value")
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
            "Nothing is lost. For the right time: an RTC module, or `timedatectl set-ntp true` with a server.",
        )


def disk(subject: Subject) -> Iterator[Finding]:
    """Check that the disk is writable, has room and will not wear out soon, and how long writes wait."""
    if not subject.data.exists():
        return
    found = room.of(subject.data)
    if found.read_only:
        yield Finding("disk", "bad", f"{subject.data} cannot be written", "Mount its disk for writing; see `dmesg`.")
    left = subject.status.disk_seconds_left if subject.status else None
    text = f"{size(found.free)} of {size(found.total)} left"
    if left is not None:
        text += f", {duration(left)} at the present rate"
    if found.few_names:
        yield Finding(
            "disk",
            "bad",
            f"{text}, but only {found.names:,} more files can be made ({found.all_names:,} inodes in all)",
            "Remove small files from that disk: `df -i`. Until then it takes no uploads, and a start may fail.",
        )
    elif found.free < LEAST_FREE_BYTES or (left is not None and left < 7 * 86_400):
        yield Finding("disk", "bad", text, "Free some space, or remove old messages: `relay prune`, retention.days.")
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


def limits(subject: Subject) -> Iterator[Finding]:
    """Check that the relay may have a file descriptor for each connection."""
    status = subject.status
    if status is None or status.max_connections is None or status.wanted_connections is None:
        return
    if status.max_connections < status.wanted_connections:
        yield Finding(
            "limits",
            "note",
            f"only {status.max_connections:,} connections are possible, not {status.wanted_connections:,}"
            " (limits.connections), since the relay may have no more descriptors",
            "Raise LimitNOFILE= (`systemctl edit relay`), or `ulimit -n` before `relay serve`.",
        )
    else:
        yield Finding("limits", "good", f"descriptors for {status.max_connections:,} connections")


def permissions(subject: Subject) -> Iterator[Finding]:
    """Check that only the relay and its group can reach the data."""
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
