"""Real exports of other systems: somebody reported each of these cases, here or elsewhere."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from relay.cli.importers.formats.detect import open_source
from relay.cli.importers.importing import Importing
from relay.protocol import control
from relay.protocol.control.table import IMPORT_MESSAGES
from relay.protocol.request_type import RequestType
from tests.support.command_line import done, run
from tests.support.foreign_exports import (
    DAY,
    T0,
    Entries,
    brought,
    bulk,
    decomposed,
    folder,
    group,
    lines,
    message,
    packed,
    post,
    records,
    texts,
    two_people_talk,
    workspace,
)


# Repacked archives (zulip/zulip#22533, mattermost/mattermost#6807, radiasoft/sirepo#1587,
# lavr/python-emails#24, mattermost/mmetl#19).
@pytest.mark.parametrize("channel", ["büro", "склад", "倉庫", "general"])
@pytest.mark.parametrize(
    ("name", "flag"),
    [
        pytest.param(str.encode, 0, id="UTF-8 that does not say so"),
        pytest.param(str.encode, 0x800, id="UTF-8"),
        pytest.param(decomposed, 0x800, id="a Mac's NFD"),
        pytest.param(decomposed, 0, id="a Mac's NFD that does not say so"),
        pytest.param(lambda name: name.replace("/", "\\").encode(), 0, id="backslashes"),
        pytest.param(lambda name: f"slack export/Nov 14/{name}".encode(), 0x800, id="folders around it"),
    ],
)
def test_channel_with_any_script_is_imported_with_its_messages(
    channel: str, name: Callable[[str], bytes], flag: int, tmp_path: Path
) -> None:
    source = packed(tmp_path / "slack.zip", workspace(channel), name, flag)
    came = done("import", "--json", source, data=tmp_path / "data").json
    assert (came["added"]["messages"], came["left"]) == (2, {})


@pytest.mark.parametrize(("channel", "encoding"), [("büro", "cp850"), ("büro", "cp1252"), ("склад", "cp866")])
def test_folder_named_in_an_old_windows_encoding_is_found(channel: str, encoding: str, tmp_path: Path) -> None:
    source = packed(tmp_path / "slack.zip", workspace(channel), lambda name: name.encode(encoding))
    assert brought(source, tmp_path / "data")["left"] == {}
    assert texts(tmp_path / "data") == ["one", "two"]


def test_files_that_macos_adds_to_an_archive_are_ignored(tmp_path: Path) -> None:
    entries = {f"Slack/{name}": content for name, content in workspace().items()}
    junk = {f"__MACOSX/Slack/._{name}": b"\0\5\x16\7" for name in ("users.json", "channels.json")}
    odd = {"Slack/.DS_Store": b"\0", f"__MACOSX/Slack/general/._{DAY}": b"\0", f"Slack/general/._{DAY}": b"\0"}
    came = brought(packed(tmp_path / "slack.zip", {**junk, **odd, **entries}), tmp_path / "data")
    assert (came["added"]["messages"], came["left"]) == (2, {})


def test_folder_without_a_channel_is_reported_as_left_behind(tmp_path: Path) -> None:
    source = folder(tmp_path / "slack", workspace(more={f"gone-channel/{DAY}": [message("U1", "lost")]}))
    came = brought(source, tmp_path / "data")
    assert came["left"] == {"days of a folder that belongs to no channel: gone-channel": 1}


def test_private_messages_in_a_folder_claimed_by_two_channels_go_into_neither(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "ops", "members": ["U1", "U2"]}],
        "groups.json": [{"id": "G1", "name": "ops", "members": ["U1"]}],
    }
    source = folder(tmp_path / "slack", workspace("ops", dict(lists)))
    came = brought(source, tmp_path / "data")
    assert (came["added"]["chats"], came["added"]["messages"]) == (2, 0)
    assert came["left"] == {"days of a folder that several channels could claim: ops (C1, G1)": 1}


def test_folder_named_by_a_channels_id_belongs_to_that_channel(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "ops", "members": ["U1", "U2"]}],
        "groups.json": [{"id": "G1", "name": "ops", "members": ["U1"]}],
        f"G1/{DAY}": [message("U1", "secret")],
    }
    assert brought(folder(tmp_path / "slack", workspace("ops", dict(lists))), tmp_path / "data")["left"] == {}
    said = [(one["chat"], one["text"]) for one in records(tmp_path / "data", "message")]
    assert sorted(said) == [("slack-C1", "one"), ("slack-C1", "two"), ("slack-G1", "secret")]


def test_dialogs_folder_belongs_to_it_even_if_a_channel_is_named_by_its_id(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "D1", "members": ["U1", "U2"]}],
        "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
    }
    assert brought(folder(tmp_path / "slack", workspace("D1", dict(lists))), tmp_path / "data")["left"] == {}
    assert [one.get("chat") for one in records(tmp_path / "data", "message")] == [None, None]


@pytest.mark.parametrize("around", ["", "Export/"])
@pytest.mark.parametrize("both", [False, True])
def test_export_of_a_whole_slack_organization_is_imported_with_its_users(
    around: str, both: bool, tmp_path: Path
) -> None:
    entries = workspace()
    entries["org_users.json"] = entries["users.json"]
    entries["users.json"] = entries["users.json"][:1]
    if not both:
        del entries["users.json"]
    packed_there = packed(tmp_path / "slack.zip", {f"{around}{name}": content for name, content in entries.items()})
    came = brought(packed_there, tmp_path / "data")
    assert (came["added"]["users"], came["added"]["messages"], came["left"]) == (2, 2, {})
    assert sorted(group(tmp_path / "data")["participants"]) == ["anna", "ben"]


@pytest.mark.parametrize("missing", ["users.json", "channels.json"])
def test_a_missing_list_is_named(missing: str, tmp_path: Path) -> None:
    # thomasloupe/Slackord#41, mattermost/mattermost#15150: it "was successful", and nothing was imported.
    entries = workspace()
    del entries[missing]
    ran = run("import", folder(tmp_path / "slack", entries), data=tmp_path / "data")
    assert ran.code == 1
    assert missing in ran.err


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda text: b"\xef\xbb\xbf" + text.encode(), id="with a mark"),
        pytest.param(lambda text: text.encode("utf-16"), id="UTF-16"),
        pytest.param(lambda text: b"\xfe\xff" + text.encode("utf-16-be"), id="UTF-16, big"),
        pytest.param(lambda text: text.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(lambda text: "\n" + text + "\n\n \n", id="empty lines"),
        pytest.param(lambda text: text.encode("cp1252"), id="Windows-1252"),
    ],
)
def test_files_in_any_encoding_are_read(encode: Callable[[str], bytes | str], tmp_path: Path) -> None:
    # get-convex/convex-backend#138: a byte order mark at the beginning made it unreadable.
    def encoded(content: Any) -> bytes:
        made = encode(json.dumps(content, ensure_ascii=False))
        return made if isinstance(made, bytes) else made.encode()

    entries = workspace(more={f"general/{DAY}": [message("U1", "für alle")]})
    slack = {name: encoded(content) for name, content in entries.items()}
    done("import", folder(tmp_path / "slack", slack), data=tmp_path / "one")
    assert texts(tmp_path / "one") == ["für alle"]
    lines = "\n".join(json.dumps(one, ensure_ascii=False) for one in bulk(post("für alle")))
    made = encode(lines)
    (tmp_path / "bulk.jsonl").write_bytes(made if isinstance(made, bytes) else made.encode())
    done("import", tmp_path / "bulk.jsonl", data=tmp_path / "two")
    assert texts(tmp_path / "two") == ["für alle"]
    own = done("export", data=tmp_path / "two").out
    made = encode(own)
    (tmp_path / "own.jsonl").write_bytes(made if isinstance(made, bytes) else made.encode())
    done("import", tmp_path / "own.jsonl", data=tmp_path / "three")
    assert texts(tmp_path / "three") == ["für alle"]


def test_an_empty_slack_day_is_accepted(tmp_path: Path) -> None:
    # grundleborg/slack-advanced-exporter#8, zulip/zulip#9217, mattermost/mattermost#13879.
    odd = [None, message(None, "by nobody"), message("U1", "fine", files=[None], attachments=[None], reactions=None)]
    entries = workspace(more={f"general/{DAY}": odd, "general/2023-11-15.json": [], "dms.json": []})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert texts(tmp_path / "data") == ["fine\n(file: file)"]
    assert came["left"] == {"messages without an author": 1, "files": 1}


@pytest.mark.parametrize("name", ["channels.json", "groups.json", "mpims.json", "dms.json", f"general/{DAY}"])
def test_slack_list_that_is_null_is_empty_and_everything_else_is_imported(name: str, tmp_path: Path) -> None:
    # rusq/slackdump#110.
    talk: Entries = {"dms.json": [{"id": "D1", "members": ["U1", "U2"]}], f"D1/{DAY}": [message("U1", "to ben")]}
    talk = workspace(more=talk if name != "dms.json" else None)
    came = brought(folder(tmp_path / "slack", {**talk, name: None}), tmp_path / "data")
    said = {"channels.json": ["to ben"], "dms.json": ["one", "two"], f"general/{DAY}": ["to ben"]}
    assert sorted(texts(tmp_path / "data")) == said.get(name, ["one", "to ben", "two"])
    assert not [what for what in came["left"] if "null" in what]


def test_null_among_the_people_of_a_reaction_is_ignored(tmp_path: Path) -> None:
    reactions = [{"name": "+1", "users": ["U1", None]}, {"name": "-1", "users": None}]
    day = [message("U1", "fine", reactions=reactions)]
    came = brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    assert texts(tmp_path / "data") == ["fine"]
    assert came["left"] == {"reactions": 1}


# Posts of programs (RocketChat/Rocket.Chat.iOS#314, discourse/discourse-chat#291).
PROGRAMS = [
    pytest.param({"attachments": [{"fields": [{"title": "Build", "value": "red &amp; late"}]}]}, "Build: red & late"),
    pytest.param({"attachments": [{"title": "Run 7", "title_link": "https://ci/7"}]}, "Run 7 (https://ci/7)"),
    pytest.param({"attachments": [{"fallback": "only this"}, None]}, "only this"),
]
BLOCKS = [
    pytest.param(
        {"text": "Red", "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "Red since <@U2> left"}}]},
        "Red since @ben left",
    ),
    pytest.param(
        {"blocks": [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "user", "user_id": "U1"}, {"type": "text", "text": " broke it"}]}]}]},
        "@anna broke it",
    ),
    pytest.param({"text": "kept", "attachments": 5}, "kept"),
]  # fmt: skip


@pytest.mark.parametrize(("posted", "said"), [*PROGRAMS, *BLOCKS])
def test_a_programs_message_is_imported_with_its_whole_text(posted: Entries, said: str, tmp_path: Path) -> None:
    posted = {**message(None, "", 9), "subtype": "bot_message", "bot_id": "B1", "username": "CI", **posted}
    entries = workspace(more={"general/2023-11-15.json": [posted]})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert texts(tmp_path / "data")[-1] == said
    assert sum(came["left"].values()) == ("kept" in said)


@pytest.mark.parametrize(("posted", "said"), PROGRAMS)
def test_a_programs_message_in_mattermost_is_imported(posted: Entries, said: str, tmp_path: Path) -> None:
    for text, whole in (("", said), ("see", f"see\n{said}")):
        found = bulk(post(text, "ben", props={"from_webhook": "true", **posted}))
        came = brought(lines(tmp_path, found), tmp_path / f"data{text}")
        assert (texts(tmp_path / f"data{text}"), came["left"]) == ([whole], {})


def test_the_blocks_of_a_persons_message_do_not_repeat_it(tmp_path: Path) -> None:
    words = [{"type": "text", "text": "bold", "style": {"bold": True}}]
    blocks = [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": words}]}]
    page = [{"from_url": "https://x.org", "title": "X", "text": "about x", "footer": "x.org", "image_url": "https://i"}]
    day = [message("U1", "*bold*", 9, blocks=blocks), message("U2", "<https://x.org>", 10, attachments=page)]
    brought(folder(tmp_path / "slack", workspace(more={"general/2023-11-15.json": day})), tmp_path / "data")
    assert texts(tmp_path / "data")[-2:] == ["*bold*", "https://x.org\nabout x"]


@pytest.mark.parametrize("kind", ["slack", "mattermost", "relay"])
@pytest.mark.parametrize("people", [("anna", "ben"), ("ben", "anna")])
@pytest.mark.parametrize("here", [("anna", "ben"), ("ben", "anna")])
def test_dialog_is_the_same_in_any_order_of_its_users(
    kind: str, people: tuple[str, str], here: tuple[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for user in here:
        done("user", "add", user, data=data)
    found = two_people_talk(tmp_path, kind, *people)
    assert brought(found, data)["added"]["messages"] == 1
    assert brought(found, data)["added"]["chats"] == 0
    (said,) = records(data, "message")
    assert sorted(said["participants"]) == ["anna", "ben"]
    assert run("check", data=data).code == 0


async def accept(kind: RequestType[Any, Any], payload: Any, /) -> Any:
    """Answer like a relay that accepts everything."""
    if kind is IMPORT_MESSAGES:
        return [control.MessageImportResult(added=True) for _ in payload.messages]
    return control.ImportResult(added=True)


def test_memory_does_not_grow_with_the_number_of_messages(tmp_path: Path) -> None:
    head = [
        {"type": "relay", "at": T0, "format": 2, "version": "0"},
        {"type": "user", "at": T0, "id": "anna", "name": "Anna"},
        {"type": "chat", "at": T0, "kind": "favorites", "owner": "anna", "participants": ["anna"]},
    ]

    def peak(count: int) -> int:
        said = (
            {"type": "message", "participants": ["anna"], "at": T0 + number, "sender": "anna",
             "clientMessageId": f"m{number}", "text": 200 * "x"}
            for number in range(count)
        )  # fmt: skip
        file = tmp_path / f"{count}.jsonl"
        file.write_text("\n".join(json.dumps(one) for one in (*head, *said)))
        tracemalloc.start()
        importing = Importing(accept, open_source(file, room=2**40), T0)
        trio.run(importing.identify, {})
        trio.run(importing.run)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert importing.added["messages"] == count
        return most

    peak(200)
    assert peak(8_000) < 1.5 * peak(800)


# Exports of an older relay.


def test_repeated_edit_of_a_deleted_message_is_recognised(tmp_path: Path) -> None:
    place = {"participants": ["anna"], "sender": "anna", "originalSender": "anna", "original": "1"}
    found = [
        {"type": "relay", "at": T0, "format": 2, "version": "0"},
        {"type": "user", "at": T0, "id": "anna", "name": "Anna"},
        {"type": "chat", "at": T0, "kind": "favorites", "owner": "anna", "participants": ["anna"]},
        {"type": "message", "participants": ["anna"], "sender": "anna", "at": T0, "clientMessageId": "1",
         "deleted": True},
        {"type": "edit", **place, "at": T0 + 1, "clientMessageId": "2"},
        {"type": "edit", **place, "at": T0 + 2, "clientMessageId": "3"},
        {"type": "delete", **place, "at": T0 + 3, "clientMessageId": "4"},
    ]  # fmt: skip
    for _ in range(2):
        assert brought(lines(tmp_path, found), tmp_path / "data")["left"] == {}
    kinds = ("message", "edit", "delete")
    assert [len(records(tmp_path / "data", kind)) for kind in kinds] == [1, 2, 1]
    assert run("check", data=tmp_path / "data").code == 0


def test_former_members_in_an_older_relays_export_stay_out(tmp_path: Path) -> None:
    common = {"chat": "g-1", "type": "message"}
    found: list[dict[str, Any]] = [
        {"type": "relay", "at": T0, "format": 1, "version": "0.1.0"},
        *({"type": "user", "at": T0, "id": user, "name": user.title()} for user in ("alice", "bob", "carol")),
        {"type": "chat", "at": T0, "kind": "channel", "id": "g-1", "name": "secret", "owner": "alice",
         "participants": ["alice"]},
        {**common, "at": T0 + 1, "sender": "bob", "clientMessageId": "1", "text": "mine"},
        {**common, "at": T0 + 2, "sender": "alice", "clientMessageId": "2", "text": "after bob", "replyTo": "1",
         "editedAt": T0 + 3},
        {"type": "message", "participants": ["alice", "bob"], "at": T0 + 4, "sender": "bob", "clientMessageId": "3",
         "text": "direct"},
    ]  # fmt: skip
    came = brought(lines(tmp_path, found), tmp_path / "data")
    (secret,) = (one for one in records(tmp_path / "data", "chat") if one.get("id") == "g-1")
    assert (secret["participants"], secret["owner"]) == (["alice"], "alice")
    said = records(tmp_path / "data", "message")
    assert [one["text"] for one in said][:2] == ["mine", "after bob"]
    assert (said[1]["replyTo"], said[1]["replySender"]) == ("1", "bob")
    assert came["left"]["dates of edits, which this older export has without the edits"] == 1


def with_file(root: Path) -> Path:
    """A bulk export of two messages, the second one with a file."""
    records: list[Entries] = [{"type": "version", "version": 1}]
    records += [{"type": "user", "user": {"username": name}} for name in ("anna", "ben")]
    post = {"channel_members": ["anna", "ben"], "user": "anna", "message": "one", "create_at": T0 * 1_000}
    records.append({"type": "direct_post", "direct_post": post})
    later = {**post, "message": "two", "create_at": T0 * 1_000 + 1, "attachments": [{"path": "a.txt"}]}
    records.append({"type": "direct_post", "direct_post": later})
    return folder(root, {"bulk.jsonl": "\n".join(map(json.dumps, records)).encode(), "data/a.txt": b"a" * 5_000})


def test_file_without_room_ends_an_import_and_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = with_file(tmp_path / "export"), tmp_path / "data"
    monkeypatch.setenv("RELAY_FILES_TOTAL_BYTES", "4096")
    ran = run("import", source, data=data)
    assert ran.code == 1
    assert "files.total_bytes" in ran.err
    assert "run it again then" in ran.err
    monkeypatch.delenv("RELAY_FILES_TOTAL_BYTES")
    again = done("import", source, "--json", data=data).json
    assert (again["added"]["files"], again["added"]["messages"], again["left"]) == (1, 2, {})


def test_file_beyond_its_senders_quota_is_left_out_and_everything_else_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = with_file(tmp_path / "export"), tmp_path / "data"
    monkeypatch.setenv("RELAY_FILES_USER_BYTES", "4096")
    came = done("import", source, "--json", data=data).json
    assert (came["added"]["files"], came["added"]["messages"]) == (0, 2)
    assert sum(came["left"].values()) == 1


def test_zip_with_inconsistent_names_is_called_damaged(tmp_path: Path) -> None:
    source = packed(tmp_path / "slack.zip", workspace("büro"), lambda name: name.encode("cp1252"), 0x800)
    ran = run("import", source, data=tmp_path / "data")
    assert ran.code == 1
    assert ran.err == f"relay: {source} is damaged, or not all of it is there\n"
