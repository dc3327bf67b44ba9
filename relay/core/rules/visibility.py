"""Does this person see this: one answer for events, replays, history, search, the chat list, quotes and files. Pure.

What somebody cleared, and what retention removed, is gone in all of them. What is deleted has no text in the log; who
left or was removed is no member, and sees nothing.
"""

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.rules.counting import counts
from relay.store import kinds
from relay.store.entry import Entry


def since(chat: Chat, member: Member) -> int:
    """Give the message id after which a member sees what was said in a chat: see `sees`."""
    return max(member.cleared, chat.pruned)


def sees(chat: Chat, member: Member | None, message_id: int) -> bool:
    """Tell whether somebody sees a message, its files and what quotes it.

    Args:
        chat: the chat.
        member: them as a member; None for who is none.
        message_id: the message's; of an edit or a deletion that of the message that it changes.
    """
    return member is not None and not chat.gone and message_id > since(chat, member)


def lists(chat: Chat, member: Member | None, message_id: int, subject: int) -> bool:
    """Tell whether an id stands in somebody's history: of a change, where they have not cleared what it changes.

    A change of what retention removed stands there without a text, so that ids go on without gaps.
    """
    return sees(chat, member, message_id) and member is not None and subject > member.cleared


def subject(entry: Entry) -> int:
    """Give the message that an entry is about: what an edit or a deletion changes, else its own id."""
    return entry.target if entry.kind in (kinds.EDIT, kinds.DELETE) else entry.message_id


def is_event_for(state: State, entry: Entry, user: int) -> bool:
    """Tell whether an entry is an event for somebody (PROTOCOL.md, sections 4 and 6), live or replayed.

    They see what it is about, and it came after they did. Marks are told to the authors of what they cover, where the
    one who marked counts, and a read mark to the reader's other devices.
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
    # A deletion is told also of what retention has removed since: a device may have it still.
    gone = member.cleared if entry.kind == kinds.DELETE else since(chat, member)
    return entry.seq > member.joined_seq and subject(entry) > gone
