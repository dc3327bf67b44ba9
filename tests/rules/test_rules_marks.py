"""Delivered and read receipts, and the unread counts that follow from them (PROTOCOL.md, section 6)."""

from collections.abc import Iterator

import pytest

from relay.core.delivery import message_views
from relay.core.model.tail import Tail
from relay.core.rules import commands
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import requests
from relay.store import kinds
from relay.store.entry import Covered, Entry
from tests.support.memory_log import MemoryLog, code


@pytest.fixture(params=["with what was said lately in memory", "read from the log"])
def log(request: pytest.FixtureRequest) -> MemoryLog:
    """Two users, and a third for groups. Receipts must be the same with and without tails."""
    log = MemoryLog()
    if request.param == "read from the log":

        class Forgetful(dict[ChatKey, Tail]):
            def get(self, _key: int, _default: object = None) -> None:  # type: ignore[override]
                return None

        log.state.tails = Forgetful()
    log.add_users("User1", "User2", "User3")
    return log


def said(log: MemoryLog, count: int, chat_id: str = "User2", user: str = "User1") -> None:
    before = len(log.entries)
    for n in range(count):
        log.new(user, chat_id, f"{user}-{before}-{n}")


def status(log: MemoryLog, message_id: int, user: str = "User1", chat_id: str = "User2") -> str:
    return message_views.status_for_author(
        log.state, ChatKey(log.key(user, chat_id)), log.state.user_keys[user], message_id
    )


def delete(log: MemoryLog, message_id: int, user: str = "User1", chat_id: str = "User2") -> None:
    log.do(user, requests.Delete(chat_id=chat_id, original_message_id=message_id))


def test_a_receipt_covers_every_earlier_message_without_one(log: MemoryLog) -> None:
    said(log, 4)
    answer = log.read("User2", "User1", 3)
    assert answer.message_id == 3
    assert [status(log, n) for n in (1, 2, 3, 4)] == ["read", "read", "read", "undelivered"]


def test_a_receipt_names_the_highest_newly_covered_message_of_each_author(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    said(log, 2, "g-1", "User1")
    said(log, 2, "g-1", "User3")
    said(log, 1, "g-1", "User1")
    log.read("User2", "g-1", 2)
    log.read("User2", "g-1")
    covered = [
        {log.state.users[one.author].id: one.message_id for one in entry.covered}
        for entry in log.entries
        if entry.kind == kinds.READ
    ]
    assert covered == [{"User1": 2}, {"User1": 5, "User3": 4}]


@pytest.mark.parametrize(("bound", "most"), [("chat_tail_messages", 3), ("all_tail_bytes", 1_000)])
def test_receipts_are_right_when_messages_are_no_longer_in_the_tail(log: MemoryLog, bound: str, most: int) -> None:
    setattr(log.state, bound, most)
    log.group("User1", "User2", "User3")
    for n, user in enumerate(("User1", "User3", "User3", "User3", "User3", "User3")):
        log.new(user, "g-1", f"c{n}")
    for upto, left in ((2, 4), (3, 3), (4, 2)):
        assert log.read("User2", "g-1", upto).missed == left
    log.dlvrd("User1", "g-1", 1)
    log.read("User1", "g-1")
    marks = [
        {log.state.users[one.author].id: one.message_id for one in entry.covered}
        for entry in log.entries
        if entry.kind in (kinds.READ, kinds.DLVRD)
    ]
    assert marks == [{"User1": 1, "User3": 2}, {"User3": 3}, {"User3": 4}, {"User3": 6}]


def test_status_goes_from_undelivered_to_unread_to_read(log: MemoryLog) -> None:
    said(log, 1)
    assert status(log, 1) == "undelivered"
    log.dlvrd("User2", "User1")
    assert status(log, 1) == "unread"
    log.read("User2", "User1")
    assert status(log, 1) == "read"


def test_status_in_a_group_is_that_of_the_slowest_member(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    said(log, 1, "g-1")
    seen = []
    for step in (log.dlvrd, log.read):
        for user in ("User2", "User3"):
            step(user, "g-1")
            seen.append(status(log, 1, "User1", "g-1"))
    assert seen == ["undelivered", "unread", "unread", "read"]


def test_read_sets_delivered_too(log: MemoryLog) -> None:
    said(log, 2)
    read = log.read("User2", "User1", 1)
    assert log.member("User2", "User1").dlvrd == 1
    again = log.dlvrd("User2", "User1", 1)
    assert (again.message_id, again.timestamp) == (1, read.timestamp)


def test_a_repeated_receipt_gets_the_first_timestamp_and_is_not_published(log: MemoryLog) -> None:
    said(log, 3)
    first = log.read("User2", "User1", 2)
    entries = len(log.entries)
    assert log.read("User2", "User1", 2) == first
    earlier = log.read("User2", "User1", 1)
    assert (earlier.message_id, earlier.timestamp) == (1, first.timestamp)
    assert len(log.entries) == entries


def test_each_message_keeps_the_timestamp_of_its_first_receipt(log: MemoryLog) -> None:
    said(log, 3)
    first, second = log.dlvrd("User2", "User1", 1), log.dlvrd("User2", "User1", 3)
    assert log.dlvrd("User2", "User1", 1).timestamp == first.timestamp
    assert log.dlvrd("User2", "User1", 2).timestamp == second.timestamp


def test_repeated_receipts_in_one_batch_get_the_same_answer(log: MemoryLog) -> None:
    said(log, 3)
    for read in (False, True):
        marks = [log.mark("User2", "User1", 2, read=read) for _ in range(3)]
        first, second, third = log.run(*marks)
        assert first == second == third
        assert first.message_id == 2


@pytest.mark.parametrize("reads", [{0, 1}, {0}, {1}, set()])
def test_receipts_in_one_batch_are_decided_as_one_by_one(log: MemoryLog, reads: set[int]) -> None:
    one_by_one = MemoryLog()
    one_by_one.add_users("User1", "User2", "User3")
    for each in (log, one_by_one):
        each.group("User1", "User2", "User3")
        for n in range(30):
            each.new("User2" if n % 5 == 4 else "User1" if n % 3 else "User3", "g-1", f"c{n}")
    marks = [(n, n % 2 in reads) for n in (*range(1, 25), 7, 3, 28)]
    together = log.run(*(log.mark("User2", "g-1", n, read=read) for n, read in marks))
    apart = one_by_one.run(*(one_by_one.mark("User2", "g-1", n, read=read) for n, read in marks), alone=True)
    assert together == apart
    told, told_apart = ([entry for entry in each.entries if entry.covered] for each in (log, one_by_one))
    assert [(one.kind, one.covered) for one in told] == [(one.kind, one.covered) for one in told_apart]
    assert len(told) > 16


def test_the_unread_count_is_right_within_a_batch(log: MemoryLog) -> None:
    said(log, 3)
    said_again = [
        log.command("User1", requests.New(chat_id="User2", client_message_id=client_id, message="x"))
        for client_id in ("more", "and more")
    ]
    batch = [
        log.mark("User2", "User1", 1, read=True),
        *said_again,
        log.mark("User2", "User1", 1, read=True),
        log.mark("User2", "User1", 2, read=True),
    ]
    first, _, _, again, more = log.run(*batch)
    assert (first.missed, again.missed, more.missed) == (2, 4, 3)
    assert log.missed("User2", "User1") == 3


def test_a_receipt_without_an_id_covers_everything_so_far(log: MemoryLog) -> None:
    said(log, 3)
    assert log.dlvrd("User2", "User1").message_id == 3
    assert log.read("User2", "User1").message_id == 3


def test_everything_so_far_includes_earlier_messages_of_the_batch(log: MemoryLog) -> None:
    said(log, 2)
    new = log.command("User1", requests.New(chat_id="User2", client_message_id="more", message="x"))
    _, answer = log.run(new, log.mark("User2", "User1", read=True))
    assert (answer.message_id, answer.client_message_id, answer.missed) == (3, "more", 0)
    assert log.missed("User2", "User1") == 0


def test_a_receipt_with_nothing_to_cover_gets_an_empty_answer(log: MemoryLog) -> None:
    said(log, 1, "User1", "User1")
    assert log.dlvrd("User1", "User1") == requests.Marked()
    assert log.read("User1", "User1") == requests.Marked(missed=0)
    said(log, 1)
    assert log.dlvrd("User1", "User2") == requests.Marked()


def test_a_receipt_never_covers_the_users_own_messages(log: MemoryLog) -> None:
    said(log, 1)
    said(log, 1, "User1", "User2")
    entries = len(log.entries)
    assert log.read("User1", "User2", 1) == requests.Marked(missed=1)
    assert len(log.entries) == entries
    assert log.read("User1", "User2").message_id == 2


def test_a_receipt_for_an_unknown_message_is_refused(log: MemoryLog) -> None:
    said(log, 1)
    assert code(log.read("User2", "User1", 2)) == "not_found"


def test_a_receipt_does_not_cover_a_deleted_message(log: MemoryLog) -> None:
    said(log, 2)
    delete(log, 2)
    answer = log.read("User2", "User1")
    assert (answer.message_id, answer.missed) == (1, 0)
    said(log, 1)
    delete(log, 4)
    assert log.read("User2", "User1").message_id is None


def test_a_first_receipt_for_an_own_message_gets_an_empty_answer(log: MemoryLog) -> None:
    said(log, 1)
    assert log.dlvrd("User1", "User2", 1) == requests.Marked()
    assert log.read("User1", "User2", 1) == requests.Marked(missed=0)


def test_a_receipt_for_an_edit_covers_the_messages_before_it(log: MemoryLog) -> None:
    said(log, 1)
    log.do("User1", requests.Edit(chat_id="User2", original_message_id=1, message="better"))
    assert log.read("User2", "User1", 2).message_id == 1


def test_a_receipt_without_effect_counts_unread_messages_of_the_batch(log: MemoryLog) -> None:
    said(log, 1, "User1", "User2")
    new = log.command("User1", requests.New(chat_id="User2", client_message_id="more", message="x"))
    _, answer = log.run(new, log.mark("User2", "User1", 1, read=True))
    assert answer == requests.Marked(missed=1)


# Unread counts.


def test_a_users_own_messages_are_never_unread(log: MemoryLog) -> None:
    said(log, 2)
    said(log, 1, "User1", "User2")
    assert (log.missed("User1", "User2"), log.missed("User2", "User1")) == (1, 2)


def test_reading_some_messages_leaves_the_rest_unread(log: MemoryLog) -> None:
    said(log, 5)
    assert log.read("User2", "User1", 2).missed == 3
    said(log, 1)
    assert log.missed("User2", "User1") == 4
    assert log.read("User2", "User1").missed == 0


def test_edits_and_deletions_are_never_unread(log: MemoryLog) -> None:
    said(log, 2)
    log.do("User1", requests.Edit(chat_id="User2", original_message_id=1, message="better"))
    assert log.missed("User2", "User1") == 2


@pytest.mark.parametrize(("deleted", "left"), [((4,), 1), ((3, 4), 0), ((1,), 2), ((1, 2, 3), 1), ((1, 2, 3, 4), 0)])
def test_deleting_unread_messages_lowers_the_count(log: MemoryLog, deleted: tuple[int, ...], left: int) -> None:
    said(log, 4)
    assert log.read("User2", "User1", 2).missed == 2
    for message_id in deleted:
        delete(log, message_id)
    assert log.missed("User2", "User1") == left
    assert log.missed("User1", "User2") == 0
    log.read("User2", "User1")
    assert log.missed("User2", "User1") == 0


def test_a_deletion_by_an_admin_keeps_the_authors_unread_count(log: MemoryLog) -> None:
    log.group("User1", "User2", "User3")
    said(log, 2, "g-1", "User2")
    delete(log, 1, "User1", "g-1")
    assert [log.missed(user, "g-1") for user in ("User1", "User2", "User3")] == [1, 0, 1]


def test_reading_past_a_deleted_message_counts_right(log: MemoryLog) -> None:
    said(log, 4)
    delete(log, 3)
    assert log.read("User2", "User1", 2).missed == 1
    assert log.read("User2", "User1", 4).missed == 0


def test_missed_is_never_negative_after_leaving_and_coming_back(log: MemoryLog) -> None:

    log.group("User1", "User2")
    said(log, 2, "g-1", "User2")
    log.do("User2", commands.LeaveChat("g-1"))
    said(log, 1, "g-1")
    log.do("User1", commands.AddParticipants("g-1", ["User2"]))
    assert log.missed("User2", "g-1") == 0
    delete(log, 1, "User2", "g-1")
    delete(log, 3, "User1", "g-1")
    assert log.missed("User2", "g-1") == 0
    said(log, 1, "g-1")
    assert log.missed("User2", "g-1") == 1


def test_receipt_far_from_both_ends_may_count_too_many_as_unread(log: MemoryLog) -> None:
    log.counted_messages = 2
    said(log, 10)
    delete(log, 9)
    exact = log.state.tails.get(ChatKey(1)) is not None
    # Messages 6, 7, 8 and 10 are unread; message 11 is the deletion.
    assert log.read("User2", "User1", 5).missed == (4 if exact else 6)
    assert log.missed("User2", "User1") == (4 if exact else 6)
    assert log.read("User2", "User1", 9).missed == 1
    assert log.read("User2", "User1").missed == 0


class Counted(tuple[Covered, ...]):
    """Counts look-ups."""

    __slots__ = ()

    looked = 0

    def __iter__(self) -> Iterator[Covered]:
        for one in super().__iter__():
            Counted.looked += 1
            yield one


def test_a_receipt_for_many_authors_is_indexed_once() -> None:
    covered = Counted(Covered(UserKey(author), author, "c") for author in range(500))
    entry = Entry(1, kinds.READ, ChatKey(1), 500, UserKey(500), NO_DEVICE, 0, covered=covered)
    Counted.looked = 0
    assert [entry.covers(UserKey(author)) for author in range(501)] == [*list(covered), None]
    assert Counted.looked <= 3 * 500
