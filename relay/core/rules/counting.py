"""Who counts: for whose marks a message waits, and who may follow an owner. Pure.

Somebody who can never read or answer is neither waited for nor chosen: bots, and people who are disabled or removed.
"""

from collections.abc import Mapping
from typing import Protocol

from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.keys import UserKey


class Standing(Protocol):
    """What somebody is: a user here, or a person of an import."""

    @property
    def bot(self) -> bool:
        """Whether it is a program."""

    @property
    def disabled(self) -> bool:
        """Whether they may not sign in for now."""

    @property
    def removed(self) -> bool:
        """Whether they are gone for good."""


def can_act(user: Standing) -> bool:
    """Tell whether somebody is a person who can sign in."""
    return not (user.bot or user.disabled or user.removed)


def counts(state: State, chat: Chat, user: int) -> bool:
    """Tell whether a member's marks matter to a message's status: in a dialog the other one's do, also a bot's."""
    return chat.id is None or can_act(state.users[user])


def waited_for(state: State, chat: Chat, user: int, member: Member, author: int, message_id: int) -> bool:
    """Tell whether a message waits for a member's marks: they count, and did when it was sent.

    In a dialog the other one's marks always count: what they have not read nobody has.
    """
    since = member.joined if chat.id is None else max(member.joined, member.counts_from)
    return user != author and since < message_id and (chat.id is None or can_act(state.users[user]))


def heir(state: State, chat: Chat, leaving: int) -> UserKey | None:
    """Choose who owns a chat when its owner goes.

    Args:
        state: the state.
        chat: a group or channel.
        leaving: the owner who goes.

    Returns:
        An admin before others, who is longest in it before others, and of people who can sign in only; where there
        are none, of people who may be enabled again. None where only bots and removed people are left.
    """
    members, users = state.members[chat.key], state.users
    others = [user for user in state.users_in(chat) if user != leaving]
    able = [user for user in others if can_act(users[user])]
    later = able or [user for user in others if not (users[user].bot or users[user].removed)]
    return min(later, key=lambda user: _rank(members, user), default=None)


def _rank(members: Mapping[int, Member], user: int) -> tuple[bool, int, int]:
    # By what the log says and not by the order in memory, which a start does not keep.
    member = members[user]
    return not member.admin, member.joined_seq, user
