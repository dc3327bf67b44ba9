"""Exports as data, compared regardless of generated ids."""

import json
import tarfile
from pathlib import Path
from typing import Any

from tests.support.command_line import done


def exported(data: Path, to: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """Export a relay, and read the export."""
    done("export", "--files", to, data=data)
    return read(to)


def read(to: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    """An export: its records, and the contents of its files; ids of files in order of appearance."""
    records: list[dict[str, Any]] = []
    contents: dict[str, bytes] = {}
    numbers: dict[str, str] = {}
    with tarfile.open(to) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            if member.name == "export.jsonl":
                records = [json.loads(line) for line in file]
                for record in records:
                    _number(record, numbers)
            else:
                _, known, name = member.name.split("/")
                contents[f"{numbers[known]}/{name}"] = file.read()
    records[0].pop("at")
    return records, contents


def _number(record: dict[str, Any], numbers: dict[str, str]) -> None:
    def number(known: str) -> str:
        return numbers.setdefault(known, f"file {len(numbers) + 1}")

    if record["type"] == "file":
        record["id"] = number(record["id"])
    if "picture" in record:
        record["picture"] = number(record["picture"])
    for attachment in record.get("attachments", ()):
        if attachment["url"].startswith("/files/"):
            attachment["id"] = number(attachment["id"])
            attachment["url"] = "/files/" + attachment["id"]


def same(one: tuple[list[Any], dict[str, bytes]], other: tuple[list[Any], dict[str, bytes]]) -> None:
    """Compare record by record, because the first difference says more than all of them."""
    for ours, theirs in zip(one[0], other[0], strict=False):
        assert ours == theirs, (ours, theirs)
    assert len(one[0]) == len(other[0])
    assert one[1] == other[1]
