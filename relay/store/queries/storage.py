"""The used part of the file, the full-text index's share of it, and a check for damage."""

from collections.abc import Iterator

from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

_IN_USE = (
    "(SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count),"
    " (SELECT page_size FROM pragma_page_size), (SELECT texts FROM unmerged)"
)
# Each in one statement, so that all numbers are from one moment.
_SIZE = Statement(f"SELECT {_IN_USE}", whole="a number of the file's head each")
_INDEX_USE = Statement(
    f"SELECT {_IN_USE}, (SELECT block FROM search_data WHERE id = 10)", whole="a number of the file's head each"
)
_FREE_PAGES = Statement("PRAGMA freelist_count")
_DAMAGE = Statement("PRAGMA quick_check(1)")


async def size(connection: Connection) -> int:
    """Return how many bytes of the file are in use."""
    ((pages, page, _left),) = await connection.execute(_SIZE)
    return pages * page  # type: ignore[no-any-return]


INDEX_PAGE_BYTES = 1_024
"""Bytes of the file for a page of FTS5: each is a row that fills a page of the file (`pgsz` 980)."""


async def index_use(connection: Connection) -> tuple[int, int, int]:
    """Estimate the size of the full-text index.

    Returns:
        Its bytes, the number of texts deleted from it since the last merge of the whole index, and the bytes of the
        file in use at the same moment.
    """
    ((pages, page, left, segments),) = await connection.execute(_INDEX_USE)
    # A damaged index may claim any number.
    return min(index_pages(segments or b"") * INDEX_PAGE_BYTES, pages * page), left, pages * page


def index_pages(segments: bytes) -> int:
    """Count the pages of the full-text index by FTS5's own list of its segments.

    Its other tables are less exact: a merge removes the pages that it has read, and keeps their keys until it is done.

    Args:
        segments: row 10 of `search_data`, in the format of fts5_index.c ("Structure Record").
    """
    numbers = _varints(segments[4:])
    levels, _segments, _written = next(numbers, 0), next(numbers, 0), next(numbers, 0)
    pages = 0
    for _ in range(min(levels, len(segments))):
        _merging, there = next(numbers, 0), next(numbers, 0)
        for _ in range(min(there, len(segments))):
            _id, first, last = next(numbers, 0), next(numbers, 0), next(numbers, 0)
            # A segment without a page has 0 for both.
            pages += max(0, last - first + 1) if first else 0
    return pages


def _varints(data: bytes) -> Iterator[int]:
    """Decode SQLite's variable-length integers of less than nine bytes."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0


async def free_pages(connection: Connection) -> int:
    """Count the free pages of the file."""
    ((free,),) = await connection.execute(_FREE_PAGES)
    return free  # type: ignore[no-any-return]


async def damage(connection: Connection) -> str:
    """Check quickly for damage; return the first fault, or an empty text."""
    ((first,),) = await connection.execute(_DAMAGE)
    return "" if first == "ok" else str(first)
