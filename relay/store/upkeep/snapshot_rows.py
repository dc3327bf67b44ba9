"""Writes the snapshot, and the base: the state at the beginning of the log after history was removed."""

from relay.store.queries.snapshots import SnapshotRows
from relay.store.sqlite.database import Connection
from relay.store.sqlite.parameters import release_parameters
from relay.store.sqlite.statements import as_json

_KEEP = "INSERT INTO batch SELECT * FROM (VALUES ('[]', '[]', '[]', ?, 0, '[]', '[]')) WHERE column4 IS NOT NULL"
_ADD_BASE = "INSERT INTO base_part (round, value) SELECT * FROM (VALUES (?, ?)) WHERE column2 IS NOT NULL"


async def keep_rows(connection: Connection, rows: SnapshotRows) -> None:
    """Write some rows of the snapshot. If `seq` is among them, the snapshot is as of that entry from now on."""
    await connection.execute(_KEEP, (as_json(rows),))
    await release_parameters(connection, _KEEP)


async def begin_base(connection: Connection) -> int:
    """Begin a new base beside the valid one, and return its number."""
    ((number,),) = await connection.execute(
        "SELECT 1 + max(coalesce((SELECT max(round) FROM base_part), 0),"
        " coalesce((SELECT value->>'$.round' FROM base), 0))"
    )
    return int(number)


async def add_base(connection: Connection, number: int, rows: SnapshotRows) -> None:
    """Add some rows to a new base.

    Args:
        connection: the connection that writes.
        number: the round of the new base.
        rows: the rows.
    """
    await connection.execute(_ADD_BASE, (number, as_json(rows)))
    await release_parameters(connection, _ADD_BASE)


async def end_base(connection: Connection, number: int, start: dict[str, int]) -> None:
    """Make a complete new base the valid one.

    Args:
        connection: the connection that writes.
        number: its round.
        start: its `seq`, `at` and `pruned`.
    """
    await connection.execute(
        "INSERT OR REPLACE INTO base (one, value) VALUES (1, ?)", (as_json({**start, "round": number}),)
    )


async def clear_bases(connection: Connection, count: int) -> int:
    """Remove some parts of invalid bases; return how many.

    Args:
        connection: the one that writes.
        count: the maximum number of parts.
    """
    rows = await connection.execute(
        "DELETE FROM base_part WHERE number IN (SELECT number FROM base_part"
        " WHERE round <> coalesce((SELECT value->>'$.round' FROM base), 0) LIMIT ?) RETURNING number",
        (count,),
    )
    return len(rows)
