"""The last relay that wrote to a store: a release, whose stores every later release can open, or another build.

Touches one row of the file, and the copies of earlier upgrades beside it.
"""

import logging
import re
import sqlite3
from pathlib import Path

from relay import __version__
from relay.store.sqlite import migrate
from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

logger = logging.getLogger(__name__)

RELEASE = re.compile(r"\d+(\.\d+)*")
UNRELEASED = "an unreleased build, {version}, wrote to it last"
"""The warning for a store that an unreleased relay wrote to last."""
LAST = Statement("SELECT version FROM writer")
_SIGN = Statement("UPDATE writer SET version = ?")


def is_release(version: str) -> bool:
    """Return whether a version is a release and not a build in between. Only releases left no version."""
    return not version or RELEASE.fullmatch(version) is not None


async def sign(connection: Connection, store: Path) -> None:
    """Note that this relay writes to the store, and remove the copies of earlier upgrades.

    Args:
        connection: the one that writes, to a store of this relay's version.
        store: its file.

    Raises:
        OSError: an outdated copy cannot be removed.
    """
    ((last,),) = await connection.execute(LAST)
    if not is_release(last):
        logger.info("the store: %s", UNRELEASED.format(version=last))
    if last != __version__:
        # Do this first: a crash in between must not leave a copy that nothing removes.
        migrate.remove_outdated(store)
        try:
            await connection.execute(_SIGN, [__version__])
        except sqlite3.OperationalError as error:
            # A full disk must not prevent the start.
            logger.warning("the store cannot note that relay %s writes to it: %s", __version__, error)
