"""Where a hook may act now, and ending what it does the moment it may not any more."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from relay.core.state import Device, State
from relay.store import kinds
from relay.store.entry import Entry

RIGHTS = frozenset({kinds.CHATS, kinds.USER, kinds.DEVICE})
"""Entries by which somebody may lose a right, or get one."""

Watchers = list[Callable[[Entry], None]]


def may_act(state: State, device: Device) -> bool:
    """Tell whether a hook is in use: it is not removed, its user may be here and is in its chat.

    A hook that writes to one user is in use before their dialog begins.
    """
    hook = device.hook
    if hook is None or not state.welcome(device.user, device.key):
        return False
    return chat_of(state, device) is not None or hook.chat in state.user_keys


def chat_of(state: State, device: Device) -> int | None:
    """Find the chat of a hook; None where its user is not in it, or it has not begun."""
    return None if device.hook is None else state.chat_key(device.user, device.hook.chat)


@contextmanager
def while_allowed(watchers: Watchers, allowed: Callable[[], bool]) -> Iterator[trio.CancelScope]:
    """Cancel what is done inside as soon as it is not allowed any more.

    Args:
        watchers: the hub's.
        allowed: asked again after each entry that may take a right away.
    """
    scope = trio.CancelScope()

    def watch(entry: Entry) -> None:
        if entry.kind in RIGHTS and not allowed():
            scope.cancel()

    watchers.append(watch)
    try:
        with scope:
            yield scope
    finally:
        watchers.remove(watch)
