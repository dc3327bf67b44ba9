"""Groups and channels and their permissions; users and devices (sections 3 and 5)."""

from typing import Any

import msgspec
import pytest

from relay.core.delivery import chat_views, message_views
from relay.core.delivery.presence import Presence
from relay.core.model import changes
from relay.core.rules import commands
from relay.keys import UserKey
from relay.outcomes import ChangedChat
from relay.protocol import control, objects, requests
from relay.store import kinds
from relay.store.entry import StoredFile
from tests.support.memory_log import MemoryLog, code


def chat_list(log: MemoryLog, user_id: str) -> list[objects.ChatListItem]:
    """A user's chat list, without texts."""
    state, user = log.state, log.state.user_keys[user_id]
    return [
        chat_views.list_item(state, user, chat, member, None, Presence())
        for chat, member in chat_views.listed(state, user)
    ]


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.add_users("User1", "User2", "User3", "User4")
    return log


def update(**fields: Any) -> requests.UpdateChat:
    return requests.UpdateChat(chat_id="g-1", **fields)


def add(*users: str) -> commands.AddParticipants:
    return commands.AddParticipants("g-1", [*users])


def remove(*users: str) -> commands.RemoveParticipants:
    return commands.RemoveParticipants("g-1", [*users])


LEAVE = commands.LeaveChat("g-1")
DELETE = commands.DeleteChat("g-1")


# Making.


def picture_of(log: MemoryLog, user_id: str) -> None:
    """Have a user upload the picture `/files/p`."""
    user = log.state.user_keys[user_id]
    log.files["p"] = StoredFile("p", "0" * 64, user, "p.png", "image/png", 1, 8, 8, 1, ())


def test_the_creator_of_a_group_is_its_owner_and_a_member(log: MemoryLog) -> None:
    log.group("User1", "User2", "User2", "User1")
    assert log.members("User1", "g-1") == {"User1", "User2"}
    assert log.chat("User1", "g-1").owner == log.state.user_keys["User1"]


@pytest.mark.parametrize(("given", "shown"), [("/files/p", "/files/p"), ("", None), (None, None)])
def test_a_group_is_made_with_its_picture(log: MemoryLog, given: str | None, shown: str | None) -> None:
    picture_of(log, "User1")
    log.do("User1", requests.CreateChat(type="group", name="x", photo_url=given, participants=[]), "g-1")
    assert log.chat("User1", "g-1").photo_url == shown


def test_a_group_with_an_unknown_participant_is_refused(log: MemoryLog) -> None:
    answer = log.do("User1", requests.CreateChat(type="group", name="x", participants=["Nobody"]), "g-1")
    assert code(answer) == "not_found"
    assert answer.error.message == "payload.participants: there is no user 'Nobody' here"


def test_users_and_groups_share_one_name_space(log: MemoryLog) -> None:
    log.group("User1", id_="g-1")
    assert code(log.do(None, control.AddUser(id="g-1"))) == "conflict"
    assert code(log.do(None, control.AddUser(id="User1"))) == "conflict"
    assert code(log.do("User1", requests.CreateChat(type="group", name="x", participants=[]), "g-1")) == "conflict"
    assert code(log.do("User1", requests.CreateChat(type="group", name="x", participants=[]), "User2")) == "conflict"


# Changing: owner, admins, members.


@pytest.mark.parametrize("request_", [update(name="Other"), add("User4"), remove("User3"), DELETE])
def test_plain_member_cannot_change_a_group(log: MemoryLog, request_: Any) -> None:
    log.group("User1", "User2", "User3")
    assert code(log.do("User2", request_)) == "forbidden"


@pytest.mark.parametrize("request_", [update(name="Other"), add("User4"), remove("User3"), DELETE, LEAVE])
def test_a_group_does_not_exist_for_an_outsider(log: MemoryLog, request_: Any) -> None:
    log.group("User1", "User2", "User3")
    assert code(log.do("User4", request_)) == "not_found"


def test_an_admin_changes_the_group_but_only_the_owner_makes_admins_or_deletes_it(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    picture_of(log, "User2")
    log.do("User1", update(admins=["User2"]))
    log.do("User2", update(name="Other", photo_url="/files/p"))
    log.do("User2", add("User4"))
    log.do("User2", remove("User3"))
    assert log.chat("User1", "g-1").name == "Other"
    assert log.members("User1", "g-1") == {"User1", "User2", "User4"}
    assert code(log.do("User2", update(admins=[]))) == "forbidden"
    assert code(log.do("User2", DELETE)) == "forbidden"


def test_an_update_keeps_omitted_fields_and_an_empty_picture_removes_it(log: MemoryLog) -> None:
    log.group("User1", "User2")
    picture_of(log, "User1")
    shown = []
    for change in (update(photo_url="/files/p"), update(name="Other"), update(admins=["User2"]), update(photo_url="")):
        log.do("User1", change)
        chat = log.chat("User1", "g-1")
        shown.append((chat.name, chat.photo_url, log.member("User2", "g-1").admin))
    assert shown == [
        ("Crew", "/files/p", False),
        ("Other", "/files/p", False),
        ("Other", "/files/p", True),
        ("Other", None, True),
    ]


def test_an_admin_must_be_a_member(log: MemoryLog) -> None:
    log.group("User1", "User2")
    assert code(log.do("User1", update(admins=["User3"]))) == "bad_request"


def test_the_owner_cannot_be_removed_and_only_the_owner_removes_an_admin(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    log.do("User1", update(admins=["User2", "User3"]))
    assert code(log.do("User2", remove("User1"))) == "forbidden"
    assert code(log.do("User2", remove("User3"))) == "forbidden"
    log.do("User1", remove("User3"))
    assert log.members("User1", "g-1") == {"User1", "User2"}


def test_a_member_named_twice_in_one_request_is_removed_once(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.do("User1", remove("User2", "User2"))
    assert log.members("User1", "g-1") == {"User1"}


def test_a_request_that_changes_nothing_adds_no_entry(log: MemoryLog) -> None:
    log.group("User1", "User2")
    entries = len(log.entries)
    answers = [log.do("User1", request) for request in (add("User2"), remove("User3"), update())]
    assert len(log.entries) == entries
    assert answers == [ChangedChat(log.key("User1", "g-1"))] * 3, "and is answered with the chat as it is"


def test_leaving_or_deleting_a_chat_answers_without_the_chat(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.new("User1", "User2", "c1")
    answers = [log.do(user, request) for user, request in (("User2", LEAVE), ("User1", DELETE))]
    answers.append(log.do("User1", commands.DeleteChat("User2")))
    assert answers == [requests.Nothing()] * 3


def test_an_admin_becomes_the_owner_when_the_owner_leaves(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    log.do("User1", update(admins=["User3"]))
    log.do("User1", LEAVE)
    assert log.chat("User2", "g-1").owner == log.state.user_keys["User3"]


def test_without_admins_the_longest_member_becomes_the_owner(log: MemoryLog) -> None:
    log.group("User1", "User4")
    log.do("User1", add("User2"))
    log.do("User1", LEAVE)
    assert log.chat("User2", "g-1").owner == log.state.user_keys["User4"]


def test_a_group_is_deleted_when_its_last_member_leaves(log: MemoryLog) -> None:
    log.group("User1")
    log.do("User1", LEAVE)
    assert code(log.new("User1", "g-1", "c1")) == "not_found"
    assert code(log.do(None, add("User2"))) == "not_found"


def test_deleted_group_is_gone_for_everyone_including_the_machines_admin(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.do("User1", DELETE)
    for user in ("User1", "User2"):
        assert code(log.new(user, "g-1", "c1")) == "not_found"
    for request in (DELETE, add("User3"), update(name="Other")):
        assert code(log.do(None, request)) == "not_found"


def test_a_dialog_cannot_be_left_or_changed(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert code(log.do("User1", commands.LeaveChat("User2"))) == "bad_request"
    assert code(log.do("User1", requests.UpdateChat(chat_id="User2", name="x"))) == "bad_request"
    assert code(log.do("User1", commands.AddParticipants("User2", ["User3"]))) == "bad_request"


# Joining and leaving.


def test_a_new_member_has_nothing_unread_and_gets_later_messages(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.new("User1", "g-1", "c1")
    log.do("User1", add("User3"))
    assert log.missed("User3", "g-1") == 0
    log.new("User1", "g-1", "c2")
    assert (log.missed("User2", "g-1"), log.missed("User3", "g-1")) == (2, 1)


def test_a_message_does_not_wait_for_members_who_joined_later(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.new("User1", "g-1", "c1")
    log.do("User1", add("User3"))
    log.read("User2", "g-1")
    assert message_views.status_for_author(log.state, log.key("User1", "g-1"), UserKey(1), 1) == "read"


def test_a_member_named_twice_is_removed_by_one_entry(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.do("User1", commands.RemoveParticipants("g-1", ["User2", "User2"]))
    (removed,) = [log.state.user_keys["User2"]]
    assert changes.decode(log.entries[-1].extra or "") == changes.MembersRemoved(users=[removed], name="Crew")


def test_an_entry_that_removes_a_member_twice_still_applies(log: MemoryLog) -> None:
    log.group("User1", "User2")
    user = log.state.user_keys["User2"]
    twice = changes.encode(changes.MembersRemoved(users=[user, user]))
    log.state.apply(msgspec.structs.replace(log.entries[-1], seq=log.state.seq + 1, extra=twice))
    assert user not in log.state.members[log.key("User1", "g-1")]


def test_a_removed_member_has_no_access(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.do("User1", remove("User2"))
    assert code(log.new("User2", "g-1", "c1")) == "not_found"


# Channels.


def test_only_owner_and_admins_write_in_a_channel(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3", type_="channel")
    log.do("User1", update(admins=["User3"]))
    assert code(log.new("User2", "g-1", "c1")) == "forbidden"
    assert log.new("User1", "g-1", "c1").message_id == 1
    assert log.new("User3", "g-1", "c1").message_id == 2
    log.do("User1", update(admins=[]))
    assert code(log.new("User3", "g-1", "c2")) == "forbidden"


def test_every_member_reads_a_channel(log: MemoryLog) -> None:
    log.group("User1", "User2", type_="channel")
    log.new("User1", "g-1", "c1")
    assert log.missed("User2", "g-1") == 1
    assert log.read("User2", "g-1").missed == 0


# Clearing a dialog.


def test_a_cleared_dialog_returns_with_the_next_message(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.do("User2", commands.DeleteChat("User1"))
    listed = [chat.key for chat, _ in log.state.listed(log.state.user_keys["User2"])]
    assert listed == []
    assert [chat.key for chat, _ in log.state.listed(log.state.user_keys["User1"])]
    log.new("User1", "User2", "c2")
    assert [entry.kind for entry in log.entries[-2:]] == [kinds.CHATS, kinds.NEW]
    assert log.missed("User2", "User1") == 1
    assert log.member("User2", "User1").cleared == 1


def test_a_repeated_message_does_not_return_a_cleared_dialog(log: MemoryLog) -> None:
    first = log.new("User1", "User2", "c1")
    log.do("User2", commands.DeleteChat("User1"))
    entries = len(log.entries)
    assert log.new("User1", "User2", "c1") == first
    assert len(log.entries) == entries


# Users and devices.


def test_a_removed_user_leaves_all_groups_and_their_devices_are_revoked(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.do(None, commands.AddDevice(log.state.user_keys["User1"], "phone", "hash"))
    log.do(None, control.ChangeUser(id="User1", removed=True))
    assert log.members("User2", "g-1") == {"User2"}
    assert log.chat("User2", "g-1").owner == log.state.user_keys["User2"]
    assert log.state.device_keys == {}
    assert code(log.do(None, control.ChangeUser(id="User1", name="x"))) == "not_found"
    assert code(log.do(None, control.AddUser(id="User1"))) == "conflict"


def test_a_user_revokes_only_their_own_devices_each_once(log: MemoryLog) -> None:
    device = log.do(None, commands.AddDevice(log.state.user_keys["User1"], "phone", "hash")).device
    assert code(log.do("User2", control.RevokeDevice(device_id=device))) == "not_found"
    log.do("User1", control.RevokeDevice(device_id=device))
    entries = len(log.entries)
    log.do("User1", control.RevokeDevice(device_id=device))
    assert len(log.entries) == entries
    assert log.state.device_keys == {}


def test_a_changed_profile_is_shown_to_others(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    picture_of(log, "User2")
    log.do("User2", requests.ProfileRequest(name="Two", photo_url="/files/p"))
    (item,) = chat_list(log, "User1")
    assert (item.name, item.photo_url) == ("Two", "/files/p")
    entries = len(log.entries)
    log.do("User2", requests.ProfileRequest())
    assert len(log.entries) == entries


# The chat list.


def test_the_chat_list_shows_each_side_its_own_view(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    lists = {user: chat_list(log, user) for user in ("User1", "User2")}
    (mine,), (theirs,) = lists["User1"], lists["User2"]
    assert (mine.id, mine.is_mine, mine.missed, mine.last_message_status) == ("User2", True, None, "undelivered")
    assert (theirs.id, theirs.is_mine, theirs.missed, theirs.last_message_status) == ("User1", False, 1, "unread")


def test_a_chat_without_messages_is_listed_at_its_creation_time(log: MemoryLog) -> None:
    log.group("User1")
    (item,) = chat_list(log, "User1")
    assert (item.last_message_id, item.last_message_text) == (0, "")
    assert item.last_message_time == log.entries[-1].at


def test_a_deleted_latest_message_is_listed_without_its_text(log: MemoryLog) -> None:
    statuses = []
    for n in (1, 2):
        log.new("User1", "User2", f"c{n}")
    for original in (1, 2):
        log.do("User1", requests.Delete(chat_id="User2", original_message_id=original))
        (item,) = chat_list(log, "User1")
        statuses.append((item.last_message_id, item.last_message_status))
    assert statuses == [(2, "undelivered"), (2, "deleted")]


def test_the_latest_chat_comes_first(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.new("User1", "User3", "c1")
    log.group("User1")
    log.new("User2", "User1", "c2")
    ids = [item.id for item in chat_list(log, "User1")]
    assert ids == ["User2", "g-1", "User3"]
