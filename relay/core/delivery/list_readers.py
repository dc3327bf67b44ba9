"""Whose chat list an entry changes, and how (PROTOCOL.md, section 4).

Reads the state and its arguments; no I/O.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import visibility
from relay.core.rules.visibility import LostChat
from relay.keys import NO_CHAT, ChatKey, UserKey
from relay.store.entry import Entry


def chat_list_readers(state: State, entry: Entry) -> Sequence[UserKey]:
    """Name the users whose chat list an entry of kind CHATS or USER changes."""
    change = changes.change_of(entry)
    match change:
        case changes.ChatMade() | changes.ChatUpdated() | changes.MembersAdded():
            return list(state.members.get(entry.chat, ()))
        case changes.MembersRemoved():
            return [*state.members.get(entry.chat, ()), *change.users]
        case changes.ChatDeleted() | changes.ChatShown():
            return change.users
        case changes.ChatHidden():
            return [change.user]
        case changes.UserChanged() if _is_shown(change) or change.disabled:
            chats = map(state.chats.__getitem__, state.chats_of[change.key])
            readers = {user for chat in chats for user in _line_readers(state, change, chat)}
            return [*(readers | {change.key} if _is_shown(change) else readers)]
    return ()


def changed_chats(state: State, entry: Entry, user: UserKey) -> Sequence[ChatKey]:
    """List the chats whose lines an entry changes in the list of one of its readers.

    Args:
        state: the state, which has the entry.
        entry: the entry, of kind CHATS or USER.
        user: the key of one of its readers.

    Returns:
        Chat keys; `NO_CHAT` stands for a change of the user's own name or picture.
    """
    change = changes.change_of(entry)
    if not isinstance(change, changes.UserChanged):
        return [entry.chat]
    shared = map(state.chats.__getitem__, sorted(state.chats_of[change.key] & state.chats_of[user]))
    found = [chat.key for chat in shared if user in _line_readers(state, change, chat)]
    return found or ([NO_CHAT] if user == change.key and _is_shown(change) else ())


def changes_list(state: State, entry: Entry, user: UserKey) -> bool:
    """Return whether `chat_list_readers` names a user, without visiting every chat of a user who changed.

    Args:
        state: the state, which has the entry.
        entry: the entry, of kind CHATS or USER.
        user: the user's key.
    """
    if isinstance(changes.change_of(entry), changes.UserChanged):
        return bool(changed_chats(state, entry, user))
    return user in chat_list_readers(state, entry)


def _is_shown(change: changes.UserChanged) -> bool:
    """Return whether a change of a user changes their name or picture; a removed user has no picture."""
    return change.name is not None or change.photo_url is not None or bool(change.removed)


def _line_readers(state: State, change: changes.UserChanged, chat: Chat) -> Iterable[UserKey]:
    """Name the members for whom a change of a user changes the line of one chat in their list.

    A line shows the name and the picture of the other user of a dialog, if it is in the list. The author
    of a group's last message also sees its status, which does not wait for disabled users. Lines do not show admin
    rights. A removed user has left each group by an entry of its own. Messages from before a user was enabled again
    still do not wait for them.
    """
    if chat.id is None:
        members = state.members[chat.key]
        return [user for user, member in members.items() if not member.hidden] if _is_shown(change) else ()
    members, author = state.members[chat.key], chat.newest_by
    waited = members.get(change.key)
    if not change.disabled or waited is None or author == change.key or author not in members or chat.newest_deleted:
        return ()
    return (author,) if waited.joined < chat.newest and waited.read < chat.newest else ()


class ListChange(NamedTuple):
    """The effect of an entry of kind CHATS or USER on chat lists, besides changed lines."""

    newcomers: frozenset[UserKey]
    """Users who join the chat by it."""
    appears_for: frozenset[UserKey]
    """Users whose list gains a chat."""
    goes_for: frozenset[UserKey]
    """Users whose list loses a chat."""
    loss: LostChat | None = None
    """How the users of `goes_for` lost the chat: by whom, its name then, whether it was deleted; None if nobody did."""


def list_change(entry: Entry) -> ListChange:
    """Read the effect of an entry of kind CHATS or USER on chat lists."""
    nobody: frozenset[UserKey] = frozenset()
    change = changes.change_of(entry)
    match change:
        case changes.ChatMade(members=users) | changes.MembersAdded(users=users):
            everybody = frozenset(users)
            return ListChange(everybody, everybody, nobody)
        case changes.ChatShown(users=users):
            return ListChange(nobody, frozenset(users), nobody)
        case changes.MembersRemoved(users=users) | changes.ChatDeleted(users=users):
            return ListChange(nobody, nobody, frozenset(users), visibility.loss(entry, change))
        case changes.ChatHidden(user=user):
            return ListChange(nobody, nobody, frozenset((user,)), visibility.loss(entry, change))
    return ListChange(nobody, nobody, nobody)
