"""Checks of the service: whether the relay runs, its certificate, its systemd unit and its journal."""

import datetime as dt
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from relay.cli.doctor.finding import CHECK_SECONDS, Finding, Subject
from relay.cli.doctor.tools import run_tool
from relay.cli.output import duration, size
from relay.cli.status import SLOW_WRITE_SECONDS
from relay.protocol import control

UNIT = "relay"


def running(data: Path, status: control.Status | None) -> Finding:
    """Return the status of the relay on a data directory, if one runs."""
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


def certificate(subject: Subject) -> Iterator[Finding]:
    """Check when the certificate, and the relay's own authority, begin and end."""
    from relay.net.tls.authority import AUTHORITY
    from relay.net.tls.certificates import FOLDER
    from relay.net.tls.reading import read

    url = urlsplit(subject.status.url or "") if subject.status else None
    openssl = shutil.which("openssl")
    if url is None or url.scheme != "wss" or openssl is None:
        return
    pem = ssl.get_server_certificate((url.hostname or "127.0.0.1", url.port or 443), timeout=CHECK_SECONDS)
    answer = run_tool(openssl, "x509", "-noout", "-startdate", "-enddate", stdin=pem) or ""
    begins, ends = (
        dt.datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y %Z").replace(tzinfo=dt.UTC)
        for line in answer.splitlines()
    )
    now = dt.datetime.now(tz=dt.UTC)
    left = (ends - now).total_seconds()
    made_by = subject.data / FOLDER / AUTHORITY
    if _serves_own(pem, subject.data) and (first := read(made_by).begins) > now.timestamp():
        yield Finding(
            "certificate",
            "bad",
            f"its authority begins on {dt.datetime.fromtimestamp(first, dt.UTC):%Y-%m-%d}: no browser accepts it yet",
            "Set the clock if it is wrong. If it is right: `relay tls init --again`, and have devices trust that one.",
        )
    elif begins > now:
        yield Finding(
            "certificate",
            "bad",
            f"it begins on {begins:%Y-%m-%d}: no browser accepts it yet",
            "Set the clock if it is wrong. If it is right, get another certificate: see `relay help tls`.",
        )
    elif left < 0:
        yield Finding("certificate", "bad", f"it ended on {ends:%Y-%m-%d}", "See `relay help tls`.")
    elif left < 14 * 86_400:
        yield Finding("certificate", "note", f"it ends on {ends:%Y-%m-%d}", "See `relay help tls`.")
    else:
        yield Finding("certificate", "good", f"good until {ends:%Y-%m-%d}")


def _serves_own(pem: str, data: Path) -> bool:
    """Return whether a certificate is the one that the relay's own authority made."""
    from relay.net.tls.authority import AUTHORITY, LEAF
    from relay.net.tls.certificates import FOLDER

    try:
        return pem.strip() in (data / FOLDER / LEAF).read_text() and (data / FOLDER / AUTHORITY).is_file()
    except OSError:
        return False


def systemd(_subject: Subject) -> Iterator[Finding]:
    """Check the state of the unit, and how well it is sandboxed."""
    shown = run_tool("systemctl", "show", UNIT, "-p", "LoadState,ActiveState,UnitFileState,NRestarts") or ""
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
    exposure = run_tool("systemd-analyze", "security", "--no-pager", f"{UNIT}.service") or ""
    last = exposure.strip().splitlines()[-1:] or [""]
    if "exposure level" in last[0]:
        yield Finding("hardening", "good", last[0].lstrip("→ ").strip())


def journal(_subject: Subject) -> Iterator[Finding]:
    """List the latest errors of the relay in the journal."""
    errors = run_tool(
        "journalctl", "-u", UNIT, "-p", "err", "--since", "-24h", "-n", "3", "-o", "cat", "--no-pager", "-q"
    )
    if errors is None:
        return
    if errors:
        for line in errors.splitlines()[:3]:
            yield Finding("journal", "note", line, "All of them: `journalctl -u relay -p err`.")
    else:
        yield Finding("journal", "good", "no errors within a day")
