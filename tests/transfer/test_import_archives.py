"""Exports of other systems as people really have them: each case is one that somebody reported, here or elsewhere."""

import json
import struct
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from relay.cli.importers.dates import moment
from relay.cli.importers.detect import open_source
from relay.cli.importers.importing import Importing
from relay.cli.output import when
from relay.client import connect
from relay.protocol import control, objects, requests
from relay.protocol.base import LATEST_DATE
from relay.protocol.control.table import IMPORT_MESSAGES
from relay.protocol.request_type import RequestType
from tests.support.command_line import done, run, running

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
    """A zip file whose names are these bytes, marked as UTF-8 or not; `zipfile` would choose for itself."""
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
    """Import it; what a dry run tells beforehand is what happens then."""
    planned = done("import", "--dry-run", "--json", "--same", source, data=data).json
    came: dict[str, Any] = done("import", "--json", "--same", source, data=data).json
    assert {**came, "dryRun": True} == planned
    return came


def decomposed(name: str) -> bytes:
    return unicodedata.normalize("NFD", name).encode()


# Archives that were packed again (zulip/zulip#22533, mattermost/mattermost#6807, radiasoft/sirepo#1587,
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
def test_a_channel_of_any_script_comes_in_with_its_messages(
    channel: str, name: Callable[[str], bytes], flag: int, tmp_path: Path
) -> None:
    source = packed(tmp_path / "slack.zip", workspace(channel), name, flag)
    came = done("import", "--json", source, data=tmp_path / "data").json
    assert (came["added"]["messages"], came["left"]) == (2, {})


@pytest.mark.parametrize(("channel", "encoding"), [("büro", "cp850"), ("büro", "cp1252"), ("склад", "cp866")])
def test_a_folder_named_in_an_old_encoding_of_windows_is_found(channel: str, encoding: str, tmp_path: Path) -> None:
    source = packed(tmp_path / "slack.zip", workspace(channel), lambda name: name.encode(encoding))
    assert brought(source, tmp_path / "data")["left"] == {}
    assert texts(tmp_path / "data") == ["one", "two"]


def test_files_that_macos_adds_to_an_archive_are_ignored(tmp_path: Path) -> None:
    entries = {f"Slack/{name}": content for name, content in workspace().items()}
    junk = {f"__MACOSX/Slack/._{name}": b"\0\5\x16\7" for name in ("users.json", "channels.json")}
    odd = {"Slack/.DS_Store": b"\0", f"__MACOSX/Slack/general/._{DAY}": b"\0", f"Slack/general/._{DAY}": b"\0"}
    came = brought(packed(tmp_path / "slack.zip", {**junk, **odd, **entries}), tmp_path / "data")
    assert (came["added"]["messages"], came["left"]) == (2, {})


def test_a_folder_of_no_channel_is_reported_as_left_behind(tmp_path: Path) -> None:
    source = folder(tmp_path / "slack", workspace(more={f"gone-channel/{DAY}": [message("U1", "lost")]}))
    came = brought(source, tmp_path / "data")
    assert came["left"] == {"days of a folder that belongs to no channel: gone-channel": 1}


def test_private_messages_in_a_folder_that_two_channels_claim_go_into_neither(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "ops", "members": ["U1", "U2"]}],
        "groups.json": [{"id": "G1", "name": "ops", "members": ["U1"]}],
    }
    source = folder(tmp_path / "slack", workspace("ops", dict(lists)))
    came = brought(source, tmp_path / "data")
    assert (came["added"]["chats"], came["added"]["messages"]) == (2, 0)
    assert came["left"] == {"days of a folder that could be of several channels: ops (C1, G1)": 1}


def test_a_folder_named_by_a_channels_id_is_that_channels_and_the_name_is_the_others(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "ops", "members": ["U1", "U2"]}],
        "groups.json": [{"id": "G1", "name": "ops", "members": ["U1"]}],
        f"G1/{DAY}": [message("U1", "secret")],
    }
    assert brought(folder(tmp_path / "slack", workspace("ops", dict(lists))), tmp_path / "data")["left"] == {}
    said = [(one["chat"], one["text"]) for one in records(tmp_path / "data", "message")]
    assert sorted(said) == [("slack-C1", "one"), ("slack-C1", "two"), ("slack-G1", "secret")]


def test_a_dialogs_folder_is_the_dialogs_also_where_a_channel_has_its_id_as_name(tmp_path: Path) -> None:
    lists = {
        "channels.json": [{"id": "C1", "name": "D1", "members": ["U1", "U2"]}],
        "dms.json": [{"id": "D1", "members": ["U1", "U2"]}],
    }
    assert brought(folder(tmp_path / "slack", workspace("D1", dict(lists))), tmp_path / "data")["left"] == {}
    assert [one.get("chat") for one in records(tmp_path / "data", "message")] == [None, None]


@pytest.mark.parametrize("around", ["", "Export/"])
@pytest.mark.parametrize("both", [False, True])
def test_an_export_of_a_whole_slack_organization_comes_in_with_its_users(
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
    # thomasloupe/Slackord#41, mattermost/mattermost#15150: it "was successful", and nothing had come in.
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
    # get-convex/convex-backend#138: a mark of UTF-8 at the beginning, and nothing could be read.
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
    assert texts(tmp_path / "data") == ["fine\n(file: ?)"]
    assert came["left"] == {"messages without an author": 1, "files": 1}


# Dates.

NO_DATES: list[object] = [-1, 0, "", "noon", None, True, float("nan"), float("inf"), "-5", [], 1e300, 2**73]


@pytest.mark.parametrize(
    ("said", "is_"),
    [
        (1_700_000_000, T0 * 1_000),
        (1_700_000_000_123, T0 * 1_000 + 123),
        ("1700000000.123400", T0 * 1_000 + 123),
        (1_700_000_000_123_456, T0 * 1_000 + 123),
        (1.7e18, T0 * 1_000),
        ("2023-11-14T22:13:20Z", T0 * 1_000),
        ("2023-11-14T23:13:20+01:00", T0 * 1_000),
        ("2023-11-14 22:13:20", T0 * 1_000),
        *((none, None) for none in NO_DATES),
    ],
)
def test_a_date_is_read_or_is_none(said: Any, is_: int | None) -> None:
    assert moment(said) == is_


@pytest.mark.parametrize("odd", [-1, 0, "noon", None, ""])
def test_a_message_without_a_date_has_that_of_the_one_before(odd: Any, tmp_path: Path) -> None:
    # A `create_at` of -1 once ended the import (see also vmiklos/plees-tracker#579).
    file = lines(tmp_path, bulk(post("first"), {**post("second"), "create_at": odd}))
    came = brought(file, tmp_path / "data")
    assert [(one["text"], one["at"]) for one in records(tmp_path / "data", "message")] == [
        ("first", T0 * 1_000),
        ("second", T0 * 1_000),
    ]
    assert came["left"] == {"invalid dates: these messages get the date of the previous one": 1}


def test_a_date_after_the_year_9999_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = 2**53 - 1
    said = [{"type": "message", "chat": "g", "sender": "anna", "clientMessageId": text, "text": text, "at": at}
            for text, at in (("first", T0), ("far", far))]  # fmt: skip
    export = [
        {"type": "relay", "format": 2, "at": T0},
        {"type": "user", "id": "anna", "name": "Anna", "at": far},
        {"type": "chat", "id": "g", "kind": "group", "name": "G", "owner": "anna", "participants": ["anna"], "at": far},
        *said,
    ]
    done("import", lines(tmp_path, export), data=tmp_path / "data")
    assert [one["at"] for one in records(tmp_path / "data", "message")] == [T0, T0]
    # Every command that shows one ended with a traceback.
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        done("user", "show", "anna", data=tmp_path / "data")
        assert when(far).startswith("9999-12-30")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("kind", [control.UserImport, control.ChatImport, control.MessageImport])
def test_no_import_stores_a_date_after_the_year_9999(kind: Any) -> None:
    said = {"id": "a", "name": "A", "sender": "a", "participants": ["a"], "clientMessageId": "1"}
    msgspec.convert({**said, "at": LATEST_DATE, "createdAt": LATEST_DATE}, kind)
    for one in ({"at": LATEST_DATE + 1}, {"at": 1, "createdAt": LATEST_DATE + 1}):
        if "createdAt" in one and kind is control.MessageImport:
            continue
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**said, **one}, kind)


def test_a_future_date_is_shown_and_does_not_move_the_clock(tmp_path: Path) -> None:
    # mattermost/mattermost#902 (all posts had the time of the import) and its opposite.
    file = lines(tmp_path, bulk(post("soon", at=4_000_000_000_000), post("then")))
    done("import", file, data=tmp_path / "data")
    done("user", "add", "new", data=tmp_path / "data")
    assert {one["text"]: one["at"] for one in records(tmp_path / "data", "message")} == {
        "then": T0 * 1_000,
        "soon": 4_000_000_000_000,
    }
    (new,) = (one for one in records(tmp_path / "data", "user") if one["id"] == "new")
    assert new["at"] < 3_000_000_000_000


def test_after_an_import_time_goes_on_from_today(tmp_path: Path) -> None:
    done("import", folder(tmp_path / "slack", workspace()), data=tmp_path / "data")
    done("send", "--as", "anna", "general", "today", data=tmp_path / "data")
    assert records(tmp_path / "data", "message")[-1]["at"] > (T0 + 86_400) * 1_000


def test_a_reply_dated_before_its_post_follows_it(tmp_path: Path) -> None:
    # mattermost/mattermost#20292, #14442, #14959.
    replies = [{"user": "ben", "message": "reply", "create_at": T0 * 1_000 - 9}]
    done("import", lines(tmp_path, bulk({**post("root"), "replies": replies})), data=tmp_path / "data")
    root, reply = records(tmp_path / "data", "message")
    assert (root["text"], reply["text"], reply["replyTo"]) == ("root", "reply", root["clientMessageId"])


def test_threads_stay_together_and_answers_to_nothing_are_counted(tmp_path: Path) -> None:
    # mattermost/mattermost#10203, chattocorp/chatto#483: a reply whose root is not in the export.
    root = f"{T0:.6f}"
    day = [
        message("U1", "root", thread_ts=root),
        message("U2", "reply", 1, thread_ts=root),
        message("U2", "also to all", 2, thread_ts=root, subtype="thread_broadcast"),
        message("U1", "to nothing", 3, thread_ts="1600000000.000000"),
    ]
    came = brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    said = records(tmp_path / "data", "message")
    assert [one.get("replyTo") for one in said] == [None, said[0]["clientMessageId"], said[0]["clientMessageId"], None]
    assert came["left"] == {"replies to messages that are not in the export: imported as plain messages": 1}


# Who is in it, and who owns it.


def group(data: Path) -> dict[str, Any]:
    (chat,) = (one for one in records(data, "chat") if one["kind"] == "group")
    return chat


@pytest.mark.parametrize(
    ("creator", "members", "owner"),
    [
        pytest.param("U1", ["U1", "U2"], "anna", id="its creator"),
        pytest.param("U1", ["U2", "U3"], "ben", id="who left owns nothing, and is no member"),
        pytest.param("U4", ["U4", "U3", "U2"], "carl", id="who was deactivated owns nothing"),
        pytest.param("U5", ["U5", "U2"], "ben", id="a bot owns nothing"),
        pytest.param(None, ["U3", "U2"], "carl", id="the longest"),
        pytest.param("U9", ["U9", "U2"], "ben", id="who is in no list"),
    ],
)
def test_membership_and_owner_are_what_the_export_states(
    creator: str | None, members: list[str], owner: str, tmp_path: Path
) -> None:
    # RocketChat/Rocket.Chat#3911 and #4934 (a creator who is unknown), mattermost/mattermost#1518, adsr/irslackd#67.
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


def test_a_channel_that_nobody_could_run_stays_behind_and_is_said_so_beforehand(tmp_path: Path) -> None:
    # zulip/zulip#15102: channels with history and without anybody.
    users = [{"id": "U1", "name": "anna", "deleted": True}, {"id": "U2", "name": "ben"}]
    channels = [{"id": "C1", "name": "general", "members": ["U1"]}, {"id": "C2", "name": "empty", "members": []}]
    entries = workspace(more={"users.json": users, "channels.json": channels})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["added"] == {"users": 2, "chats": 0, "messages": 0, "files": 0}
    assert came["left"] == {
        "chats (none of its members can sign in, so it would have no owner)": 1,
        "channels without people": 1,
        "messages of chats that stay behind": 2,
    }


@pytest.mark.parametrize("members", [[], None])
def test_a_slack_channel_without_a_list_of_members_has_its_creator_and_authors(
    members: list[str] | None, tmp_path: Path
) -> None:
    # An archived channel.
    users = [{"id": f"U{number}", "name": name} for number, name in enumerate(("anna", "ben", "carl", "dora"), start=1)]
    day = [
        message("U2", "one"),
        message("U3", "<@U3> has joined", 1, subtype="channel_join"),
        message(None, "beep", 2, bot_id="B1", username="Beeper"),
        message("U9", "of somebody who was deleted", 3),
    ]
    channels = [{"id": "C1", "name": "general", "creator": "U1", "is_archived": True, "members": members}]
    entries = workspace(more={"users.json": users, "channels.json": channels, f"general/{DAY}": day})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["added"]["messages"] == 3
    chat = group(tmp_path / "data")
    assert (chat["owner"], sorted(chat["participants"])) == ("anna", ["U9", "anna", "ben"])


@pytest.mark.parametrize(("authors", "came_in"), [(["U1", "U2"], 2), (["U1", "U1"], 0)])
def test_a_dialog_without_a_list_of_members_comes_in_if_both_wrote(
    authors: list[str], came_in: int, tmp_path: Path
) -> None:
    day = [message(author, f"m{number}", number) for number, author in enumerate(authors)]
    entries = workspace(more={"dms.json": [{"id": "D1"}], f"D1/{DAY}": day})
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert came["added"]["messages"] == 2 + came_in


def test_authors_in_no_list_become_disabled_users(tmp_path: Path) -> None:
    # mattermost/mattermost#11856 (deleted users), zulip/zulip#10772 and #23552, RocketChat/Rocket.Chat#12075.
    guest = {"real_name": "Gus Guest", "name": "gus"}
    day = [message("U8", "from elsewhere", user_profile=guest), message("U9", "who was deleted", 1)]
    brought(folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day})), tmp_path / "data")
    people = {user["id"]: user for user in records(tmp_path / "data", "user")}
    assert (people["gus"]["name"], people["gus"]["disabled"], people["U9"]["disabled"]) == ("Gus Guest", True, True)
    assert sorted(group(tmp_path / "data")["participants"]) == ["anna", "ben"]


UNKNOWN = "members of channels who are in no list of users and wrote nothing"


def test_members_of_a_slack_channel_of_whom_nothing_is_known_are_counted(tmp_path: Path) -> None:
    channels = [{"id": "C1", "name": "general", "members": ["U1", "U2", "U7", "U8", "U8", None, "U9"]}]
    day = [message("U9", "of somebody who was deleted")]
    entries = workspace(more={"channels.json": channels, f"general/{DAY}": day})
    assert brought(folder(tmp_path / "slack", entries), tmp_path / "data")["left"] == {UNKNOWN: 2}
    assert sorted(group(tmp_path / "data")["participants"]) == ["U9", "anna", "ben"]


def test_members_of_a_mattermost_group_of_whom_nothing_is_known_are_counted(tmp_path: Path) -> None:
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


# Again, and into a relay that is in use.


def test_a_repeated_import_restores_no_member(tmp_path: Path) -> None:
    # mattermost/mattermost#9821 and #8348, RocketChat/Rocket.Chat#8435 and #3123.
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("chat", "remove", "general", "ben", data=data)
    done("user", "disable", "anna", data=data)
    done("user", "enable", "anna", data=data)
    came = brought(source, data)
    assert came["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}
    assert came["here"] == {"users": 2, "chats": 1, "messages": 2}
    assert came["left"] == {"people who were not added to chats that exist here already (`relay chat add`)": 1}
    assert group(data)["participants"] == ["anna"]
    more = workspace(more={"general/2023-11-15.json": [message("U2", "three", 90_000)]})
    came = brought(folder(tmp_path / "more", more), data)
    assert (came["added"]["messages"], came["here"]["messages"]) == (1, 2)
    assert group(data)["participants"] == ["anna"]
    assert texts(data) == ["one", "two", "three"]


def test_a_chat_that_was_deleted_here_is_not_made_again(tmp_path: Path) -> None:
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("chat", "delete", "general", "--yes", data=data)
    came = brought(source, data)
    assert came["added"] == {"users": 0, "chats": 0, "messages": 0, "files": 0}
    assert came["left"] == {"chats that were deleted here": 1, "messages of chats that stay behind": 2}


def test_unread_messages_of_a_relay_in_use_stay_unread(tmp_path: Path) -> None:
    source, data = folder(tmp_path / "slack", workspace()), tmp_path / "data"
    brought(source, data)
    done("device", "add", "ben", data=data)
    done("send", "--as", "anna", "general", "have you read this?", data=data)
    more = workspace(more={"general/2023-11-13.json": [message("U2", "older", -90_000)]})
    brought(folder(tmp_path / "more", more), data)
    assert seen(data, "anna", "slack-C1") == {
        "one": (T0, "read"),
        "two": (T0 + 1, "read"),
        "have you read this?": (None, "undelivered"),
        "older": (T0 - 90_000, "read"),
    }


def seen(data: Path, user: str, chat: str) -> dict[str, tuple[int | None, str]]:
    """A chat as a member sees it: of each message when it was said, in seconds, and how far it has come."""
    token = done("device", "add", user, data=data).out.strip()
    with running(data) as relay:

        async def ask() -> Any:
            async with connect(relay.url, token) as client:
                return await client.request("messages", requests.Messages(chat_id=chat))

        found = trio.run(ask)
    return {one.message: (one.created_at // 1_000 if one.created_at < 1.75e12 else None, one.status) for one in found}


def test_imported_dates_are_shown_everywhere(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "add", "anna", data=data)
    done("send", "--as", "anna", "anna", "in use", data=data)
    root = f"{T0:.6f}"
    day = [message("U1", "root"), message("U2", "reply", 1, thread_ts=root)]
    token = done("device", "add", "anna", data=data).out.strip()
    with running(data) as relay:

        async def ask() -> Any:
            async with connect(relay.url, token) as client:
                source = folder(tmp_path / "slack", workspace(more={f"general/{DAY}": day}))
                await trio.to_thread.run_sync(brought, source, data)
                wanted = requests.Messages(chat_id="slack-C1")
                messages: list[objects.Message] = await client.request("messages", wanted)
                chats: list[objects.ChatListItem] = await client.request("chats", requests.ChatsRequest())
                return messages, chats

        messages, chats = trio.run(ask)
    (chat,) = (one for one in chats if one.id == "slack-C1")
    assert [one.created_at for one in messages] == [T0 * 1_000, T0 * 1_000 + 1_000]
    assert messages[1].reply_to.created_at == T0 * 1_000
    assert chat.last_message_time == T0 * 1_000 + 1_000
    assert chat.missed is None


def test_former_members_stay_out_and_keep_their_messages(tmp_path: Path) -> None:
    # In a relay's own export: bob once could read messages from after his removal.
    data, there = tmp_path / "data", tmp_path / "there"
    for user in ("alice", "bob", "carol"):
        done("user", "add", user, data=data)
    done("chat", "create", "secret", "bob", "carol", "--owner", "alice", data=data)
    for user in ("bob", "carol"):
        done("send", "--as", user, "secret", f"by {user}", data=data)
        done("chat", "remove", "secret", user, data=data)
    done("send", "--as", "alice", "secret", "after bob was thrown out", data=data)
    (tmp_path / "out.jsonl").write_text(done("export", data=data).out)
    brought(tmp_path / "out.jsonl", there)
    assert group(there)["participants"] == ["alice"]
    assert [one["sender"] for one in records(there, "message")] == ["bob", "carol", "alice"]


def test_the_order_of_joining_survives_an_import(tmp_path: Path) -> None:
    data, there = tmp_path / "data", tmp_path / "there"
    for user in ("alice", "bob", "carol"):
        done("user", "add", user, data=data)
    done("chat", "create", "ops", "carol", "--owner", "alice", data=data)
    done("chat", "add", "ops", "bob", data=data)
    (tmp_path / "out.jsonl").write_text(done("export", data=data).out)
    done("import", tmp_path / "out.jsonl", data=there)
    for where in (data, there):
        assert group(where)["participants"] == ["alice", "carol", "bob"]
        done("user", "remove", "alice", "--yes", data=where)
        assert group(where)["owner"] == "carol"


def test_messages_that_retention_removed_lately_are_not_imported_again(tmp_path: Path) -> None:
    found, data = two_people_talk(tmp_path, "relay", "anna", "ben"), tmp_path / "data"
    brought(found, data)
    done("prune", "--max-bytes", "1", "--yes", data=data)
    assert texts(data) == []
    came = brought(found, data)
    assert (came["here"]["messages"], came["left"], texts(data)) == (1, {}, [])


# What programs posted (RocketChat/Rocket.Chat.iOS#314, discourse/discourse-chat#291).
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


def two_people_talk(tmp_path: Path, kind: str, first: str, second: str) -> Path:
    """An export of a dialog, in which the source names the first one first."""
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


@pytest.mark.parametrize("kind", ["slack", "mattermost", "relay"])
@pytest.mark.parametrize("people", [("anna", "ben"), ("ben", "anna")])
@pytest.mark.parametrize("here", [("anna", "ben"), ("ben", "anna")])
def test_a_dialog_is_the_same_in_any_order_of_its_users(
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
    """Answer as a relay that takes everything."""
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
        trio.run(importing.run)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert importing.added["messages"] == count
        return most

    peak(200)
    assert peak(8_000) < 1.5 * peak(800)


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


def test_former_members_of_a_private_channel_are_not_members(tmp_path: Path) -> None:
    # mattermost/mattermost#9821, #10319.
    found = bulk(post("I was here", "gone"), post("and I am", "ben"), post("deleted user", "nobody-knows"))
    came = brought(lines(tmp_path, found), tmp_path / "data")
    assert sorted(group(tmp_path / "data")["participants"]) == ["anna", "ben"]
    assert came["added"]["messages"] == 3
    people = {user["id"]: user.get("disabled", False) for user in records(tmp_path / "data", "user")}
    assert people == {"anna": False, "ben": False, "gone": True, "nobody-knows": True}


def test_a_mattermost_channel_without_members_has_its_authors(tmp_path: Path) -> None:
    posts = [
        {**post("old", "ben"), "channel": "old", "replies": [{"user": "anna", "message": "so", "create_at": T0}]},
        {**post("carl joined", "carl"), "channel": "old", "type": "system_join_channel"},
    ]
    found = bulk(*posts, users=("anna", "ben", "carl"))
    found.insert(1, {"type": "channel", "channel": {"team": "t", "name": "old", "display_name": "Old", "type": "P"}})
    came = brought(lines(tmp_path, found), tmp_path / "data")
    assert came["added"]["messages"] == 2
    (old,) = (chat for chat in records(tmp_path / "data", "chat") if chat["name"] == "Old")
    assert sorted(old["participants"]) == ["anna", "ben"]


def test_more_messages_than_are_sorted_in_memory_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.cli.importers.order.RUN_ITEMS", 7)
    monkeypatch.setattr("relay.cli.importers.order.MAX_RUNS", 3)
    posts = [post(str(number), at=T0 * 1_000 + number * 37 % 101) for number in range(101)]
    brought(lines(tmp_path, bulk(*posts)), tmp_path / "data")
    dates = [one["at"] for one in records(tmp_path / "data", "message")]
    assert len(dates) == 101
    assert dates == sorted(dates)


def test_two_groups_whose_names_begin_alike_stay_two(tmp_path: Path) -> None:
    people = [f"somebody-with-a-long-name-{number}" for number in range(4)]
    groups = [people[:3], people[:2] + people[3:]]
    posts = [
        {"type": "direct_post", "direct_post": {
            "channel_members": one, "user": one[0], "message": f"to {number}", "create_at": T0}}
        for number, one in enumerate(groups)
    ]  # fmt: skip
    found = [*bulk(users=tuple(people)), *posts]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["chats"] == 3


@pytest.mark.parametrize(
    "places",
    [
        (("a", "b-c"), ("a-b", "c")),
        (("acme-corporation", f"customer-support-germany-escalations-{n}") for n in (1, 2)),
    ],
)
def test_two_channels_whose_ids_would_be_alike_stay_two(places: Iterable[tuple[str, str]], tmp_path: Path) -> None:
    found: list[dict[str, Any]] = []
    for user, (team, channel) in zip(("anna", "ben"), places, strict=True):
        teams = [{"name": team, "channels": [{"name": channel}]}]
        found += [
            {"type": "channel", "channel": {"team": team, "name": channel, "type": "P"}},
            {"type": "user", "user": {"username": user, "teams": teams}},
            {"type": "post", "post": {**post(f"of {user}", user), "team": team, "channel": channel}},
        ]
    brought(lines(tmp_path, [{"type": "version", "version": 1}, *found]), tmp_path / "data")
    chats = {chat["id"]: chat["participants"] for chat in records(tmp_path / "data", "chat")}
    said = {one["chat"]: one["text"] for one in records(tmp_path / "data", "message")}
    assert sorted((chats[chat], said[chat]) for chat in chats) == [(["anna"], "of anna"), (["ben"], "of ben")]


def test_two_groups_whose_names_join_alike_stay_two(tmp_path: Path) -> None:
    groups = [["a-b", "c", "d"], ["a", "b-c", "d"]]
    posts = [
        {"type": "direct_post", "direct_post": {
            "channel_members": one, "user": one[0], "message": f"to {number}", "create_at": T0}}
        for number, one in enumerate(groups)
    ]  # fmt: skip
    found = [*bulk(users=("a-b", "a", "b-c", "c", "d")), *posts]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["chats"] == 3


def test_a_later_export_adds_only_new_messages(tmp_path: Path) -> None:
    # mattermost/docs#9154: a trial import, weekly exports, and the one of the last day.
    at = T0 * 1_000
    replies = [{"user": "ben", "message": f"reply {number}", "create_at": at + number} for number in range(1, 4)]
    first = bulk(post("one", replies=replies[:2]), post("two", "ben", at + 10))
    brought(lines(tmp_path, first), tmp_path / "data")
    # Somebody new stands before the posts, and a reply was deleted.
    later = bulk(
        post("one", replies=replies[1:]),
        post("two", "ben", at + 10),
        post("three", "carl", at + 20),
        users=("anna", "ben", "carl"),
    )
    came = brought(lines(tmp_path, later), tmp_path / "data")
    assert (came["added"]["messages"], came["here"]["messages"]) == (2, 3)
    assert sorted(texts(tmp_path / "data")) == ["one", "reply 1", "reply 2", "reply 3", "three", "two"]


def test_the_same_words_at_one_moment_in_two_channels_are_two_messages(tmp_path: Path) -> None:
    direct = {"channel_members": ["anna", "ben"], "user": "anna", "message": "hello", "create_at": T0 * 1_000}
    found = [*bulk(post("hello"), post("hello, too")), {"type": "direct_post", "direct_post": direct}]
    assert brought(lines(tmp_path, found), tmp_path / "data")["added"]["messages"] == 3


def test_a_file_larger_than_one_request_is_imported_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 50_000
    folder(tmp_path / "data", {"big.bin": content, "empty.bin": b""})
    found = bulk(post("look", attachments=[{"path": "big.bin"}, {"path": "empty.bin"}, {"path": "missing.bin"}]))
    came = brought(lines(tmp_path, found), tmp_path / "relay")
    assert (came["added"]["files"], came["left"]) == (2, {"files": 1})
    kept = sorted(file.read_bytes() for file in (tmp_path / "relay" / "files").rglob("*") if file.is_file())
    assert kept == [b"", content]
    came = brought(lines(tmp_path, found), tmp_path / "relay")
    assert came["added"]["files"] == 0


def test_a_message_that_is_listed_twice_is_counted_once(tmp_path: Path) -> None:
    entries = workspace(more={"general/2023-11-15.json": [message("U2", "two", 1), message("U1", "three", 2)]})
    entries["groups.json"] = entries["channels.json"]
    came = brought(folder(tmp_path / "slack", entries), tmp_path / "data")
    assert (came["added"]["chats"], came["added"]["messages"], came["here"]["messages"]) == (1, 3, 1)


# Our own, of an older relay.


def test_a_repeated_edit_of_a_deleted_message_is_known(tmp_path: Path) -> None:
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
    """A bulk export of two messages, of which the second holds a file."""
    records: list[Entries] = [{"type": "version", "version": 1}]
    records += [{"type": "user", "user": {"username": name}} for name in ("anna", "ben")]
    post = {"channel_members": ["anna", "ben"], "user": "anna", "message": "one", "create_at": T0 * 1_000}
    records.append({"type": "direct_post", "direct_post": post})
    later = {**post, "message": "two", "create_at": T0 * 1_000 + 1, "attachments": [{"path": "a.txt"}]}
    records.append({"type": "direct_post", "direct_post": later})
    return folder(root, {"bulk.jsonl": "\n".join(map(json.dumps, records)).encode(), "data/a.txt": b"a" * 5_000})


def test_a_file_for_which_there_is_no_room_ends_an_import_and_comes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = with_file(tmp_path / "export"), tmp_path / "data"
    monkeypatch.setenv("RELAY_FILES_TOTAL_BYTES", "4096")
    ran = run("import", source, data=data)
    assert ran.code == 1
    assert "files.total_bytes" in ran.err
    assert "call it again then" in ran.err
    monkeypatch.delenv("RELAY_FILES_TOTAL_BYTES")
    again = done("import", source, "--json", data=data).json
    assert (again["added"]["files"], again["added"]["messages"], again["left"]) == (1, 2, {})


def test_a_file_for_which_its_sender_has_no_room_stays_behind_and_all_else_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, data = with_file(tmp_path / "export"), tmp_path / "data"
    monkeypatch.setenv("RELAY_FILES_USER_BYTES", "4096")
    came = done("import", source, "--json", data=data).json
    assert (came["added"]["files"], came["added"]["messages"]) == (0, 2)
    assert sum(came["left"].values()) == 1
