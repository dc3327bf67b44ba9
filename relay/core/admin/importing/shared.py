"""Helpers for importing people and messages: making an import's commands, and finding the chats that it names."""

from collections.abc import Callable, Sequence

from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.keys import NO_DEVICE, UnixMs, UserKey
from relay.outcomes import Decidable, Outcome
from relay.store.command import Command


def import_command(
    clock: Callable[[], UnixMs], at: UnixMs, user: UserKey, request: Decidable[Outcome], generated_id: str = ""
) -> Command[Outcome]:
    """Make a command that is marked as an import.

    Args:
        clock: the relay's time. The log must not get a later one, because all later entries would inherit it.
        at: the date in the source.
        user: the user in whose name it is.
        request: the request.
        generated_id: the id of the object that it creates.
    """
    return Command(min(at, clock()), user, NO_DEVICE, request, generated_id=generated_id, importer=True)


def find_chat(state: State, chat_id: str, participants: Sequence[str]) -> Chat | None:
    """Find a chat by its id, or a dialog by its participants.

    Args:
        state: the state.
        chat_id: a group's or channel's id; empty for a dialog.
        participants: the ids of a dialog's users.
    """
    if chat_id:
        key = state.group_keys.get(chat_id)
    else:
        known = [user.key for user in map(state.user, participants) if user is not None]
        complete = len(known) == len(participants) and 0 < len(known) <= 2
        key = state.dialog_keys.get((min(known), max(known))) if complete else None
    return None if key is None else state.chats[key]
