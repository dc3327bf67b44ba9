"""Space of the file and its write-ahead log: releases it, and bounds the log on a small disk."""

from collections.abc import Callable

from relay.store.sqlite import database
from relay.store.sqlite.database import Connection


async def shrink_log(connection: Connection, fits: Callable[[int], bool]) -> None:
    """Copy the write-ahead log back into the file and free its space.

    Args:
        connection: the one that writes.
        fits: returns whether the disk has room for a file of this many bytes; if not, nothing is done.
    """
    ((pages,),) = await connection.execute("PRAGMA page_count")
    ((page,),) = await connection.execute("PRAGMA page_size")
    if not fits(pages * page):
        return
    # Senders wait meanwhile, so this does not wait for a reader in the way.
    await connection.execute(database.busy_after(0.02))
    await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    await connection.execute(database.busy_after(connection.busy_seconds))


async def copy_each(connection: Connection, pages: int) -> None:
    """Have SQLite copy its log back at each commit that reaches this many pages; 0 for never."""
    await connection.execute(f"PRAGMA wal_autocheckpoint = {pages}")


async def give_back(connection: Connection, pages: int, spare: int = 0) -> bool:
    """Return some free pages to the file system.

    Args:
        connection: the one that writes.
        pages: the maximum number of pages.
        spare: the number of free pages that stay in the file.

    Returns:
        Whether there are more to return.
    """
    free = await _free_pages(connection) - spare
    if free <= 0:
        return False
    # Run as a script: SQLite frees one page per step, and a statement without columns is stepped only once.
    await connection.script(f"PRAGMA incremental_vacuum({min(pages, free)})")
    return free > pages


async def _free_pages(connection: Connection) -> int:
    ((free,),) = await connection.execute("PRAGMA freelist_count")
    return int(free)
