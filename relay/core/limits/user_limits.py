"""All limits of one relay that are counted by user.

In memory only; a restart begins with full buckets.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import trio

from relay.core.limits import rates, request_weights
from relay.core.limits.fairness import Fairness
from relay.core.limits.rate_limit import RateLimit
from relay.core.limits.share import Shares
from relay.core.tuning import LimitsTuning
from relay.keys import UserKey
from relay.settings import LimitsSection

LOOP_SECONDS_PER_WRITER_SECOND = 2.0
"""Seconds of the event loop that a second of the log's writer counts as: the loop serves others meanwhile."""
MAX_WRITER_SECONDS = 1.0
"""Maximum seconds of the writer charged for one batch: an edit of the longest text takes less, a stalled disk more."""


class Asked(Protocol):
    """A command as the limits see it."""

    @property
    def user(self) -> int:
        """The user it is for; 0 for the relay itself."""

    @property
    def importer(self) -> bool:
        """Whether it comes from an import."""


class UserLimits:
    """Buckets, shares and accounts by user."""

    def __init__(self, settings: LimitsSection, tuning: LimitsTuning) -> None:
        self.requests = RateLimit(settings)
        self.frames = RateLimit(settings, request_weights.FRAMES_PER_REQUEST)
        """Frames of any kind and content."""
        self.groups = RateLimit(rates.GroupsPerDay(settings))
        self.fan_out = RateLimit(rates.FanOut(settings))
        """Connections that a user's actions are sent to."""
        self.list_bytes = RateLimit(rates.ListBytes(tuning))
        """Bytes of chat lists that are sent as events."""
        self.shares = Shares(tuning)
        self.fairness = Fairness()
        """Each user's share of the event loop and of the writer's time."""

    def charge_fan_out(self, user: UserKey, connections: int) -> None:
        """Charge a user for an event that went to this many connections; user 0 is the relay itself."""
        if user:
            now = trio.current_time()
            self.requests.charge(user, now, connections / request_weights.CONNECTIONS_PER_REQUEST)
            pause = self.fan_out.charge(user, now, connections)
            if pause:
                self.fairness.of(user).rest(pause)

    def charge_writer(self, batch: Sequence[Asked], seconds: float) -> None:
        """Charge the users of a batch for the seconds that it blocked the log's writer."""
        now = self.fairness.time()
        # The authors in an import did not ask for it.
        for user, count in Counter(one.user for one in batch if one.user and not one.importer).items():
            share = min(seconds, MAX_WRITER_SECONDS) * count / len(batch)
            self.fairness.of(user).charge(
                LOOP_SECONDS_PER_WRITER_SECOND * share, now, LOOP_SECONDS_PER_WRITER_SECOND * MAX_WRITER_SECONDS
            )
