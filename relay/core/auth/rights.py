"""Ends what a user does the moment they lose the right to it: one mechanism for uploads, downloads and hooks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from relay.store import kinds

KINDS = frozenset({kinds.CHATS, kinds.USER, kinds.DEVICE})
"""Kinds of entries by which a user may lose or get a right."""


class Rights:
    """All work under way that needs a right."""

    def __init__(self) -> None:
        self._held: dict[trio.CancelScope, Callable[[], bool]] = {}

    @contextmanager
    def while_allowed(self, allowed: Callable[[], bool]) -> Iterator[trio.CancelScope]:
        """Cancel what is done inside as soon as it is no longer allowed.

        Args:
            allowed: asked at the beginning, and again after each entry that may take a right away.
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
        """Cancel what is no longer allowed; called after each entry of `KINDS`."""
        for scope, allowed in list(self._held.items()):
            if not allowed():
                scope.cancel()
