"""Files elsewhere in an export that another program, or an older relay, has written: the rule of the wire holds."""

import json
from pathlib import Path
from typing import Any

from tests.support.command_line import done

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
    assert came["left"] == {"files": 1, "files elsewhere (file.id: one line without hidden characters is expected)": 1}
    assert messages(tmp_path / "one") == [
        ("see this\n(file: plan.pdf, https://files.example/plan.pdf)", None),
        ("see this\n(file: plan.pdf)", None),
    ]
