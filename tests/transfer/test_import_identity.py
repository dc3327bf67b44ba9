"""Matching people of an export with users here: by their id in the source system, whatever else it says."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import done, run
from tests.support.foreign_exports import T0, Entries, brought, folder, lines, message, records

DAY = "2023-11-14.json"
ANNA: Entries = {"id": "U1", "name": "anna"}
OLD: Entries = {"id": "U2", "name": "max", "real_name": "Max Alt"}
NEW: Entries = {"id": "U3", "name": "max", "real_name": "Max Neu"}


def slack(root: Path, users: list[Entries], days: dict[str, list[Entries]], **lists: Any) -> Path:
    """A workspace with the channel C1 of all its users, and one day's messages of some folders."""
    channel = {"id": "C1", "name": "general", "created": T0 - 5, "members": [user["id"] for user in users]}
    entries = {f"{name}/{DAY}": day for name, day in days.items()}
    more = {f"{name}.json": content for name, content in lists.items()}
    return folder(root, {"users.json": users, "channels.json": [channel], **entries, **more})


def names(data: Path) -> dict[str, str]:
    """The names of the users here, by id."""
    return {user["id"]: user["name"] for user in records(data, "user")}


def said(data: Path) -> list[tuple[str, str]]:
    """The author's name and the text of each message, by text."""
    people = names(data)
    found = [(people[one["sender"]], one["text"]) for one in records(data, "message")]
    return sorted(found, key=lambda one: one[1])


def readers(data: Path) -> dict[str, set[str]]:
    """The names of the two people of each message in a dialog."""
    people = names(data)
    found = [one for one in records(data, "message") if one.get("participants")]
    return {one["text"]: {people[user] for user in one["participants"]} for one in found}


# Slack: an id never changes; handles do, and several people may have the same.


def test_private_messages_stay_with_their_reader_when_two_people_swap_handles(tmp_path: Path) -> None:
    dms = [{"id": "D1", "members": ["U1", "U2"]}, {"id": "D2", "members": ["U1", "U3"]}]
    days = {"general": [message("U2", "a")], "D1": [message("U1", "to old")], "D2": [message("U1", "to new")]}
    data = tmp_path / "data"
    brought(slack(tmp_path / "first", [ANNA, OLD, NEW], days, dms=dms), data)
    came = brought(slack(tmp_path / "second", [ANNA, NEW, OLD], days, dms=dms), data)
    assert came["added"]["messages"] == 0
    assert readers(data) == {"to old": {"anna", "Max Alt"}, "to new": {"anna", "Max Neu"}}
    assert said(data)[0] == ("Max Alt", "a")


def test_users_with_non_latin_handles_keep_their_ids_when_another_joins(tmp_path: Path) -> None:
    anna, boris, vera = ({"id": f"U{n}", "name": name} for n, name in ((1, "анна"), (3, "борис"), (2, "вера")))
    day = [message("U1", "from anna"), message("U3", "from boris", 1)]
    data = tmp_path / "data"
    brought(slack(tmp_path / "first", [anna, boris], {"general": day}), data)
    more = [*day, message("U2", "from vera", 2)]
    came = brought(slack(tmp_path / "second", [anna, vera, boris], {"general": more}), data)
    assert (came["added"]["users"], came["added"]["messages"]) == (1, 1)
    assert said(data) == [("анна", "from anna"), ("борис", "from boris"), ("вера", "from vera")]


def test_person_with_a_changed_handle_is_the_same_person(tmp_path: Path) -> None:
    day, data = [message("U1", "one")], tmp_path / "data"
    brought(slack(tmp_path / "first", [ANNA], {"general": day}), data)
    renamed = {**ANNA, "name": "anna.meyer", "real_name": "Anna Meyer"}
    came = brought(slack(tmp_path / "second", [renamed], {"general": [*day, message("U1", "two", 1)]}), data)
    assert (came["added"]["users"], came["added"]["messages"]) == (0, 1)
    assert said(data) == [("anna", "one"), ("anna", "two")]


def test_new_person_with_a_former_handle_of_another_is_a_new_user(tmp_path: Path) -> None:
    data = tmp_path / "data"
    brought(slack(tmp_path / "first", [OLD], {"general": [message("U2", "old")]}), data)
    days = {"general": [message("U2", "old"), message("U3", "new", 1)]}
    came = brought(slack(tmp_path / "second", [NEW, {**OLD, "name": "maxi"}], days), data)
    assert list(came["others"]) == ["max"]
    assert said(data) == [("Max Neu", "new"), ("Max Alt", "old")]


@pytest.mark.parametrize("option", [(), ("--map", "U1=eva")])
def test_person_in_no_channel_is_matched_by_the_workspace(option: tuple[str, ...], tmp_path: Path) -> None:
    """A channel of the same id and date shows which workspace it is."""
    zoe, day = {"id": "U4", "name": "zoe"}, [message("U1", "one"), message("U4", "two", 1)]
    data, source = tmp_path / "data", slack(tmp_path / "first", [zoe], {"general": day}, org_users=[ANNA])
    brought(source, data)
    renamed = slack(tmp_path / "second", [zoe], {"general": [*day, message("U1", "new", 2)][1:]})
    (renamed / "org_users.json").write_text(json.dumps([{"id": "U1", "name": "anna.meyer", "real_name": "Anna M."}]))
    ran = run("import", *option, renamed, data=data)
    assert (ran.code, "is anna here since an earlier import, and not eva" in ran.err) == (bool(option), bool(option))
    assert said(data) == [("anna", "new")] * (not option) + [("anna", "one"), ("zoe", "two")]


def bot(bot_id: str | None, name: str, text: str, seconds: float) -> Entries:
    return {**message(None, text, seconds), "subtype": "bot_message", "bot_id": bot_id, "username": name}


@pytest.mark.parametrize(
    "day",
    [
        [bot("B1", "GitHub", "1", 1), bot("B2", "GitHub", "2", 2), bot("B1", "GitHub", "3", 3)],
        [bot("B1", "Jenkins", "1", 1), bot("B1", "Travis", "2", 2), bot("B1", "Jenkins", "3", 3)],
        [bot(None, "GitHub", "1", 1), bot("B2", "GitHub", "2", 2), bot(None, "GitHub", "3", 3)],
        [message("W1", "1", 1, user_profile={"name": "gus"}), message("W2", "2", 2, user_profile={"name": "gus"}),
         message("W1", "3", 3, user_profile={"name": "gus.g"})],
    ],
)  # fmt: skip
def test_later_export_doubles_no_message_of_bots_or_unknown_people(day: list[Entries], tmp_path: Path) -> None:
    data = tmp_path / "data"
    brought(slack(tmp_path / "first", [ANNA], {"general": day}), data)
    before = {one["text"]: one["sender"] for one in records(data, "message")}
    came = brought(slack(tmp_path / "second", [ANNA], {"general": day[1:]}), data)
    assert (came["added"]["users"], came["added"]["messages"]) == (0, 0)
    assert {one["text"]: one["sender"] for one in records(data, "message")} == before
    assert before["1"] == before["3"]


def test_messages_of_programs_without_an_id_and_comments_on_files_have_their_authors(tmp_path: Path) -> None:
    comment = {**message(None, "nice", 2), "subtype": "file_comment", "comment": {"id": "F1", "user": "U1"}}
    day = [bot(None, "GitHub", "push", 1), comment, message(None, "by nobody", 3)]
    came = brought(slack(tmp_path / "slack", [ANNA], {"general": day}), tmp_path / "data")
    assert came["left"] == {"messages without an author": 1}
    assert said(tmp_path / "data") == [("anna", "nice"), ("GitHub", "push")]


def test_channels_mentioned_by_id_get_their_names(tmp_path: Path) -> None:
    section = {"type": "rich_text_section", "elements": [{"type": "channel", "channel_id": "C1"}]}
    program = bot("B1", "GitHub", "", 1) | {"blocks": [{"type": "rich_text", "elements": [section]}]}
    day = [message("U1", "see <#C1|> and <#C9>"), program]
    brought(slack(tmp_path / "slack", [ANNA], {"general": day}), tmp_path / "data")
    assert [text for _, text in said(tmp_path / "data")] == ["#general", "see #general and #C9"]


# Mattermost: an export identifies a user only by name.


def mattermost(*found: tuple[str, Any]) -> list[Entries]:
    return [{"type": "version", "version": 1}, *({"type": kind, kind: one} for kind, one in found)]


def direct(to: str, text: str) -> tuple[str, Any]:
    members = ["anna", to]
    return "direct_post", {"channel_members": members, "user": "anna", "message": text, "create_at": T0 * 1_000}


def test_private_messages_stay_with_their_reader_when_similar_names_are_swapped(tmp_path: Path) -> None:
    users = [("user", {"username": name}) for name in ("anna", "max", "max.")]
    posts, data = [direct("max", "to max"), direct("max.", "to max.")], tmp_path / "data"
    brought(lines(tmp_path, mattermost(*users, *posts)), data)
    came = brought(lines(tmp_path, mattermost(*reversed(users), *posts)), data)
    assert came["added"]["messages"] == 0
    assert readers(data) == {"to max": {"anna", "max"}, "to max.": {"anna", "max."}}


def team(name: str, channel: str, user: str, text: str) -> list[tuple[str, Any]]:
    place = {"team": name, "channel": channel}
    return [
        ("channel", {"team": name, "name": channel, "type": "P"}),
        ("user", {"username": user, "teams": [{"name": name, "channels": [{"name": channel}]}]}),
        ("post", {**place, "user": user, "message": text, "create_at": T0 * 1_000}),
    ]


def test_two_channels_with_similar_names_in_two_exports_stay_two(tmp_path: Path) -> None:
    data = tmp_path / "data"
    one, two = team("a", "b-c", "anna", "of anna"), team("a-b", "c", "ben", "of ben")
    for found in (one, two, [*two, *one], one):
        brought(lines(tmp_path, mattermost(*found)), data)
    chats = {chat["id"]: chat["participants"] for chat in records(data, "chat")}
    assert [(chats[one["chat"]], one["text"]) for one in records(data, "message")] == [
        (["anna"], "of anna"),
        (["ben"], "of ben"),
    ]


# People imported by an older relay, and others known only by name.


def older(source: Path, tmp_path: Path) -> Path:
    """A relay that imported an export without noting its system's ids."""
    there, data = tmp_path / "there", tmp_path / "older"
    brought(source, there)
    export = [json.loads(line) for line in done("export", data=there).out.splitlines()]
    # It numbered people who wanted the same id.
    text = "\n".join(json.dumps({key: one[key] for key in one if key != "origins"}) for one in export)
    for number, user in enumerate((user for user in records(there, "user") if user["id"].startswith("max")), start=1):
        text = text.replace(f'"{user["id"]}"', f'"max-{number}"' if number > 1 else '"max"')
    (tmp_path / "older.jsonl").write_text(text)
    done("import", tmp_path / "older.jsonl", data=data)
    return data


def test_a_unique_person_of_an_older_import_is_confirmed_once(tmp_path: Path) -> None:
    source = slack(tmp_path / "slack", [ANNA], {"general": [message("U1", "one")]})
    data = older(source, tmp_path)
    ran = run("import", source, data=data)
    assert (ran.code, "anna (anna there, anna here)" in ran.err) == (1, True)
    done("import", "--same", source, data=data)
    renamed = slack(tmp_path / "renamed", [{**ANNA, "name": "anna.meyer"}], {"general": [message("U1", "one")]})
    assert done("import", "--json", renamed, data=data).json["added"]["messages"] == 0
    assert said(data) == [("anna", "one")]


def test_people_with_one_handle_in_an_older_import_are_not_guessed(tmp_path: Path) -> None:
    dms = [{"id": "D1", "members": ["U1", "U2"]}, {"id": "D2", "members": ["U1", "U3"]}]
    days = {"D1": [message("U1", "to old")], "D2": [message("U1", "to new")]}
    data = older(slack(tmp_path / "first", [ANNA, OLD, NEW], days, dms=dms), tmp_path)
    before = readers(data)
    turned = slack(tmp_path / "second", [ANNA, NEW, OLD], days, dms=dms)
    ran = run("import", "--same", turned, data=data)
    assert ran.code == 1
    assert "U3 (Max Neu there, Max Alt, max here), U2 (Max Alt there, Max Alt, max here)" in ran.err
    assert "U2 is Max Alt in the export and perhaps" in done("import", "--dry-run", turned, data=data).out
    assert run("import", "--map", "max=max", turned, data=data).err.count(
        "several in the export are called max: U3, U2"
    )
    done("import", "--same", "--map", "U2=max", "--map", "U3=max-2", turned, data=data)
    assert done("import", "--json", turned, data=data).json["added"]["messages"] == 0
    assert readers(data) == before


def test_ambiguous_handle_of_an_older_import_is_not_guessed(tmp_path: Path) -> None:
    data = older(slack(tmp_path / "first", [ANNA, OLD, NEW], {"general": [message("U2", "old")]}), tmp_path)
    ran = run("import", "--same", slack(tmp_path / "second", [ANNA, NEW], {"general": []}), data=data)
    assert (ran.code, "--map max=NEW" in ran.err) == (1, True)


def test_person_of_an_older_import_is_matched_if_the_other_one_with_that_handle_is(tmp_path: Path) -> None:
    day = [message("U2", "old"), message("U3", "new", 1)]
    data = older(slack(tmp_path / "first", [ANNA, OLD, NEW], {"general": day}), tmp_path)
    done("import", "--same", "--map", "max=max", slack(tmp_path / "old", [ANNA, OLD], {"general": day[:1]}), data=data)
    both = slack(tmp_path / "both", [ANNA, OLD, NEW], {"general": day})
    ran = run("import", "--same", both, data=data)
    assert (ran.code, "U3 (Max Neu there, Max Neu, max-2 here)" in ran.err) == (1, True)
    came = done("import", "--json", "--map", "U3=max-2", both, data=data).json
    assert (came["added"]["users"], came["added"]["messages"]) == (0, 0)


def test_admins_answer_about_a_person_is_remembered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", "--name", "Another Anna", data=data)
    source = slack(tmp_path / "slack", [ANNA], {"general": [message("U1", "one")]})
    done("import", "--map", "anna=anna.2", source, data=data)
    assert done("import", "--json", source, data=data).json["added"]["messages"] == 0
    assert said(data) == [("anna", "one")]
    ran = run("import", "--map", "U1=anna", source, data=data)
    assert (ran.code, "anna is anna.2 here since an earlier import" in ran.err) == (1, True)


def test_equal_id_of_another_workspace_is_asked_about(tmp_path: Path) -> None:
    data = tmp_path / "data"
    brought(slack(tmp_path / "first", [ANNA], {"general": [message("U1", "of anna")]}), data)
    zoe = {"id": "U1", "name": "zoe", "real_name": "Zoe"}
    there = {"id": "C9", "name": "other", "created": T0 - 99, "members": ["U1"]}
    other = slack(tmp_path / "other", [zoe], {"other": [message("U1", "of zoe", -50)]})
    (other / "channels.json").write_text(json.dumps([there]))
    ran = run("import", other, data=data)
    assert (ran.code, "zoe (Zoe there, anna, anna here)" in ran.err) == (1, True)
    done("import", "--map", "zoe=zoe", other, data=data)
    assert said(data) == [("anna", "of anna"), ("Zoe", "of zoe")]


# A relay's own export.


def test_people_are_matched_elsewhere_by_the_ids_of_their_source_system(tmp_path: Path) -> None:
    dms = [{"id": "D1", "members": ["U1", "U2"]}, {"id": "D2", "members": ["U1", "U3"]}]
    days = {"D1": [message("U1", "to old")], "D2": [message("U1", "to new")]}
    here, there, third = tmp_path / "here", tmp_path / "there", tmp_path / "third"
    brought(slack(tmp_path / "first", [ANNA, OLD], days, dms=dms), here)
    brought(slack(tmp_path / "second", [ANNA, NEW], days, dms=dms), there)
    (tmp_path / "out.jsonl").write_text(done("export", data=here).out)
    # Max on one relay and Max on the other are different people, although both came with exports of the same date.
    brought(tmp_path / "out.jsonl", there)
    assert readers(there) == {"to old": {"anna", "Max Alt"}, "to new": {"anna", "Max Neu"}}
    (tmp_path / "both.jsonl").write_text(done("export", data=there).out)
    brought(tmp_path / "both.jsonl", third)
    came = brought(slack(tmp_path / "turned", [NEW, OLD, ANNA], days, dms=dms), third)
    assert came["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}
    assert readers(third) == readers(there)
