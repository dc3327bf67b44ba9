"""Counts and logs failed sign-ins. In memory, bounded.

A record names the address, and the user if the id exists. An unknown id stays out of the log: people type
their password into the wrong field.
"""

import logging
from collections import Counter

import trio

logger = logging.getLogger(__name__)

RECORDS_PER_MINUTE = 20
"""Log records per minute for each kind: wrong passwords and invites for a user, those for unknown users, and attempts
that came too early. Further failures are counted in one later record. Failures that anyone can cause without limit must
not hide guesses at a real user."""
MINUTE = 60.0
EARLY = "wait"
"""The `way` of an attempt that came before its wait was over."""


class FailedSignIns:
    """The failed sign-ins of one relay."""

    def __init__(self) -> None:
        self.total = 0
        """Failed sign-ins since the start."""
        self._began = float("-inf")
        self._said: Counter[str] = Counter()
        """Records of this minute, by kind."""
        self._unsaid = 0

    def note(self, address: str, way: str, user: str | None) -> None:
        """Count a failed sign-in and log it.

        Args:
            address: the address it came from.
            way: the kind of attempt: `password`, `invite`, or `wait` for one that came too early.
            user: the id of the user it was tried for; None if there is no such user.
        """
        self.total += 1
        now = trio.current_time()
        if now - self._began > MINUTE:
            self._began = now
            self._said.clear()
            if self._unsaid:
                logger.warning("sign-in failed %d more times in the minutes before", self._unsaid)
                self._unsaid = 0
        kind = way if way == EARLY else "nobody" if user is None else "user"
        if self._said[kind] >= RECORDS_PER_MINUTE:
            self._unsaid += 1
            return
        self._said[kind] += 1
        whom = f"user {user}" if user is not None else "no known user"
        logger.warning("sign-in failed from %s: %s, for %s", address, WAYS[way], whom)


WAYS = {
    "password": "a wrong password",
    "old": "a wrong old password",
    "invite": "an invite that lets nobody in",
    EARLY: "another attempt before the wait was over",
}
