"""The table of requests: which handler answers which (PROTOCOL.md, section 5)."""

from collections.abc import Mapping

from relay.core.service import chats, messages, users
from relay.core.service.dispatch import Handler, handled_by
from relay.protocol import requests

HANDLERS: Mapping[str, Handler] = dict(
    (
        handled_by(requests.NEW, messages.new),
        handled_by(requests.EDIT, messages.edit_or_delete),
        handled_by(requests.DELETE, messages.edit_or_delete),
        handled_by(requests.DLVRD, messages.delivered),
        handled_by(requests.READ, messages.read),
        handled_by(requests.MESSAGES, messages.history_page),
        handled_by(requests.CHAT, chats.one_chat),
        handled_by(requests.CHATS, chats.chat_list),
        handled_by(requests.USERS, users.directory),
        handled_by(requests.SEARCH, messages.search),
        handled_by(requests.CREATE_CHAT, chats.create),
        handled_by(requests.UPDATE_CHAT, chats.update),
        handled_by(requests.ADD_PARTICIPANTS, chats.add_participants),
        handled_by(requests.REMOVE_PARTICIPANTS, chats.remove_participants),
        handled_by(requests.LEAVE_CHAT, chats.leave),
        handled_by(requests.DELETE_CHAT, chats.delete),
        handled_by(requests.PROFILE, users.profile),
        handled_by(requests.DEVICES, users.devices),
        handled_by(requests.REVOKE_DEVICE, users.revoke_device),
        handled_by(requests.INVITE, users.invite),
        handled_by(requests.PASSWORD, users.password),
    )
)
