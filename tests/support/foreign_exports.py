"""Exports of Slack and Mattermost for tests, and the content of a relay after an import."""

import json
import struct
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.command_line import done

T0 = 1_700_000_000
DAY = "2023-11-14.json"
Entries = dict[str, Any]


def message(user: str | None, text: str, seconds: float = 0, **more: Any) -> dict[str, Any]:
    return {"type": "message", "user": user, "text": text, "ts": f"{T0 + seconds:.6f}", **more}


def workspace(channel: str = "general", more: Entries | None = None) -> Entries:
    """A Slack export of one channel in which anna and ben talk."""
    return {
        "users.json": [{"id": "U1", "name": "anna"}, {"id": "U2", "name": "ben"}],
        "channels.json": [{"id": "C1", "name": channel, "creator": "U1", "members": ["U1", "U2"], "created": T0 - 5}],
        f"{channel}/{DAY}": [message("U1", "one"), message("U2", "two", 1)],
        **(more or {}),
    }


def folder(root: Path, entries: Entries) -> Path:
    for name, content in entries.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return root


def packed(path: Path, entries: Entries, name: Callable[[str], bytes] = str.encode, flag: int = 0) -> Path:
    """A zip file whose names are these bytes, marked as UTF-8 or not; `zipfile` would choose the mark itself."""
    with zipfile.ZipFile(path, "w") as target:
        for number, content in enumerate(entries.values()):
            target.writestr(f"{number:09}", content if isinstance(content, bytes) else json.dumps(content))
    raw = path.read_bytes()
    out = bytearray()
    names = [name(one) for one in entries]
    at = 0
    offsets: list[int] = []
    while raw[at : at + 4] == b"PK\3\4":
        head = bytearray(raw[at : at + 30])
        size, length = struct.unpack_from("<I", head, 18)[0], struct.unpack_from("<H", head, 26)[0]
        struct.pack_into("<H", head, 6, flag)
        struct.pack_into("<H", head, 26, len(names[len(offsets)]))
        content = raw[at + 30 + length : at + 30 + length + size]
        offsets.append(len(out))
        out += head + names[len(offsets) - 1] + content
        at += 30 + length + size
    start = len(out)
    for number, offset in enumerate(offsets):
        head = bytearray(raw[at : at + 46])
        length = struct.unpack_from("<H", head, 28)[0]
        struct.pack_into("<H", head, 8, flag)
        struct.pack_into("<H", head, 28, len(names[number]))
        struct.pack_into("<I", head, 42, offset)
        out += head + names[number]
        at += 46 + length
    out += struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, len(names), len(names), len(out) - start, start, 0)
    path.write_bytes(out)
    return path


def records(data: Path, kind: str) -> list[dict[str, Any]]:
    found = map(json.loads, done("export", data=data).out.splitlines())
    return [record for record in found if record["type"] == kind]


def texts(data: Path) -> list[str]:
    return [record["text"] for record in records(data, "message")]


def brought(source: Path, data: Path) -> dict[str, Any]:
    """Import it, and check that a dry run foretold the result."""
    planned = done("import", "--dry-run", "--json", "--same", source, data=data).json
    came: dict[str, Any] = done("import", "--json", "--same", source, data=data).json
    assert {**came, "dryRun": True} == planned
    return came


def decomposed(name: str) -> bytes:
    return unicodedata.normalize("NFD", name).encode()


# Its members and its owner.


def group(data: Path) -> dict[str, Any]:
    (chat,) = (one for one in records(data, "chat") if one["kind"] == "group")
    return chat


def two_people_talk(tmp_path: Path, kind: str, first: str, second: str) -> Path:
    """An export of a dialog in which the source names the first user first."""
    if kind == "slack":
        people = [{"id": f"U{one}", "name": one} for one in ("anna", "ben")]
        dialog = {"id": "D1", "members": [f"U{first}", f"U{second}"]}
        entries = {"users.json": people, "channels.json": [], "dms.json": [dialog]}
        return folder(tmp_path / "slack", {**entries, f"D1/{DAY}": [message(f"U{first}", "between us")]})
    if kind == "mattermost":
        post = {"channel_members": [first, second], "user": first, "message": "between us", "create_at": T0}
        return lines(tmp_path, [*bulk(users=("anna", "ben")), {"type": "direct_post", "direct_post": post}])
    source = tmp_path / "source"
    for user in (first, second):
        done("user", "add", user, data=source)
    done("send", "--as", first, second, "between us", data=source)
    (tmp_path / "out.jsonl").write_text(done("export", data=source).out)
    return tmp_path / "out.jsonl"


# Mattermost.


def post(text: str, user: str = "anna", at: Any = T0 * 1_000, **more: Any) -> dict[str, Any]:
    return {"team": "t", "channel": "town", "user": user, "message": text, "create_at": at, **more}


def bulk(*posts: dict[str, Any], users: tuple[str, ...] = ("anna", "ben")) -> list[dict[str, Any]]:
    teams = [{"name": "t", "channels": [{"name": "town", "roles": "channel_user"}]}]
    return [
        {"type": "version", "version": 1},
        {"type": "channel", "channel": {"team": "t", "name": "town", "display_name": "Town", "type": "P"}},
        *({"type": "user", "user": {"username": user, "teams": teams}} for user in users),
        {"type": "user", "user": {"username": "gone", "delete_at": 1_600_000_000_000}},
        *({"type": "post", "post": one} for one in posts),
    ]


def lines(tmp_path: Path, found: list[dict[str, Any]]) -> Path:
    file = tmp_path / "bulk.jsonl"
    file.write_text("\n".join(map(json.dumps, found)) + "\n\n")
    return file
