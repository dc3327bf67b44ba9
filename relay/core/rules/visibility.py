"""Visibility: whether a user sees a message, for events, replays, history, search, chat lists, quotes and files. Pure.

Cleared messages and those that retention removed are gone in all of them. Deleted messages have no text in the log.
Users who left or were removed see only how they lost the chat: see `loss`.
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
    """Return the message id after which a member sees messages; see `sees`."""
    return max(member.cleared, chat.pruned)


def unseen_upto(state: State, chat: Chat) -> MessageId:
    """Return the message id up to which nobody sees a chat's messages any more, nor ever will: their texts may go.

    In a dialog and in notes that is what everybody in it has cleared; a removed user does not come back. In a group
    somebody may still be added, who then sees all of it.
    """
    if chat.id is not None or chat.gone:
        return MessageId(chat.pruned)
    members = state.members[chat.key].items()
    return MessageId(
        min((since(chat, one) for user, one in members if not state.users[user].removed), default=chat.last_message_id)
    )


def sees(chat: Chat, member: Member | None, message_id: MessageId) -> bool:
    """Return whether a user sees a message, its files and quotes of it.

    Args:
        chat: the chat.
        member: their membership; None if they have none.
        message_id: the message's id; for an edit or a deletion, the id of the message that it changes.
    """
    return member is not None and not chat.gone and message_id > since(chat, member)


def lists(chat: Chat, member: Member | None, message_id: MessageId, subject: int) -> bool:
    """Return whether a user's history includes a message or a change: neither it nor its subject was cleared.

    A change of a message that retention removed is listed without a text, so that ids have no gaps.

    Args:
        chat: the chat.
        member: their membership; None if they have none.
        message_id: the message's or the change's own id.
        subject: the id of the message that it is about: its own, or that of the changed message.
    """
    return sees(chat, member, message_id) and member is not None and subject > member.cleared


def is_event_for(state: State, entry: Entry, user: UserKey) -> bool:
    """Return whether an entry is an event for a user (PROTOCOL.md, sections 4 and 6), live or replayed.

    They must see the entry's subject and have joined before it. Receipts go to the authors of the covered messages if
    the sender counts, and a read receipt also to the reader's other devices.

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
    """How a chat left users' lists, as of the entry that removed it."""

    actor: UserKey
    """The actor; `NO_USER` for an admin on the machine."""
    title: str
    """The name of the group or channel then; empty for a dialog, and in entries of older relays."""
    is_deleted: bool
    """Whether the chat was deleted for all, or a dialog cleared; otherwise its users left or were removed."""

    def reason_for(self, user: UserKey) -> LossReason:
        """Say why one of these users lost the chat."""
        if self.is_deleted:
            return "deleted"
        return "left" if user == self.actor else "removed"


def loss(entry: Entry, change: changes.AnyChange) -> LostChat | None:
    """Describe the loss for users whose list loses a chat by this entry; None if no list does.

    Args:
        entry: of kind CHATS or a later kind.
        change: the change that it records.
    """
    match change:
        case changes.MembersRemoved(name=name):
            return LostChat(entry.actor, name, is_deleted=False)
        case changes.ChatDeleted(name=name):
            return LostChat(entry.actor, name, is_deleted=True)
        case changes.ChatHidden():
            return LostChat(entry.actor, "", is_deleted=True)
    return None
