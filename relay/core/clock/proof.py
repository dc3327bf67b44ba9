"""Evidence that the machine's clock is right: NTP, or a real-time clock that agrees. Reads the kernel and two files."""

import time
from pathlib import Path

from relay.keys import Seconds

TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches this file whenever it sets the clock."""
CLOCKS = Path("/sys/class/rtc")
TIME_ERROR = 5
"""adjtimex(2): the clock is not synchronised, or was set by hand since then."""
TIMEX_BYTES = 512
"""Larger than any `struct timex`."""
RTC_TOLERANCE_SECONDS = 86_400
"""Maximum error of a real-time clock: many keep local time."""
SYNC_VALID_SECONDS = 7 * 86_400
"""How long timesyncd's file counts after its last change."""


def machine_proof() -> str | None:
    """Name the evidence for the machine's clock now; None if there is none."""
    if kernel_is_synchronised():
        return "NTP (adjtimex)"
    now = time.time()
    if touched_lately(TIMESYNCD, now):
        return "NTP (systemd-timesyncd)"
    return real_time_clock(CLOCKS, now)


def kernel_is_synchronised() -> bool:
    """Return whether the kernel's clock is synchronised: adjtimex(2), which the systemd unit permits for this."""
    import ctypes

    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return 0 <= state < TIME_ERROR


def touched_lately(file: Path, now: Seconds) -> bool:
    """Return whether a file was changed within the last week, by a clock that shows `now` (Unix seconds)."""
    try:
        touched = file.stat().st_mtime
    except OSError:
        return False
    return 0 <= now - touched <= SYNC_VALID_SECONDS


def real_time_clock(directory: Path, now: Seconds) -> str | None:
    """Name a real-time clock that agrees with `now` (Unix seconds); None if there is none."""
    for clock in sorted(directory.glob("rtc*")):
        try:
            shown = int((clock / "since_epoch").read_text())
        except (OSError, ValueError):
            continue
        if abs(now - shown) <= RTC_TOLERANCE_SECONDS:
            return f"a real-time clock ({clock.name})"
    return None
