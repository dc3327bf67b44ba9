"""Ends a user's work the moment they lose the right to it: one mechanism for uploads, downloads and hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from relay.store import kinds

KINDS = frozenset({kinds.CHATS, kinds.USER, kinds.DEVICE})
"""Kinds of entries that may give or take away a right."""


class Rights:
    """All work under way that needs a right."""

    def __init__(self) -> None:
        self._held: dict[trio.CancelScope, Callable[[], bool]] = {}

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

    def look(self) -> None:
        """Cancel work that is no longer allowed; called after each entry of `KINDS`."""
        for scope, allowed in list(self._held.items()):
            if not allowed():
                scope.cancel()
