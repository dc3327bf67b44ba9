"""The size of a portion of long work, and the rest after it. Pure: the time is an argument.

All background work keeps this pace: the writer's between two batches, prune and export in the event loop, and the
backup in a process of its own (`backup.pacing`).
"""

from typing import NamedTuple

from relay.keys import Seconds

AIM_SECONDS = 0.008
"""How long one portion should take: a sender waits for it."""
REST_FACTOR = 2.0
"""While people send, the rest after a portion is this many times as long as the portion."""
LONGEST_REST_SECONDS = 0.25
"""The longest rest, so that long work goes on after a disk or a reader was slow once."""


def rest_after(seconds: float, factor: float = REST_FACTOR) -> float:
    """Return how many seconds to rest after a portion that took so many."""
    return min(LONGEST_REST_SECONDS, factor * seconds)


class PortionSize(NamedTuple):
    """How many items a portion has."""

    first: int
    """Items of the first portion: few enough on any machine."""
    least: int = 1
    most: int = 100_000


class Portion:
    """How many items take about as long as a portion should."""

    def __init__(self, first: int, *, least: int = 1, most: int = 100_000) -> None:
        """Begin with a size that is known to be small enough.

        Args:
            first: items of the first portion.
            least: items of the smallest portion.
            most: items of the largest portion.
        """
        self.size = first
        """How many items the next portion has."""
        self._least = least
        self._most = most

    @classmethod
    def of(cls, size: PortionSize) -> "Portion":
        """Begin with the first of these sizes."""
        return cls(size.first, least=size.least, most=size.most)

    def took(self, seconds: float, count: int | None = None) -> None:
        """Adapt the size to how long a portion took; `count` is how many items it had, `size` if it is None."""
        done = self.size if count is None else count
        if seconds > AIM_SECONDS:
            # The disk may have been slow just once, so no step makes it smaller than a quarter.
            self.size = max(self._least, int(done * max(0.25, AIM_SECONDS / seconds)))
        elif done >= self.size and seconds < AIM_SECONDS / 2:
            self.size = min(self._most, self.size * 2)

    def shrink(self) -> bool:
        """Make portions smaller, since one did not fit on the disk; returns whether that was possible."""
        fewer = max(self._least, self.size // 4)
        smaller, self.size = fewer < self.size, fewer
        return smaller


class Pace:
    """When the next portion may be done."""

    def __init__(self, factor: float = REST_FACTOR) -> None:
        """Begin without a rest; each takes `factor` times as long as the portion before it."""
        self.rests_until = 0.0
        self._factor = factor

    def worked(self, began: float, now: Seconds, *, lively: bool) -> None:
        """Note that a portion was done; a rest follows while people send.

        Args:
            began: when the portion began, monotonic seconds.
            now: when it ended.
            lively: whether people are sending; else no rest follows.
        """
        self.rests_until = now + rest_after(now - began, self._factor) if lively else now
