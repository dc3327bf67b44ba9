"""Merges of the full-text index's segments: their timing, and the erasure of deleted texts."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.protocol import requests
from relay.store.log import index_merge
from relay.store.log.index_merge import IndexMerge
from relay.store.log.tuning import LogTuning
from relay.store.sqlite.schema import MIGRATIONS
from relay.store.upkeep import full_text_index
from tests.support.disk import answers, command, new, people

FAR = float("inf")
SECRET = "zqxjkvwpy"
NOW = 1_000.0


# Timing.


def test_an_index_merge_has_nothing_to_do_after_a_start() -> None:
    schedule = IndexMerge(LogTuning())
    assert schedule.due_at <= NOW
    schedule.start(0)
    assert schedule.due_at == FAR
    schedule.mark_dirty()
    assert schedule.due_at <= NOW


def test_an_index_merge_runs_to_its_end_and_the_next_waits_in_proportion() -> None:
    schedule = IndexMerge(LogTuning())
    schedule.start(3)
    for _ in range(10):
        assert schedule.due_at <= NOW
        schedule.stepped()
    schedule.done(NOW)
    assert schedule.due_at == NOW + 10 * LogTuning().merge_pause_seconds, "and then there is another look"
    schedule.start(0)
    assert schedule.due_at == FAR


def test_a_text_deleted_during_a_merge_needs_another_merge() -> None:
    schedule = IndexMerge(LogTuning())
    schedule.start(1)
    schedule.stepped()
    schedule.mark_dirty()
    assert (schedule.texts, schedule.steps) == (1, 1), "which goes on"
    schedule.done(NOW)
    schedule.start(1)
    assert (schedule.texts, schedule.steps) == (1, 0)


def test_failed_index_merge_is_retried_later() -> None:
    schedule = IndexMerge(LogTuning())
    schedule.start(1)
    schedule.failed(NOW)
    assert schedule.due_at == NOW + index_merge.MERGE_RETRY_SECONDS


# Erasure.


def in_small_steps() -> Tuning:
    return Tuning(log=LogTuning(index_seconds=0.0, merge_pause_seconds=0.0, merged_pages=1))


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path, tuning=in_small_steps()) as opened:
        await _say_the_secret(opened)
        yield opened


async def _say_the_secret(relay: Relay) -> None:
    await people(relay, "User1", "User2")
    texts = [SECRET, *(f"something else, {number}: {number**9}" for number in range(300))]
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}", text) for n, text in enumerate(texts)))
    await _until(lambda: _asked(relay.data, "SELECT seq FROM indexed") == relay.state.seq)
    await _until(lambda: relay.log.background.index.merging.due_at == FAR)
    assert _holds_secret(relay.data)


def _asked(data: Path, question: str) -> int:
    with closing(sqlite3.connect(data / "relay.db")) as file:
        ((answer,),) = file.execute(question)
    return int(answer)


def _unmerged(data: Path) -> int:
    return _asked(data, "SELECT texts FROM unmerged")


def _holds_secret(data: Path) -> bool:
    """Whether the segments contain all consecutive trigrams of the secret."""
    with closing(sqlite3.connect(data / "relay.db")) as file:
        segments = b"|".join(block for (block,) in file.execute("SELECT block FROM search_data"))
    return all(SECRET[at : at + 3].encode() in segments for at in range(len(SECRET) - 2))


async def _until(true: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not true():
            await trio.sleep(0.02)


async def _delete(relay: Relay) -> None:
    await answers(relay, command(relay, "User1", requests.Delete(chat_id="User2", original_message_id=1), "d"))


async def _edit(relay: Relay) -> None:
    edit = requests.Edit(chat_id="User2", original_message_id=1, message="nothing")
    await answers(relay, command(relay, "User1", edit, "e"))


async def _prune(relay: Relay) -> None:
    await relay.retention.prune(max_bytes=1)


@pytest.mark.parametrize("erase", [_delete, _edit, _prune])
async def test_a_deleted_text_leaves_the_segments_of_the_index(relay: Relay, erase: Callable[[Relay], object]) -> None:
    await erase(relay)  # type: ignore[misc]
    await _until(lambda: not _unmerged(relay.data))
    assert not _holds_secret(relay.data)
    with closing(sqlite3.connect(relay.data / "relay.db")) as file:
        file.execute("INSERT INTO search (search) VALUES ('integrity-check')")


async def test_a_text_deleted_just_before_a_stop_leaves_the_index_after_the_next_start(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=in_small_steps()) as relay:
        await _say_the_secret(relay)
        relay.tuning.log.quiet_seconds = 3_600.0
        await _delete(relay)
    assert _unmerged(tmp_path) == 1
    assert _holds_secret(tmp_path)
    async with open_relay(tmp_path, tuning=in_small_steps()):
        await _until(lambda: not _unmerged(tmp_path))
    assert not _holds_secret(tmp_path)


@pytest.mark.parametrize("said", [0, 1])
def test_the_index_of_an_older_store_is_merged_once_if_it_has_messages(said: int) -> None:
    with closing(sqlite3.connect(":memory:")) as file:
        file.executescript(MIGRATIONS[0])
        file.executemany("INSERT INTO log VALUES (?, 1, 1, 1, 1, 0, 1, 0, 7, 'c', 'hi', NULL, 0, 0, 0)", [(1,)] * said)
        file.executescript(MIGRATIONS[1])
        assert file.execute("SELECT texts FROM unmerged").fetchall() == [(said,)]


async def test_the_index_is_not_merged_while_messages_come(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    merged: list[bool] = []
    real = full_text_index.merge

    async def merge(*arguments: object, **which: bool) -> bool:
        if "begin" in which:
            merged.append(lively)
        return await real(*arguments, **which)  # type: ignore[arg-type]

    monkeypatch.setattr(full_text_index, "merge", merge)
    # Not by the clock: on a busy machine two messages may be far apart.
    relay.tuning.log.quiet_seconds = 3_600
    lively = True
    await _delete(relay)
    for number in range(50):
        await answers(relay, new(relay, "User1", "User2", f"more{number}", "more"))
        await trio.sleep(0.01)
    lively = False
    relay.tuning.log.quiet_seconds = 0.5
    await answers(relay, new(relay, "User1", "User2", "last", "more"))
    await _until(lambda: not _unmerged(relay.data))
    assert len(merged) > 3, "a little at a time"
    assert not any(merged)


async def test_failing_merge_ends_nothing(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    async def merge(*_arguments: object, **_which: bool) -> bool:
        failed.set()
        raise sqlite3.OperationalError("database or disk is full")

    failed = trio.Event()
    monkeypatch.setattr(full_text_index, "merge", merge)
    await _delete(relay)
    with trio.fail_after(20):
        await failed.wait()
    (answer,) = await answers(relay, new(relay, "User1", "User2", "next"))
    assert answer.message_id == 303
    assert _unmerged(relay.data) == 1
