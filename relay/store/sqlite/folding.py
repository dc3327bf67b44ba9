"""The folding of the full-text index. An index with another folding, or another Unicode version, is rebuilt.

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
    """Have the index rebuilt, a portion at a time, if its texts were folded in another way.

    Otherwise deleted texts would be removed under the wrong trigrams, and some texts would not be found.

    Args:
        connection: the one that writes, to a store of this relay's version, before the log's writer starts.
    """
    ((known, indexed),) = await connection.execute(KNOWN)
    if known == FOLDING:
        return
    try:
        await connection.execute(_BEGIN, [FOLDING])
    except sqlite3.OperationalError as error:
        # A full disk must not prevent the start.
        logger.warning("some texts may not be found: the full-text index cannot be rebuilt (%s)", error)
        return
    if indexed:
        logger.info(
            "the full-text index is rebuilt: this relay, or its Python, compares texts in another way than the one"
            " before. Searches may be slower meanwhile"
        )
