"""People of an export with the ids of users here: nobody is matched with another person without the admin's word."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import done, run
from tests.support.foreign_exports import T0, brought, bulk, folder, lines, message, post, records, workspace


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A relay in use, with its own Anna."""
    where = tmp_path / "data"
    done("user", "add", "anna", "--name", "Anna Berg", data=where)
    return where


@pytest.fixture(params=["slack", "mattermost"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An export with another Anna, and Ben."""
    if request.param == "slack":
        return folder(tmp_path / "slack", workspace())
    return lines(tmp_path, bulk(post("one"), post("two", user="ben", at=(T0 + 1) * 1_000)))


def senders(data: Path) -> set[str]:
    return {record["sender"] for record in records(data, "message")}


def namesakes(source: Path, data: Path, *options: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = done("import", "--dry-run", "--json", *options, source, data=data).json["namesakes"]
    return found


def test_an_import_with_a_namesake_is_refused_and_changes_nothing(source: Path, data: Path) -> None:
    before = done("export", data=data).out.splitlines()[1:]
    ran = run("import", source, data=data)
    assert (ran.code, ran.out) == (1, "")
    assert "anna" in ran.err
    assert "Anna Berg here" in ran.err
    assert "--map anna=NEW" in ran.err
    assert done("export", data=data).out.splitlines()[1:] == before


def test_a_dry_run_names_each_namesake(source: Path, data: Path) -> None:
    assert [(one["id"], one["here"]) for one in namesakes(source, data)] == [("anna", "Anna Berg")]
    assert "anna is Anna Berg here" in done("import", "--dry-run", source, data=data).out


@pytest.mark.parametrize("option", ["--same", "--map=anna=anna"])
def test_namesake_who_is_the_same_person_gets_the_messages(option: str, source: Path, data: Path) -> None:
    done("import", option, source, data=data)
    assert senders(data) == {"anna", "ben"}
    assert "anna.2" not in done("user", "list", data=data).out


def test_unrelated_namesake_becomes_a_new_user(source: Path, data: Path) -> None:
    done("import", "--map", "anna=anna.2", source, data=data)
    assert senders(data) == {"anna.2", "ben"}
    assert "Anna Berg" in done("user", "show", "anna", data=data).out
    (chat,) = records(data, "chat")
    assert sorted(chat["participants"]) == ["anna.2", "ben"]


def test_repeated_import_has_no_namesakes(source: Path, tmp_path: Path) -> None:
    data = tmp_path / "empty"
    brought(source, data)
    done("import", source, data=data)
    assert namesakes(source, data) == []


def test_a_later_export_of_the_same_workspace_has_no_namesakes(tmp_path: Path) -> None:
    data = tmp_path / "empty"
    brought(folder(tmp_path / "slack", workspace()), data)
    more = workspace(more={"general/2023-11-13.json": [message("U2", "older", -90_000)]})
    assert namesakes(folder(tmp_path / "more", more), data) == []


def test_relays_own_export_has_no_namesakes_at_its_origin(data: Path, tmp_path: Path) -> None:
    done("send", "--as", "anna", "anna", "a note", data=data)
    file = tmp_path / "export.jsonl"
    done("export", file, data=data)
    done("import", file, data=data)
    assert namesakes(file, data) == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--map", "anna"), "THERE=HERE"),
        (("--map", "nobody=anna"), "nobody in the export has the id nobody"),
        (("--map", "anna=ben"), "anna and ben would both be ben"),
    ],
)
def test_contradictory_map_is_refused(options: tuple[str, ...], said: str, source: Path, data: Path) -> None:
    ran = run("import", *options, source, data=data)
    assert ran.code != 0
    assert said in ran.err


# Groups.


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The export of another relay, with a group that has the id of one here."""
    where = tmp_path / "other"
    done("user", "add", "zoe", data=where)
    done("user", "add", "anna", "--name", "Anna Stein", data=where)
    done("chat", "create", "Team", "zoe", "anna", "--owner", "zoe", data=where)
    done("send", "--as", "zoe", "Team", "about the others", data=where)
    file = tmp_path / "other.jsonl"
    done("export", file, data=where)
    (group,) = records(where, "chat")
    file.write_text(file.read_text().replace(group["id"], "team"))
    return file


@pytest.fixture
def with_team(data: Path, other: Path, tmp_path: Path) -> Path:
    """A relay in use with a group of its own with this id, and its own Anna in it."""
    changed = other.read_text().replace("Anna Stein", "Anna Berg").replace("about the others", "about us")
    mine = tmp_path / "mine.jsonl"
    lines_ = [json.loads(line) for line in changed.splitlines()]
    for record in lines_:
        if record["type"] == "chat":
            record.update(at=record["at"] - 1_000, name="Our team")
    mine.write_text("".join(json.dumps(record) + "\n" for record in lines_))
    done("import", "--same", mine, data=data)
    return data


def test_an_import_with_the_id_of_a_group_here_is_refused(other: Path, with_team: Path) -> None:
    ran = run("import", other, data=with_team)
    assert ran.code == 1
    assert "team (Team there, Our team here)" in ran.err
    assert "about the others" not in done("export", data=with_team).out
    # Membership in a group with the same id does not prove that two people are the same.
    assert [one["id"] for one in namesakes(other, with_team)] == ["anna", "team"]


def test_different_group_gets_an_id_of_its_own(other: Path, with_team: Path) -> None:
    done("import", "--map", "team=team-2", "--map", "anna=anna.2", other, data=with_team)
    groups = {chat["id"]: chat["name"] for chat in records(with_team, "chat") if chat.get("id")}
    assert groups == {"team": "Our team", "team-2": "Team"}
    said = {record["text"]: record["chat"] for record in records(with_team, "message")}
    assert said == {"about us": "team", "about the others": "team-2"}


def test_group_cannot_get_the_id_of_a_user_of_the_export(other: Path, with_team: Path) -> None:
    ran = run("import", "--map", "team=zoe", other, data=with_team)
    assert ran.code != 0
    assert "zoe and team would both be zoe" in ran.err
