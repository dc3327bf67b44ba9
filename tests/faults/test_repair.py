"""`relay repair`: a store with a damaged page is whole afterwards, and has every entry that it had."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.core.maintenance.check import check
from relay.core.model import snapshot
from relay.core.relay import Relay, open_relay
from relay.core.rules.commands import MarkRead
from relay.core.tuning import Tuning
from relay.keys import ChatKey, DeviceKey, Seq
from relay.protocol import requests
from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from tests.support.command_line import done, run
from tests.support.damaged_pages import garble, pages
from tests.support.disk import answers, command, new, people, say

SAID = 200
# A few client ids at a time go to their table.
TUNING = Tuning(log=LogTuning(held_keys=16, key_portion=PortionSize(64, least=32, most=64)))
DERIVED = (
    "search_data", "search_idx", "search_docsize", "search_config",
    "user", "device", "invite", "chat", "member", "snapshot", "base", "base_part",
    "log_message", "log_mark", "log_chat", "log_change",
    "client", "filed", "indexed", "unmerged", "writer",
    "file", "file_digest", "file_loose", "holding", "holding_file",
    "cursor", "removed",
)  # fmt: skip


async def fill(relay: Relay) -> None:
    await people(relay, "User1", "User2", "User3")
    words = [new(relay, "User1", "User2", f"c{number}", f"message {number:04} " * 4) for number in range(SAID)]
    for at in range(0, SAID, 20):
        await answers(relay, *words[at : at + 20])
    await answers(relay, command(relay, "User2", MarkRead(ChatKey(1), None)))
    for number in range(3):
        pieces = [b"content %d" % number * 50]

        async def piece(pieces: list[bytes] = pieces) -> bytes:
            return pieces.pop() if pieces else b""

        key = relay.state.user_keys["User1"]
        attachment = await relay.files.receive(key, DeviceKey(1), f"photo {number}.txt", len(pieces[0]), piece)
        if number:
            message = requests.New(
                chat_id="User2", client_message_id=f"f{number}", message="see", attachments=[attachment]
            )
            await answers(relay, command(relay, "User1", message))
    for device in (1, 2):
        await relay.log.first_cursor(DeviceKey(device), relay.state.seq - 5, relay.clock())
    await relay.retention.keep_state()
    await relay.retention.remove_entries(Seq(relay.state.pruned + 1), Seq(relay.state.seq // 4))
    for number in range(30):
        await say(relay, "User2", "User1", f"later {number}", "hello again")


def rows(data: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(data / "relay.db")) as store:
        return store.execute(sql).fetchall()


def faults(data: Path) -> list[Any]:
    return [finding for finding in trio.run(check, data, lambda _what: None) if finding.wrong]


def opened(data: Path, work: Callable[[Relay], Any]) -> Any:
    async def main() -> Any:
        async with open_relay(data, tuning=TUNING) as relay:
            return await work(relay)

    return trio.run(main)


async def look(relay: Relay) -> Any:
    return snapshot.plain_data(relay.state)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    opened(tmp_path, fill)
    assert not faults(tmp_path)
    return tmp_path


@pytest.mark.parametrize("content", [b"\0", b"\xff"], ids=["zeros", "ones"])
@pytest.mark.parametrize("table", DERIVED)
def test_store_with_a_damaged_page_of_what_follows_from_the_log_is_whole_after_a_repair(
    store: Path, table: str, content: bytes
) -> None:
    before = opened(store, look)
    log, files = rows(store, "SELECT * FROM log"), rows(store, "SELECT id, digest, loose > 0 FROM file")
    holding = rows(store, "SELECT * FROM holding")
    if pages(store / "relay.db", table):
        garble(store / "relay.db", table, content=content)
    damaged = (store / "relay.db").read_bytes()
    said = done("repair", data=store).out
    assert f"all {len(log):,} entries" in said
    assert rows(store, "SELECT * FROM log") == log
    assert rows(store, "SELECT id, digest, loose > 0 FROM file") == files
    assert rows(store, "SELECT * FROM holding") == holding
    assert not faults(store)
    assert opened(store, look) == before
    (kept,) = store.glob("before-repair-1-*")
    assert (kept / "relay.db").read_bytes() == damaged
    assert done("backup", store.parent / "after.tar", data=store)
    assert opened(store, lambda relay: say(relay, "User1", "User2", "c150")).message_id == 151


def test_repair_of_places_and_names_that_do_not_follow_from_the_log_says_what_is_lost(store: Path) -> None:
    for table in ("cursor", "removed", "file"):
        garble(store / "relay.db", table)
    said = done("repair", data=store).out
    assert "lost: the places of some devices" in said
    assert "lost: client ids of messages that retention removed" in said
    assert "lost: names of uploaded files" in said
    names = {name for (name,) in rows(store, "SELECT name FROM file")}
    assert {"photo 1.txt", "photo 2.txt"} <= names
    assert not faults(store)


@pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
def test_repair_of_a_damaged_log_changes_nothing_and_says_what_helps(store: Path, at: float) -> None:
    garble(store / "relay.db", "log", at)
    damaged = (store / "relay.db").read_bytes()
    refused = run("repair", data=store)
    assert refused.code == 1
    assert "the log cannot be read after event" in refused.err
    assert "`relay restore FILE`" in refused.err
    assert (store / "relay.db").read_bytes() == damaged
    assert not list(store.glob("before-repair-*"))
    assert not list(store.glob(".relay-*"))


def test_log_that_lost_an_entry_without_a_damaged_page_is_not_repaired(store: Path) -> None:
    # As after a write that the disk reported and did not make: the index has an entry that the table lacks.
    with closing(sqlite3.connect(store / "relay.db", isolation_level=None)) as file:
        index = file.execute("SELECT * FROM sqlite_master WHERE name = 'log_message'").fetchone()
        triggers = file.execute("SELECT * FROM sqlite_master WHERE type = 'trigger'").fetchall()
        file.execute("PRAGMA writable_schema = ON")
        file.execute("DELETE FROM sqlite_master WHERE name = 'log_message' OR type = 'trigger'")
    with closing(sqlite3.connect(store / "relay.db", isolation_level=None)) as file:
        file.execute("DELETE FROM log WHERE seq = (SELECT max(seq) FROM log WHERE kind = 1)")
        file.execute("PRAGMA writable_schema = ON")
        file.executemany("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", [index, *triggers])
    refused = run("repair", data=store)
    assert refused.code == 1
    assert "1 entries of the log are missing" in refused.err
    assert not list(store.glob("before-repair-*"))


def test_damaged_start_of_the_history_is_taken_from_the_snapshot(store: Path) -> None:
    before = opened(store, look)
    for table in ("base", "base_part"):
        if pages(store / "relay.db", table):
            garble(store / "relay.db", table)
    done("repair", data=store)
    assert not faults(store)
    assert opened(store, look) == before


def test_repair_while_a_relay_runs_is_refused(store: Path) -> None:
    async def attempt(_relay: Relay) -> Any:
        return await trio.to_thread.run_sync(lambda: run("repair", data=store))

    refused = opened(store, attempt)
    assert refused.code == 1
    assert "stop the relay first" in refused.err


def test_repairs_keep_each_damaged_store_under_a_name_of_its_own(store: Path) -> None:
    for number in (1, 2):
        garble(store / "relay.db", "client")
        done("repair", data=store)
        assert len(list(store.glob(f"before-repair-{number}-*"))) == 1
    assert len(list(store.glob("before-repair-*"))) == 2


def test_check_and_a_refused_start_name_the_repair(store: Path) -> None:
    garble(store / "relay.db", "indexed")
    assert "`relay repair`" in run("user", "list", data=store).err
    done("repair", data=store)
    garble(store / "relay.db", "log_mark")
    checked = run("check", data=store)
    assert checked.code == 1
    assert "WRONG  pages and indexes" in checked.out
    assert "ok     foreign keys" in checked.out
    assert "`relay repair`" in checked.out
