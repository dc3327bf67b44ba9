"""What vouches for the machine's clock: NTP, or a real-time clock that shows the same. Reads the kernel, two files."""

import time
from pathlib import Path

TIMESYNCD = Path("/run/systemd/timesync/synchronized")
"""systemd-timesyncd touches it each time that it has set the clock."""
CLOCKS = Path("/sys/class/rtc")
NOT_SYNCHRONISED = 5
"""TIME_ERROR of adjtimex(2): nobody keeps the clock right, or somebody has set it by hand since."""
TIMEX_BYTES = 512
"""More than any `struct timex` has."""
SAME = 86_400
"""Seconds that a real-time clock may be off: many keep local time."""
FRESH = 7 * 86_400
"""Seconds after its last touch for which timesyncd's file says anything about the clock."""


def machine_proof() -> str | None:
    """Name what vouches for the machine's clock now; None where nothing does."""
    if kernel_is_synchronised():
        return "NTP (adjtimex)"
    now = time.time()
    if touched_lately(TIMESYNCD, now):
        return "NTP (systemd-timesyncd)"
    return real_time_clock(CLOCKS, now)


def kernel_is_synchronised() -> bool:
    """Whether the kernel says that its clock is kept right: adjtimex(2), which the unit lets pass for this."""
    import ctypes

    try:
        state: int = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return False
    return 0 <= state < NOT_SYNCHRONISED


def touched_lately(file: Path, now: float) -> bool:
    """Whether a file was touched at a time that a clock which shows `now` (Unix seconds) can have reached since."""
    try:
        touched = file.stat().st_mtime
    except OSError:
        return False
    return 0 <= now - touched <= FRESH


def real_time_clock(directory: Path, now: float) -> str | None:
    """Name a real-time clock that shows the time `now`, Unix seconds; None where there is none."""
    for clock in sorted(directory.glob("rtc*")):
        try:
            shown = int((clock / "since_epoch").read_text())
        except (OSError, ValueError):
            continue
        if abs(now - shown) <= SAME:
            return f"a real-time clock ({clock.name})"
    return None
