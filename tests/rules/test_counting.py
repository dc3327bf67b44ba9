"""Counting members: bots and people who cannot sign in are neither waited for nor chosen (PROTOCOL.md, section 5)."""

import pytest

from relay.core.delivery import message_views
from relay.core.model.counting import waited_for
from relay.core.model.snapshot import DirtyRows
from relay.core.rules import commands
from relay.keys import ChatKey
from relay.protocol import control, requests
from relay.protocol.objects import MessageStatus
from relay.protocol.requests import Accepted
from tests.support.memory_log import MemoryLog


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.add_users("alice", "bob", "carol", "dave")
    log.do(None, control.AddUser(id="hook", bot=True))
    return log


def status(log: MemoryLog, message_id: int = 1) -> MessageStatus:
    return message_views.status_for_author(log.state, log.key("alice", "g-1"), log.state.user_keys["alice"], message_id)


def switch(log: MemoryLog, user: str, *, disabled: bool) -> None:
    log.do(None, control.ChangeUser(id=user, disabled=disabled))


@pytest.mark.parametrize("how", ["a bot", "disabled before", "disabled after"])
def test_message_is_read_when_everyone_who_can_has_read_it(log: MemoryLog, how: str) -> None:
    other = "hook" if how == "a bot" else "carol"
    log.group("alice", "bob", other)
    if how == "disabled before":
        switch(log, other, disabled=True)
    log.new("alice", "g-1", "c1")
    if how == "disabled after":
        assert status(log) == "undelivered"
        switch(log, other, disabled=True)
    log.dlvrd("bob", "g-1")
    assert status(log) == "unread"
    log.read("bob", "g-1")
    assert status(log) == "read"


def test_user_who_is_enabled_again_counts_for_later_messages(log: MemoryLog) -> None:
    log.group("alice", "bob")
    switch(log, "bob", disabled=True)
    log.new("alice", "g-1", "c1")
    switch(log, "bob", disabled=False)
    log.new("alice", "g-1", "c2")
    assert [status(log, 1), status(log, 2)] == ["read", "undelivered"]
    log.read("bob", "g-1")
    assert status(log, 2) == "read"


def test_a_dialogs_unread_messages_stay_unread_when_the_other_user_is_enabled_again(log: MemoryLog) -> None:
    log.new("alice", "bob", "c1")
    switch(log, "bob", disabled=True)
    switch(log, "bob", disabled=False)
    key = log.key("alice", "bob")
    assert message_views.status_for_author(log.state, ChatKey(key), log.state.user_keys["alice"], 1) == "undelivered"


def test_enabling_a_user_marks_their_member_rows_dirty(log: MemoryLog) -> None:
    log.group("alice", "bob")
    log.new("alice", "g-1", "c1")
    switch(log, "bob", disabled=True)
    switch(log, "bob", disabled=False)
    stale = DirtyRows()
    stale.note(log.entries[-1], log.state)
    assert stale.chats == {log.key("alice", "g-1"): {log.state.user_keys["bob"]}}


def test_member_who_does_not_count_is_in_no_list_of_receipts(log: MemoryLog) -> None:
    log.group("alice", "bob", "hook", "carol")
    switch(log, "carol", disabled=True)
    log.new("alice", "g-1", "c1")
    state, chat = log.state, log.chat("alice", "g-1")
    waited = {
        state.users[user].id
        for user, member in state.members[chat.key].items()
        if waited_for(state, chat, user, member, state.user_keys["alice"], 1)
    }
    assert waited == {"bob"}


@pytest.mark.parametrize(
    ("members", "admins", "off", "heir"),
    [
        (["hook", "bob", "carol"], [], [], "bob"),
        (["hook", "bob", "carol"], ["hook"], [], "bob"),
        (["bob", "carol"], ["bob"], ["bob"], "carol"),
        (["bob", "carol"], ["carol"], [], "carol"),
        (["hook", "bob"], [], ["bob"], "bob"),
        (["hook"], [], [], None),
    ],
)
def test_the_next_owner_is_a_person_who_can_sign_in(
    log: MemoryLog, members: list[str], admins: list[str], off: list[str], heir: str | None
) -> None:
    log.group("alice")
    key = log.key("alice", "g-1")
    for member in members:
        log.do("alice", commands.AddParticipants("g-1", [member]))
    if admins:
        log.do(None, requests.UpdateChat(chat_id="g-1", admins=admins))
    for user in off:
        switch(log, user, disabled=True)
    log.do("alice", commands.LeaveChat("g-1"))
    chat = log.state.chats[key]
    assert chat.gone is (heir is None)
    if heir:
        assert log.state.users[chat.owner].id == heir


def test_a_message_to_a_disabled_user_is_refused(log: MemoryLog) -> None:
    assert isinstance(log.new("alice", "bob", "c1"), Accepted)
    switch(log, "bob", disabled=True)
    refused = log.new("alice", "bob", "c2")
    assert refused.error.code == "forbidden"
    assert "switched off" in refused.error.message
    assert log.do("alice", commands.AddParticipants("g-1", ["bob"])).error.code == "not_found"
    log.group("alice", "carol")
    assert log.do("alice", commands.AddParticipants("g-1", ["bob"])).error.code == "forbidden"
    switch(log, "bob", disabled=False)
    assert isinstance(log.new("alice", "bob", "c3"), Accepted)
