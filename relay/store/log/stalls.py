"""Stalls of senders: the longest wait of each minute, and the writer's work that caused it.

The writer notes each piece of work with its begin and end, and how long each batch waited. Pure: the time is an
argument. Bounded: the latest work and loop turns, and one record per minute for an hour.
"""

from collections import deque
from typing import NamedTuple

from relay.keys import Seconds

KEPT_MINUTES = 60
"""Minutes for which records are kept."""
KEPT_WORKS = 256
"""Pieces of work that are kept to explain a wait."""
SLOW_TURN_SECONDS = 0.01
"""A turn of the event loop is recorded if it takes at least this many seconds."""
NEAR_SECONDS = 0.005
"""Work that ends within this time after a slow turn was waiting for that turn."""
LOOP = "loop"
"""The event loop had no time for the writer, or for publishing."""
SYNC = "sync"
"""Committing, which is mostly syncing the disk."""


class Wait(NamedTuple):
    """The wait of a sender."""

    seconds: float
    cause: str
    """The work that took most of it."""
    at: float
    """When it ended (trio's time)."""


class _Span(NamedTuple):
    cause: str
    began: float
    ended: float


class Stalls:
    """The writer's latest work, and the longest waits of the last hour."""

    def __init__(self) -> None:
        self._works: deque[_Span] = deque(maxlen=KEPT_WORKS)
        self._turns: deque[_Span] = deque(maxlen=KEPT_WORKS)
        self._waits: deque[tuple[int, Wait]] = deque(maxlen=KEPT_MINUTES)
        self._longest_works: deque[tuple[int, dict[str, float]]] = deque(maxlen=KEPT_MINUTES)
        self._minute = -1
        self._worst = 0.0

    def __len__(self) -> int:
        return len(self._works) + len(self._waits)

    def worked(self, cause: str, began: float, ended: float) -> None:
        """Note a piece of the writer's work. Pieces do not overlap, and are noted in order.

        Args:
            cause: a word or two for people about the work.
            began: when it began, monotonic seconds.
            ended: when it ended.
        """
        self._works.append(_Span(cause, began, ended))
        if int(ended // 60) != self._minute:
            self._turn_over(ended)
        longest = self._longest_works[-1][1]
        if ended - began > longest.get(cause, 0.0):
            longest[cause] = ended - began

    def turned(self, began: float, ended: float) -> None:
        """Note one slow turn of the event loop.

        Args:
            began: when it began, monotonic seconds.
            ended: when it ended.
        """
        self._turns.append(_Span(LOOP, began, ended))

    def waited(self, since: float, now: Seconds) -> None:
        """Note the longest wait of a batch.

        Args:
            since: when the first command of the batch came, monotonic seconds.
            now: when the batch was answered.
        """
        if int(now // 60) != self._minute:
            self._turn_over(now)
        if now - since > self._worst:
            self._worst = now - since
            wait = Wait(now - since, self._cause(since, now), now)
            if self._waits and self._waits[-1][0] == self._minute:
                self._waits.pop()
            self._waits.append((self._minute, wait))

    def longest(self, now: Seconds) -> Wait | None:
        """Return the longest wait of the last hour."""
        since = int(now // 60) - KEPT_MINUTES
        return max((wait for minute, wait in self._waits if minute > since), default=None)

    def longest_works(self, now: Seconds) -> dict[str, float]:
        """Return the longest time that each kind of work took in the last hour, in seconds."""
        since = int(now // 60) - KEPT_MINUTES
        found: dict[str, float] = {}
        for minute, works in self._longest_works:
            if minute > since:
                for cause, seconds in works.items():
                    found[cause] = max(seconds, found.get(cause, 0.0))
        return found

    def _turn_over(self, now: Seconds) -> None:
        self._minute = int(now // 60)
        self._worst = 0.0
        self._longest_works.append((self._minute, {}))

    def _cause(self, since: float, now: Seconds) -> str:
        """Find the work that took most of the time between two moments; it may be the event loop."""
        shares: dict[str, float] = {}
        # Time before the oldest recorded work cannot be blamed on the loop.
        explained = max(since, self._works[0].began) if len(self._works) == KEPT_WORKS else since
        idle = now - explained
        for work in reversed(self._works):
            if work.ended <= explained:
                break
            seconds = min(work.ended, now) - max(work.began, explained)
            idle -= seconds
            held = min(seconds, self._held_before(work.ended))
            shares[work.cause] = shares.get(work.cause, 0.0) + seconds - held
            shares[LOOP] = shares.get(LOOP, 0.0) + held
        shares[LOOP] = shares.get(LOOP, 0.0) + idle
        return max(shares, key=shares.__getitem__)

    def _held_before(self, ended: float) -> float:
        """Return the duration of a slow turn of the loop that ended just before this work."""
        for turn in reversed(self._turns):
            if turn.ended <= ended:
                return turn.ended - turn.began if ended - turn.ended < NEAR_SECONDS else 0.0
        return 0.0
