"""The size of a portion of long work, and the rest after it. Pure: the time is an argument.

All background work keeps this pace: the writer's work between two batches, prune and export in the event loop, and the
backup in a process of its own (`backup.pacing`).
"""

from typing import NamedTuple

from relay.keys import Seconds

AIM_SECONDS = 0.008
"""How long one portion should take, because a sender waits for it."""
REST_FACTOR = 2.0
"""While people send, the rest after a portion is this many times as long as the portion."""
LONGEST_REST_SECONDS = 0.25
"""The longest rest, so that long work continues after a disk or a reader was slow once."""


def rest_after(seconds: float, factor: float = REST_FACTOR) -> float:
    """Return how many seconds to rest after a portion that took `seconds`."""
    return min(LONGEST_REST_SECONDS, factor * seconds)


class PortionSize(NamedTuple):
    """The number of items in a portion."""

    first: int
    """Items of the first portion: few enough on any machine."""
    least: int = 1
    most: int = 100_000


class Portion:
    """The number of items that takes about as long as a portion should."""

    def __init__(self, first: int, *, least: int = 1, most: int = 100_000) -> None:
        """Begin with a size that is small enough.

        Args:
            first: items of the first portion.
            least: items of the smallest portion.
            most: items of the largest portion.
        """
        self.size = first
        """The number of items in the next portion."""
        self._least = least
        self._most = most

    @classmethod
    def of(cls, size: PortionSize) -> "Portion":
        """Begin with the first of these sizes."""
        return cls(size.first, least=size.least, most=size.most)

    def took(self, seconds: float, count: int | None = None) -> None:
        """Adapt the size to the duration of a portion; `count` is its number of items, by default `size`."""
        done = self.size if count is None else count
        if seconds > AIM_SECONDS:
            # The disk may have been slow just once, so no step shrinks it to less than a quarter.
            self.size = max(self._least, int(done * max(0.25, AIM_SECONDS / seconds)))
        elif done >= self.size and seconds < AIM_SECONDS / 2:
            self.size = min(self._most, self.size * 2)

    def shrink(self) -> bool:
        """Make portions smaller because one did not fit on the disk; return whether that was possible."""
        fewer = max(self._least, self.size // 4)
        smaller, self.size = fewer < self.size, fewer
        return smaller


class Pace:
    """When the next portion may run."""

    def __init__(self, factor: float = REST_FACTOR) -> None:
        """Begin without a rest; each rest takes `factor` times as long as the portion before it."""
        self.rests_until = 0.0
        self._factor = factor

    def worked(self, began: float, now: Seconds, *, lively: bool) -> None:
        """Note that a portion was done; a rest follows while people send.

        Args:
            began: when the portion began, monotonic seconds.
            now: when it ended.
            lively: whether people are sending; otherwise no rest follows.
        """
        self.rests_until = now + rest_after(now - began, self._factor) if lively else now
