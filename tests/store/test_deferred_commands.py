"""When late commands are written, and how many at once: pure, so time is a number here."""

from hypothesis import given
from hypothesis import strategies as st

from relay.store.log.deferred import ALONE, DEFER_SECONDS, WITH_BATCH, DeferredCommand, DeferredCommands


def late_with(count: int) -> DeferredCommands:
    late = DeferredCommands()
    for number in range(count):
        late.add(DeferredCommand(number, 1, f"mark {number}"), 0.0)
    return late


def commands(taken: list[DeferredCommand]) -> list[object]:
    return [one.command for one in taken]


def test_they_wait_for_a_moment_and_go_alone_after_two() -> None:
    late = late_with(1)
    assert late.take(1, DEFER_SECONDS / 2) == []
    assert late.alone_at == 2 * DEFER_SECONDS
    assert commands(late.take(1, DEFER_SECONDS)) == ["mark 0"]
    assert not late
    assert late.alone_at == float("inf")


def test_of_one_key_the_one_that_reaches_furthest_is_written() -> None:
    late = DeferredCommands()
    for reach in (2, 7, 5):
        late.add(DeferredCommand("a chat", reach, reach), 0.0)
    assert commands(late.take(0, 1.0)) == [7]


def test_few_go_along_with_a_small_batch_and_the_rest_with_the_next() -> None:
    late = late_with(WITH_BATCH + 3)
    assert len(late.take(1, DEFER_SECONDS)) == WITH_BATCH
    assert len(late.take(1, DEFER_SECONDS)) == 3


def test_as_many_as_it_has_itself_go_along_with_a_large_batch() -> None:
    assert len(late_with(500).take(300, DEFER_SECONDS)) == 300


def test_those_that_are_left_go_alone_a_moment_later_and_not_at_once() -> None:
    late = late_with(ALONE + WITH_BATCH)
    late.take(1, DEFER_SECONDS)
    assert late.alone_at == 2 * DEFER_SECONDS
    assert len(late.take(0, 2 * DEFER_SECONDS)) == ALONE


def test_what_is_expected_is_collected_when_its_moment_is_over_and_not_before() -> None:
    late = DeferredCommands()
    calls: list[float] = []
    late.collect = lambda: calls.append(1)
    late.expect(0.0)
    late.expect(DEFER_SECONDS / 2)
    assert late
    assert not late.held
    late.take(1, DEFER_SECONDS / 2)
    assert not calls
    late.take(1, DEFER_SECONDS)
    assert calls == [1]
    assert not late


def test_what_is_expected_while_others_are_left_has_a_moment_of_its_own() -> None:
    late = late_with(WITH_BATCH + 1)
    calls: list[float] = []
    late.collect = lambda: calls.append(1)
    late.take(1, DEFER_SECONDS)
    late.expect(DEFER_SECONDS)
    late.take(1, DEFER_SECONDS)
    assert late
    assert not late.held
    assert not late.take(1, 1.5 * DEFER_SECONDS)
    assert not calls
    late.take(1, 2 * DEFER_SECONDS)
    assert calls == [1]


def test_in_a_hurry_nothing_waits() -> None:
    late = late_with(3)
    assert len(late.take(0, 0.0, flush=True)) == 3


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9), st.sampled_from(["add", "take", "alone"]))))
def test_each_key_is_written_as_far_as_it_ever_reached(steps: list[tuple[int, int, str]]) -> None:
    late, wanted, written, now = DeferredCommands(), dict[object, int](), dict[object, int](), 0.0
    for key, reach, step in steps:
        now += DEFER_SECONDS / 3
        if step == "add":
            late.add(DeferredCommand(key, reach, None), now)
            wanted[key] = max(reach, wanted.get(key, 0))
        for one in late.take(1 if step == "take" else 0, now) if step != "add" else ():
            written[one.key] = max(one.reach, written.get(one.key, 0))
    while late:
        now = max(now, late.alone_at)
        for one in late.take(0, now):
            written[one.key] = max(one.reach, written.get(one.key, 0))
    assert written == wanted
