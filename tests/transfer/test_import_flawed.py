"""Exports with flaws: the valid part is imported, and `--dry-run` predicts exactly what stays behind."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import done, run
from tests.support.foreign_exports import (
    DAY,
    T0,
    brought,
    bulk,
    folder,
    group,
    lines,
    message,
    post,
    records,
    texts,
    workspace,
)


@pytest.fixture(params=["a new relay", "a relay in use"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    where = tmp_path / "data"
    if request.param == "a relay in use":
        done("user", "add", "zoe", data=where)
    return where


def user(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "user", "at": T0, "id": name, "name": name.title(), **more}


def chat(*participants: str, owner: str | None = "anna", name: str = "g", **more: Any) -> dict[str, Any]:
    return {
        "type": "chat", "at": T0, "id": name, "kind": "group", "name": "Group", "owner": owner,
        "participants": list(participants), **more,
    }  # fmt: skip


def said(text: str, sender: str = "anna", key: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "message", "at": T0 + 1, "chat": "g", "sender": sender, "clientMessageId": key or text, "text": text,
        **more,
    }  # fmt: skip


def own(tmp_path: Path, *found: dict[str, Any]) -> Path:
    """A relay's own export of these records."""
    return lines(tmp_path, [{"type": "relay", "at": T0, "format": 2, "version": "0"}, *found])


def disabled(data: Path) -> set[str]:
    return {one["id"] for one in records(data, "user") if one.get("disabled")}


# People without a record.


def test_an_author_without_a_record_becomes_a_disabled_user(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), chat("anna"), said("one"), said("two", "ben")), data)
    assert (came["added"]["messages"], came["left"]) == (2, {})
    assert disabled(data) == {"ben"}
    assert group(data)["participants"] == ["anna"]


def test_a_member_without_a_record_becomes_a_disabled_user_and_stays_a_member(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), chat("anna", "ben"), said("one")), data)
    assert came["left"] == {}
    assert disabled(data) == {"ben"}
    assert group(data)["participants"] == ["anna", "ben"]


def test_owner_who_is_not_a_member_is_replaced_by_one_who_is(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), chat("anna", owner="ben"), said("one")), data)
    assert came["left"] == {}
    assert group(data)["owner"] == "anna"


@pytest.mark.parametrize("state", ["bot", "disabled", "removed"])
def test_chat_without_anyone_who_can_sign_in_is_skipped(state: str, data: Path, tmp_path: Path) -> None:
    source = own(tmp_path, user("anna", **{state: True}), chat("anna", owner="ben"), said("one"))
    assert brought(source, data)["left"] == {
        "chats (none of its members can sign in, so it would have no owner)": 1,
        "messages of chats that stay behind": 1,
    }


def test_chat_with_a_users_id_stays_behind(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), user("g"), chat("anna"), said("one")), data)
    assert came["left"] == {"chats (the id 'g' is taken)": 1, "messages of chats that stay behind": 1}


def test_user_with_an_invalid_id_is_skipped_with_their_messages(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), user("a b"), chat("anna"), said("one"), said("two", "a b")), data)
    assert came["added"] == {"users": 1, "chats": 1, "messages": 1, "files": 0}
    assert came["left"]["messages (there is no user 'a b' here)"] == 1


def test_user_listed_twice_is_imported_once(data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), user("anna"), chat("anna")), data)
    assert (came["added"]["users"], came["here"]["users"]) == (1, 1)


def test_two_dialogs_of_slack_with_the_same_people_are_one_chat(data: Path, tmp_path: Path) -> None:
    notes = [{"id": "D1", "members": ["U1"]}, {"id": "D2", "members": ["U1", "U1"]}]
    days = {f"D1/{DAY}": [message("U1", "first")], f"D2/{DAY}": [message("U1", "second", 1)]}
    came = brought(folder(tmp_path / "slack", workspace(more={"dms.json": notes, **days})), data)
    assert (came["added"]["chats"], came["here"]["chats"], came["added"]["messages"]) == (2, 1, 4)


LOST = "links from replies to messages that are not here"


@pytest.mark.parametrize("times", [1, 2])
def test_dry_run_predicts_which_replies_lose_their_original(times: int, data: Path, tmp_path: Path) -> None:
    people = [user("anna"), user("ben"), chat("anna", "ben")]
    found = [
        said("one"),
        said("two", "ben", replyTo="one", replySender="anna"),
        said("three", replyTo="gone", replySender="anna"),
        said("four", replyTo="five", replySender="ben"),
        said("five", "ben", replyTo="one", replySender="nobody"),
    ]
    # The second time half of it is here already.
    if times == 2:
        brought(own(tmp_path, *people, *found[:3]), data)
    came = brought(own(tmp_path, *people, *found), data)
    assert came["left"] == {LOST: 3 if times == 1 else 2}


def test_dry_run_predicts_a_lost_reply_across_many_messages(data: Path, tmp_path: Path) -> None:
    between = [said(f"m{number}") for number in range(450)]
    answers = [
        said("here", replyTo="m0", replySender="anna"),
        said("lost", replyTo="m450", replySender="anna"),
        said("m1"),
    ]
    came = brought(own(tmp_path, user("anna"), chat("anna"), *between, *answers), data)
    assert (came["left"], came["here"]["messages"]) == ({LOST: 1}, 1)


# Messages that cannot be imported.


@pytest.mark.parametrize("key", ["k" * 129, "k" * 200])
def test_long_client_id_is_shortened_and_recognised_at_the_next_import(key: str, data: Path, tmp_path: Path) -> None:
    answer = said("two", replyTo=key, replySender="anna")
    edit = {"type": "edit", "at": T0 + 2, "chat": "g", "sender": "anna", "clientMessageId": "e" * 200,
            "original": key, "originalSender": "anna"}  # fmt: skip
    source = own(tmp_path, user("anna"), chat("anna"), said("one", key=key), answer, edit)
    assert (brought(source, data)["added"]["messages"], len(records(data, "edit"))) == (2, 1)
    assert records(data, "message")[1]["replyTo"]
    assert brought(source, data)["here"]["messages"] == 2


@pytest.mark.parametrize(
    "flaw",
    [
        pytest.param({"clientMessageId": "a\0b"}, id="NUL in a client id"),
        pytest.param({"sender": "s" * 65}, id="long sender"),
        pytest.param({"clientMessageId": ""}, id="no client id"),
    ],
)
def test_message_that_cannot_be_imported_is_skipped_alone(flaw: dict[str, str], data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), chat("anna"), said("one"), said("two", **flaw), said("three")), data)
    assert texts(data) == ["one", "three"]
    assert sum(count for what, count in came["left"].items() if what.startswith("messages (")) == 1


@pytest.mark.parametrize(
    ("flaw", "field"), [({"text": [1]}, "text"), ({"type": "poll"}, "type"), ({"attachments": [{"id": 5}]}, "attach")]
)
def test_record_of_another_form_is_skipped_alone(flaw: dict[str, Any], field: str, data: Path, tmp_path: Path) -> None:
    came = brought(own(tmp_path, user("anna"), chat("anna"), said("one"), {**said("two"), **flaw}, said("three")), data)
    assert texts(data) == ["one", "three"]
    (left,) = came["left"]
    assert left.startswith(f"records (line 5: {field}")


# Half characters.

HALF = "\\ud83d"
PAIR = "\\ud83d\\ude00"


@pytest.mark.parametrize("half", [HALF, "\\ude00", "\\uD83D\\ud83d"])
@pytest.mark.parametrize("kind", ["slack", "mattermost", "own"])
def test_half_character_becomes_a_replacement_character(kind: str, half: str, data: Path, tmp_path: Path) -> None:
    if kind == "slack":
        source = folder(tmp_path / "slack", workspace(more={f"general/{DAY}": [message("U1", "a HALF b WHOLE")]}))
        file = source / "general" / DAY
    else:
        found = [user("anna"), chat("anna"), said("a HALF b WHOLE")]
        source = file = lines(tmp_path, bulk(post("a HALF b WHOLE"))) if kind == "mattermost" else own(tmp_path, *found)
    file.write_text(file.read_text().replace("HALF", half).replace("WHOLE", PAIR))
    came = brought(source, data)
    assert came["added"]["messages"] == 1
    (text,) = texts(data)
    assert text == "a " + "\ufffd" * (len(half) // 6) + " b 😀"


def test_half_character_in_bytes_leaves_the_other_letters_unchanged(data: Path, tmp_path: Path) -> None:
    day = json.dumps([message("U1", "grün \ud83d")], ensure_ascii=False).encode("utf-8", "surrogatepass")
    came = brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), data)
    assert (texts(data), came["left"]) == (["grün \ufffd"], {})


def test_message_refused_by_the_relay_is_counted_without_asking_for_a_repeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.core.admin.importing.messages import MessageHistoryImport
    from relay.protocol.errors import RelayError

    async def refuse(_import: MessageHistoryImport, request: Any) -> object:
        raise RelayError("bad_request", "payload: no")

    monkeypatch.setattr(MessageHistoryImport, "import_messages", refuse)
    ran = run("import", own(tmp_path, user("anna"), chat("anna"), said("one")), data=tmp_path / "data")
    assert (ran.code, ran.err) == (0, "")
    assert "left behind: 1 messages (payload: no)\n" in ran.out
    assert "call it again" not in ran.out


# Texts generated while a message is read.


def _program(**more: Any) -> dict[str, Any]:
    return workspace(
        more={f"general/{DAY}": [message("U1", "one"), message("U1", "", 1, **more), message("U2", "two", 2)]}
    )


def _emoji_block(code: str) -> list[dict[str, Any]]:
    emoji = {"type": "emoji", "name": "smile", "unicode": code}
    return [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [emoji]}]}]


@pytest.mark.parametrize(
    ("code", "shown"),
    [("1f600", "😀"), ("d83d-de00", "😀"), ("d83d", "\ufffd"), ("de00-d83d", "\ufffd\ufffd"), ("zz", ":smile:")],
)
def test_emoji_of_half_characters_affects_nothing_else(data: Path, tmp_path: Path, code: str, shown: str) -> None:
    came = brought(folder(tmp_path / "slack", _program(blocks=_emoji_block(code))), data)
    assert (came["added"]["messages"], came["left"]) == (3, {})
    assert texts(data) == ["one", shown, "two"]


@pytest.mark.parametrize("field", ["blocks", "attachments"])
def test_half_characters_in_json_within_json_are_replaced(data: Path, tmp_path: Path, field: str) -> None:
    part = {"type": "section", "text": "cut \ud83d, whole 😀"}
    came = brought(folder(tmp_path / "slack", _program(**{field: json.dumps([part])})), data)
    assert (came["added"]["messages"], came["left"]) == (3, {})
    assert texts(data)[1] == "cut \ufffd, whole 😀"


@pytest.mark.parametrize("name", [b"caf\xe9", b"caf\xed\xa0\xbd"], ids=["Windows", "half a character"])
def test_folder_with_a_name_outside_utf8_is_also_reported_in_json(data: Path, tmp_path: Path, name: bytes) -> None:
    source = folder(tmp_path / "slack", workspace())
    folder(source, {f"{os.fsdecode(name)}/{DAY}": [message("U1", "lost")]})
    came = brought(source, data)
    assert came["added"]["messages"] == 2
    (left,) = came["left"]
    assert left.startswith(r"days of a folder that belongs to no channel: caf\x")
