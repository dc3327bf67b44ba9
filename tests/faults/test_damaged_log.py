"""A damaged page of the log: the export writes all other entries, and the relay starts where it does not need it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from relay.core.relay import open_relay
from tests.faults.test_repair import fill
from tests.support.command_line import Ran, run, running
from tests.support.damaged_pages import garble


def make(data: Path, *, keep: bool) -> Path:
    """Make a store whose client ids are in the log alone, as in every small one."""

    async def main() -> None:
        async with open_relay(data) as relay:
            await fill(relay)
            if keep:
                await relay.log.keep_snapshot()

    data.mkdir()
    trio.run(main)
    return data


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store whose snapshot has all entries."""
    return make(tmp_path / "data", keep=True)


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    """A store whose snapshot lacks entries."""
    return make(tmp_path / "data", keep=False)


def records(lines: str) -> list[Any]:
    return [msgspec.json.decode(line) for line in lines.splitlines()]


def texts(lines: str) -> list[str]:
    return [one["text"] for one in records(lines) if one["type"] == "message" and one.get("text")]


def readable(data: Path) -> list[str]:
    """The texts of messages that can be read one by one."""
    found: list[str] = []
    with closing(sqlite3.connect(data / "relay.db")) as store:
        for seq in range(2_000):
            try:
                rows = store.execute("SELECT message FROM log WHERE seq = ? AND message NOT NULL", (seq,)).fetchall()
            except sqlite3.DatabaseError:
                continue
            found.extend(text for (text,) in rows)
    return found


def check_export(before: str, data: Path, ran: Ran) -> None:
    assert texts(ran.out) == readable(data)
    assert len(texts(before)) - 20 < len(texts(ran.out)) < len(texts(before))
    assert ran.code == 1
    assert "entries of the log cannot be read and are not in standard output, which has all others: " in ran.err


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("fixture", ["store", "behind"])
def test_export_of_a_stopped_relay_has_all_that_can_be_read(
    fixture: str, at: float, request: pytest.FixtureRequest
) -> None:
    data: Path = request.getfixturevalue(fixture)
    before = run("export", data=data).out
    garble(data / "relay.db", "log", at)
    check_export(before, data, run("export", data=data))


@pytest.mark.parametrize("at", [0.2, 0.5, 0.8])
def test_relay_starts_with_a_damaged_page_that_it_does_not_need_and_exports_the_rest(store: Path, at: float) -> None:
    before = run("export", data=store).out
    garble(store / "relay.db", "log", at)
    with running(store) as relay:
        check_export(before, store, run("export", data=store))
        assert run("send", "--as", "User1", "User2", "still here", data=store).code == 0
        assert "entries of the log cannot be read" in relay.log.read_text()


def test_export_into_a_file_is_kept_and_can_be_imported(store: Path, tmp_path: Path) -> None:
    garble(store / "relay.db", "log", 0.6)
    ran = run("export", tmp_path / "rest.jsonl", data=store)
    assert ran.code == 1
    assert "messages\n" in ran.out
    left = readable(store)
    (tmp_path / "new").mkdir()
    assert run("import", tmp_path / "rest.jsonl", data=tmp_path / "new").code == 0
    new = texts(run("export", data=tmp_path / "new").out)
    assert [text.partition("\n")[0] for text in new] == left


def test_repair_names_the_ways_out_of_a_damaged_log(store: Path) -> None:
    garble(store / "relay.db", "log", 0.6)
    refused = run("repair", data=store)
    assert refused.code == 1
    assert "`relay export FILE`" in refused.err
    assert "`relay restore FILE`" in refused.err
    assert "`relay repair`" not in refused.err
