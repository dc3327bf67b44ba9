"""Reads of a damaged store: whatever the door, one answer that fits, and one record with the advice in the log."""

import ast
import json
import logging
import re
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from relay.core.relay import Relay
from relay.core.tuning import DeliveryTuning, Tuning
from relay.net import control_socket
from relay.net.websocket import close_codes
from relay.store import refusals
from relay.store.sqlite.database import Connection
from tests.support import outgoing_hooks
from tests.support.http_files import fetch, upload
from tests.support.http_relay import http_relay
from tests.support.sessions import House, Refused, house

CALLED = re.compile(r"faults\.unread\(|_store_failed\(")
"""How the doors ask."""

CHAT = {"chatId": "User2"}
READING: dict[str, dict[str, Any]] = {
    "chats": {},
    "messages": CHAT,
    "search": {"query": "hello"},
}
"""Requests that read the store, with their payloads."""
DOORS = ("net", "core/admin", "core/auth", "core/delivery", "core/files", "core/hooks", "core/service")
"""The rooms that answer somebody outside."""
REPAIRS = {"core/service/search.py"}
"""Modules that read again without the damaged part, and raise the error if that does not help."""


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[House]:
    # Missed events are read from the log, not from memory.
    tuning = Tuning(delivery=DeliveryTuning(recent_entries=0))
    async with house(tmp_path, "User1", "User2", tuning=tuning) as opened:
        async with opened.device("User1") as client:
            await client.request("new", **CHAT, clientMessageId="c1", message="hello")
        yield opened


def break_reads(relay: Relay, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have every statement fail that does not write, with this error of SQLite."""
    writing = relay.connections.writing

    def fail(method: str) -> None:
        intact = getattr(Connection, method)

        async def one(self: Connection, *arguments: Any, **options: Any) -> Any:
            if self is writing:
                return await intact(self, *arguments, **options)
            await trio.lowlevel.checkpoint()
            error = sqlite3.DatabaseError("the page is not what it was")
            error.sqlite_errorcode, error.sqlite_errorname = getattr(sqlite3, name), name
            raise error

        monkeypatch.setattr(Connection, method, one)

    fail("execute")
    fail("page")


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the records that say that something is wrong."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def assert_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """Check that one record tells of the damage, with the advice."""
    (said,) = told(caplog)
    assert "the store cannot be read" in said
    assert "`relay check` says where; " in said
    assert "`relay repair`" in said
    assert "`relay restore FILE`" in said


async def test_requests_that_read_a_damaged_page_get_internal_and_the_log_tells_of_it_once(
    served: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served.device("User1") as client:
        await client.rest()
        break_reads(served.relay, monkeypatch, "SQLITE_CORRUPT")
        errors = [await client.refused(name, **payload) for name, payload in READING.items() for _ in range(3)]
    assert {error["code"] for error in errors} == {"internal"}
    assert not [error for error in errors if "save" in error["message"]]
    assert_told_once(caplog)


async def test_requests_that_a_failing_disk_stops_are_told_of_reading_and_may_come_again(
    served: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served.device("User1") as client:
        await client.rest()
        break_reads(served.relay, monkeypatch, "SQLITE_IOERR")
        errors = [await client.refused("messages", **CHAT) for _ in range(3)]
    (error,) = {(error["code"], error["message"]) for error in errors}
    assert error == ("unavailable", "the relay cannot read its store just now: try again later")
    assert told(caplog) == ["messages: the store cannot be read: the page is not what it was (SQLITE_IOERR)"]


async def test_connections_over_a_damaged_page_end_with_an_internal_error_and_one_record(
    served: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with served.device("User2") as client:
        await client.ack(await client.until("new"))
    async with served.device("User1") as client:
        await client.request("new", **CHAT, clientMessageId="c2", message="missed")
    await served.add_device("User2", "new")
    break_reads(served.relay, monkeypatch, "SQLITE_CORRUPT")
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            await served.open("User2new")
        assert (refused.value.status, json.loads(refused.value.body)["error"]["code"]) == (500, "internal")
        client = await served.open("User2")
        assert await client.closed() == close_codes.INTERNAL_ERROR
    assert_told_once(caplog)


async def test_an_admins_request_over_a_damaged_page_is_told_what_helps_and_so_is_the_log_once(
    served: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(_line: bytes) -> None:
        await trio.lowlevel.checkpoint()

    break_reads(served.relay, monkeypatch, "SQLITE_CORRUPT")
    line = msgspec.json.encode({"type": "request", "id": "1", "payloadType": "audit.list", "payload": {}})
    for _ in range(2):
        answer = msgspec.json.decode(
            await control_socket.answer(served.relay.admin, served.relay.clock, line, send, None, None)
        )
        assert answer["error"]["code"] == "internal", answer
        assert "`relay restore FILE`" in answer["error"]["message"]
    assert_told_once(caplog)


async def test_a_download_over_a_damaged_page_gets_internal_and_one_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with http_relay(tmp_path) as relay:
        token = await relay.user("anna")
        kept = await upload(relay, token, b"content")
        break_reads(relay.relay, monkeypatch, "SQLITE_CORRUPT")
        for _ in range(3):
            answer = await fetch(relay, token, kept)
            assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
        monkeypatch.undo()
    assert_told_once(caplog)


async def test_an_outgoing_hook_that_meets_a_damaged_page_waits_and_one_record_tells_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with outgoing_hooks.opened(tmp_path) as place:
        await place.hook()
        break_reads(place.relay, monkeypatch, "SQLITE_CORRUPT")
        await place.say("anna", place.ops, "hello")
        await outgoing_hooks.until(lambda: told(caplog))
        monkeypatch.undo()
    assert_told_once(caplog)


def test_every_door_that_meets_a_fault_of_the_store_has_one_place_answer_it() -> None:
    room, found, other = Path(refusals.__file__).parents[1], 0, []
    for path in (path for door in DOORS for path in (room / door).rglob("*.py")):
        for handler in ast.walk(ast.parse(path.read_text())):
            if isinstance(handler, ast.ExceptHandler):
                caught = ast.unparse(handler.type or handler)
            elif isinstance(handler, ast.If):
                caught = ast.unparse(handler.test) if "isinstance" in ast.unparse(handler.test) else ""
            else:
                continue
            if "sqlite3." not in caught:
                continue
            found += 1
            name = str(path.relative_to(room))
            if not CALLED.search(ast.unparse(handler)) and name not in REPAIRS:
                other.append(f"{name}:{handler.lineno}")
    assert not other, "these do not ask store/refusals.py"
    assert found >= 5
