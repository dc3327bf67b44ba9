"""Moves client keys from memory (`store.idempotency`) into their table."""

from collections.abc import Sequence
from functools import cache
from itertools import chain

from relay.keys import Seq
from relay.store.idempotency import KeyFlush
from relay.store.sqlite.database import Connection
from relay.store.sqlite.parameters import round_up


async def flush_client_keys(connection: Connection, keys: Sequence[tuple[int, Seq]]) -> None:
    """Write some client keys to their table, if their messages are still in the log.

    Args:
        connection: the one that writes.
        keys: each key, with the `seq` of its message.
    """
    if keys:
        size = round_up(len(keys))
        nothing = (None, None) * (size - len(keys))
        await connection.execute(flush_statement(size), [*chain.from_iterable(keys), *nothing])


async def note_flushed(connection: Connection, flush: KeyFlush) -> None:
    """Note that all keys of a slice are in their table.

    Called only afterwards: after an earlier crash, the keys are read into memory and written again.
    """
    await connection.execute("UPDATE filed SET seq = ? WHERE slice = ?", (flush.upto, flush.slice))


@cache
def flush_statement(size: int) -> str:
    """Make the statement that moves `size` keys to the table, except for keys of entries that are gone."""
    return (
        f"INSERT OR IGNORE INTO client (key, seq) SELECT * FROM (VALUES {', '.join(['(?, ?)'] * size)})"
        " WHERE column2 IN (SELECT seq FROM log)"
    )
