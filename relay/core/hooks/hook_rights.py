"""The present rights of a hook. Pure."""

from relay.core.model.entities import Device
from relay.core.model.state import State
from relay.core.rules import permissions
from relay.keys import NO_DEVICE, ChatKey


def may_act(state: State, device: Device) -> bool:
    """Return whether a hook is in use: it is not removed, and its user is enabled and in its chat.

    A hook that writes to one user is in use before their dialog begins.
    """
    hook = device.hook
    if hook is None or not state.is_authorized(device.user, device.key):
        return False
    return chat_of(state, device) is not None or hook.chat in state.user_keys


def problem(state: State, device: Device) -> str | None:
    """Say why a hook cannot post into its chat (incoming) or follow it (outgoing); None if it can.

    An incoming hook passes the same checks as a message of its user.
    """
    hook, user = device.hook, state.users[device.user]
    if user.disabled or user.removed:
        return f"{user.id} is disabled"
    if hook is None or not may_act(state, device):
        return f"{user.id} is not in the chat, or it is gone"
    if hook.url:
        return None
    key = chat_of(state, device)
    if key is None:
        # The dialog begins with the first message.
        peer = state.user(hook.chat)
        return None if peer is None or state.is_authorized(peer.key, NO_DEVICE) else f"{peer.id} is disabled"
    chat = state.chats[key]
    if permissions.may(state, chat, user.key, permissions.WRITE):
        return None
    if chat.id is None:
        return f"{state.chat_id(chat, user.key)} is disabled"
    return f"{user.id} may only read in the chat"


def chat_of(state: State, device: Device) -> ChatKey | None:
    """Find the chat of a hook; None if its user is not in it, or it has not begun."""
    return None if device.hook is None else state.chat_key(device.user, device.hook.chat)
