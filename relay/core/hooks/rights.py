"""Where a hook may act now. Pure."""

from relay.core.model.entities import Device
from relay.core.model.state import State


def may_act(state: State, device: Device) -> bool:
    """Tell whether a hook is in use: it is not removed, its user may be here and is in its chat.

    A hook that writes to one user is in use before their dialog begins.
    """
    hook = device.hook
    if hook is None or not state.is_authorized(device.user, device.key):
        return False
    return chat_of(state, device) is not None or hook.chat in state.user_keys


def chat_of(state: State, device: Device) -> int | None:
    """Find the chat of a hook; None where its user is not in it, or it has not begun."""
    return None if device.hook is None else state.chat_key(device.user, device.hook.chat)
