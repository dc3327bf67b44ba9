"""Tasks that run as long as the relay does: a system error never ends them, and so never ends the relay.

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
"""Seconds before a failed task continues."""
REPEAT_SECONDS = 3_600.0
"""Seconds until the same error of a task is logged again."""
FAULTS = (OSError, sqlite3.Error, OverflowError, RelayError)
"""Errors of the system, the disk or the store, which may not occur the next time.

An `OverflowError` is what the SQLite module raises for a number that no column can hold.
"""


async def keep_running(name: str, run: Callable[[], Awaitable[None]], pause: float = PAUSE_SECONDS) -> None:
    """Run a task, and rerun it after each system error. Returns when the task does.

    Args:
        name: the task's name in the log, such as "retention".
        run: the task; called again, it continues where it stopped.
        pause: seconds before it continues after an error.
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
