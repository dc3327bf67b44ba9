"""The permissions table, and every request tried for each of its cells (PROTOCOL.md, section 5)."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import msgspec
import pytest

import relay.protocol
from relay.core.rules import commands, permissions
from relay.core.rules.permissions import TABLE, Action, ChatKind, Role
from relay.keys import DeviceKey
from relay.outcomes import Decidable
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from tests.support.memory_log import MemoryLog
from tests.support.sessions import house

PROTOCOL = Path(relay.protocol.__file__).parent / "PROTOCOL.md"
OTHER = "other"
"""Another member, who wrote in the chat."""
GROUPS = (ChatKind.GROUP, ChatKind.CHANNEL)
ASKED = {
    Action.EDIT_OTHERS: (Action.EDIT, Action.EDIT_OTHERS),
    Action.SET_ADMINS: (Action.SET_ADMINS, Action.CHANGE),
    Action.REMOVE_ADMIN: (Action.REMOVE, Action.REMOVE_ADMIN),
    Action.REMOVE_OWNER: (Action.REMOVE, Action.REMOVE_OWNER),
}
"""The rights that a request checks besides that of its action."""
BY_MACHINE = {*Action} - {Action.READ, Action.WRITE, Action.EDIT, Action.EDIT_OTHERS, Action.DELETE, Action.LEAVE}


def can_be(action: Action, place: ChatKind, role: Role) -> bool:
    """Whether the case exists."""
    if action is Action.TYPE:
        return False  # It is not a command, and has a test of its own.
    if action is Action.CLEAR and place in GROUPS:
        return False  # That is its deletion.
    if action is Action.DELETE_CHAT and place not in GROUPS:
        return False  # That is its clearing.
    if action is Action.INVITE and place not in GROUPS:
        return False  # An invite to a dialog only opens it: it grants nothing.
    if action in (Action.EDIT_OTHERS, Action.DELETE_OTHERS) and place is ChatKind.NOTES:
        return False  # A user's notes have no other authors.
    match role:
        case Role.IMPORTER:
            return action in (Action.READ, Action.WRITE) and place in GROUPS
        case Role.RELAY:
            return action in BY_MACHINE and place in GROUPS
        case Role.READER:
            return place is ChatKind.CHANNEL
        case Role.MEMBER:
            return place is not ChatKind.CHANNEL
        case Role.OWNER | Role.ADMIN:
            return place in GROUPS
    return True


CASES = [case for case in product(Action, ChatKind, Role) if can_be(*case)]


class Scene:
    """A chat of some kind, and `me` in some role."""

    def __init__(self, place: ChatKind, role: Role) -> None:
        self.log = MemoryLog()
        self.log.add_users(OTHER, "owner", "second", "guest")
        self.log.do(None, control.AddUser(id="me", admin=True))
        self.chat = (
            self._group(place, role) if place in (ChatKind.GROUP, ChatKind.CHANNEL) else self._dialog(place, role)
        )
        if role is Role.OFF:
            self.log.do(None, control.ChangeUser(id="me", disabled=True))
        self.me = None if role is Role.RELAY else "me"
        self.imported = role is Role.IMPORTER

    def _group(self, place: ChatKind, role: Role) -> str:
        log = self.log
        owner = "me" if role is Role.OWNER else "owner"
        chat = log.group(owner, "me", OTHER, "second", type_=place.value)
        admins = [OTHER, "second", *(["me"] if role is Role.ADMIN else [])]
        everybody = [*admins, "me"] if role is not Role.OWNER else admins
        # Everybody was an admin once, and wrote something.
        log.do(owner, requests.UpdateChat(chat_id=chat, admins=everybody))
        log.new("me", chat, "mine")
        log.new(OTHER, chat, "others")
        log.do(owner, requests.UpdateChat(chat_id=chat, admins=admins))
        if role is Role.OUTSIDER:
            log.do(owner, commands.RemoveParticipants(chat, ["me"]))
        return chat

    def _dialog(self, place: ChatKind, role: Role) -> str:
        log = self.log
        if role is Role.OUTSIDER:
            # Its members name it by each other's ids, so a stranger has no name for it.
            log.new(OTHER, "owner", "mine")
            return "g-none"
        if place is ChatKind.NOTES:
            log.new("me", "me", "mine")
            log.new("me", "me", "others")
            return "me"
        log.new("me", OTHER, "mine")
        log.new(OTHER, "me", "others")
        if place is ChatKind.CLOSED:
            log.do(None, control.ChangeUser(id=OTHER, disabled=True))
        return OTHER

    def attempt(self, action: Action) -> Any:
        """Do an action through the usual request."""
        log, chat = self.log, self.chat
        requests_ = dict[Action, Decidable](
            {
                Action.WRITE: requests.New(chat_id=chat, client_message_id="n", message="x"),
                Action.EDIT: requests.Edit(chat_id=chat, original_message_id=1, message="x"),
                Action.EDIT_OTHERS: requests.Edit(chat_id=chat, original_message_id=2, message="x"),
                Action.DELETE: requests.Delete(chat_id=chat, original_message_id=1),
                Action.DELETE_OTHERS: requests.Delete(chat_id=chat, original_message_id=2),
                Action.CHANGE: requests.UpdateChat(chat_id=chat, name="x"),
                Action.SET_ADMINS: requests.UpdateChat(chat_id=chat, admins=[]),
                Action.ADD: commands.AddParticipants(chat, ["guest"]),
                Action.REMOVE: commands.RemoveParticipants(chat, [self.plain()]),
                Action.REMOVE_ADMIN: commands.RemoveParticipants(chat, ["second"]),
                Action.REMOVE_OWNER: commands.RemoveParticipants(chat, ["me" if self.owns() else "owner"]),
                Action.INVITE: commands.MakeInvite(code_hash="h", expires_at=2**50, chat_id=chat),
                Action.LEAVE: commands.LeaveChat(chat),
                Action.CLEAR: commands.DeleteChat(chat),
                Action.DELETE_CHAT: commands.DeleteChat(chat),
            }
        )
        if action is Action.READ:
            key = next(iter(log.state.chats))
            requests_[action] = commands.MarkRead(key, None)
        request = msgspec.structs.replace(log.command(self.me, requests_[action]), importer=self.imported)
        (answer,) = log.run(request)
        return answer

    def plain(self) -> str:
        """A member who is not an admin."""
        if self.chat.startswith("g-") and self.chat in self.log.state.group_keys:
            owner = self.log.state.users[self.log.state.chats[self.log.state.group_keys[self.chat]].owner].id
            self.log.do(owner, commands.AddParticipants(self.chat, ["guest"]))
        return "guest"

    def owns(self) -> bool:
        key = self.log.state.group_keys.get(self.chat)
        return key is not None and self.log.state.users[self.log.state.chats[key].owner].id == "me"


def test_the_table_has_every_action_and_every_kind_of_chat() -> None:
    assert TABLE.keys() == set(Action)
    assert all(places.keys() == set(ChatKind) for places in TABLE.values())


@pytest.mark.parametrize(("action", "place", "role"), CASES)
def test_every_request_follows_the_permissions_table(action: Action, place: ChatKind, role: Role) -> None:
    answer = Scene(place, role).attempt(action)
    rules = [TABLE[asked][place] for asked in ASKED.get(action, (action,))]
    rule = next((one for one in rules if role not in one.roles), None)
    if rule is None:
        assert not isinstance(answer, RelayError), answer
        return
    assert isinstance(answer, RelayError), answer
    if role is Role.OUTSIDER:
        assert answer.error.code == "not_found"
    elif role is Role.OFF:
        assert "switched off" in answer.error.message
    else:
        assert rule.reason in answer.error.message
        assert answer.error.code == rule.code


@pytest.mark.parametrize("place", GROUPS)
@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN])
def test_chat_admin_without_relay_admin_rights_may_not_invite(place: ChatKind, role: Role) -> None:
    scene = Scene(place, role)
    state = scene.log.state
    chat, me = state.chats[state.group_keys[scene.chat]], state.user_keys["me"]
    assert permissions.may(state, chat, me, Action.INVITE)
    scene.log.do(None, control.ChangeUser(id="me", admin=False))
    assert not permissions.may(state, chat, me, Action.INVITE), "the table decides as the request does"
    answer = scene.attempt(Action.INVITE)
    assert isinstance(answer, RelayError)
    assert TABLE[Action.INVITE][place].reason in answer.error.message
    (row,) = (row for row in permissions.as_markdown() if row.startswith(f"| {Action.INVITE} "))
    assert f"{role} with `--admin`" in row


def test_a_former_admin_of_a_channel_cannot_publish_by_editing() -> None:
    log = MemoryLog()
    log.add_users("alice", "bob")
    chat = log.group("alice", "bob", type_="channel")
    log.do("alice", requests.UpdateChat(chat_id=chat, admins=["bob"]))
    log.new("bob", chat, "c1", "notice")
    log.do("alice", requests.UpdateChat(chat_id=chat, admins=[]))
    answer = log.do("bob", requests.Edit(chat_id=chat, original_message_id=1, message="other"))
    assert isinstance(answer, RelayError)
    assert answer.error.code == "forbidden"
    assert not isinstance(log.do("bob", requests.Delete(chat_id=chat, original_message_id=1)), RelayError)


async def test_a_user_who_may_not_write_is_not_shown_as_typing(tmp_path: Path) -> None:
    async with house(tmp_path, "alice", "bob") as made, made.device("alice") as alice, made.device("bob") as bob:
        chat = (await alice.request("createChat", type="channel", name="News", participants=["bob"]))["chatId"]
        for typist in (bob, alice):
            await typist.frame(type="event", timestamp=1, eventType="typing", payload={"chatId": chat})
            await typist.ping()
        assert (await bob.until("typing"))["payload"]["userId"] == "alice"
        assert [frame["payload"] for frame in await alice.rest() if frame.get("eventType") == "typing"] == []


def test_command_is_refused_if_its_device_was_signed_out_while_it_waited() -> None:
    log = MemoryLog()
    log.add_users("alice", "bob")
    log.do(None, commands.AddDevice(log.state.user_keys["alice"], "phone", "h"))
    said = log.command("alice", requests.New(chat_id="bob", client_message_id="c", message="x"), device=DeviceKey(1))
    log.do(None, control.RevokeDevice(device_id=1))
    (answer,) = log.run(said)
    assert isinstance(answer, RelayError)
    assert answer.error.code == "unauthorized"


def test_contract_shows_the_current_table() -> None:
    shown = re.search(r"<!-- permissions -->\n(.*?)\n<!-- /permissions -->", PROTOCOL.read_text(), re.DOTALL)
    assert shown is not None
    assert shown[1].splitlines() == list(permissions.as_markdown())
