"""Ids that the relay generates: random, so that none can be guessed."""

import secrets


def new_chat_id() -> str:
    """Make the id of a group or channel: 64 random bits, distinguished from user ids by its prefix."""
    return f"g-{secrets.token_hex(8)}"


def new_hook_id() -> str:
    """Make the id of the bot that a hook posts as."""
    return f"hook-{secrets.token_hex(4)}"
