"""Ends a user's work the moment they lose the right to it: one mechanism for uploads, downloads and hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from relay.store import kinds

KINDS = frozenset({kinds.CHATS, kinds.USER, kinds.DEVICE})
"""Kinds of entries that may give or take away a right, as the state alone shows."""
STORED_KINDS = frozenset({kinds.EDIT, kinds.DELETE, kinds.NOTE, kinds.FILE}) | KINDS
"""Kinds of entries after which the store may answer differently: which messages use a file, and whether it is there."""


class Rights:
    """All work under way that needs a right."""

    def __init__(self) -> None:
        self._held: dict[trio.CancelScope, Callable[[], bool]] = {}
        self._doubted = trio.Event()

    @contextmanager
    def while_allowed(self, allowed: Callable[[], bool]) -> Iterator[trio.CancelScope]:
        """Cancel the work inside this block as soon as it is no longer allowed.

        Args:
            allowed: called at the beginning, and again after each entry that may take away a right.
        """
        with trio.CancelScope() as scope:
            self._held[scope] = allowed
            try:
                if not allowed():
                    scope.cancel()
                yield scope
            finally:
                del self._held[scope]

    def doubt(self) -> None:
        """Wake the task that asks the store; called after each entry of `STORED_KINDS`, and as a download begins."""
        self._doubted.set()

    async def doubted(self) -> None:
        """Wait for `doubt`, unless it was called since the last time."""
        await self._doubted.wait()
        self._doubted = trio.Event()

    def look(self) -> None:
        """Cancel work that is no longer allowed; called after each entry of `KINDS`, and when the store was asked."""
        for scope, allowed in list(self._held.items()):
            if not allowed():
                scope.cancel()
