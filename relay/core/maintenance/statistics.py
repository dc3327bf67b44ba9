"""Statistics of a running relay: rates, latencies, and how long the disk will last.

Other parts count; this one takes a sample of their counters once a second. It reads /proc and the data directory, and
changes nothing.
"""

import os
from collections import deque
from pathlib import Path
from typing import NamedTuple

import trio

from relay.core.delivery.hub import Hub
from relay.store.files import room
from relay.store.files.directory import log_of
from relay.store.files.room import Room
from relay.store.log.log import Log

SAMPLE_SECONDS = 1.0
"""Seconds between two samples."""
WINDOW_SAMPLES = 10
"""Samples over which rates are computed."""
MAX_LAGS = 1_024
"""Batches whose lag is kept."""
GROWTH_SECONDS, GROWTH_SAMPLES = 60.0, 60
"""Seconds between two measurements of the store's size, and how many of them are kept."""


class Sample(NamedTuple):
    """The counters at one point in time."""

    at: float
    messages: int
    delivered: int
    commands: int
    batches: int
    commit_seconds: float
    cpu_seconds: float


class Rates(NamedTuple):
    """Averages per second over the last seconds."""

    messages: float
    deliveries: float
    requests: float
    batch_size: float
    """Commands per batch."""
    commit: float
    """Milliseconds per commit."""
    cpu: float
    """Share of one core, 0 to 1."""


class LatencySamples:
    """The lag of the latest batches, from a message's arrival to its delivery; and the number of messages."""

    __slots__ = ("_kept", "messages")

    def __init__(self) -> None:
        self.messages = 0
        """Messages since the start."""
        self._kept: deque[int] = deque(maxlen=MAX_LAGS)

    def note(self, milliseconds: int) -> None:
        """Add the lag of a batch's first message."""
        self._kept.append(milliseconds)

    def percentile(self, share: float) -> int | None:
        """Return the lag in milliseconds at this quantile of the latest batches."""
        kept = sorted(self._kept)
        return kept[min(len(kept) - 1, int(share * len(kept)))] if kept else None


class Statistics:
    """Takes a sample each second."""

    def __init__(self, data: Path, log: Log, hub: Hub, lags: LatencySamples) -> None:
        self.data = data
        self._log = log
        self._hub = hub
        self.lags = lags
        self.started = trio.current_time()
        self._samples: deque[Sample] = deque([self._sample()], maxlen=WINDOW_SAMPLES + 1)
        self._sizes: deque[tuple[float, int]] = deque(maxlen=GROWTH_SAMPLES)

    async def run(self) -> None:
        """Take samples, forever."""
        while True:
            now = trio.current_time()
            self._samples.append(self._sample())
            if not self._sizes or now - self._sizes[-1][0] >= GROWTH_SECONDS:
                self._sizes.append((now, self.store_bytes()))
            await trio.sleep(SAMPLE_SECONDS)

    def _sample(self) -> Sample:
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
        """Compute the rates over the last seconds."""
        first, last = self._samples[0], self._samples[-1]
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
        """Return the size of the store's file."""
        return _size(self.data / "relay.db")

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log."""
        return _size(log_of(self.data / "relay.db"))

    def room(self) -> Room:
        """Return the free room on the disk."""
        return room.of(self.data)

    def seconds_left(self) -> float | None:
        """Estimate the seconds until the disk is full at the current growth; None if the store does not grow."""
        if len(self._sizes) < 2:
            return None
        (since, before), now, size = self._sizes[0], trio.current_time(), self.store_bytes()
        growth = (size - before) / (now - since) if now > since else 0.0
        return self.room().free / growth if growth > 0 else None


def memory_bytes() -> int:
    """Return the bytes of memory that this process uses."""
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
