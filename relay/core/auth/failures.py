"""Counts and logs failed sign-ins.

A record names the address, and the user if the id exists. An unknown id stays out of the log: people type
their password into the wrong field. How many records there are is bounded for each user by `logs.RepeatLimit`.
"""

import logging

from relay.logs import SUBJECT

logger = logging.getLogger(__name__)

EARLY = "wait"
"""The `way` of an attempt that came before its wait was over."""


class FailedSignIns:
    """The failed sign-ins of one relay."""

    def __init__(self) -> None:
        self.total = 0
        """Failed sign-ins since the start."""

    def note(self, address: str, way: str, user: str | None) -> None:
        """Count a failed sign-in and log it.

        Args:
            address: the address it came from.
            way: the kind of attempt: `password`, `invite`, or `wait` for one that came too early.
            user: the id of the user it was tried for; None if there is no such user.
        """
        self.total += 1
        # A statement each, since the log limits them by statement: what anyone can cause without limit, also for many
        # users, must not hide guesses at a real user.
        if way == EARLY:
            whom = f"user {user}" if user is not None else "no known user"
            logger.warning(
                "sign-in failed from %s: another attempt before the wait was over, for %s",
                address,
                whom,
                extra={SUBJECT: whom},
            )
        elif user is None:
            logger.warning("sign-in failed from %s: %s, for no known user", address, WAYS[way])
        else:
            logger.warning("sign-in failed from %s: %s, for user %s", address, WAYS[way], user, extra={SUBJECT: user})


WAYS = {
    "password": "a wrong password",
    "old": "a wrong old password",
    "invite": "an invite that lets nobody in",
}
