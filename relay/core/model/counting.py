"""Who counts: whose receipts a message waits for, and who may become the owner of a chat. Pure.

A user who can never read or answer is neither waited for nor chosen: bots, and people who are disabled or removed.
"""

from collections.abc import Mapping
from typing import Protocol

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.keys import MessageId, UserKey


class Standing(Protocol):
    """The standing of a user here, or of a person in an import."""

    @property
    def bot(self) -> bool:
        """Whether it is a program."""

    @property
    def disabled(self) -> bool:
        """Whether they cannot sign in for now."""

    @property
    def removed(self) -> bool:
        """Whether they are gone for good."""


def can_act(user: Standing) -> bool:
    """Tell whether a user is a person who can sign in."""
    return not (user.bot or user.disabled or user.removed)


def counts(state: State, chat: Chat, user: UserKey) -> bool:
    """Tell whether a member's receipts change a message's status: in a dialog those of the other user, even of a bot.

    Args:
        state: the state.
        chat: the chat.
        user: the key of a member.
    """
    return chat.id is None or can_act(state.users[user])


def waited_for(state: State, chat: Chat, user: UserKey, member: Member, author: UserKey, message_id: MessageId) -> bool:
    """Tell whether a message waits for a member's receipts: they count, and did when it was sent.

    In a dialog the other user's receipts always count: what they have not read, no one has.

    Args:
        state: the state.
        chat: the chat.
        user: the member's key.
        member: their membership in the chat.
        author: the message's author.
        message_id: the message.
    """
    since = member.joined if chat.id is None else max(member.joined, member.counts_from)
    return user != author and since < message_id and (chat.id is None or can_act(state.users[user]))


def heir(state: State, chat: Chat, leaving: UserKey) -> UserKey | None:
    """Choose the next owner of a chat when its owner leaves.

    Args:
        state: the state.
        chat: a group or channel.
        leaving: the owner who leaves.

    Returns:
        Of the people who can sign in, an admin first, then the longest member; if there are none, of those who may be
        enabled again. None if only bots and removed people are left.
    """
    members, users = state.members[chat.key], state.users
    others = [user for user in state.users_in(chat) if user != leaving]
    able = [user for user in others if can_act(users[user])]
    later = able or [user for user in others if not (users[user].bot or users[user].removed)]
    return min(later, key=lambda user: _rank(members, user), default=None)


def _rank(members: Mapping[UserKey, Member], user: UserKey) -> tuple[bool, int, int]:
    # By the log, and not by the order in memory, which a restart does not keep.
    member = members[user]
    return not member.admin, member.joined_seq, user
