"""How much of the file is in use, how much of that the full-text index takes, and whether the file is whole."""

from collections.abc import Iterator

from relay.store.sqlite.database import Connection
from relay.store.sqlite.statements import Statement

_IN_USE = (
    "(SELECT page_count FROM pragma_page_count) - (SELECT freelist_count FROM pragma_freelist_count),"
    " (SELECT page_size FROM pragma_page_size), (SELECT texts FROM unmerged)"
)
# Each in one statement, which reads a table: all of it is as of one moment, whatever is written meanwhile.
_SIZE = Statement(f"SELECT {_IN_USE}", whole="a number of the file's head each")
_INDEX_USE = Statement(
    f"SELECT {_IN_USE}, (SELECT block FROM search_data WHERE id = 10)", whole="a number of the file's head each"
)
_FREE_PAGES = Statement("PRAGMA freelist_count")
_DAMAGE = Statement("PRAGMA quick_check(1)")


async def size(connection: Connection) -> int:
    """How many bytes of the file are in use."""
    ((pages, page, _left),) = await connection.execute(_SIZE)
    return pages * page  # type: ignore[no-any-return]


INDEX_PAGE = 1_024
"""Bytes of the file that a page of FTS5 takes: each is a row, and has one of the file's to itself (`pgsz` 980)."""


async def index_use(connection: Connection) -> tuple[int, int, int]:
    """Tell about how many bytes the full-text index takes, and how many texts left it since all of it was merged.

    And how many bytes of the file are in use at the same moment: what merges give back must not count twice.
    """
    ((pages, page, left, segments),) = await connection.execute(_INDEX_USE)
    # One that is damaged may claim anything.
    return min(index_pages(segments or b"") * INDEX_PAGE, pages * page), left, pages * page


def index_pages(segments: bytes) -> int:
    """Count the pages of the full-text index by FTS5's own list of its segments.

    Its other tables tell less: of what a merge has read already the pages are gone, and their keys are still there.

    Args:
        segments: the row with the id 10 of `search_data`, as fts5_index.c has it ("Structure Record").
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
    """Read SQLite's numbers of variable length, of less than nine bytes each."""
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            yield number
            number = 0


async def free_pages(connection: Connection) -> int:
    """Count the pages of the file that nothing uses."""
    ((free,),) = await connection.execute(_FREE_PAGES)
    return free  # type: ignore[no-any-return]


async def damage(connection: Connection) -> str:
    """Look quickly whether the file is whole; give the first thing that is not, nothing where all is well."""
    ((first,),) = await connection.execute(_DAMAGE)
    return "" if first == "ok" else str(first)
