"""The schedule of writes beside batches: due times and delays. Nothing here writes."""

import pytest

from relay.keys import DeviceKey
from relay.store.log import schedule as write_schedule
from relay.store.log.schedule import SideWrites, WriteSchedule
from relay.store.log.tuning import LogTuning

TUNING = LogTuning()
START = 1_000.0
FAR = float("inf")


@pytest.fixture
def schedule() -> WriteSchedule:
    """A schedule that began with an empty file."""
    made = WriteSchedule({}, TUNING)
    made.begin(0, 0, START)
    return made


def take(
    schedule: WriteSchedule, now: float, commands: int = 0, *, marks_held: bool = False, last: bool = False
) -> SideWrites:
    """Take the due writes like the writer."""
    return schedule.take(commands, now, marks_held=marks_held, last=last)


def test_nothing_is_due_if_nothing_happened(schedule: WriteSchedule) -> None:
    assert schedule.next_at(marks_held=False) == FAR
    assert not schedule.left
    assert not take(schedule, START + 1_000, last=True)


# Cursors.


def test_cursors_wait_for_their_time_and_are_written_earlier_with_a_batch(schedule: WriteSchedule) -> None:
    schedule.keep_cursor(DeviceKey(2), 7, 70, START)
    schedule.keep_cursor(DeviceKey(3), 8, 80, START + 1)
    assert schedule.next_at(marks_held=False) == START + write_schedule.CURSOR_SECONDS
    assert not take(schedule, START + write_schedule.CURSOR_SECONDS / 5 - 0.01, commands=1).cursors
    assert take(schedule, START + write_schedule.CURSOR_SECONDS / 5, commands=1).cursors == {2: (7, 70), 3: (8, 80)}
    assert not schedule.left


def test_a_cursor_waits_for_the_receipts_of_its_acknowledgements(schedule: WriteSchedule) -> None:
    schedule.keep_cursor(DeviceKey(2), 7, 70, START)
    late = START + 2 * write_schedule.CURSOR_SECONDS
    assert schedule.next_at(marks_held=True) == FAR
    assert not take(schedule, late, marks_held=True, last=True).cursors
    assert take(schedule, late).cursors == {2: (7, 70)}


def test_a_first_cursor_is_due_at_once_with_its_first_value(schedule: WriteSchedule) -> None:
    schedule.keep_first_cursor(DeviceKey(2), 7, 70)
    schedule.keep_cursor(DeviceKey(2), 9, 90, START)
    assert schedule.next_at(marks_held=True) == 0.0
    assert take(schedule, START, marks_held=True).cursors == {2: (7, 70)}
    assert schedule.left, "what it acknowledged since has the time that it always has"


def test_stop_leaves_no_cursor_unwritten(schedule: WriteSchedule) -> None:
    schedule.keep_cursor(DeviceKey(2), 7, 70, START)
    assert schedule.left
    assert take(schedule, START, last=True).cursors == {2: (7, 70)}


def test_cursor_that_could_not_be_written_is_written_later_with_its_latest_value(schedule: WriteSchedule) -> None:
    schedule.keep_first_cursor(DeviceKey(2), 7, 70)
    schedule.not_written(take(schedule, START), START)
    schedule.keep_cursor(DeviceKey(2), 9, 90, START + 1)
    assert schedule.next_at(marks_held=False) == START + write_schedule.CURSOR_SECONDS
    assert take(schedule, START + write_schedule.CURSOR_SECONDS).cursors == {2: (9, 90)}


# The snapshot.


def test_a_snapshot_is_due_after_a_while(schedule: WriteSchedule) -> None:
    assert schedule.snapshot_at == FAR
    schedule.entries_written(1, 1)
    assert schedule.snapshot_at == START + write_schedule.SNAPSHOT_SECONDS
    schedule.snapshot_begins()
    assert schedule.snapshot_at == 0.0, "a round that is under way goes on"
    schedule.snapshot_ended(START + 100, written=True)
    assert schedule.snapshot_at == FAR, "it knows of all there is"


def test_a_snapshot_is_due_after_many_entries(schedule: WriteSchedule) -> None:
    schedule.entries_written(TUNING.snapshot_entries - 1, TUNING.snapshot_entries - 1)
    assert schedule.snapshot_at > START
    schedule.entries_written(1, TUNING.snapshot_entries)
    assert schedule.snapshot_at == 0.0


def test_entries_during_a_round_of_the_snapshot_belong_to_the_next(schedule: WriteSchedule) -> None:
    schedule.entries_written(1, 1)
    schedule.snapshot_begins()
    schedule.entries_written(1, 2)
    schedule.snapshot_ended(START + 100, written=True)
    assert schedule.snapshot_at == START + 100 + write_schedule.SNAPSHOT_SECONDS


def test_snapshot_that_could_not_be_written_is_retried_after_the_same_time(schedule: WriteSchedule) -> None:
    schedule.entries_written(1, 1)
    schedule.snapshot_begins()
    failed = START + write_schedule.SNAPSHOT_SECONDS
    schedule.snapshot_ended(failed, written=False)
    assert schedule.snapshot_at == failed + write_schedule.SNAPSHOT_SECONDS


# The full-text index.


def indexed(schedule: WriteSchedule, now: float, commands: int = 0) -> int:
    """Index the entries that a batch may take along; return the last one, 0 for none."""
    taken = take(schedule, now, commands)
    schedule.written(taken, now)
    return taken.indexed


def test_a_few_entries_are_indexed_with_the_next_batch(schedule: WriteSchedule) -> None:
    schedule.entries_written(write_schedule.INDEX_ENTRIES_WITH_BATCH, write_schedule.INDEX_ENTRIES_WITH_BATCH)
    assert indexed(schedule, START + TUNING.index_seconds, commands=1) == write_schedule.INDEX_ENTRIES_WITH_BATCH
    assert schedule.indexed


def test_a_dropped_index_is_not_updated_with_a_batch_before_it_is_emptied(schedule: WriteSchedule) -> None:
    schedule.begin(2, 2, START)
    schedule.index_lost()
    assert schedule.index_begins
    assert schedule.index_behind == 2
    due = START + TUNING.index_seconds
    assert not indexed(schedule, due, commands=1)
    assert schedule.index_at <= due
    schedule.index_left_over = False
    assert indexed(schedule, due + TUNING.index_seconds, commands=1) == 2


def test_new_entries_wait_before_they_are_indexed(schedule: WriteSchedule) -> None:
    first = START + TUNING.index_seconds
    schedule.entries_written(1, 1)
    assert indexed(schedule, first, commands=1) == 1
    schedule.entries_written(1, 2)
    assert schedule.index_at == first + TUNING.index_seconds
    assert not indexed(schedule, first + TUNING.index_seconds - 0.01, commands=1)
    assert indexed(schedule, first + TUNING.index_seconds, commands=1) == 2


def test_many_entries_wait_until_it_is_quiet(schedule: WriteSchedule) -> None:
    many = write_schedule.INDEX_ENTRIES_WITH_BATCH + 1
    lively = START + TUNING.index_seconds
    schedule.entries_written(many, many)
    schedule.started(lively)
    assert not indexed(schedule, lively, commands=1)
    assert schedule.index_at == lively + TUNING.quiet_seconds
    assert schedule.index_upto(10) == 10
    schedule.index_written(10, lively)
    assert schedule.index_upto(1_000) == many
    schedule.index_written(many, lively)
    assert schedule.index_at == FAR


def test_too_many_entries_are_indexed_also_while_people_send(schedule: WriteSchedule) -> None:
    now = START + TUNING.index_seconds
    schedule.entries_written(write_schedule.INDEX_LAG_ENTRIES, write_schedule.INDEX_LAG_ENTRIES)
    schedule.started(now)
    assert not indexed(schedule, now, commands=1), "no batch waits for it"
    assert schedule.index_at <= now
    schedule.index_written(1, now)
    assert schedule.index_at == now + TUNING.quiet_seconds


def test_an_index_that_could_not_be_written_is_retried_later(schedule: WriteSchedule) -> None:
    schedule.entries_written(write_schedule.INDEX_LAG_ENTRIES, write_schedule.INDEX_LAG_ENTRIES)
    schedule.index_failed(START + 10)
    assert schedule.index_at == START + 10 + TUNING.index_seconds


def test_start_continues_where_the_index_was_left() -> None:
    schedule = WriteSchedule({}, TUNING)
    schedule.begin(10, 4, START)
    assert not schedule.indexed
    assert schedule.index_upto(3) == 7


def test_entries_to_index_are_counted_without_gaps_in_their_numbers() -> None:
    schedule = WriteSchedule({}, TUNING)
    schedule.begin(2_000_020, 0, START, gaps=[(0, 11), (20, 1_000_021), (1_000_030, 2_000_011)])
    assert schedule.index_behind == 30
    assert schedule.index_upto(5) == 15
    schedule.index_written(15, START)
    assert schedule.index_behind == 25
    assert schedule.index_upto(7) == 1_000_022, "five before the gap, and two after it"
    schedule.index_written(1_000_022, START)
    assert schedule.index_behind == 18
    assert schedule.index_upto(100) == 2_000_020
    assert schedule.index_at < FAR
    schedule.index_written(2_000_020, START)
    assert schedule.index_behind == 0
    assert schedule.indexed
