"""The table of requests: which handler answers which (PROTOCOL.md, section 5)."""

from collections.abc import Mapping

from relay.core.service import chats, messages, users
from relay.core.service.dispatch import Handler

HANDLERS: Mapping[str, Handler] = {
    "new": messages.new,
    "edit": messages.edit_or_delete,
    "delete": messages.edit_or_delete,
    "dlvrd": messages.delivered,
    "read": messages.read,
    "messages": messages.history_page,
    "chat": chats.one_chat,
    "chats": chats.chat_list,
    "users": users.directory,
    "search": messages.search,
    "createChat": chats.create,
    "updateChat": chats.update,
    "addParticipants": chats.add_participants,
    "removeParticipants": chats.remove_participants,
    "leaveChat": chats.leave,
    "deleteChat": chats.delete,
    "profile": users.profile,
    "devices": users.devices,
    "revokeDevice": users.revoke_device,
    "invite": users.invite,
    "password": users.password,
}
