"""How far the log, the full-text index, the table of client keys and the devices' cursors reach: what a start reads."""

from relay.store.sqlite.database import Connection, Rows
from relay.store.sqlite.statements import Statement

_CURSORS = Statement("SELECT device, seq, seen FROM cursor", whole="once at the start, a row of each device")
_ENDS = Statement("SELECT coalesce((SELECT max(seq) FROM log), 0), (SELECT seq FROM indexed)")
_INDEX_LEFT_OVER = Statement(
    "SELECT EXISTS (SELECT 1 FROM search_docsize) OR EXISTS (SELECT 1 FROM search_data WHERE id > 10)"
    # FTS5's list of segments: four bytes and three numbers where there is none.
    " OR coalesce((SELECT length(block) FROM search_data WHERE id = 10), 0) <> 7",
    whole="the first row is enough",
)
_FILED = Statement("SELECT slice, seq FROM filed")
_UNFILED = Statement(
    "SELECT client_key, seq FROM log WHERE seq > ? AND client_key IS NOT NULL ORDER BY seq",
)


async def index_left_over(connection: Connection) -> bool:
    """Tell whether the full-text index holds something, or its list of segments does."""
    ((left,),) = await connection.execute(_INDEX_LEFT_OVER)
    return bool(left)


async def cursors(connection: Connection) -> dict[int, tuple[int, int]]:
    """Read every device's cursor, and when it was last seen."""
    rows = await connection.execute(_CURSORS)
    return {device: (seq, seen) for device, seq, seen in rows}


async def ends(connection: Connection) -> tuple[int, int]:
    """Where the log ends, and up to where the full-text index holds it."""
    ((last, indexed),) = await connection.execute(_ENDS)
    return last, indexed


async def unfiled(connection: Connection) -> tuple[Rows, dict[int, int]]:
    """Find client keys with their `seq`, all that are not in their table among them, and up to where each slice is."""
    filed: dict[int, int] = dict(await connection.execute(_FILED))
    rows = await connection.execute(_UNFILED, (min(filed.values()),))
    return rows, filed
