"""Brakes on loops: what one program says may set off another one that answers, for ever. No I/O.

Both are generous: alarms come in storms, and those are no loops.
"""

import logging

from relay.core.limits.rate_limit import RateLimit
from relay.core.model.state import State
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

ANSWERS, ANSWERS_PER_SECOND = 300, 1.0
"""Messages with which programs may answer each other in one chat at once, and then on average."""
MAX_IN_A_ROW, PACE = 100, 10_000
"""What programs say in a row that one outgoing hook posts; beyond it one in so many milliseconds."""
WARNING_SECONDS = 600.0
"""Seconds between two log records of one chat."""


class _Answers:
    """How fast programs may answer each other; see `limits.Rate`."""

    requests_per_second = ANSWERS_PER_SECOND
    burst = float(ANSWERS)


class LoopBrake:
    """Programs that talk in turns: a message of one that follows on another one's, with no person in between."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._limit = RateLimit(_Answers())
        self._last: dict[int, int] = {}
        """Of chats where programs talk: for whom the last one did."""
        self._told: dict[int, float] = {}

    def check(self, user: int, chat_id: str, now: float) -> None:
        """Refuse what a program says where programs answer each other too fast.

        Args:
            user: the bot, or the person whose hook posts.
            chat_id: the chat as they call it.
            now: trio's time.

        Raises:
            RelayError: it is too fast.
        """
        key = self._state.chat_key(user, chat_id)
        if key is None:
            return
        last, newest = self._last.get(key, user), self._state.chats[key].newest_by
        # Whoever sends several at once answers once: what the chat's newest message is follows a moment later.
        # Nothing may be said yet: who was the last may have been refused, or it is on its way to the disk.
        answers = last != user and (newest in (0, last) or self._state.users[newest].bot)
        wait = self._limit.take(key, now) if answers else 0
        if not wait:
            self._last[key] = user
            return
        if now - self._told.get(key, float("-inf")) >= WARNING_SECONDS:
            self._told[key] = now
            logger.warning(
                "chat %s: programs answer each other there (%s and %s were the last): one message a second is taken",
                self._state.chats[key].id or "between two",
                self._state.users[last].id,
                self._state.users[user].id,
            )
        raise RelayError(
            "rate_limited",
            f"bots answer each other in this chat: one message a second is taken, try again in {wait} ms",
            retry_after=wait,
        )


class TurnsInARow:
    """What programs say in a row, as one outgoing hook sees it. It goes by the times in the log, also in a replay."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = 0

    def person(self) -> None:
        """Take note that a person said something: there is no loop."""
        self._level = 0.0

    def passes(self, at: int) -> bool:
        """Tell whether what a program said is passed on.

        Args:
            at: when it was said, Unix milliseconds.
        """
        self._level = max(0.0, self._level - max(0, at - self._at) / PACE)
        self._at = at
        if self._level + 1 > MAX_IN_A_ROW:
            return False
        self._level += 1
        return True
