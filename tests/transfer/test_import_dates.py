"""Dates of an import: valid and invalid ones, and their effect on the relay's time."""

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from relay.cli.importers.formats.dates import moment
from relay.cli.output import when
from relay.protocol import control
from relay.protocol.base import LATEST_DATE_MS
from tests.support.command_line import done
from tests.support.foreign_exports import DAY, T0, brought, bulk, folder, lines, message, post, records, workspace

# Dates.

NO_DATES: list[object] = [-1, 0, "", "noon", None, True, float("nan"), float("inf"), "-5", [], 1e300, 2**73]


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        (1_700_000_000, T0 * 1_000),
        (1_700_000_000_123, T0 * 1_000 + 123),
        ("1700000000.123400", T0 * 1_000 + 123),
        (1_700_000_000_123_456, T0 * 1_000 + 123),
        (1.7e18, T0 * 1_000),
        ("2023-11-14T22:13:20Z", T0 * 1_000),
        ("2023-11-14T23:13:20+01:00", T0 * 1_000),
        ("2023-11-14 22:13:20", T0 * 1_000),
        *((none, None) for none in NO_DATES),
    ],
)
def test_date_is_read_or_rejected(said: Any, is_: int | None) -> None:
    assert moment(said) == is_


@pytest.mark.parametrize("odd", [-1, 0, "noon", None, ""])
def test_message_without_a_date_gets_that_of_the_previous_one(odd: Any, tmp_path: Path) -> None:
    # A `create_at` of -1 once ended the import (see also vmiklos/plees-tracker#579).
    file = lines(tmp_path, bulk(post("first"), {**post("second"), "create_at": odd}))
    came = brought(file, tmp_path / "data")
    assert [(one["text"], one["at"]) for one in records(tmp_path / "data", "message")] == [
        ("first", T0 * 1_000),
        ("second", T0 * 1_000),
    ]
    assert came["left"] == {"invalid dates: these messages get the date of the previous one": 1}


def test_date_after_the_year_9999_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = 2**53 - 1
    said = [{"type": "message", "chat": "g", "sender": "anna", "clientMessageId": text, "text": text, "at": at}
            for text, at in (("first", T0), ("far", far))]  # fmt: skip
    export = [
        {"type": "relay", "format": 2, "at": T0},
        {"type": "user", "id": "anna", "name": "Anna", "at": far},
        {"type": "chat", "id": "g", "kind": "group", "name": "G", "owner": "anna", "participants": ["anna"], "at": far},
        *said,
    ]
    done("import", lines(tmp_path, export), data=tmp_path / "data")
    assert [one["at"] for one in records(tmp_path / "data", "message")] == [T0, T0]
    # Every command that showed one ended with a traceback.
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        done("user", "show", "anna", data=tmp_path / "data")
        assert when(far).startswith("9999-12-30")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kind", [control.UserImport, control.ChatImport, control.MessageImport])
def test_no_import_stores_a_date_after_the_year_9999(kind: Any) -> None:
    said = {"id": "a", "name": "A", "sender": "a", "participants": ["a"], "clientMessageId": "1"}
    msgspec.convert({**said, "at": LATEST_DATE_MS, "createdAt": LATEST_DATE_MS}, kind)
    for one in ({"at": LATEST_DATE_MS + 1}, {"at": 1, "createdAt": LATEST_DATE_MS + 1}):
        if "createdAt" in one and kind is control.MessageImport:
            continue
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**said, **one}, kind)


def test_a_future_date_is_shown_and_does_not_move_the_clock(tmp_path: Path) -> None:
    # mattermost/mattermost#902 (all posts had the time of the import) and its opposite.
    file = lines(tmp_path, bulk(post("soon", at=4_000_000_000_000), post("then")))
    done("import", file, data=tmp_path / "data")
    done("user", "add", "new", data=tmp_path / "data")
    assert {one["text"]: one["at"] for one in records(tmp_path / "data", "message")} == {
        "then": T0 * 1_000,
        "soon": 4_000_000_000_000,
    }
    (new,) = (one for one in records(tmp_path / "data", "user") if one["id"] == "new")
    assert new["at"] < 3_000_000_000_000


def test_time_after_an_import_continues_from_today(tmp_path: Path) -> None:
    done("import", folder(tmp_path / "slack", workspace()), data=tmp_path / "data")
    done("send", "--as", "anna", "general", "today", data=tmp_path / "data")
    assert records(tmp_path / "data", "message")[-1]["at"] > (T0 + 86_400) * 1_000


def test_a_reply_dated_before_its_post_follows_it(tmp_path: Path) -> None:
    # mattermost/mattermost#20292, #14442, #14959.
    replies = [{"user": "ben", "message": "reply", "create_at": T0 * 1_000 - 9}]
    done("import", lines(tmp_path, bulk({**post("root"), "replies": replies})), data=tmp_path / "data")
    root, reply = records(tmp_path / "data", "message")
    assert (root["text"], reply["text"], reply["replyTo"]) == ("root", "reply", root["clientMessageId"])


def test_threads_stay_together_and_orphaned_replies_are_counted(tmp_path: Path) -> None:
    # mattermost/mattermost#10203, chattocorp/chatto#483: a reply whose root is not in the export.
    root = f"{T0:.6f}"
    day = [
        message("U1", "root", thread_ts=root),
        message("U2", "reply", 1, thread_ts=root),
        message("U2", "also to all", 2, thread_ts=root, subtype="thread_broadcast"),
        message("U1", "to nothing", 3, thread_ts="1600000000.000000"),
    ]
    came = brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    said = records(tmp_path / "data", "message")
    assert [one.get("replyTo") for one in said] == [None, said[0]["clientMessageId"], said[0]["clientMessageId"], None]
    assert came["left"] == {"replies to messages that are not in the export: imported as plain messages": 1}
