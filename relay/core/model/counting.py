"""Counting members: whose receipts a message waits for, and who may become the owner of a chat. Pure.

Users who never read or answer do not count: bots, and people who are disabled or removed.
"""

from collections.abc import Mapping
from typing import Protocol

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.keys import MessageId, UserKey


class Standing(Protocol):
    """The status of a user here, or of a person in an import."""

    @property
    def bot(self) -> bool:
        """Whether it is a program."""

    @property
    def disabled(self) -> bool:
        """Whether they cannot sign in for now."""

    @property
    def removed(self) -> bool:
        """Whether they are removed for good."""


def can_act(user: Standing) -> bool:
    """Return whether a user is a person who can sign in."""
    return not (user.bot or user.disabled or user.removed)


def counts(state: State, chat: Chat, user: UserKey) -> bool:
    """Return whether a member's receipts change a message's status: in a dialog the other user's do, even a bot's.

    Args:
        state: the state.
        chat: the chat.
        user: the key of a member.
    """
    return chat.id is None or can_act(state.users[user])


def waited_for(state: State, chat: Chat, user: UserKey, member: Member, author: UserKey, message_id: MessageId) -> bool:
    """Return whether a message waits for a member's receipts: the member counts, and did when it was sent.

    In a dialog the other user's receipts always count: nobody else reads it.

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
        The longest-standing admin who can sign in, else the longest-standing member who can; if there is none, the same
        among disabled people. None if only bots and removed people are left.
    """
    members, users = state.members[chat.key], state.users
    others = [user for user in state.users_in(chat) if user != leaving]
    able = [user for user in others if can_act(users[user])]
    later = able or [user for user in others if not (users[user].bot or users[user].removed)]
    return min(later, key=lambda user: _rank(members, user), default=None)


def _rank(members: Mapping[UserKey, Member], user: UserKey) -> tuple[bool, int, int]:
    # Order by the log: the order in memory does not survive a restart.
    member = members[user]
    return not member.admin, member.joined_seq, user
