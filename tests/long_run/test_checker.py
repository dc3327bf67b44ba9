"""The checker finds broken promises: intact logs pass, and each log broken in one place fails by name."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.long_run.checker import DELETE, EDIT, NEW
from tests.long_run.generated import Talk
from tests.long_run.ledger import client_id, parse, text_of, word_of
from tests.long_run.verdict import History, Verdict, growth, may_grow


def _whole() -> Talk:
    talk = Talk()
    first = talk.say()
    talk.say(by=talk.b)
    talk.say(EDIT, first)
    talk.say(DELETE, talk.say(by=talk.c), by=talk.c)
    talk.read("b", 4)
    talk.mark(talk.a, "b", 1)
    return talk


def test_intact_log_passes() -> None:
    talk = _whole()
    verdict = talk.verdict()
    verdict.chat_list("a", [talk.item(1)])
    verdict.chat_list("b", [talk.item(0)])
    assert talk.checker.failures == []


def test_intact_pruned_log_passes_if_pruning_was_requested() -> None:
    talk = _whole()
    talk.verdict(pruned=True, first=3)
    assert talk.checker.failures == []
    talk.verdict(pruned=False, first=3)
    assert any("nothing was pruned" in one for one in talk.checker.failures)


@pytest.mark.parametrize(("first", "fails"), [(1, True), (3, False)])
def test_missing_edit_fails_only_if_its_message_remains(first: int, *, fails: bool) -> None:
    talk = _whole()
    talk.make(EDIT, 0)
    talk.verdict(pruned=True, first=first)
    assert any("never got message 6" in one for one in talk.checker.failures) == fails


def _lost_answer(talk: Talk) -> None:
    talk.make(NEW)
    talk.rows.pop()
    talk.verdict()


def _not_delivered(talk: Talk) -> None:
    number = talk.make(NEW)
    talk.tell(talk.b, number)
    talk.verdict()


def _delivered_twice_as_two(talk: Talk) -> None:
    number = talk.say()
    talk.tell(talk.b, number, event_id=900, message_id=len(talk.rows) + 1)


def _two_answers(talk: Talk) -> None:
    number = talk.say()
    talk.checker.answered(number, talk.answer(number, messageId=len(talk.rows) + 7))


def _same_message_id_for_two(talk: Talk) -> None:
    talk.say()
    number = talk.make(NEW)
    talk.tell(talk.b, number, message_id=len(talk.rows) - 1)


def _other_text(talk: Talk) -> None:
    talk.tell(talk.b, talk.make(NEW), message="0.0 nonsense")


def _text_cut(talk: Talk) -> None:
    number = talk.make(NEW)
    talk.tell(talk.b, number, message=text_of(number, 0)[:-1])


def _text_of_another(talk: Talk) -> None:
    talk.tell(talk.b, talk.make(NEW), message=text_of(0, 0))


def _no_text(talk: Talk) -> None:
    talk.tell(talk.b, talk.make(NEW), message=None, status="deleted")


def _other_sender(talk: Talk) -> None:
    talk.tell(talk.b, talk.make(NEW), sender="c")


def _other_time(talk: Talk) -> None:
    talk.tell(talk.b, talk.make(NEW), timestamp=5)


def _other_event_id(talk: Talk) -> None:
    number = talk.make(NEW)
    talk.tell(talk.b, number)
    talk.tell(talk.c, number, event_id=9_999)


def _ids_go_back(talk: Talk) -> None:
    first, second = talk.make(NEW), talk.make(NEW)
    talk.tell(talk.b, second)
    talk.tell(talk.b, first)


def _the_same_event_again(talk: Talk) -> None:
    number = talk.say()
    talk.tell(talk.b, number)


def _stranger(talk: Talk) -> None:
    stranger = talk.checker.add_device("stranger")
    talk.tell(stranger, talk.say())


def _after_leaving(talk: Talk) -> None:
    talk.checker.leaving(talk.chat, "c")
    talk.checker.left(talk.chat, "c", talk.chat.last)
    number = talk.make(NEW)
    talk.tell(talk.c, number)


def _from_before_joining(talk: Talk) -> None:
    late = talk.checker.add_device("late")
    talk.checker.joining(talk.chat, "late")
    talk.checker.joined(talk.chat, "late", talk.chat.last)
    talk.tell(late, 0)


def _refused_and_there(talk: Talk) -> None:
    number = talk.checker.ledger.add(NEW, talk.chat, "a", talk.a.key)
    talk.checker.refused(number, "storage_full")
    talk.rows.append(talk.rows[0] | {"messageId": len(talk.rows) + 1, "clientMessageId": client_id(number), "seq": 700})
    talk.tell(talk.b, number)


def _refused_and_in_history(talk: Talk) -> None:
    number = talk.checker.ledger.add(NEW, talk.chat, "a", talk.a.key)
    talk.checker.refused(number, "rate_limited")
    row = talk.rows[0] | {"messageId": len(talk.rows) + 1, "clientMessageId": client_id(number), "createdAt": 700}
    talk.rows.append(row | {"message": text_of(number, 0)})
    talk.verdict()


def _refused_edit_shows(talk: Talk) -> None:
    edit = talk.checker.ledger.add(EDIT, talk.chat, "a", talk.a.key, 0)
    talk.checker.refused(edit, "storage_full")
    talk.rows[0]["message"] = text_of(0, talk.checker.ledger.version[edit])
    talk.verdict()


def _edit_lost(talk: Talk) -> None:
    talk.rows[0]["message"] = text_of(0, 0)
    talk.verdict()


def _deletion_undone(talk: Talk) -> None:
    talk.rows[3].update(status="read", message=text_of(3, 0))
    talk.verdict()


def _gap(talk: Talk) -> None:
    del talk.rows[1]
    talk.verdict(last=5)


def _end_missing(talk: Talk) -> None:
    talk.rows.pop()
    talk.verdict(last=5)


def _never_asked_for(talk: Talk) -> None:
    talk.rows.append(talk.rows[0] | {"messageId": 6, "clientMessageId": "mffff"})
    talk.verdict()


def _mark_never_told(talk: Talk) -> None:
    talk.say()
    talk.read("b", len(talk.rows))
    talk.verdict()


def _mark_nobody_made(talk: Talk) -> None:
    talk.mark(talk.a, "c", 1)


def _mark_on_a_strange_message(talk: Talk) -> None:
    talk.read("c", 4)
    talk.mark(talk.a, "c", 2)


def _unread_wrong(talk: Talk) -> None:
    talk.verdict().chat_list("c", [talk.item(7)])


def _list_shows_a_strange_chat(talk: Talk) -> None:
    talk.checker.add_device("stranger")
    talk.verdict().chat_list("stranger", [talk.item(0)])


def _list_lacks_a_chat(talk: Talk) -> None:
    talk.verdict().chat_list("a", [])


def _found_elsewhere(talk: Talk) -> None:
    talk.checker.add_device("stranger")
    row = talk.rows[1] | {"chatId": "g-1"}
    talk.checker.found("stranger", word_of(1), [row], [talk.chat])


def _found_without_the_word(talk: Talk) -> None:
    talk.checker.found("a", word_of(500), [talk.rows[1] | {"chatId": "g-1"}], [talk.chat])


def _record(talk: Talk, number: int) -> dict[str, Any]:
    return {"type": "message", "clientMessageId": client_id(number)}


def _backup_lacks_one(talk: Talk) -> None:
    talk.say()
    talk.verdict().backup("backup", talk.seq, [_record(talk, 0), _record(talk, 1)])


def _backup_has_too_much(talk: Talk) -> None:
    talk.verdict().backup("backup", 101, [_record(talk, 0), _record(talk, 1)])


def _prune_left_a_hole(talk: Talk) -> None:
    other = talk.checker.pair("a", "b")
    ledger = talk.checker.ledger
    number = ledger.add(NEW, other, "a", talk.a.key)
    ledger.seq[number], ledger.message_id[number] = 50, 1
    other.place(1, number)
    kept = History(talk.checker, other, 1)
    kept.first = kept.end = 1
    verdict = Verdict(talk.checker, [talk.history(first=3), kept], pruned=True)
    verdict.pruning()


BROKEN: list[tuple[Callable[[Talk], None], str]] = [
    (_lost_answer, "lost from crew"),
    (_not_delivered, "never got message"),
    (_delivered_twice_as_two, "and message"),
    (_two_answers, "answered again as"),
    (_same_message_id_for_two, "message"),
    (_other_text, "never wrote"),
    (_text_cut, "never wrote"),
    (_text_of_another, "never wrote"),
    (_no_text, "nobody deleted it"),
    (_other_sender, "comes from c"),
    (_other_time, "is of"),
    (_other_event_id, "elsewhere"),
    (_ids_go_back, "came after event"),
    (_the_same_event_again, "came after event"),
    (_stranger, "none of theirs"),
    (_after_leaving, "none of theirs"),
    (_from_before_joining, "none of theirs"),
    (_refused_and_there, "though it was refused"),
    (_refused_and_in_history, "though it was refused"),
    (_refused_edit_shows, "edit that was refused"),
    (_edit_lost, "the last edit"),
    (_deletion_undone, "was deleted and is still there"),
    (_gap, "it follows message 1"),
    (_end_missing, "history ends at 4"),
    (_never_asked_for, "was never said there"),
    (_mark_never_told, "never heard that b read"),
    (_mark_nobody_made, "never read so far"),
    (_mark_on_a_strange_message, "the message is not theirs"),
    (_unread_wrong, "counts 7 unread"),
    (_list_shows_a_strange_chat, "none of theirs"),
    (_list_lacks_a_chat, "missing from the list"),
    (_found_elsewhere, "none of theirs"),
    (_found_without_the_word, "does not hold it"),
    (_backup_lacks_one, "is not there"),
    (_backup_has_too_much, "it ends at"),
    (_prune_left_a_hole, "which is older, is there"),
]


@pytest.mark.parametrize(("breaks", "says"), BROKEN, ids=[breaks.__name__.strip("_") for breaks, _ in BROKEN])
def test_log_broken_in_one_place_fails(breaks: Callable[[Talk], None], says: str) -> None:
    talk = _whole()
    breaks(talk)
    assert any(says in one for one in talk.checker.failures), talk.checker.failures


def test_member_shown_without_a_message_that_they_have_fails() -> None:
    talk = _whole()
    history = talk.history()
    history.take([])
    talk.checker.failures.clear()
    again = History(talk.checker, talk.chat, len(talk.rows))
    again.take([row | {"delivering": [{"userId": "b"}]} for row in talk.rows])
    assert any("does not count as delivered" in one for one in talk.checker.failures)
    assert any("does not count as read" in one for one in talk.checker.failures)


def _leave(talk: Talk) -> None:
    talk.checker.leaving(talk.chat, "c")
    talk.checker.left(talk.chat, "c", talk.chat.last)


def _join(talk: Talk) -> None:
    talk.checker.joining(talk.chat, "c")
    talk.checker.joined(talk.chat, "c", talk.chat.last)


def _delete(talk: Talk) -> None:
    talk.chat.gone = True


Change = Callable[[Talk], None]
CHANGES: list[tuple[str, list[Change], list[Change]]] = [
    ("being added", [_leave, lambda talk: talk.checker.joining(talk.chat, "c")], []),
    ("added while they ask", [_leave], [_join]),
    ("being removed while they ask", [], [lambda talk: talk.checker.leaving(talk.chat, "c")]),
    ("removed and added again while they ask", [], [_leave, _join]),
    ("deleted while they ask", [], [_delete]),
]


@pytest.mark.parametrize(("before", "meanwhile"), [one[1:] for one in CHANGES], ids=[one[0] for one in CHANGES])
def test_refusal_during_a_membership_change_passes(before: list[Change], meanwhile: list[Change]) -> None:
    talk = _whole()
    for change in before:
        change(talk)
    right = talk.checker.right(talk.chat, "c")
    for change in meanwhile:
        change(talk)
    talk.checker.denied(right, talk.chat, "c", "read")
    assert talk.checker.failures == []


def test_checker_accepts_a_refused_chat_that_had_not_begun() -> None:
    talk = _whole()
    dialog = talk.checker.pair("a", "b")
    right = talk.checker.right(dialog, "a")
    dialog.place(1, 0)
    talk.checker.denied(right, dialog, "a", "messages")
    assert talk.checker.failures == []


def test_refusal_of_a_member_fails() -> None:
    talk = _whole()
    _leave(talk)
    _join(talk)
    right = talk.checker.right(talk.chat, "c")
    talk.checker.denied(right, talk.chat, "c", "read (not_found)")
    assert talk.checker.failures == ["c: read (not_found) in crew was refused"]


def test_unread_count_after_a_read_with_a_lost_answer_has_two_bounds() -> None:
    talk = _whole()
    talk.say()
    # Between the request, with four messages known, and the answer to the repeat; then one more.
    talk.checker.marking(talk.chat, "c", None)
    talk.checker.marked_all(talk.chat, "c", 4, 0)
    talk.say()
    verdict = talk.verdict()
    for missed in (1, 2):
        verdict.chat_list("c", [talk.item(missed)])
    assert not [one for one in talk.checker.failures if "unread" in one]
    for missed in (0, 3):
        verdict.chat_list("c", [talk.item(missed)])
    assert [one for one in talk.checker.failures if "unread" in one] == [
        "c: crew counts 0 unread, not 1 to 2",
        "c: crew counts 3 unread, not 1 to 2",
    ]


def test_text_reveals_its_message_and_version() -> None:
    for number in range(2_000):
        assert parse(text_of(number, number % 5)) == (number, number % 5)
    assert parse("hello") is None
    assert parse("") is None


def test_checker_reports_growing_memory_but_not_a_jump() -> None:
    level = [(2.0 * n, 50_000_000 + (20_000_000 if n % 17 == 0 else n % 7 * 100_000)) for n in range(120)]
    assert growth(level) < may_grow(0) / 4
    leaks = [(at, held + int(200_000 * at)) for at, held in level]
    assert growth(leaks) > may_grow(120 * 2 * 60)
    filling = [(at, 50_000_000 - max(0, 50 - int(at)) * 1_000_000) for at, _ in level]
    assert growth(filling) < may_grow(0) / 4
    assert may_grow(10**6) == may_grow(10**5) < 30_000_000
    assert growth([]) == growth([(0.0, 5)]) == 0.0
