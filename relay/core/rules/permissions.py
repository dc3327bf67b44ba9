"""Permissions: who may do what in which chat. One table, checked by every request, hook, upload, import and command.

Pure. PROTOCOL.md shows the table as `as_markdown` prints it.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN
from relay.keys import UserKey
from relay.protocol.errors import ErrorCode, RelayError


class Action(StrEnum):
    """Something that a user does in a chat."""

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
    """A kind of chat, as far as permissions differ."""

    DIALOG = "dialog"
    CLOSED = "closed dialog"
    """A dialog whose other user is disabled or removed, and cannot read it."""
    NOTES = "favorites"
    GROUP = "group"
    CHANNEL = "channel"


class Role(StrEnum):
    """A user's role in a chat."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    """One of the two in a dialog, also a bot."""
    READER = "reader"
    """A member of a channel who is neither owner nor admin."""
    OUTSIDER = "outsider"
    """A user who never was a member, or no longer is."""
    OFF = "disabled"
    """Disabled or removed, whatever their role was."""
    RELAY = "relay admin"
    """An admin on the machine, by the command line."""
    IMPORTER = "importer"
    """An import on behalf of a user, who could do it in the source."""


# In Python 3.11 reading a member from an enum class is a call, and these are read for each message.
READ, WRITE = Action.READ, Action.WRITE
_OWNER, _ADMIN, _MEMBER, _READER, _OUTSIDER, _OFF, _RELAY, _IMPORTER = Role
_DIALOG, _CLOSED = ChatKind.DIALOG, ChatKind.CLOSED


class Rule(NamedTuple):
    """Who is allowed, and the message for others."""

    roles: frozenset[Role]
    reason: str
    code: ErrorCode = "forbidden"
    inviters: bool = False
    """Whether each of them also needs the right `may_invite`."""


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
_GONE = Rule(_NOBODY, "the other person's account is switched off, so they cannot read this")
_AUTHOR = Rule(_NOBODY, "only its author may edit a message")
_DELETES = Rule(_NOBODY, "only its author, or a group's owner and admins, may delete a message")
_INVITES = Rule(_RUN, "only an owner or admin who is an admin of the relay too may invite to it", inviters=True)
_NO_GROUP = Rule(_NOBODY, "this is not a group or channel, and only those can be changed", "bad_request")
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
    # Users may delete their messages even if they may not write.
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
    Action.INVITE: _in_groups(_INVITES),
    Action.LEAVE: _everywhere(
        Rule(_NOBODY, "a dialog cannot be left, only cleared (deleteChat)", "bad_request"),
        group=_ALWAYS,
        channel=_ALWAYS,
    ),
    Action.CLEAR: _everywhere(_ALWAYS, group=_OWNS, channel=_OWNS),
    Action.DELETE_CHAT: _in_groups(_OWNS),
}
"""Who may do each action in each kind of chat. Outsiders get `not_found`."""


def role_of(state: State, chat: Chat, user: UserKey, *, imported: bool = False) -> Role:
    """Return a user's role in a chat.

    Args:
        state: the state.
        chat: the chat.
        user: the user's key, or `ADMIN`.
        imported: whether an import acts on their behalf.
    """
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


def kind_of(state: State, chat: Chat, user: UserKey) -> ChatKind:
    """Return the kind of a chat, as far as permissions differ; a dialog may be closed.

    Args:
        state: the state.
        chat: the chat.
        user: the user who asks. The status of the other user decides whether a dialog is closed.
    """
    if chat.type == "dialog":
        all_on = state.inactive.isdisjoint(state.members[chat.key])
        return _DIALOG if all_on or state.peer(chat, user) not in state.inactive else _CLOSED
    return _PLACES[chat.type]


_DIALOG, _CLOSED = ChatKind.DIALOG, ChatKind.CLOSED
_MEMBER = Role.MEMBER
_PLACES = {"favorites": ChatKind.NOTES, "group": ChatKind.GROUP, "channel": ChatKind.CHANNEL}


def may_invite(state: State, user: UserKey) -> bool:
    """Return whether a user may let people in: only an admin of the relay, or `ADMIN`, may."""
    if user == ADMIN:
        return True
    known = state.users.get(user)
    return known is not None and known.admin and user not in state.inactive


def may(state: State, chat: Chat, user: UserKey, action: Action) -> bool:
    """Return whether a user may do something in a chat.

    Args:
        state: the state.
        chat: the chat.
        user: the user's key, or `ADMIN`.
        action: the action.
    """
    rule = TABLE[action][kind_of(state, chat, user)]
    return role_of(state, chat, user) in rule.roles and (not rule.inviters or may_invite(state, user))


def may_once_in(state: State, chat: Chat, user: UserKey, action: Action) -> bool:
    """Return whether a user may do something in a chat, or might once joining has made them a member.

    Args:
        state: the state.
        chat: a group or channel.
        user: the user's key.
        action: the action.
    """
    role = role_of(state, chat, user)
    if role is _OUTSIDER:
        role = _READER if chat.type == "channel" else _MEMBER
    return role in TABLE[action][kind_of(state, chat, user)].roles


def check(state: State, chat: Chat, user: UserKey, action: Action, *, imported: bool = False) -> None:
    """Refuse an action that a user may not do in a chat.

    Args:
        state: the state.
        chat: the chat.
        user: the user's key, or `ADMIN`.
        action: the action.
        imported: whether an import acts on their behalf.

    Raises:
        RelayError: with the rule's reason; `not_found` for an outsider, who must not learn that the chat exists.
    """
    if chat.type == "dialog" and not imported and _is_open(state, chat, user) and action in _IN_DIALOGS:
        # Nearly every message ends here.
        return
    role = role_of(state, chat, user, imported=imported)
    rule = TABLE[action][kind_of(state, chat, user)]
    if role in rule.roles and (not rule.inviters or may_invite(state, user)):
        return
    if role is _OUTSIDER:
        raise RelayError.no_chat(state.chat_id(chat, user))
    if role is _OFF:
        raise RelayError.forbidden("this account is switched off")
    raise RelayError(rule.code, f"chatId: {rule.reason}" if rule.code == "bad_request" else rule.reason)


_IN_DIALOGS = frozenset(action for action, places in TABLE.items() if _MEMBER in places[_DIALOG].roles)


def _is_open(state: State, chat: Chat, user: UserKey) -> bool:
    """Return whether a user is one of a dialog's two, and neither is disabled or removed."""
    members, users = state.members[chat.key], state.users
    for member in members:
        known = users[member]
        if known.disabled or known.removed:
            return False
    return user in members


def as_markdown() -> Iterable[str]:
    """Print the table: a row for each action, and a column for each kind of chat."""
    yield f"| | {' | '.join(ChatKind)} |"
    yield f"|---{'|---' * len(ChatKind)}|"
    for action in Action:
        cells = (_cell(TABLE[action][place]) for place in ChatKind)
        yield f"| {action} | {' | '.join(cells)} |"


def _cell(rule: Rule) -> str:
    """Print who is allowed."""
    roles = (
        f"{role} with `--admin`" if rule.inviters and role is not Role.RELAY else str(role)
        for role in Role
        if role in rule.roles
    )
    return ", ".join(roles) or "nobody"
