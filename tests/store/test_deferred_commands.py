"""The timing and number of deferred commands. Pure, so time is a number here."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from relay.core.rules.commands import MarkDelivered
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.store.command import Command
from relay.store.log.deferred import (
    COMMANDS_ALONE,
    COMMANDS_WITH_BATCH,
    DEFER_SECONDS,
    DeferredCommand,
    DeferredCommands,
)


def mark(message_id: int) -> Command:
    return Command(0, UserKey(1), NO_DEVICE, MarkDelivered(ChatKey(1), message_id))


def nothing() -> None:
    """Collect nothing."""


def deferred_with(count: int, collect: Callable[[], None] = nothing) -> DeferredCommands:
    deferred = DeferredCommands(collect)
    for number in range(count):
        deferred.add(DeferredCommand(number, 1, mark(number)), 0.0)
    return deferred


def commands(taken: list[DeferredCommand]) -> list[Command]:
    return [one.command for one in taken]


def test_deferred_commands_form_their_own_batch_after_twice_the_delay() -> None:
    deferred = deferred_with(1)
    assert deferred.take(1, DEFER_SECONDS / 2) == []
    assert deferred.alone_at == 2 * DEFER_SECONDS
    assert commands(deferred.take(1, DEFER_SECONDS)) == [mark(0)]
    assert not deferred
    assert deferred.alone_at == float("inf")


def test_command_with_the_furthest_reach_replaces_others_of_its_key() -> None:
    deferred = DeferredCommands(nothing)
    for reach in (2, 7, 5):
        deferred.add(DeferredCommand("a chat", reach, mark(reach)), 0.0)
    assert commands(deferred.take(0, 1.0)) == [mark(7)]


def test_a_small_batch_takes_few_deferred_commands_and_the_next_takes_more() -> None:
    deferred = deferred_with(COMMANDS_WITH_BATCH + 3)
    assert len(deferred.take(1, DEFER_SECONDS)) == COMMANDS_WITH_BATCH
    assert len(deferred.take(1, DEFER_SECONDS)) == 3


def test_a_large_batch_takes_as_many_deferred_commands_as_it_has() -> None:
    assert len(deferred_with(500).take(300, DEFER_SECONDS)) == 300


def test_remaining_deferred_commands_wait_before_they_form_a_batch() -> None:
    deferred = deferred_with(COMMANDS_ALONE + COMMANDS_WITH_BATCH)
    deferred.take(1, DEFER_SECONDS)
    assert deferred.alone_at == 2 * DEFER_SECONDS
    assert len(deferred.take(0, 2 * DEFER_SECONDS)) == COMMANDS_ALONE


def test_announced_commands_are_collected_when_they_are_due() -> None:
    calls: list[float] = []
    deferred = DeferredCommands(lambda: calls.append(1))
    deferred.expect(0.0)
    deferred.expect(DEFER_SECONDS / 2)
    assert deferred
    assert not deferred.held
    deferred.take(1, DEFER_SECONDS / 2)
    assert not calls
    deferred.take(1, DEFER_SECONDS)
    assert calls == [1]
    assert not deferred


def test_commands_announced_with_others_left_wait_their_own_time() -> None:
    calls: list[float] = []
    deferred = deferred_with(COMMANDS_WITH_BATCH + 1, lambda: calls.append(1))
    deferred.take(1, DEFER_SECONDS)
    deferred.expect(DEFER_SECONDS)
    deferred.take(1, DEFER_SECONDS)
    assert deferred
    assert not deferred.held
    assert not deferred.take(1, 1.5 * DEFER_SECONDS)
    assert not calls
    deferred.take(1, 2 * DEFER_SECONDS)
    assert calls == [1]


def test_a_flush_takes_all_deferred_commands() -> None:
    deferred = deferred_with(3)
    assert len(deferred.take(0, 0.0, flush=True)) == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.sampled_from(["add", "take", "alone"]))))
def test_each_key_is_written_with_its_furthest_reach(steps: list[tuple[int, int, str]]) -> None:
    deferred, wanted, written, now = DeferredCommands(nothing), dict[object, int](), dict[object, int](), 0.0
    for key, reach, step in steps:
        now += DEFER_SECONDS / 3
        if step == "add":
            deferred.add(DeferredCommand(key, reach, mark(reach)), now)
            wanted[key] = max(reach, wanted.get(key, 0))
        for one in deferred.take(1 if step == "take" else 0, now) if step != "add" else ():
            written[one.key] = max(one.reach, written.get(one.key, 0))
    while deferred:
        now = max(now, deferred.alone_at)
        for one in deferred.take(0, now):
            written[one.key] = max(one.reach, written.get(one.key, 0))
    assert written == wanted
