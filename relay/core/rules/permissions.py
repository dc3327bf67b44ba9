"""Who may do what in which chat: one table, which every door asks. Pure.

PROTOCOL.md shows the table as `as_markdown` prints it.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN
from relay.protocol.errors import ErrorCode, RelayError


class Action(StrEnum):
    """Something that somebody does in a chat."""

    READ = "read and mark"
    WRITE = "write, reply, attach"
    TYPE = "type"
    EDIT = "edit one's own message"
    EDIT_OTHERS = "edit another's message"
    DELETE = "delete one's own message"
    DELETE_OTHERS = "delete another's message"
    CHANGE = "change name and picture"
    SET_ADMINS = "make and unmake admins"
    ADD = "add people"
    REMOVE = "remove a member"
    REMOVE_ADMIN = "remove an admin"
    REMOVE_OWNER = "remove the owner"
    INVITE = "invite to it"
    LEAVE = "leave"
    CLEAR = "clear for oneself"
    DELETE_CHAT = "delete for all"


class ChatKind(StrEnum):
    """A kind of chat, as far as it matters to what may be done there."""

    DIALOG = "dialog"
    CLOSED = "closed dialog"
    """The other person is disabled or removed: they cannot read it."""
    NOTES = "favorites"
    GROUP = "group"
    CHANNEL = "channel"


class Role(StrEnum):
    """What somebody is in a chat."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    """In a dialog, one of the two; a bot too."""
    READER = "reader"
    """A member of a channel who does not run it."""
    OUTSIDER = "outsider"
    """A stranger, or a former member."""
    OFF = "disabled"
    """Disabled or removed, whatever they were."""
    RELAY = "relay admin"
    """On the machine itself, by the command line."""
    IMPORTER = "importer"
    """What an import says that somebody wrote: they could where they wrote it."""


# In Python 3.11 reading a member from its class takes a call, and these are read for each message.
READ, WRITE = Action.READ, Action.WRITE
_OWNER, _ADMIN, _MEMBER, _READER, _OUTSIDER, _OFF, _RELAY, _IMPORTER = Role
_DIALOG, _CLOSED = ChatKind.DIALOG, ChatKind.CLOSED


class Rule(NamedTuple):
    """Who may, and what the others are told."""

    roles: frozenset[Role]
    reason: str
    code: ErrorCode = "forbidden"


_RUN = frozenset({Role.OWNER, Role.ADMIN, Role.RELAY})
_OWN = frozenset({Role.OWNER, Role.RELAY})
_IN = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER, Role.READER})
_WRITERS = frozenset({Role.OWNER, Role.ADMIN, Role.MEMBER})
_POSTERS = frozenset({Role.OWNER, Role.ADMIN})
_NOBODY: frozenset[Role] = frozenset()

_ALWAYS = Rule(_IN, "only its members may do this")
_RUNS = Rule(_RUN, "only the owner and admins may do this")
_OWNS = Rule(_OWN, "only the owner may do this")
_POSTS = Rule(_POSTERS, "only the owner and admins write in this channel")
_GONE = Rule(_NOBODY, "the other one cannot read this: their account is switched off")
_AUTHOR = Rule(_NOBODY, "only its author may edit a message")
_DELETES = Rule(_NOBODY, "only its author, or a group's owner and admins, may delete a message")
_NO_GROUP = Rule(_NOBODY, "it is no group or channel, and only those can be changed", "bad_request")
_STAYS = Rule(_NOBODY, "the owner cannot be removed: they leave, or delete the chat")


def _everywhere(rule: Rule, **others: Rule) -> dict[ChatKind, Rule]:
    return {place: others.get(place.name.lower(), rule) for place in ChatKind}


def _in_groups(rule: Rule) -> dict[ChatKind, Rule]:
    return _everywhere(_NO_GROUP, group=rule, channel=rule)


def _says(*others: Role) -> dict[ChatKind, Rule]:
    more = frozenset(others)
    return {
        place: rule._replace(roles=rule.roles | more)
        for place, rule in _everywhere(
            Rule(_WRITERS, "only its members may write here"), closed=_GONE, channel=_POSTS
        ).items()
    }


TABLE: dict[Action, dict[ChatKind, Rule]] = {
    Action.READ: _everywhere(_ALWAYS._replace(roles=_IN | {Role.IMPORTER})),
    Action.WRITE: _says(Role.IMPORTER),
    Action.TYPE: _says(),
    Action.EDIT: _says(),
    Action.EDIT_OTHERS: _everywhere(_AUTHOR),
    # What one has said one may take back, also where one may say nothing new.
    Action.DELETE: _everywhere(_ALWAYS),
    Action.DELETE_OTHERS: _everywhere(
        _DELETES, group=_DELETES._replace(roles=_RUN), channel=_DELETES._replace(roles=_RUN)
    ),
    Action.CHANGE: _in_groups(_RUNS),
    Action.SET_ADMINS: _in_groups(_OWNS),
    Action.ADD: _in_groups(_RUNS),
    Action.REMOVE: _in_groups(_RUNS),
    Action.REMOVE_ADMIN: _in_groups(Rule(_OWN, "only the owner may remove an admin")),
    Action.REMOVE_OWNER: _in_groups(_STAYS),
    Action.INVITE: _in_groups(_RUNS),
    Action.LEAVE: _everywhere(
        Rule(_NOBODY, "a dialog cannot be left, only cleared (deleteChat)", "bad_request"),
        group=_ALWAYS,
        channel=_ALWAYS,
    ),
    Action.CLEAR: _everywhere(_ALWAYS, group=_OWNS, channel=_OWNS),
    Action.DELETE_CHAT: _in_groups(_OWNS),
}
"""Of each action and kind of chat who may do it. Outsiders are told that there is no such chat."""


def role_of(state: State, chat: Chat, user: int, *, imported: bool = False) -> Role:
    """Tell what a user is in a chat."""
    if imported:
        return _IMPORTER
    if user == ADMIN:
        return _RELAY
    if user in state.inactive:
        return _OFF
    member = state.members[chat.key].get(user)
    if member is None:
        return _OUTSIDER
    if chat.id is None:
        return _MEMBER
    if user == chat.owner:
        return _OWNER
    if member.admin:
        return _ADMIN
    return _READER if chat.type == "channel" else _MEMBER


def place_of(state: State, chat: Chat, user: int) -> ChatKind:
    """Tell what kind of chat this is for a user."""
    if chat.type == "dialog":
        all_on = state.inactive.isdisjoint(state.members[chat.key])
        return _DIALOG if all_on or state.peer(chat, user) not in state.inactive else _CLOSED
    return _PLACES[chat.type]


_DIALOG, _CLOSED = ChatKind.DIALOG, ChatKind.CLOSED
_MEMBER = Role.MEMBER
# Asked for every message: an attribute of an enum is looked up by a Python function of its own.
_PLACES = {"favorites": ChatKind.NOTES, "group": ChatKind.GROUP, "channel": ChatKind.CHANNEL}


def may(state: State, chat: Chat, user: int, action: Action) -> bool:
    """Tell whether a user may do something in a chat."""
    return role_of(state, chat, user) in TABLE[action][place_of(state, chat, user)].roles


def check(state: State, chat: Chat, user: int, action: Action, *, imported: bool = False) -> None:
    """Refuse what a user may not do in a chat.

    Raises:
        RelayError: with the rule's reason; `not_found` to an outsider, who does not learn that there is such a chat.
    """
    if chat.type == "dialog" and not imported and _is_open(state, chat, user) and action in _IN_DIALOGS:
        # What nearly every message asks.
        return
    role = role_of(state, chat, user, imported=imported)
    rule = TABLE[action][place_of(state, chat, user)]
    if role in rule.roles:
        return
    if role is _OUTSIDER:
        raise RelayError.no_chat(state.chat_id(chat, user))
    if role is _OFF:
        raise RelayError.forbidden("this account is switched off")
    raise RelayError(rule.code, f"chatId: {rule.reason}" if rule.code == "bad_request" else rule.reason)


_IN_DIALOGS = frozenset(action for action, places in TABLE.items() if _MEMBER in places[_DIALOG].roles)


def _is_open(state: State, chat: Chat, user: int) -> bool:
    """Tell whether somebody is one of a dialog's two, neither of whom is switched off."""
    members, users = state.members[chat.key], state.users
    for member in members:
        known = users[member]
        if known.disabled or known.removed:
            return False
    return user in members


def as_markdown() -> Iterable[str]:
    """Print the table: a row of each action, and of each kind of chat who may do it."""
    yield f"| | {' | '.join(ChatKind)} |"
    yield f"|---{'|---' * len(ChatKind)}|"
    for action in Action:
        cells = (
            ", ".join(role for role in Role if role in TABLE[action][place].roles) or "nobody" for place in ChatKind
        )
        yield f"| {action} | {' | '.join(cells)} |"
