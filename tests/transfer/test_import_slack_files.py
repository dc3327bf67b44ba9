"""Files and messages of Slack exports in other forms than Slack's own: what is understood comes, the rest is named."""

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.foreign_exports import DAY, T0, brought, folder, message, records, texts, workspace

NO_MESSAGES = "files without a list of messages: "


def test_messages_come_from_files_of_any_name_in_the_order_of_their_dates(tmp_path: Path) -> None:
    days = {
        f"general/{DAY}": [message("U1", "1"), message("U2", "4", 30)],
        "general/2023-11-14_1.json": [message("U1", "3", 20), message("U1", "5", 40)],
        "general/2023-11-14 (1).json": [message("U2", "2", 10), message("U2", "4", 30)],
        "general/2023-11-15.JSON": [message("U2", "6", 50)],
        "general/general.json": [message("U1", "0", -10), message("U2", "7", 60)],
    }
    came = brought(folder(tmp_path / "slack", workspace(more=days)), tmp_path / "data")
    assert texts(tmp_path / "data") == list("01234567")
    assert (came["added"]["messages"], came["here"]["messages"], came["left"]) == (8, 1, {})


def test_file_that_has_other_things_than_messages_is_named(tmp_path: Path) -> None:
    more = {
        "general/canvas.json": {"title": "a canvas"},
        "general/list.json": [{"id": "F1"}, 5],
        "general/a.png": b"x",
        "__uploads/F1/a.txt": b"x",
        "__uploads/F2/b.txt": b"x",
        "canvases.json": [{"id": "F1"}],
        "integration_logs.json": [],
        "general.json": [message("U1", "in no folder")],
    }
    came = brought(folder(tmp_path / "slack", workspace(more=more)), tmp_path / "data")
    assert texts(tmp_path / "data") == ["one", "two"]
    assert came["left"] == {
        f"{NO_MESSAGES}general/canvas.json": 1,
        f"{NO_MESSAGES}general/list.json": 1,
        "messages (general: expected `object | null`, got `int`)": 1,
        "files in general that are not JSON: general/a.png": 1,
        "files in __uploads that are not JSON: __uploads/F1/a.txt, __uploads/F2/b.txt": 2,
        "files that are in no channel's folder: canvases.json": 1,
        "files that are in no channel's folder: general.json": 1,
    }


def test_files_beside_the_export_and_links_to_other_places_are_named(tmp_path: Path) -> None:
    there = folder(tmp_path / "there", {"day.json": [message("U1", "three")]})
    around = folder(tmp_path / "around", {f"slack/{name}": content for name, content in workspace().items()})
    folder(around, {"other/readme.txt": b"x"})
    (around / "slack/general/2023-11-15.json").symlink_to(there / "day.json")
    came = brought(around, tmp_path / "data")
    assert came["left"] == {
        "files beside the export's folder: other/readme.txt": 1,
        "links and special files: slack/general/2023-11-15.json": 1,
    }


def test_file_with_two_names_in_a_tar_file_is_read_under_both(tmp_path: Path) -> None:
    entries = folder(tmp_path / "slack", workspace(more={"general/2023-11-15.json": [message("U2", "three", 9)]}))
    with tarfile.open(tmp_path / "slack.tar", "w") as target:
        for name in ("users.json", "channels.json", f"general/{DAY}"):
            target.add(entries / name, name)
        target.addfile(tarfile.TarInfo("copy.json"), io.BytesIO())
        second = tarfile.TarInfo("general/2023-11-15.json")
        second.type, second.linkname = tarfile.LNKTYPE, f"general/{DAY}"
        target.addfile(second)
    came = brought(tmp_path / "slack.tar", tmp_path / "data")
    assert (came["added"]["messages"], came["here"]["messages"], came["left"]) == (2, 2, {})


@pytest.mark.parametrize(
    ("flawed", "reason"),
    [
        ({"files": {"id": "F1"}}, "files: expected `array | null`, got `object`"),
        ({"ts": [1]}, "ts: expected `float | str | null`, got `array`"),
        ({"user": {"id": "U1"}}, "user: expected `str | null`, got `object`"),
    ],
)
def test_malformed_message_stays_behind_alone(flawed: dict[str, Any], reason: str, tmp_path: Path) -> None:
    day = [message("U1", "one"), {**message("U2", "bad", 1), **flawed}, message("U2", "two \ud83d", 2)]
    came = brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    assert texts(tmp_path / "data") == ["one", "two \ufffd"]
    assert came["left"] == {f"messages (general: {reason})": 1}


def test_malformed_user_or_channel_stays_behind_alone(tmp_path: Path) -> None:
    entries = workspace()
    entries["users.json"].append({"name": "no id"})
    entries["channels.json"].append("a word")
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert texts(tmp_path / "data") == ["one", "two"]
    assert came["left"] == {
        "users (users.json: id: this field is required)": 1,
        "chats (channels.json: expected `object | null`, got `str`)": 1,
    }


def test_undated_messages_of_the_same_words_all_come_and_only_once(tmp_path: Path) -> None:
    undated = [{**message("U1", "same"), "ts": "never"} for _ in range(3)]
    source = folder(tmp_path / "slack", workspace(more={f"general/{DAY}": [message("U1", "one"), *undated]}))
    assert brought(source, tmp_path / "data")["added"]["messages"] == 4
    assert brought(source, tmp_path / "data")["added"]["messages"] == 0


@pytest.mark.parametrize("again", [T0 + 0.25, f"{T0}.25", f"{T0}.250000"])
def test_date_as_number_or_as_text_is_the_same_message(again: Any, tmp_path: Path) -> None:
    reply = {**message("U2", "answer", 5), "thread_ts": again}
    first = workspace(more={f"general/{DAY}": [message("U1", "quarter", 0.25)]})
    second = workspace(more={f"general/{DAY}": [{**message("U1", "quarter"), "ts": again}, reply]})
    brought(folder(tmp_path / "one", first), tmp_path / "data")
    came = brought(folder(tmp_path / "two", second), tmp_path / "data")
    assert (came["added"]["messages"], came["here"]["messages"], came["left"]) == (1, 1, {})
    assert records(tmp_path / "data", "message")[1]["replyTo"]
