"""Which statements hold on to texts: SQLite keeps what was bound to one until it runs again with something else.

A relay runs for months, and what was deleted, or was large once, must not stay in memory for as long. Pure: no SQL.
"""

HELD = 4 << 20
"""Bytes that statements may hold between them; from there on the one that holds most is freed first."""
PATIENCE = 2.0
"""Seconds of quiet after which they are freed anyway; where messages come now and then that is not after each."""


class BoundParameters:
    """What each statement wrote last, in bytes."""

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._total = 0

    def __bool__(self) -> bool:
        return bool(self._sizes)

    @property
    def too_much(self) -> bool:
        """Whether one is to be freed without waiting for quiet."""
        return self._total > HELD

    def note(self, statement: str, size: int) -> None:
        """Note that a statement ran, with about so many bytes: it has forgotten what it wrote before."""
        self._total += size - self._sizes.get(statement, 0)
        self._sizes[statement] = size

    def largest(self) -> str:
        """Take out the statement that holds most.

        Raises:
            ValueError: none holds anything.
        """
        statement = max(self._sizes, key=self._sizes.__getitem__)
        self._total -= self._sizes.pop(statement)
        return statement
