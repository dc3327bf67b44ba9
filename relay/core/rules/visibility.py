"""Visibility: whether a user sees a message, for events, replays, history, search, chat lists, quotes and files. Pure.

What a user cleared and what retention removed is gone in all of them. Deleted messages have no text in the log; users
who left or were removed are no members, and see nothing but how they lost the chat: see `loss`.
"""

from typing import Literal, NamedTuple

from relay.core.model import changes
from relay.core.model.counting import counts
from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.keys import MessageId, UserKey
from relay.store import kinds
from relay.store.entry import Entry


def since(chat: Chat, member: Member) -> int:
    """Return the message id after which a member sees the messages of a chat; see `sees`."""
    return max(member.cleared, chat.pruned)


def sees(chat: Chat, member: Member | None, message_id: MessageId) -> bool:
    """Tell whether a user sees a message, its files and quotes of it.

    Args:
        chat: the chat.
        member: the user as a member; None if they are not.
        message_id: the message; for an edit or a deletion, the message that it changes.
    """
    return member is not None and not chat.gone and message_id > since(chat, member)


def lists(chat: Chat, member: Member | None, message_id: MessageId, subject: int) -> bool:
    """Tell whether a message or a change is in a user's history: they have not cleared it, nor what it changes.

    A change of a message that retention removed is listed without a text, so that ids have no gaps.

    Args:
        chat: the chat.
        member: the user as a member; None if they are not.
        message_id: the message's or the change's own id.
        subject: the message that it is about: its own id, or what it changes.
    """
    return sees(chat, member, message_id) and member is not None and subject > member.cleared


def is_event_for(state: State, entry: Entry, user: UserKey) -> bool:
    """Tell whether an entry is an event for a user (PROTOCOL.md, sections 4 and 6), live or replayed.

    They see what it is about, and it is later than their joining. Receipts go to the authors of the messages that they
    cover if their sender counts, and a read receipt to the reader's other devices.

    Args:
        state: the state, which has the entry.
        entry: an entry of kind NEW, EDIT, DELETE, DLVRD or READ.
        user: the user's key.
    """
    chat = state.chats[entry.chat]
    member = state.members[entry.chat].get(user)
    if member is None or chat.gone:
        return False
    if entry.kind in (kinds.DLVRD, kinds.READ):
        if entry.kind == kinds.READ and entry.actor == user:
            return True
        one = entry.covers(user)
        return one is not None and one.message_id > member.cleared and counts(state, chat, entry.actor)
    # A deletion is sent even if retention has removed the message since: a device may still have it.
    gone = member.cleared if entry.kind == kinds.DELETE else since(chat, member)
    return entry.seq > member.joined_seq and entry.subject_id > gone


LossReason = Literal["removed", "left", "deleted"]


class LostChat(NamedTuple):
    """How a chat went out of the lists of users, as the entry that did it says: nothing that came afterwards."""

    actor: UserKey
    """Who did it; `NO_USER` for an admin on the machine."""
    title: str
    """The name that a group or channel had then; empty for a dialog, and where an older relay wrote the entry."""
    is_deleted: bool
    """Whether the chat was deleted for all, or a dialog cleared; else its users left or were removed."""

    def reason_for(self, user: UserKey) -> LossReason:
        """Tell why one of these users lost the chat."""
        if self.is_deleted:
            return "deleted"
        return "left" if user == self.actor else "removed"


def loss(entry: Entry, change: changes.AnyChange) -> LostChat | None:
    """Give what the users whose list loses a chat by this entry may learn of it; None if nobody's does.

    Args:
        entry: of kind CHATS or a later kind.
        change: what it records.
    """
    match change:
        case changes.MembersRemoved(name=name):
            return LostChat(entry.actor, name, is_deleted=False)
        case changes.ChatDeleted(name=name):
            return LostChat(entry.actor, name, is_deleted=True)
        case changes.ChatHidden():
            return LostChat(entry.actor, "", is_deleted=True)
    return None
