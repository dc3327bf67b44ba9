"""Limits on loops: programs that answer each other without end. It logs; no other I/O.

Both limits are generous, because alarms come in bursts without being loops.
"""

import logging

from relay.core.limits.rate_limit import RateLimit
from relay.core.model.state import State
from relay.keys import ChatKey, Seconds, UnixMs, UserKey
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

MAX_ANSWERS, ANSWERS_PER_SECOND = 300, 1.0
"""Messages by which programs may answer each other in one chat: at once, and then per second."""
MAX_MESSAGES_IN_A_ROW, RECOVERY_MS = 100, 10_000
"""Messages of programs in a row that one outgoing hook posts, and the milliseconds before it posts one more."""
WARNING_SECONDS = 600.0
"""Seconds between two warnings about one chat."""


class _AnswerRate:
    """The rate at which programs may answer each other; see `RateLimit`."""

    requests_per_second = ANSWERS_PER_SECOND

    def __init__(self, at_once: int) -> None:
        self.burst = float(at_once)


class LoopBrake:
    """Limits programs that answer each other: messages of different programs in turn, with no person in between."""

    def __init__(self, state: State, at_once: int = MAX_ANSWERS) -> None:
        """Begin with no answers.

        Args:
            state: the chats and who has written last.
            at_once: messages by which programs may answer each other in one chat at once.
        """
        self._state = state
        self._limit = RateLimit(_AnswerRate(at_once))
        self._last: dict[ChatKey, UserKey] = {}
        """By chat, the user for whom a program wrote last."""
        self._warned: dict[ChatKey, Seconds] = {}

    def check(self, user: UserKey, chat_id: str, now: Seconds) -> None:
        """Refuse a message of a program in a chat in which programs answer each other too fast.

        Args:
            user: the key of the bot, or of the user for whom a hook posts.
            chat_id: the chat as this user names it.
            now: trio's time in seconds.

        Raises:
            RelayError: `rate_limited`.
        """
        key = self._state.chat_key(user, chat_id)
        if key is None:
            return
        last, newest = self._last.get(key, user), self._state.chats[key].newest_by
        # Several messages of one program count as one answer. The chat's newest message is known only a moment later,
        # when it is on disk; it may also have been refused.
        answers = last != user and (newest in (0, last) or self._state.users[newest].bot)
        wait = self._limit.take(key, now) if answers else 0
        if not wait:
            self._last[key] = user
            return
        if now - self._warned.get(key, float("-inf")) >= WARNING_SECONDS:
            self._warned[key] = now
            logger.warning(
                "chat %s: programs answer each other there (%s and %s were the last): one message a second is taken",
                self._state.chats[key].id or "between two",
                self._state.users[last].id,
                self._state.users[user].id,
            )
        raise RelayError(
            "rate_limited",
            f"bots are answering each other in this chat: it accepts one message a second, try again in {wait} ms",
            retry_after=wait,
        )


class TurnsInARow:
    """Limits messages of programs in a row for one outgoing hook. By the log's times: a replay decides the same."""

    def __init__(self) -> None:
        self._level = 0.0
        self._at = 0

    def person(self) -> None:
        """Note that a person has written, which breaks the loop."""
        self._level = 0.0

    def passes(self, at: UnixMs) -> bool:
        """Count a message of a program, and decide whether the hook posts it.

        Args:
            at: the time of sending, in Unix milliseconds.
        """
        self._level = max(0.0, self._level - max(0, at - self._at) / RECOVERY_MS)
        self._at = at
        if self._level + 1 > MAX_MESSAGES_IN_A_ROW:
            return False
        self._level += 1
        return True
