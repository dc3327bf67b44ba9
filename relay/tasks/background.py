"""Tasks that run as long as the relay does: an error of the system ends none of them, and so never the relay.

Every task without an end is started through `keep_running`. Touches nothing but the log.
"""

import logging
import sqlite3
from collections.abc import Awaitable, Callable

import trio

from relay.exception_groups import first_error
from relay.protocol.errors import RelayError

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Seconds before a task that failed goes on."""
REPEAT_SECONDS = 3_600.0
"""Seconds until the same error of a task is logged again."""
FAULTS = (OSError, sqlite3.Error, OverflowError, RelayError)
"""What the system, the disk or the store may answer at any time, and may not answer the next time.

An `OverflowError` is what SQLite's module says of a number that a column cannot hold.
"""


async def keep_running(name: str, run: Callable[[], Awaitable[None]], pause: float = PAUSE_SECONDS) -> None:
    """Run a task, and again after each error of the system. Returns when the task does.

    Args:
        name: what the task does, for the log: "retention".
        run: the task; called again, it goes on where it was.
        pause: seconds before it goes on after an error.
    """
    said, said_at = "", float("-inf")
    while True:
        failure: BaseExceptionGroup[Exception] | None = None
        try:
            await run()
        except* FAULTS as faults:
            failure = faults
        if failure is None:
            return
        first = first_error(failure)
        what = str(first) or type(first).__name__
        now = trio.current_time()
        if what != said or now - said_at >= REPEAT_SECONDS:
            logger.warning("%s: %s; it goes on as soon as it can", name, what)
            said, said_at = what, now
        await trio.sleep(pause)
