"""Tracks which statements hold texts: SQLite keeps the values bound to a statement until it runs again.

A relay runs for months. A deleted or large text must not stay in memory that long. Pure: no SQL.
"""

RELEASE_SECONDS = 2.0
"""Seconds of quiet after which all are released, so that it does not happen after every message."""


class BoundParameters:
    """The bytes that each statement wrote last."""

    def __init__(self, most: int) -> None:
        """Begin with nothing held.

        Args:
            most: maximum bytes of all statements; beyond it, the one with the most is released at once.
        """
        self._most = most
        self._sizes: dict[str, int] = {}
        self._total = 0

    def __bool__(self) -> bool:
        return bool(self._sizes)

    @property
    def too_much(self) -> bool:
        """Whether a statement should be released without waiting for quiet."""
        return self._total > self._most

    def note(self, statement: str, size: int) -> None:
        """Note that a statement ran with about `size` bytes, which replace its former values."""
        self._total += size - self._sizes.get(statement, 0)
        self._sizes[statement] = size

    def largest(self) -> str:
        """Remove and return the statement with the most bytes.

        Raises:
            ValueError: no statement holds any.
        """
        statement = max(self._sizes, key=self._sizes.__getitem__)
        self._total -= self._sizes.pop(statement)
        return statement
