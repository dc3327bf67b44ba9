"""How much of a long work is done at a time, and how long it rests then. Pure: the time is handed in.

Background work keeps this pace: the writer's own between two batches, prune and export in the event loop, and the
process that backs up beside the relay (`gently`).
"""

AIM = 0.008
"""Seconds that one portion should take: a send that comes meanwhile waits for it."""
REST = 2.0
"""How many times as long as a portion took the writer rests after it while people send."""
LONGEST_REST = 0.25
"""Seconds of one rest at most: a disk that was slow once, or a reader who took his time, does not end a long work."""


def rest_after(seconds: float) -> float:
    """Tell how many seconds to rest after a portion that took so many."""
    return min(LONGEST_REST, REST * seconds)


class Portion:
    """A number of things that take about as long as they may."""

    def __init__(self, first: int, *, least: int = 1, most: int = 100_000) -> None:
        self.size = first
        """How many to do next."""
        self._least = least
        self._most = most

    def took(self, seconds: float, count: int | None = None) -> None:
        """Note how long a portion took, and learn from it; `count` is how many it was, `size` where it is None."""
        done = self.size if count is None else count
        if seconds > AIM:
            # A disk that was slow once says little, so no step makes it smaller than a quarter.
            self.size = max(self._least, int(done * max(0.25, AIM / seconds)))
        elif done >= self.size and seconds < AIM / 2:
            self.size = min(self._most, self.size * 2)

    def shrink(self) -> bool:
        """Do less at a time, since so much did not fit; tells whether less is possible."""
        fewer = max(self._least, self.size // 4)
        smaller, self.size = fewer < self.size, fewer
        return smaller


class Pace:
    """When the next portion may be done."""

    def __init__(self) -> None:
        self.rests_until = 0.0

    def worked(self, began: float, now: float, *, lively: bool) -> None:
        """Note that a portion was done; while people send, a rest follows."""
        self.rests_until = now + rest_after(now - began) if lively else now
