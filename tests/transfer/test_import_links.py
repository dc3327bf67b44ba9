"""Files elsewhere in an export that another program, or an older relay, has written: the rule of the wire holds."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import done
from tests.support.foreign_exports import DAY, brought, bulk, folder, lines, message, post, texts, workspace

NO_ADDRESS = "file.url: `/files/ID` of an uploaded file is expected, or an absolute http or https address"
LINK: dict[str, Any] = {
    "type": "file",
    "id": "e1",
    "filename": "plan.pdf",
    "url": "https://files.example/plan.pdf",
    "meta": {"extension": "pdf", "size": 1},
}


def export_of(path: Path, *links: dict[str, Any]) -> Path:
    """Write an export in which anna sends ben one message for each link."""
    people = ["anna", "ben"]
    lines: list[dict[str, Any]] = [{"type": "relay", "at": 1_000, "format": 2}]
    lines += [{"type": "user", "at": 1_000, "id": user, "name": user} for user in people]
    lines.append({"type": "chat", "at": 1_000, "kind": "dialog", "participants": people})
    lines += [
        {
            "type": "message",
            "at": 2_000 + number,
            "participants": people,
            "sender": "anna",
            "clientMessageId": f"c{number}",
            "text": "see this",
            "attachments": [link],
        }
        for number, link in enumerate(links)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def messages(data: Path) -> list[tuple[str | None, list[dict[str, Any]] | None]]:
    lines = map(json.loads, done("export", "-", data=data).out.splitlines())
    return [(one.get("text"), one.get("attachments")) for one in lines if one["type"] == "message"]


def test_imported_link_gets_a_name_in_one_line_and_keeps_it_in_the_next_export(tmp_path: Path) -> None:
    source = export_of(tmp_path / "x.jsonl", {**LINK, "filename": "a\u202egnp.exe\nb"}, LINK)
    done("import", source, data=tmp_path / "one")
    first = messages(tmp_path / "one")
    done("export", tmp_path / "again.jsonl", data=tmp_path / "one")
    done("import", tmp_path / "again.jsonl", data=tmp_path / "two")
    assert first == messages(tmp_path / "two")
    assert first == [("see this", [{**LINK, "filename": "agnp.exe b"}]), ("see this", [LINK])]


def test_import_leaves_a_link_that_is_not_valid_and_says_why(tmp_path: Path) -> None:
    source = export_of(tmp_path / "x.jsonl", {**LINK, "id": "e\u202e1"}, {**LINK, "url": "https:///x"})
    planned = done("import", "--dry-run", "--json", source, data=tmp_path / "one").json
    came = done("import", "--json", source, data=tmp_path / "one").json
    assert planned["left"] == came["left"]
    assert came["left"] == {
        "files elsewhere (file.id: one line without hidden characters is expected)": 1,
        f"files elsewhere ({NO_ADDRESS})": 1,
    }
    assert messages(tmp_path / "one") == [
        ("see this\n(file: plan.pdf, https://files.example/plan.pdf)", None),
        ("see this\n(file: plan.pdf, https:///x)", None),
    ]


def test_link_whose_address_is_not_valid_is_told_with_the_reason_and_its_address_is_shown(tmp_path: Path) -> None:
    addresses = ["ftp://x/a", "javascript:1", "http://a b/", "http://x/\u202egnp"]
    source = export_of(tmp_path / "x.jsonl", *({**LINK, "url": address} for address in addresses))
    came = brought(source, tmp_path / "one")
    assert came["left"] == {f"files elsewhere ({NO_ADDRESS})": 4}
    assert [text for text, _ in messages(tmp_path / "one")] == [
        f"see this\n(file: plan.pdf, {address})" for address in [*addresses[:3], "http://x/gnp"]
    ]


@pytest.mark.parametrize("kind", ["slack", "mattermost", "own"])
def test_name_of_a_file_that_stays_behind_has_no_hidden_characters(kind: str, tmp_path: Path) -> None:
    name = "a\u202egnp\nb"
    if kind == "slack":
        day = [message("U1", "see this", files=[{"id": "F1", "name": name}])]
        source = folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day}))
    elif kind == "mattermost":
        source = lines(tmp_path, bulk(post("see this", attachments=[{"path": f"20231114/{name}"}])))
    else:
        source = export_of(tmp_path / "x.jsonl", {**LINK, "url": "/files/gone", "filename": name})
    assert brought(source, tmp_path / "data")["left"] == {"files": 1}
    assert texts(tmp_path / "data") == ["see this\n(file: agnp b)"]
