"""Log entries as an admin reads them, with users and chats by name. Pure.

Message texts are left out by default: an admin of the machine need not read what people write.
"""

import msgspec

from relay.core.model import changes
from relay.core.model.addresses import without_password
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules.commands import ADMIN
from relay.keys import DeviceKey, UserKey
from relay.protocol.base import JsonValue
from relay.protocol.control import EntryInfo, Value
from relay.store import kinds
from relay.store.entry import Entry

ADMIN_NAME = "(admin)"
"""The actor of a change that was made on the machine itself; no user can have this id."""
SECRET = {"tokenHash", "codeHash", "hash"}


def describe(state: State, entry: Entry, *, texts: bool = False) -> EntryInfo:
    """Describe a log entry.

    Args:
        state: the state after the entry, or later.
        entry: a new entry, or one read from the log.
        texts: whether to include the texts of messages.
    """
    kind = entry.kind
    chat = state.chats.get(entry.chat)
    change = None if entry.extra is None or kind <= kinds.READ else _change(entry.extra)
    message = entry.message if kind in (kinds.NEW, kinds.EDIT) else None
    return EntryInfo(
        id=entry.seq,
        timestamp=entry.at,
        event_type=kinds.KIND_NAMES[kind],
        actor=actor_name(state, entry.actor),
        chat=None if chat is None else chat_label(state, chat),
        chat_name=None if chat is None or chat.id is None else chat.name,
        message_id=entry.message_id or None,
        original_message_id=entry.subject_id if kind in (kinds.EDIT, kinds.DELETE) else None,
        message=message if texts else None,
        characters=None if message is None else len(message),
        attachments=len(entry.attachments) if entry.attachments else None,
        change=None if change is None else str(change["change"]),
        details=None if change is None else _details(state, kind, change),
    )


def chat_label(state: State, chat: Chat) -> str:
    """Name a chat for an admin: a group by its id, a dialog by the ids of its two users."""
    if chat.id is not None:
        return chat.id
    return "~".join(sorted(state.users[user].id for user in state.members[chat.key]))


def is_audited(entry: Entry) -> bool:
    """Return whether an entry belongs in the audit: it changes users, rights or groups, not messages or receipts."""
    if entry.kind != kinds.CHATS:
        return entry.kind > kinds.READ and entry.kind != kinds.FILE
    change = changes.change_of(entry)
    if isinstance(change, changes.ChatMade):
        return change.id is not None
    return not isinstance(change, changes.ChatHidden | changes.ChatShown)


def actor_name(state: State, user: UserKey) -> str:
    """Name the actor of a change: a user by their id, the machine's admin as `(admin)`."""
    if user == ADMIN:
        return ADMIN_NAME
    known = state.users.get(user)
    return known.id if known else str(user)


_change = msgspec.json.Decoder(dict[str, JsonValue]).decode


def _details(state: State, kind: int, change: dict[str, JsonValue]) -> dict[str, Value]:
    details: dict[str, Value] = {}
    for field, value in change.items():
        if field not in SECRET and field != "change" and value is not None:
            details.update(_detail(state, kind, field, value))
    if kind == kinds.DEVICE and "user" not in details:
        key = change.get("key")
        device = state.devices.get(DeviceKey(key)) if isinstance(key, int) else None
        if device is not None:
            details["user"] = actor_name(state, device.user)
    if change["change"] == "inviteUsed":
        details |= _invited(state, str(change["codeHash"]))
    return details


def _invited(state: State, code_hash: str) -> dict[str, Value]:
    """Name the user an invite is for. The next new invite removes the expired ones from the state."""
    invite = state.invites.get(code_hash)
    if invite is None:
        return {}
    return {"user": actor_name(state, invite.user)} if invite.user else {"name": invite.name}


def _detail(state: State, kind: int, field: str, value: JsonValue) -> dict[str, Value]:
    """Describe one field of a change: users by name, long lists by their length."""
    match field, value:
        case "hook", dict(hook):
            return {"hook": without_password(str(hook.get("url") or "")) or "in", "chat": str(hook["chat"])}
        case "key", int(key):
            return {"user": actor_name(state, UserKey(key))} if kind == kinds.USER else {"device": key}
        case "user" | "owner" | "by", int(user):
            return {field: actor_name(state, UserKey(user))}
        case "users" | "members" | "admins", list(users):
            return {field: [actor_name(state, UserKey(user)) for user in users if isinstance(user, int)]}
        case "origins", list(origins):
            return {field: [*map(str, origins)]}
        case _, list(many) | dict(many):
            return {field: len(many)}
        case _, bool(one) | int(one) | float(one) | str(one):
            return {field: one}
    return {}
