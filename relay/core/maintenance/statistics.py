"""What goes on in a relay just now: rates over the last seconds, how long it takes to tell, what the disk will bear.

Counts are taken where they arise; this looks at them once a second. Reads /proc and the data directory,
changes nothing.
"""

import os
import shutil
from collections import deque
from pathlib import Path
from typing import NamedTuple

import trio

from relay.core.delivery.hub import Hub
from relay.store.files.place import log_of
from relay.store.log.log import Log

EVERY = 1.0
"""Seconds between two looks."""
WINDOW = 10
"""Seconds that rates are taken over."""
LAGS = 1_024
"""Batches whose lag is kept."""
GROWTH_EVERY, GROWTH_LOOKS = 60.0, 60
"""Seconds between two looks at the store's size, and how many of them are kept."""


class Sample(NamedTuple):
    """Counts at one moment."""

    at: float
    messages: int
    delivered: int
    commands: int
    batches: int
    commit_seconds: float
    cpu_seconds: float


class Rates(NamedTuple):
    """What happened a second, over the last few."""

    messages: float
    deliveries: float
    requests: float
    batch_size: float
    """Commands a batch."""
    commit: float
    """Milliseconds a commit."""
    cpu: float
    """Share of one core, 0 to 1."""


class LatencySamples:
    """How long it took from a message's coming in to its going out, by batch; and how many messages there were."""

    __slots__ = ("_kept", "messages")

    def __init__(self) -> None:
        self.messages = 0
        """Since the start."""
        self._kept: deque[int] = deque(maxlen=LAGS)

    def note(self, milliseconds: int) -> None:
        """Take the lag of a batch's first message."""
        self._kept.append(milliseconds)

    def percentile(self, share: float) -> int | None:
        """The lag that so great a share of the latest batches stayed within, in milliseconds."""
        kept = sorted(self._kept)
        return kept[min(len(kept) - 1, int(share * len(kept)))] if kept else None


class Statistics:
    """Looks once a second."""

    def __init__(self, data: Path, log: Log, hub: Hub, lags: LatencySamples) -> None:
        self.data = data
        self._log = log
        self._hub = hub
        self.lags = lags
        self.started = trio.current_time()
        self._looks: deque[Sample] = deque([self._look()], maxlen=WINDOW + 1)
        self._sizes: deque[tuple[float, int]] = deque(maxlen=GROWTH_LOOKS)

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            now = trio.current_time()
            self._looks.append(self._look())
            if not self._sizes or now - self._sizes[-1][0] >= GROWTH_EVERY:
                self._sizes.append((now, self.store_bytes()))
            await trio.sleep(EVERY)

    def _look(self) -> Sample:
        figures = self._log.figures
        spent = os.times()
        return Sample(
            trio.current_time(),
            self.lags.messages,
            self._hub.delivered,
            figures.commands,
            figures.batches,
            figures.commit_seconds,
            spent.user + spent.system,
        )

    @property
    def uptime(self) -> float:
        """Seconds since the start."""
        return trio.current_time() - self.started

    def rates(self) -> Rates:
        """The rates of the last seconds."""
        first, last = self._looks[0], self._looks[-1]
        seconds = last.at - first.at or 1.0
        commands, batches = last.commands - first.commands, last.batches - first.batches
        return Rates(
            (last.messages - first.messages) / seconds,
            (last.delivered - first.delivered) / seconds,
            commands / seconds,
            commands / batches if batches else 0.0,
            (last.commit_seconds - first.commit_seconds) / batches * 1_000 if batches else 0.0,
            (last.cpu_seconds - first.cpu_seconds) / seconds,
        )

    def store_bytes(self) -> int:
        """Size of the store's file."""
        return _size(self.data / "relay.db")

    def wal_bytes(self) -> int:
        """Size of what was committed and is not in the store's file yet."""
        return _size(log_of(self.data / "relay.db"))

    def free_bytes(self) -> int:
        """What the disk has left."""
        return shutil.disk_usage(self.data).free

    def seconds_left(self) -> float | None:
        """How long the disk lasts if the store grows on as it did of late; None where it does not grow."""
        if len(self._sizes) < 2:
            return None
        (since, before), now, size = self._sizes[0], trio.current_time(), self.store_bytes()
        growth = (size - before) / (now - since) if now > since else 0.0
        return self.free_bytes() / growth if growth > 0 else None


def memory_bytes() -> int:
    """What this process holds in memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
