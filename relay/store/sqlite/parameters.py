"""Parameters of statements: rounding the number of rows, and releasing bound texts."""

from functools import cache

from relay.store.sqlite.database import Connection


async def release_parameters(connection: Connection, statement: str) -> None:
    """Run a statement with NULLs, so that SQLite releases the texts bound to it.

    sqlite3 has no `clear_bindings`. The relay's statements skip rows that are all NULL, so this writes nothing.

    Raises:
        sqlite3.Error: the texts are still bound.
    """
    await connection.execute(statement, (None,) * statement.count("?"))


@cache
def round_up(count: int) -> int:
    """Round up a number of rows, so that few statements are prepared. At most a fifth of the rows is unused."""
    step = 1 << max(0, (count - 1).bit_length() - 3)
    return -(-count // step) * step
