"""Stalls of a sender: the longest wait of the last hour, and the work that took most of it."""

from relay.store import portion
from relay.store.log import stalls
from relay.store.log.stalls import Stalls
from relay.store.portion import Pace, Portion

NOW = 36_000.0


def test_longest_wait_is_none_before_the_first_batch() -> None:
    assert Stalls().longest(NOW) is None


def test_work_that_took_most_of_a_wait_is_its_cause() -> None:
    traced = Stalls()
    traced.worked("index", NOW, NOW + 0.3)
    traced.worked("sync", NOW + 0.3, NOW + 0.4)
    traced.waited(NOW, NOW + 0.4)
    wait = traced.longest(NOW + 1)
    assert wait is not None
    assert (round(wait.seconds, 3), wait.cause, wait.at) == (0.4, "index", NOW + 0.4)


def test_work_begun_before_the_wait_counts_only_from_the_wait_on() -> None:
    traced = Stalls()
    traced.worked("prune", NOW, NOW + 1.0)
    traced.worked("sync", NOW + 1.0, NOW + 1.2)
    traced.waited(NOW + 0.9, NOW + 1.2)
    assert traced.longest(NOW + 2).cause == "sync"  # type: ignore[union-attr]


def test_time_without_any_work_counts_for_the_loop() -> None:
    traced = Stalls()
    traced.worked("sync", NOW + 0.5, NOW + 0.51)
    traced.waited(NOW, NOW + 0.51)
    assert traced.longest(NOW + 1).cause == "loop"  # type: ignore[union-attr]


def test_busy_loop_is_blamed_for_work_that_could_not_end() -> None:
    traced = Stalls()
    traced.turned(NOW + 0.01, NOW + 0.29)
    traced.worked("sync", NOW, NOW + 0.291)
    traced.waited(NOW, NOW + 0.291)
    assert traced.longest(NOW + 1).cause == "loop"  # type: ignore[union-attr]


def test_wait_is_forgotten_after_an_hour_or_replaced_by_a_longer_one() -> None:
    traced = Stalls()
    traced.worked("sync", NOW, NOW + 0.4)
    traced.waited(NOW, NOW + 0.4)
    traced.worked("index", NOW + 600, NOW + 600.2)
    traced.waited(NOW + 600, NOW + 600.2)
    assert traced.longest(NOW + 601).cause == "sync"  # type: ignore[union-attr]
    assert traced.longest_works(NOW + 601).keys() == {"sync", "index"}
    assert traced.longest(NOW + 3_661).cause == "index"  # type: ignore[union-attr]
    assert traced.longest_works(NOW + 3_661).keys() == {"index"}
    assert traced.longest(NOW + 9_000) is None


def test_records_are_bounded_and_forgotten_work_is_not_blamed_on_the_loop() -> None:
    traced = Stalls()
    for number in range(2_000):
        traced.worked("prune", NOW + number * 0.01, NOW + number * 0.01 + 0.01)
        traced.waited(NOW, NOW + number * 0.01 + 0.01)
    assert traced.longest(NOW + 1_000).cause == "prune"  # type: ignore[union-attr]
    assert len(traced) <= stalls.KEPT_WORKS + stalls.KEPT_MINUTES


def test_portion_grows_as_far_as_its_time_allows() -> None:
    one = Portion(100, least=10, most=1_000)
    for _ in range(10):
        one.took(one.size * portion.AIM_SECONDS / 400)
    assert 200 <= one.size <= 400
    one.took(10.0)
    assert 50 <= one.size <= 100, "a disk that was slow once says little"
    for _ in range(10):
        one.took(10.0)
    assert one.size == 10


def test_a_portion_that_was_not_full_does_not_change_the_size() -> None:
    one = Portion(100)
    one.took(0.0, 3)
    assert one.size == 100


def test_the_writer_rests_only_while_people_send() -> None:
    pace = Pace()
    pace.worked(NOW, NOW + 0.01, lively=False)
    assert pace.rests_until == NOW + 0.01
    pace.worked(NOW, NOW + 0.01, lively=True)
    assert pace.rests_until >= NOW + 0.01 * portion.REST_FACTOR
