"""Export and import: an export can be imported again, and other systems' data keeps its people and dates."""

import http.client
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import trio

from relay.cli.importers import importing
from relay.cli.offline import CommandTuning
from relay.client import connect
from relay.core.admin.importing.people import PeopleImport
from relay.core.relay import open_relay
from relay.core.submit import submit
from relay.keys import NO_DEVICE
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment
from relay.store.command import Command
from tests.support.command_line import Running, done, run, running

DAY = 86_400_000
FIRST = 1_700_000_000_000


def exported(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done("export", data=data).out.splitlines()]


def messages(data: Path) -> list[dict[str, Any]]:
    return [record for record in exported(data) if record["type"] == "message"]


@pytest.fixture
def office(tmp_path: Path) -> Path:
    data = tmp_path / "office"
    for user in ("anna", "ben", "carl"):
        done("user", "add", user, "--name", user.title(), data=data)
    done("chat", "create", "ops", "ben", "--owner", "anna", data=data)
    done("send", "--as", "anna", "ops", "hello all", data=data)
    done("send", "--as", "ben", "anna", "hello anna", data=data)
    done("send", "--as", "carl", "carl", "note to self", data=data)
    done("user", "disable", "carl", data=data)
    return data


def test_an_export_has_users_chats_and_messages_in_order(office: Path, tmp_path: Path) -> None:
    records = exported(office)
    assert [record["type"] for record in records] == ["relay", *["user"] * 3, *["chat"] * 3, *["message"] * 3]
    assert records[0]["format"] == 2
    assert records[3] == {"type": "user", "id": "carl", "name": "Carl", "disabled": True, "at": records[3]["at"]}
    group, dialog, notes = (record for record in records if record["type"] == "message")
    assert group["text"] == "hello all"
    assert group["chat"].startswith("g-")
    assert dialog["participants"] == ["anna", "ben"]
    assert notes["participants"] == ["carl"]
    file = tmp_path / "out.jsonl"
    assert done("export", file, "--json", data=office).json == {"users": 3, "chats": 3, "messages": 3, "unreadable": []}
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text().splitlines()) == len(records)


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_exported_relay_is_imported_identically(state: str, office: Path, tmp_path: Path) -> None:
    file, there = tmp_path / "out.jsonl", tmp_path / "there"
    done("export", file, data=office)
    if state == "running":
        with running(there):
            done("import", file, data=there)
            copy = exported(there)
    else:
        done("import", file, data=there)
        copy = exported(there)

    def said(records: list[dict[str, Any]]) -> list[Any]:
        times = ("at",)
        return [
            {name: value for name, value in record.items() if name not in times}
            for record in records
            if record["type"] in ("user", "message")
        ]

    assert said(copy) == said(exported(office))
    assert [one["at"] for one in copy if one["type"] == "message"] == [one["at"] for one in messages(office)]
    assert done("user", "show", "carl", "--json", data=there).json["disabled"] is True


def test_repeated_import_adds_nothing_and_leaves_everything_read(office: Path, tmp_path: Path) -> None:
    file, there = tmp_path / "out.jsonl", tmp_path / "there"
    done("export", file, data=office)
    done("import", file, data=there)
    done("import", file, data=there)
    assert len(messages(there)) == 3


def test_an_export_imported_into_its_own_relay_adds_nothing(office: Path, tmp_path: Path) -> None:
    # zulip/zulip#19768 (imports made twice); here for edits and deletions without a client id.
    file = tmp_path / "out.jsonl"

    async def change() -> None:
        async with open_relay(office) as relay:
            anna = relay.state.user_keys["anna"]
            for number, text in enumerate(("one", "two", "three")):
                sent = requests.New(chat_id="ben", client_message_id=text, message=text)
                said = await submit(relay.log, Command(FIRST, anna, NO_DEVICE, sent))
                target = said.message_id
                for change in (
                    requests.Edit(chat_id="ben", original_message_id=target, message=f"{text}!"),
                    requests.Edit(chat_id="ben", original_message_id=target, message=f"{text}?"),
                    requests.Delete(chat_id="ben", original_message_id=target),
                )[: number + 1]:
                    generated_id = f"{text}{type(change).__name__}{getattr(change, 'message', '')}"
                    await submit(relay.log, Command(FIRST, anna, NO_DEVICE, change, generated_id=generated_id))

    trio.run(change)
    done("export", file, data=office)
    before = exported(office)
    for _ in range(2):
        ran = done("import", file, "--json", data=office)
        assert ran.json["left"] == {}
    assert exported(office)[1:] == before[1:]


def test_import_into_a_relay_in_use_keeps_the_dates_of_old_messages(office: Path, tmp_path: Path) -> None:
    done("import", "--same", slack(tmp_path), data=office)
    hello = next(one for one in messages(office) if one["text"] == "hello @Ben &co")
    assert hello["at"] == FIRST
    assert messages(office)[0]["text"] == "hello all"


def slack(tmp_path: Path) -> Path:
    root = tmp_path / "slack"
    (root / "general").mkdir(parents=True)
    (root / "D1").mkdir()
    users = [
        {"id": "U1", "name": "anna", "profile": {"display_name": "Anna"}, "is_admin": True},
        {"id": "U2", "name": "ben b", "profile": {"real_name": "Ben"}},
        {"id": "U3", "name": "gone", "profile": {}, "deleted": True},
    ]
    first, second = "1700000000.000100", "1700000060.000200"
    day = [
        {"type": "message", "subtype": "channel_join", "user": "U2", "ts": "1699999999.0", "text": "joined"},
        {"type": "message", "user": "U1", "ts": first, "thread_ts": first, "text": "hello <@U2> &amp;co"},
        {"type": "message", "user": "U2", "ts": second, "thread_ts": first, "text": "see <http://x.org|this>"},
        {"type": "message", "user": "U3", "ts": "1700000070.0", "text": "I was here", "reactions": [{"users": ["U1"]}]},
        {
            "type": "message",
            "bot_id": "B1",
            "username": "Build\nBot" + 150 * "!",
            "ts": "1700000080.0",
            "text": "gr\0een",
        },
        {"type": "message", "user": "U1", "ts": "1700000090.0", "text": "", "files": [{"name": "a.pdf"}]},
    ]
    direct = [{"type": "message", "user": "U2", "ts": "1700000065.0", "text": "psst"}]
    (root / "users.json").write_text(json.dumps(users))
    (root / "channels.json").write_text(
        json.dumps([{"id": "C1", "name": "general", "creator": "U1", "members": ["U1", "U2"]}])
    )
    (root / "dms.json").write_text(json.dumps([{"id": "D1", "members": ["U1", "U2"]}]))
    (root / "general" / "2023-11-14.json").write_text(json.dumps(day))
    (root / "D1" / "2023-11-14.json").write_text(json.dumps(direct))
    return root


@pytest.mark.parametrize("packed", [False, True])
def test_slack_import_lists_what_it_leaves_behind(packed: bool, tmp_path: Path) -> None:
    source, data = slack(tmp_path), tmp_path / "data"
    if packed:
        with zipfile.ZipFile(tmp_path / "slack.zip", "w") as target:
            for part in source.rglob("*.json"):
                target.write(part, part.relative_to(source))
        source = tmp_path / "slack.zip"
    came = done("import", source, "--json", data=data).json
    assert came["added"] == {"users": 4, "chats": 2, "messages": 6, "files": 0}
    assert came["left"] == {"notes that somebody joined, left or changed something": 1, "reactions": 1, "files": 1}
    hello, answer, direct, old, bot, file = messages(data)
    assert bot["text"] == "green"
    assert (hello["sender"], hello["text"], hello["at"]) == ("anna", "hello @Ben &co", FIRST)
    assert (answer["sender"], answer["text"]) == ("ben-b", "see this (http://x.org)")
    assert answer["replyTo"] == hello["clientMessageId"]
    assert direct["participants"] == ["anna", "ben-b"]
    assert (old["sender"], bot["sender"]) == ("gone", "Build-Bot")
    assert file["text"] == "(file: a.pdf)"
    users = {user["id"]: user for user in done("user", "list", "--json", data=data).json}
    assert users["gone"]["disabled"] is True
    assert users["Build-Bot"]["bot"] is True
    assert users["Build-Bot"]["name"] == "Build Bot" + 119 * "!"
    chat = next(one for one in done("chat", "list", "--json", data=data).json if one["type"] == "group")
    assert (chat["id"], chat["name"], chat["lastMessageTime"]) == ("slack-C1", "general", FIRST + 90_000)
    assert "left behind: 1 files" in done("import", source, data=tmp_path / "other").out


def test_a_mattermost_export_is_imported(tmp_path: Path) -> None:
    post = {"team": "t", "channel": "town", "user": "anna", "message": "hi", "create_at": FIRST}
    replies = [{"user": "ben", "message": "hello", "create_at": FIRST + 2_000}]
    three = ["anna", "ben", "carl"]
    teams = [{"name": "t", "channels": [{"name": "town", "roles": "channel_user channel_admin"}]}]
    records = [
        {"type": "version", "version": 1},
        {"type": "team", "team": {"name": "t"}},
        {"type": "channel", "channel": {"team": "t", "name": "town", "display_name": "Town", "type": "O"}},
        {"type": "user", "user": {"username": "anna", "nickname": "Anna", "roles": "system_admin", "teams": teams}},
        {"type": "user", "user": {"username": "ben", "first_name": "Ben", "last_name": "B"}},
        {"type": "user", "user": {"username": "carl", "delete_at": 5}},
        {"type": "direct_channel", "direct_channel": {"members": three}},
        {"type": "post", "post": {**post, "replies": replies}},
        {"type": "post", "post": {**post, "create_at": FIRST - DAY, "message": "the day before"}},
        {"type": "direct_post", "direct_post": {
            "channel_members": ["anna", "ben"], "user": "ben", "message": "direct", "create_at": FIRST + 1_000}},
        {"type": "direct_post", "direct_post": {
            "channel_members": three, "user": "carl", "message": "all three", "create_at": FIRST + 3_000,
            "attachments": [{"path": "x/y.png"}, {"path": "z.txt"}]}},
        {"type": "emoji", "emoji": {}},
    ]  # fmt: skip
    file, data = tmp_path / "bulk.jsonl", tmp_path / "relay"
    file.write_text("\n".join(json.dumps(record) for record in records))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "z.txt").write_text("content of z")
    came = done("import", file, "--json", data=data).json
    assert came == {
        "dryRun": False,
        "added": {"users": 3, "chats": 3, "messages": 5, "files": 1},
        "here": {"users": 0, "chats": 0, "messages": 0},
        "left": {"records of the kind emoji": 1, "files": 1},
        "admins": ["anna"],
    } | {"inferred": {}, "kept": [], "ownerless": [], "others": {}, "namesakes": []}
    said = messages(data)
    assert [one["text"] for one in said] == [
        "the day before", "hi", "direct", "hello", "all three\n(file: y.png)",
    ]  # fmt: skip
    assert said[0]["at"] == FIRST - DAY
    assert [file["filename"] for file in said[4]["attachments"]] == ["z.txt"]
    assert said[3]["replyTo"] == said[1]["clientMessageId"]
    assert said[2]["participants"] == ["anna", "ben"]
    assert {chat["id"] for chat in done("chat", "list", "--json", data=data).json} == {"mm-t-town", "mm-anna-ben-carl"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "its first line is not a JSON object"),
        ("hello", "its first line is not a JSON object"),
        ('{"type": "other"}', "its first line is neither a relay's nor Mattermost's"),
        ('{"type": "relay", "format": 3}', "was exported by a newer relay: upgrade this one first"),
        ('{"type": "version"}\nhello', "line 2: "),
    ],
)
def test_file_that_is_not_an_export_is_reported(content: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "file.jsonl"
    file.write_text(content)
    ran = run("import", file, data=tmp_path / "data")
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("users.json", "{}", "users.json is not a list"),
        ("channels.json", "{}", "channels.json is not a list"),
    ],
)
def test_a_damaged_slack_export_is_reported(name: str, content: str, said: str, tmp_path: Path) -> None:
    source = slack(tmp_path)
    (source / name).write_text(content)
    ran = run("import", source, data=tmp_path / "data")
    assert ran.code == 1
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_slack_chat_with_a_damaged_day_is_left_out_completely(tmp_path: Path) -> None:
    source = slack(tmp_path)
    (source / "general" / "2026-01-02.json").write_text("[{")
    came = done("import", source, "--json", data=tmp_path / "data").json
    assert came["added"]["chats"] == 1
    assert came["left"]["chats (general: general/2026-01-02.json: JSON ends too early)"] == 1
    assert [one["text"] for one in messages(tmp_path / "data")] == ["psst"]


def test_interrupted_import_continues_where_it_stopped(
    office: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, file = tmp_path / "there", tmp_path / "out.jsonl"
    done("export", file, data=office)
    flushed = 0
    flush = importing.Importing.flush

    async def stop_at_the_second(self: importing.Importing) -> int:
        nonlocal flushed
        flushed += 1
        if flushed == 2:
            raise KeyboardInterrupt
        return await flush(self)

    monkeypatch.setattr(importing.Importing, "flush", stop_at_the_second)
    ran = run("import", file, data=there, tuning=CommandTuning(batch_messages=1))
    assert (ran.code, ran.err) == (1, "relay: interrupted: run it again, and it continues where it stopped\n")
    monkeypatch.setattr(importing.Importing, "flush", flush)
    done("import", file, data=there)
    assert [one["text"] for one in messages(there)] == [one["text"] for one in messages(office)]
    assert trio.lowlevel.in_trio_run() is False


def test_export_with_files_contains_them_and_can_be_imported_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    for user in ("anna", "ben"):
        done("user", "add", user, data=data)
    token = done("device", "add", "anna", data=data).out.strip()
    with running(data) as relay:

        async def upload_and_send() -> None:
            async with connect(relay.url, token) as client:
                await client.send("ben", "look", attachments=[attachment])

        attachment = upload(relay, token, b"hello file")
        trio.run(upload_and_send)
        done("export", "--files", tmp_path / "out.tar", data=data)
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = tar.getnames()
        assert names == ["export.jsonl", f"files/{attachment.id}/note.txt"]
        content = tar.extractfile(names[1])
        assert content is not None
        assert content.read() == b"hello file"
    came = done("import", tmp_path / "out.tar", "--json", data=tmp_path / "there").json
    assert came["added"] == {"users": 2, "chats": 1, "messages": 1, "files": 1}
    # A lost file is reported by the export that misses it, not by a later import.
    (lost,) = (path for path in (data / "files").rglob("*") if path.is_file())
    lost.unlink()
    name = str(lost.relative_to(data))
    assert done("export", "--files", tmp_path / "out.tar", "--json", data=data).json["missing"] == [name]
    ran = done("export", "--files", tmp_path / "out.tar", data=data)
    assert f"missing in {data}, and so in the export: {name}\n" in ran.out
    assert came["left"] == {}
    # A spoilt one is reported by both.
    lost.write_bytes(b"h3llo file")
    ran = done("export", "--files", tmp_path / "spoilt.tar", data=data)
    assert f"spoilt in {data}, and so not whole in the export: {name}\n" in ran.out
    spoilt = done("import", tmp_path / "spoilt.tar", "--json", data=tmp_path / "elsewhere").json
    assert spoilt["left"] == {"files (spoilt in the export)": 1}
    assert spoilt["added"]["files"] == 0
    (message,) = messages(tmp_path / "there")
    assert (message["text"], message["attachments"][0]["filename"]) == ("look", "note.txt")
    assert message["at"] == messages(data)[0]["at"]
    contents = [file.read_bytes() for file in (tmp_path / "there" / "files").rglob("*") if file.is_file()]
    assert contents == [b"hello file"]
    assert run("export", "--files", data=data).code == 2


def upload(relay: Running, token: str, content: bytes) -> Attachment:
    connection = http.client.HTTPConnection(urlsplit(relay.url).netloc, timeout=10)
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": "text/plain",
        "Content-Disposition": "attachment; filename*=UTF-8''note.txt",
    }
    connection.request("POST", "/files", content, headers)
    answer = connection.getresponse().read()
    connection.close()
    return msgspec.json.decode(answer, type=Attachment)


def test_interrupted_import_still_keeps_out_people_who_may_not_sign_in(
    office: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done("export", tmp_path / "out.jsonl", data=office)
    there = tmp_path / "there"

    async def stop(_import: PeopleImport, record: control.ChatImport) -> object:
        if record.dry:
            return control.ImportResult(added=True)
        raise RelayError("unavailable", "stopped here")

    with monkeypatch.context() as patched:
        patched.setattr(PeopleImport, "import_chat", stop)
        assert run("import", tmp_path / "out.jsonl", data=there).code == 1
    assert done("user", "show", "carl", "--json", data=there).json["disabled"] is True
    done("import", tmp_path / "out.jsonl", data=there)
    assert done("user", "show", "carl", "--json", data=there).json["disabled"] is True


def test_import_does_not_disable_an_existing_user(office: Path, tmp_path: Path) -> None:
    done("export", tmp_path / "out.jsonl", data=office)
    there = tmp_path / "there"
    done("user", "add", "carl", data=there)
    done("device", "add", "carl", data=there)
    done("import", "--same", tmp_path / "out.jsonl", data=there)
    assert done("user", "show", "carl", "--json", data=there).json["disabled"] is False
