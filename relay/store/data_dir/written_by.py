"""Which relay wrote to a store last: a release, whose stores every later release is tested to open, or another build.

Touches one row of the file.
"""

import logging
import re
import sqlite3

from relay import __version__
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

logger = logging.getLogger(__name__)

RELEASE = re.compile(r"\d+(\.\d+)*")
UNRELEASED = "an unreleased build, {version}, wrote to it last"
"""What is said of a store that no release left behind."""
LAST = Statement("SELECT version FROM writer")
_SIGN = Statement("UPDATE writer SET version = ?")


def is_release(version: str) -> bool:
    """Tell a release from a build between two; a relay that did not say is taken for a release."""
    return not version or RELEASE.fullmatch(version) is not None


async def sign(connection: Connection) -> None:
    """Note that this relay writes to the store, and say so where an unreleased one was the last.

    Args:
        connection: the one that writes, to a store of this relay's version.
    """
    ((last,),) = await connection.execute(LAST)
    if not is_release(last):
        logger.info("the store: %s", UNRELEASED.format(version=last))
    if last != __version__:
        try:
            await connection.execute(_SIGN, [__version__])
        except sqlite3.OperationalError as error:
            # A full disk is no reason not to start.
            logger.warning("the store cannot note that relay %s writes to it: %s", __version__, error)
