"""Members and owners of imported chats."""

import json
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
    records,
    texts,
    workspace,
)


@pytest.mark.parametrize(
    ("creator", "members", "owner"),
    [
        pytest.param("U1", ["U1", "U2"], "anna", id="its creator"),
        pytest.param("U1", ["U2", "U3"], "ben", id="a person who left owns nothing, and is not a member"),
        pytest.param("U4", ["U4", "U3", "U2"], "carl", id="a deactivated person owns nothing"),
        pytest.param("U5", ["U5", "U2"], "ben", id="a bot owns nothing"),
        pytest.param(None, ["U3", "U2"], "carl", id="the longest"),
        pytest.param("U9", ["U9", "U2"], "ben", id="who is in no list"),
    ],
)
def test_members_and_owner_come_from_the_export(
    creator: str | None, members: list[str], owner: str, tmp_path: Path
) -> None:
    # RocketChat/Rocket.Chat#3911 and #4934 (an unknown creator), mattermost/mattermost#1518, adsr/irslackd#67.
    users: list[dict[str, Any]] = [
        {"id": "U1", "name": "anna"},
        {"id": "U2", "name": "ben"},
        {"id": "U3", "name": "carl"},
        {"id": "U4", "name": "dora", "deleted": True},
        {"id": "U5", "name": "bot", "is_bot": True},
    ]
    names = {user["id"]: user["name"] for user in users}
    channels = [{"id": "C1", "name": "general", "creator": creator, "members": members}]
    day = [message(user["id"], "hi", number) for number, user in enumerate(users)]
    entries = workspace(more={"users.json": users, "channels.json": channels, f"general/{DAY}": day})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    chat = group(tmp_path / "data")
    assert chat["owner"] == owner
    assert sorted(chat["participants"]) == sorted(names[one] for one in members if one in names)
    assert came["added"]["messages"] == len(users)


def test_channel_without_a_possible_owner_is_skipped_and_counted(tmp_path: Path) -> None:
    # zulip/zulip#15102: channels with history but without members.
    users = [{"id": "U1", "name": "anna", "deleted": True}, {"id": "U2", "name": "ben"}]
    channels = [{"id": "C1", "name": "general", "members": ["U1"]}, {"id": "C2", "name": "empty", "members": []}]
    entries = workspace(more={"users.json": users, "channels.json": channels})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["added"] == {"users": 2, "chats": 0, "messages": 0, "files": 0}
    assert came["left"] == {
        "chats (none of its members can sign in, so it would have no owner)": 2,
        "messages of chats that stay behind": 2,
    }
    assert (came["ownerless"], came["kept"]) == (["general", "empty"], [])


ARCHIVED = {"id": "G1", "name": "hr", "creator": "U1", "is_archived": True}


def _private(tmp_path: Path, *notes: dict[str, Any], **more: Any) -> Path:
    """An export with a private channel in which ben and then anna wrote; anna and ben talk in another one."""
    day = [message("U2", "hi from ben"), *notes, message("U1", "after ben had left", 99)]
    return folder(tmp_path / "slack", workspace(more={"groups.json": [{**ARCHIVED, **more}], f"hr/{DAY}": day}))


def _joined(user: str, at: float) -> dict[str, Any]:
    return message(user, "joined", at, subtype="group_join")


def _left(user: str, at: float) -> dict[str, Any]:
    return message(user, "left", at, subtype="group_leave")


@pytest.mark.parametrize("notes", [(), (_joined("U2", 0.5),), (_joined("U2", 0.5), _left("U2", 1))])
def test_slack_channel_with_an_empty_list_of_members_gets_none(notes: Any, tmp_path: Path) -> None:
    # mattermost/mattermost#9821: who had left a private room was back in it.
    source = _private(tmp_path, *notes, members=[])
    came = brought(source, tmp_path / "data")
    assert came["ownerless"] == ["hr"]
    assert texts(tmp_path / "data") == ["one", "two"]
    assert [chat["name"] for chat in records(tmp_path / "data", "chat")] == ["general"]
    # Said to a person, with what to do, beforehand and afterwards.
    for dry in (["--dry-run"], []):
        said = done("import", "--same", *dry, source, data=tmp_path / "data").out
        assert "left behind, because none of their members can sign in: hr" in said
        assert "--owner ID" in said


@pytest.mark.parametrize("listed", [{}, {"members": None}])
@pytest.mark.parametrize(
    ("notes", "members"),
    [
        ([_joined("U1", 0.1), _joined("U2", 0.2)], ["anna", "ben"]),
        ([_joined("U1", 0.1), _joined("U2", 0.2), _left("U2", 3)], ["anna"]),
        ([_joined("U2", 0.2), _left("U2", 3), _joined("U2", 4)], ["ben"]),
        ([_joined("U1", 0.1), _joined("U9", 0.2)], ["anna"]),
        ([_joined("U1", 0.1), _left("U1", 0.2), _left("U2", 3)], []),
        ([], []),
    ],
)
def test_slack_channel_without_a_list_gets_those_who_joined_and_did_not_leave(
    listed: dict[str, Any], notes: list[dict[str, Any]], members: list[str], tmp_path: Path
) -> None:
    came = brought(_private(tmp_path, *notes, **listed), tmp_path / "data")
    found = [chat for chat in records(tmp_path / "data", "chat") if chat["name"] == "hr"]
    assert [sorted(chat["participants"]) for chat in found] == ([members] if members else [])
    assert list(came["inferred"].values()) == [1]


@pytest.mark.parametrize("owner", ["ben", "zoe"])
def test_owner_named_by_the_admin_gets_the_groups_in_which_nobody_is_left(owner: str, tmp_path: Path) -> None:
    source, data = _private(tmp_path, members=[]), tmp_path / "data"
    done("user", "add", "zoe", data=data)
    brought(source, data)
    planned = done("import", "--dry-run", "--json", "--owner", owner, source, data=data).json
    came = done("import", "--json", "--owner", owner, source, data=data).json
    assert {**came, "dryRun": True} == planned
    assert (came["kept"], came["ownerless"], came["added"]["messages"]) == (["hr"], [], 2)
    chats = {chat["name"]: chat for chat in records(data, "chat")}
    assert (chats["hr"]["owner"], chats["hr"]["participants"]) == (owner, [owner])
    assert sorted(chats["general"]["participants"]) == ["anna", "ben"]
    # A repeat changes nothing, with the option or without.
    for again in ([], ["--owner", "anna"]):
        assert done("import", "--json", *again, source, data=data).json["added"]["chats"] == 0
    assert {chat["name"]: chat for chat in records(data, "chat")} == chats


def test_unknown_owner_is_refused_before_anything_is_imported(tmp_path: Path) -> None:
    failed = run("import", "--owner", "nobody", _private(tmp_path, members=[]), data=tmp_path / "data")
    assert failed.code == 1
    assert "--owner: there is no user 'nobody' here or in the export" in failed.err
    assert records(tmp_path / "data", "user") == []


def test_disabled_owner_is_refused_for_each_group(tmp_path: Path) -> None:
    done("user", "add", "zoe", data=tmp_path / "data")
    done("user", "disable", "zoe", data=tmp_path / "data")
    source = _private(tmp_path, members=[])
    came = done("import", "--json", "--owner", "zoe", source, data=tmp_path / "data").json
    assert (came["kept"], came["ownerless"]) == ([], ["hr"])


def test_group_without_members_in_a_relay_export_has_none(tmp_path: Path) -> None:
    for user in ("anna", "ben"):
        done("user", "add", user, data=tmp_path / "source")
    done("chat", "create", "Crew", "--owner", "anna", "ben", data=tmp_path / "source")
    (crew,) = records(tmp_path / "source", "chat")
    done("send", "--as", "ben", crew["id"], "hello", data=tmp_path / "source")
    found = list(map(json.loads, done("export", data=tmp_path / "source").out.splitlines()))
    empty = [{**one, "participants": []} if one["type"] == "chat" else one for one in found]
    came = brought(lines(tmp_path, empty), tmp_path / "data")
    assert (came["ownerless"], came["added"]["messages"]) == (["Crew"], 0)


def test_members_of_a_slack_channel_are_those_in_its_list(tmp_path: Path) -> None:
    users = [{"id": f"U{number}", "name": name} for number, name in enumerate(("anna", "ben", "carl", "dora"), start=1)]
    day = [
        message("U2", "one"),
        message("U3", "<@U3> has joined", 1, subtype="channel_join"),
        message(None, "beep", 2, bot_id="B1", username="Beeper"),
        message("U9", "of somebody who was deleted", 3),
    ]
    channels = [{"id": "C1", "name": "general", "creator": "U1", "members": ["U4"]}]
    entries = workspace(more={"users.json": users, "channels.json": channels, f"general/{DAY}": day})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert (came["added"]["messages"], came["inferred"]) == (3, {})
    chat = group(tmp_path / "data")
    assert (chat["owner"], chat["participants"]) == ("dora", ["dora"])


@pytest.mark.parametrize(("authors", "came_in"), [(["U1", "U2"], 2), (["U1", "U1"], 0)])
def test_dialog_without_a_list_of_members_is_imported_if_both_wrote(
    authors: list[str], came_in: int, tmp_path: Path
) -> None:
    day = [message(author, f"m{number}", number) for number, author in enumerate(authors)]
    entries = workspace(more={"dms.json": [{"id": "D1"}], f"D1/{DAY}": day})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["added"]["messages"] == 2 + came_in
    assert sum(came["inferred"].values()) == (came_in > 0)


def test_unlisted_authors_become_disabled_users(tmp_path: Path) -> None:
    # mattermost/mattermost#11856 (deleted users), zulip/zulip#10772 and #23552, RocketChat/Rocket.Chat#12075.
    guest = {"real_name": "Gus Guest", "name": "gus"}
    day = [message("U8", "from elsewhere", user_profile=guest), message("U9", "who was deleted", 1)]
    brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    people = {user["id"]: user for user in records(tmp_path / "data", "user")}
    assert (people["gus"]["name"], people["gus"]["disabled"], people["U9"]["disabled"]) == ("Gus Guest", True, True)
    assert sorted(group(tmp_path / "data")["participants"]) == ["anna", "ben"]


UNKNOWN = "members of channels who are in no list of users and wrote nothing"


def test_unknown_members_of_a_slack_channel_are_counted(tmp_path: Path) -> None:
    channels = [{"id": "C1", "name": "general", "members": ["U1", "U2", "U7", "U8", "U8", None, "U9"]}]
    day = [message("U9", "of somebody who was deleted")]
    entries = workspace(more={"channels.json": channels, f"general/{DAY}": day})
    assert brought(folder(tmp_path / "slack", entries), tmp_path / "data")["left"] == {UNKNOWN: 2}
    assert sorted(group(tmp_path / "data")["participants"]) == ["U9", "anna", "ben"]


def test_unknown_members_of_a_mattermost_group_are_counted(tmp_path: Path) -> None:
    direct = {"channel_members": ["anna", "ben", "nobody"], "user": "anna", "message": "hello", "create_at": T0}
    found = [*bulk(), {"type": "direct_post", "direct_post": direct}]
    assert brought(lines(tmp_path, found), tmp_path / "data")["left"] == {UNKNOWN: 1}


def test_a_dialog_with_an_unknown_user_stays_behind(tmp_path: Path) -> None:
    entries = workspace(
        more={"dms.json": [{"id": "D1", "members": ["U1", "U7"]}], f"D1/{DAY}": [message("U1", "psst")]}
    )
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["left"] == {
        "dialogs with people who are not in the export": 1,
        "messages of chats that stay behind": 1,
    }


def test_a_bots_message_in_a_dialog_stays_in_that_dialog(tmp_path: Path) -> None:
    day = [message("U1", "hi"), message(None, "beep", 1, bot_id="B1", username="Beeper")]
    entries = workspace(more={"dms.json": [{"id": "D1", "members": ["U1", "U2"]}], f"D1/{DAY}": day})
    brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    said = [one for one in records(tmp_path / "data", "message") if one.get("participants")]
    assert [(one["sender"], one["participants"]) for one in said] == [
        ("anna", ["anna", "ben"]),
        ("Beeper", ["anna", "ben"]),
    ]
