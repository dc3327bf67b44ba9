"""Messages: their chats and ids, and repeats, edits and deletions (PROTOCOL.md, section 3)."""

import msgspec
import pytest

from relay.core.delivery import message_views
from relay.core.rules import commands
from relay.keys import NO_DEVICE, UserKey
from relay.outcomes import Decidable
from relay.protocol import control, events, requests
from relay.store import kinds
from relay.store.command import Command
from tests.support.memory_log import T0, MemoryLog, code


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    log.add_users("User1", "User2", "User3")
    return log


def edit(chat_id: str, original: int, text: str | None = "better", client_id: str | None = None) -> requests.Edit:
    return requests.Edit(chat_id=chat_id, original_message_id=original, message=text, client_message_id=client_id)


def delete(chat_id: str, original: int, client_id: str | None = None) -> requests.Delete:
    return requests.Delete(chat_id=chat_id, original_message_id=original, client_message_id=client_id)


# Dialogs and favorites.


def test_a_dialog_has_the_other_users_id(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert log.key("User1", "User2") == log.key("User2", "User1")
    (entry,) = [entry for entry in log.entries if entry.kind == kinds.NEW]
    payloads = [message_views.event(log.state, entry, log.state.user_keys[user])[1] for user in ("User1", "User2")]
    assert [event.chat_id for event in payloads if isinstance(event, events.NewEvent)] == ["User2", "User1"]


def test_the_first_message_creates_the_dialog_first(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.new("User2", "User1", "c1")
    assert [entry.kind for entry in log.entries[3:]] == [kinds.CHATS, kinds.NEW, kinds.NEW]


def test_a_users_own_id_names_their_notes(log: MemoryLog) -> None:
    log.new("User1", "User1", "c1")
    assert log.chat("User1", "User1").type == "favorites"
    assert log.members("User1", "User1") == {"User1"}
    assert log.missed("User1", "User1") == 0
    assert message_views.status_for_author(log.state, log.key("User1", "User1"), UserKey(1), 1) == "read"


def test_others_do_not_see_a_dialog(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert log.state.chat_key(log.state.user_keys["User3"], "User1") is None


@pytest.mark.parametrize("chat_id", ["Nobody", "g-1"])
def test_foreign_chat_looks_like_a_missing_one(log: MemoryLog, chat_id: str) -> None:
    log.group("User1", "User2", id_="g-1")
    answers = [
        log.new("User3", chat_id, "c1"),
        log.do("User3", edit(chat_id, 1)),
        log.do("User3", delete(chat_id, 1)),
        log.do("User3", requests.UpdateChat(chat_id=chat_id, name="Mine")),
    ]
    for answer in answers:
        assert code(answer) == "not_found"
        assert answer.error.message == f"chatId: there is no chat '{chat_id}' for you here"


# Ids.


def test_message_ids_count_up_in_each_chat_without_gaps(log: MemoryLog) -> None:
    ids = [log.new("User1", "User2", f"c{n}").message_id for n in range(3)]
    ids.append(log.new("User2", "User1", "c0").message_id)
    ids.append(log.do("User1", edit("User2", 1)).message_id)
    ids.append(log.do("User1", delete("User2", 2)).message_id)
    ids.append(log.new("User1", "User2", "c9").message_id)
    assert ids == [1, 2, 3, 4, 5, 6, 7]
    assert log.new("User1", "User3", "c1").message_id == 1


def test_messages_of_one_batch_have_ids_without_gaps(log: MemoryLog) -> None:
    log.new("User1", "User2", "c0")
    batch = [
        log.command(user, requests.New(chat_id=chat_id, client_message_id=f"c{n}", message="x"))
        for n in range(1, 4)
        for user, chat_id in (("User1", "User2"), ("User2", "User1"))
    ]
    assert [answer.message_id for answer in log.run(*batch)] == [2, 3, 4, 5, 6, 7]


def test_a_refused_message_takes_no_message_id(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    batch = [
        log.command("User1", requests.New(chat_id="User2", client_message_id="c2")),
        log.command("User1", requests.New(chat_id="User2", client_message_id="c3", message="x", reply_to=9)),
        log.command("User1", requests.New(chat_id="User2", client_message_id="c4", message="x")),
    ]
    answers = log.run(*batch)
    assert [code(answer) for answer in answers[:2]] == ["bad_request", "bad_request"]
    assert answers[2].message_id == 2
    assert [entry.seq for entry in log.entries] == list(range(1, len(log.entries) + 1))


def test_a_message_needs_text_or_attachments(log: MemoryLog) -> None:
    assert code(log.new("User1", "User2", "c1", "")) == "bad_request"
    accepted = log.do("User1", requests.New(chat_id="User2", client_message_id="c1", attachments=[log.file()]))
    assert accepted.message_id == 1


# Repeats.


def test_a_repeated_client_id_is_the_same_message(log: MemoryLog) -> None:
    first = log.new("User1", "User2", "c1")
    log.new("User1", "User2", "c2")
    entries = len(log.entries)
    assert log.new("User1", "User2", "c1", "said again") == first
    assert len(log.entries) == entries


def test_repeats_in_one_batch_are_one_message(log: MemoryLog) -> None:
    log.new("User1", "User2", "c0")
    said = requests.New(chat_id="User2", client_message_id="c1", message="hello")
    before = log.batches
    first, second, third = log.run(*(log.command("User1", said) for _ in range(3)))
    assert log.batches == before + 1
    assert first == second == third
    assert first.message_id == 2


def test_a_client_id_belongs_to_its_sender_and_chat(log: MemoryLog) -> None:
    log.group("User1", "User2")
    ids = [
        log.new("User1", "User2", "same").message_id,
        log.new("User2", "User1", "same").message_id,
        log.new("User1", "User3", "same").message_id,
        log.new("User1", "g-1", "same").message_id,
    ]
    assert ids == [1, 2, 1, 1]


def test_repeat_is_recognised_after_the_message_was_deleted(log: MemoryLog) -> None:
    first = log.new("User1", "User2", "c1")
    log.do("User1", delete("User2", 1))
    assert log.new("User1", "User2", "c1") == first


@pytest.mark.parametrize("lost", ["the right to write", "the chat"])
def test_a_repeat_is_answered_when_its_author_may_no_longer_write(log: MemoryLog, lost: str) -> None:
    log.group("User1", "User2", type_="channel")
    log.do("User1", requests.UpdateChat(chat_id="g-1", admins=["User2"]))
    first = log.new("User2", "g-1", "c1")
    if lost == "the chat":
        log.do("User1", commands.RemoveParticipants("g-1", ["User2"]))
    else:
        log.do("User1", requests.UpdateChat(chat_id="g-1", admins=[]))
    entries = len(log.entries)
    assert log.new("User2", "g-1", "c1") == first
    assert code(log.new("User2", "g-1", "c2")) == ("not_found" if lost == "the chat" else "forbidden")
    assert code(log.new("User3", "g-1", "c1")) == "not_found"
    assert len(log.entries) == entries


def test_repeated_edit_or_deletion_is_answered_after_its_author_lost_the_right(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    log.new("User2", "g-1", "c1")
    log.new("User3", "g-1", "c2")
    log.do("User1", requests.UpdateChat(chat_id="g-1", admins=["User2"]))
    said: list[Decidable] = [edit("g-1", 1, client_id="e1"), delete("g-1", 2, client_id="d1")]
    first = [log.do("User2", one) for one in said]
    log.do("User1", requests.UpdateChat(chat_id="g-1", admins=[]))
    log.do("User1", delete("g-1", 1))
    entries = len(log.entries)
    assert [log.do("User2", one) for one in said] == first
    assert len(log.entries) == entries
    log.do("User1", commands.RemoveParticipants("g-1", ["User2"]))
    assert [log.do("User2", one) for one in said] == first
    assert code(log.do("User2", edit("g-1", 1, client_id="e2"))) == "not_found"


def test_a_repeat_of_a_first_message_does_not_return_a_cleared_dialog(log: MemoryLog) -> None:
    first = log.new("User1", "User2", "c1")
    log.do("User1", commands.DeleteChat("User2"))
    entries = len(log.entries)
    said = requests.New(chat_id="User2", client_message_id="c1", message="hello", reply_to=7)
    assert log.do("User1", said) == first
    assert len(log.entries) == entries


def test_a_client_id_of_a_message_cannot_be_that_of_an_edit(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.do("User1", edit("User2", 1, client_id="c2"))
    assert code(log.do("User1", edit("User2", 1, client_id="c1"))) == "conflict"
    assert code(log.new("User1", "User2", "c2")) == "conflict"


def test_a_repeated_edit_is_the_same_edit(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.new("User1", "User2", "c2")
    first = log.do("User1", edit("User2", 1, client_id="e1"))
    assert log.do("User1", edit("User2", 1, client_id="e1")) == first
    assert code(log.do("User1", edit("User2", 2, client_id="e1"))) == "conflict"


def test_a_repeated_deletion_is_the_same_deletion(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    first = log.do("User1", delete("User2", 1))
    entries = len(log.entries)
    assert log.do("User1", delete("User2", 1)) == first
    assert len(log.entries) == entries


def test_a_deletions_client_id_is_its_own(log: MemoryLog) -> None:
    for client_id in ("c1", "c2"):
        log.new("User1", "User2", client_id)
    first = log.do("User1", delete("User2", 1, client_id="d1"))
    entries = len(log.entries)
    assert first.client_message_id == "d1"
    assert log.do("User1", delete("User2", 1, client_id="d1")) == first
    assert code(log.do("User1", delete("User2", 2, client_id="d1"))) == "conflict"
    assert code(log.do("User1", delete("User2", 2, client_id="c2"))) == "conflict"
    assert code(log.new("User1", "User2", "d1")) == "conflict"
    assert len(log.entries) == entries


# Edits, deletions, replies.


def test_an_edit_changes_the_original_and_keeps_what_it_does_not_name(log: MemoryLog) -> None:
    sent = requests.New(chat_id="User2", client_message_id="c1", message="a", attachments=[log.file()])
    log.do("User1", sent)
    log.do("User1", edit("User2", 1, "b"))
    stored = log.messages[log.key("User1", "User2"), 1]
    assert stored.message == "b"
    assert b"a.txt" in (stored.extra or "").encode()
    assert stored.changed == 2
    log.do("User1", requests.Edit(chat_id="User2", original_message_id=1, attachments=[], message="b"))
    assert log.messages[log.key("User1", "User2"), 1].extra is None


def test_only_the_author_edits(log: MemoryLog) -> None:
    log.group("User1", "User2")
    log.new("User2", "g-1", "c1")
    assert code(log.do("User1", edit("g-1", 1))) == "forbidden"


def test_edit_that_leaves_nothing_is_refused(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert code(log.do("User1", edit("User2", 1, None))) == "bad_request"
    assert code(log.do("User1", edit("User2", 1, ""))) == "bad_request"


@pytest.mark.parametrize("request_type", [requests.Edit, requests.Delete])
def test_only_messages_can_be_changed(log: MemoryLog, request_type: type[Decidable]) -> None:
    log.new("User1", "User2", "c1")
    log.do("User1", edit("User2", 1))
    for original, expected in ((2, "bad_request"), (9, "not_found")):
        request = msgspec.convert({"chatId": "User2", "originalMessageId": original, "message": "x"}, request_type)
        assert code(log.do("User1", request)) == expected


def test_a_deleted_message_is_empty_and_cannot_be_edited(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.do("User1", delete("User2", 1))
    assert code(log.do("User1", edit("User2", 1))) == "not_found"
    stored = log.messages[log.key("User1", "User2"), 1]
    assert (stored.message, stored.extra, stored.deleted) == (None, None, True)


def test_only_the_author_deletes_in_a_dialog(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert code(log.do("User2", delete("User1", 1))) == "forbidden"


def test_a_groups_owner_and_admins_delete_messages_of_others(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    for n in (1, 2, 3):
        log.new("User3", "g-1", f"c{n}")
    assert code(log.do("User2", delete("g-1", 1))) == "forbidden"
    log.do("User1", requests.UpdateChat(chat_id="g-1", admins=["User2"]))
    assert log.do("User2", delete("g-1", 1)).message_id == 4
    assert log.do("User1", delete("g-1", 2)).message_id == 5


def test_message_id_is_accepted_for_original_message_id(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    assert code(log.do("User1", requests.Delete(chat_id="User2"))) == "bad_request"
    assert log.do("User1", requests.Delete(chat_id="User2", message_id=1)).message_id == 2


def test_reply_shows_the_original_message(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1", "question")
    log.new("User2", "User1", "c2", "answer", reply_to=1)
    reply_to = log.entries[-1].reply_to
    assert reply_to is not None
    assert (reply_to.message_id, reply_to.client_message_id, reply_to.sender) == (1, "c1", "User1")
    assert reply_to.message == "question"


def test_a_reply_to_a_deleted_message_has_no_text_in_its_quote(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1", "question")
    log.do("User1", delete("User2", 1))
    log.new("User2", "User1", "c2", "answer", reply_to=1)
    reply_to = log.entries[-1].reply_to
    assert reply_to is not None
    assert reply_to.message is None


def test_reply_to_a_message_that_retention_removed_is_sent_without_the_quote(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1", "question")
    log.new("User1", "User2", "c2", "another")
    log.chat("User1", "User2").pruned = 1
    assert log.new("User2", "User1", "c3", "answer", reply_to=1).message_id == 3
    assert (log.entries[-1].reply_to, log.entries[-1].target) == (None, 0)
    log.new("User2", "User1", "c4", "answer", reply_to=2)
    assert log.entries[-1].target == 2


def test_reply_needs_an_original_message(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    log.do("User1", edit("User2", 1))
    assert code(log.new("User1", "User2", "c2", reply_to=2)) == "bad_request"
    assert code(log.new("User1", "User2", "c2", reply_to=7)) == "bad_request"


# The clock.


def test_time_never_goes_backwards_along_the_log(log: MemoryLog) -> None:
    log.new("User1", "User2", "c1")
    latest = log.state.at
    user = log.state.user_keys["User1"]
    said = requests.New(chat_id="User2", client_message_id="c2", message="x")
    (answer,) = log.run(Command(T0 - 10**9, user, NO_DEVICE, said))
    assert answer.timestamp == latest
    (answer,) = log.run(Command(latest + 5, user, NO_DEVICE, msgspec.structs.replace(said, client_message_id="c3")))
    assert answer.timestamp == latest + 5
    times = [entry.at for entry in log.entries]
    assert times == sorted(times)


# Recipients who cannot get messages.


def test_a_first_message_to_a_disabled_user_is_refused(log: MemoryLog) -> None:
    log.do(None, control.ChangeUser(id="User2", disabled=True))
    assert code(log.new("User1", "User2", "c1")) == "not_found"
