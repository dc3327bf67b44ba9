"""Which folding the full-text index has: one that another relay, or another Python's Unicode, filled is filled again.

Touches one row of the file.
"""

import logging
import sqlite3

from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement
from relay.text import FOLDING

logger = logging.getLogger(__name__)

KNOWN = Statement("SELECT folding, seq FROM indexed")
_BEGIN = Statement("UPDATE indexed SET seq = 0, folding = ?")


async def ensure(connection: Connection) -> None:
    """Have the index filled again, a portion at a time, where its texts were folded in another way than now.

    What left the index would otherwise be looked for under other trigrams than it has, and some texts not be found.

    Args:
        connection: the one that writes, to a store of this relay's version, before the log's writer begins.
    """
    ((known, indexed),) = await connection.execute(KNOWN)
    if known == FOLDING:
        return
    try:
        await connection.execute(_BEGIN, [FOLDING])
    except sqlite3.OperationalError as error:
        # A full disk is no reason not to start.
        logger.warning("some texts may not be found: the full-text index cannot be filled again (%s)", error)
        return
    if indexed:
        logger.info(
            "the full-text index is filled again: this relay, or its Python, takes other texts for the same than the"
            " one before. Searches may be slower meanwhile"
        )
