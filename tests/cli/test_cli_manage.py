"""Users, devices and chats from the command line: with and without a running relay.

Longer than other modules: the commands share one running relay, whose start costs more than the tests.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from relay.cli.errors import for_people
from relay.protocol.control import CONTROL
from tests.support.command_line import done, run, running


@pytest.fixture(scope="module", params=["running", "stopped"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    where: Path = tmp_path_factory.mktemp(request.param) / "data"
    if request.param == "stopped":
        yield where
        return
    with running(where) as relay:
        yield relay.data


USER = {"id", "name", "bot", "admin", "disabled", "online", "devices", "chats", "createdAt"}
DEVICE = {"deviceId", "userId", "label", "createdAt", "revokedAt", "lastSeen", "online"}
CHAT = {"id", "type", "name", "owner", "admins", "participants", "messages", "createdAt", "lastMessageTime"}


def test_a_user_is_added_renamed_disabled_enabled_and_removed(data: Path) -> None:
    added = done("user", "add", "tom", "--name", "Tom Thumb", "--json", data=data).json
    assert set(added) == USER
    assert (added["id"], added["name"], added["bot"]) == ("tom", "Tom Thumb", False)
    assert done("user", "rename", "tom", "Tom", "--json", data=data).json["name"] == "Tom"
    assert done("user", "disable", "tom", "--json", data=data).json["disabled"] is True
    assert done("user", "enable", "tom", "--json", data=data).json["disabled"] is False
    assert "tom  Tom" in done("user", "show", "tom", data=data).out
    assert any(user["id"] == "tom" for user in done("user", "list", "--json", data=data).json)
    done("user", "remove", "tom", "--yes", data=data)
    assert run("user", "show", "tom", data=data) == (1, "", "relay: there is no user 'tom' here\n")


def test_a_device_is_added_listed_and_revoked(data: Path) -> None:
    done("user", "add", "dora", data=data)
    token = done("device", "add", "dora", "--label", "phone", "--json", data=data).json
    assert set(token) == {"deviceId", "token"}
    (device,) = done("device", "list", "dora", "--json", data=data).json
    assert set(device) == DEVICE
    assert (device["deviceId"], device["label"]) == (token["deviceId"], "phone")
    assert "phone" in done("user", "show", "dora", data=data).out
    done("device", "revoke", token["deviceId"], data=data)
    assert done("device", "list", "dora", "--json", data=data).json == []
    plain = done("device", "add", "dora", data=data).out
    assert len(plain.strip()) >= 43
    assert plain.count("\n") == 1


def test_a_chat_is_made_filled_emptied_and_deleted(data: Path) -> None:
    for user in ("ann", "bob", "cleo"):
        done("user", "add", user, data=data)
    chat = done("chat", "create", "Crew", "bob", "--owner", "ann", "--json", data=data).json
    assert set(chat) == CHAT
    assert chat["participants"] == ["ann", "bob"]
    assert done("chat", "add", "crew", "cleo", "--json", data=data).json["participants"] == ["ann", "bob", "cleo"]
    assert done("chat", "remove", chat["id"], "bob", "--json", data=data).json["participants"] == ["ann", "cleo"]
    assert done("chat", "show", "Crew", "--json", data=data).json["id"] == chat["id"]
    assert "Crew" in done("chat", "list", data=data).out
    done("chat", "delete", "Crew", "--yes", data=data)
    assert "Crew" not in done("chat", "list", data=data).out


def test_send_returns_once_the_message_is_on_disk_and_accepts_a_groups_name(data: Path) -> None:
    done("user", "add", "alarm", "--bot", data=data)
    done("user", "add", "eve", data=data)
    chat = done("chat", "create", "ops", "alarm", "eve", "--json", data=data).json
    answer = done("send", "--as", "alarm", "ops", "door open", "--json", data=data).json
    assert set(answer) == {"messageId", "timestamp", "clientMessageId"}
    assert answer["messageId"] == 1
    done("send", "--as", "alarm", "ops", "-", data=data, stdin="door\nclosed\n")
    done("send", "--as", "eve", "alarm", "thanks", data=data)
    assert done("chat", "show", chat["id"], "--json", data=data).json["messages"] == 2


def test_chat_is_found_by_a_name_of_maximum_length(data: Path) -> None:
    done("chat", "create", "n" * 128, "--owner", "eve", data=data)
    assert done("chat", "show", "N" * 128, "--json", data=data).json["name"] == "n" * 128


def test_message_of_a_user_outside_the_chat_is_refused_with_advice(data: Path) -> None:
    group = done("chat", "create", "Alarms", "--owner", "eve", "--json", data=data).json["id"]
    done("user", "add", "siren", "--bot", data=data)
    ran = run("send", "--as", "siren", "alarms", "fire", data=data)
    assert ran == (1, "", f"relay: 'siren' is not in 'Alarms': `relay chat add {group} siren` first\n")
    done("chat", "add", "alarms", "siren", data=data)
    done("send", "--as", "siren", "alarms", "fire", data=data)


def test_admins_set_on_the_machine_run_a_channel_with_a_disabled_owner(data: Path) -> None:
    for user in ("chief", "helper"):
        done("user", "add", user, data=data)
    channel = done("chat", "create", "News", "chief", "helper", "--type", "channel", "--json", data=data).json["id"]
    done("user", "disable", "chief", data=data)
    assert run("send", "--as", "helper", "News", "hello", data=data).code == 1
    assert done("chat", "admins", "News", "helper", "--json", data=data).json["admins"] == ["helper"]
    done("send", "--as", "helper", "News", "hello", data=data)
    assert done("chat", "rename", "News", "Notices", "--json", data=data).json["name"] == "Notices"
    assert done("chat", "admins", channel, "--json", data=data).json["admins"] == []
    refused = run("chat", "admins", channel, "nobody", data=data)
    assert (refused.code, refused.err.count("\n")) == (1, 1)


def test_a_text_with_a_nul_is_refused(data: Path) -> None:
    ran = run("send", "--as", "eve", "eve", "-", data=data, stdin="a\0b")
    assert ran.code == 2
    assert "NUL" in ran.err


@pytest.mark.parametrize(
    "text",
    [
        "id,name\nuwe,Uwe Ö\n",
        "ID;Name;Phone\nuwe;Uwe Ö;1\n",
        "name,id\nUwe Ö,uwe\n",
        "id\tname\r\nuwe\tUwe Ö\r\n",
        "Phone,Name,Id\n1,Uwe Ö,uwe\n",
        "uwe,Uwe Ö\n",
    ],
)
def test_users_are_imported_from_spreadsheets_tables(text: str, tmp_path: Path) -> None:
    file = tmp_path / "staff.csv"
    file.write_text(text, "utf-8-sig")
    done("user", "import", file, data=tmp_path / "data")
    assert [(one["id"], one["name"]) for one in done("user", "list", "--json", data=tmp_path / "data").json] == [
        ("uwe", "Uwe Ö")
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a" * 200_000, "is not a table of ids and names: a cell in line 1 is too long"),
    ],
)
def test_file_without_a_table_of_users_is_refused_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "staff.csv"
    file.write_bytes(content)
    ran = run("user", "import", file, data=tmp_path / "data")
    assert (ran.code, ran.out) == (1, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("user", "show", "nobody"), "there is no user 'nobody' here"),
        (("device", "revoke", "9999"), "device: there is no device 9999"),
        (("hook", "remove", "9999"), "there is no hook 9999: `relay hook list` shows all"),
        (("chat", "show", "nowhere"), "there is no group or channel 'nowhere': `relay chat list` shows all"),
        (("send", "--as", "nobody", "eve", "x"), "there is no user 'nobody' here"),
        (("send", "--as", "eve", "nowhere", "x"), "there is no group or channel 'nowhere': `relay chat list`"),
        (("audit", "--by", "nobody"), "there is no user 'nobody' here"),
    ],
)
def test_failure_is_one_line_and_exits_with_1(command: tuple[str, ...], said: str, data: Path) -> None:
    done("user", "list", data=data)
    ran = run(*command, data=data)
    assert ran.code == 1
    assert ran.out == ""
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err


@pytest.mark.parametrize("command", [("user", "add"), ("user", "frobnicate"), ("send", "a", "b"), ("--frob",)])
def test_wrong_use_exits_with_2(command: tuple[str, ...]) -> None:
    assert run(*command).code == 2


@pytest.mark.parametrize("command", [("user", "list"), ("status",), ("doctor",), ("tls", "show"), ("backup", "x.tar")])
def test_empty_data_option_is_not_the_current_directory(command: tuple[str, ...]) -> None:
    assert run(*command, "--data", "") == (2, "", "relay: --data: name a directory, or leave it out\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("user", "remove", "eve"), "Say so with --yes"),
        (("chat", "delete", "ops"), "Say so with --yes"),
        (("send", "--as", "eve", "ops", ""), "TEXT has nothing that can be seen"),
        (("export", "--files"), "relay export --files FILE.tar"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_is_right(command: tuple[str, ...], said: str, tmp_path: Path) -> None:
    ran = run(*command, data=tmp_path)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("relay: ")
    assert ran.err.count("\n") == 1
    assert said in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no/good",), "id: expected 1 to 64 of `A-Z a-z 0-9 _ . -`"),
        (("",), "id: expected 1 to 64 of"),
        (("frieda\n",), "id: expected 1 to 64 of"),
        (("f" * 65,), "id: expected 1 to 64 of"),
        (("frieda", "--name", " "), "name: expected 1 to 128 characters in one line that can be seen"),
        (("frieda", "--name", "two\nlines"), "name: expected 1 to 128 characters in one line"),
        (("frieda", "--name", "\x1b[31mred"), "name: expected 1 to 128 characters in one line"),
        (("frieda", "--name", "n" * 129), "name: expected 1 to 128 characters in one line"),
        (("frieda", "--name", "\udcff"), "the input is not UTF-8 text"),
    ],
)
def test_invalid_values_are_refused_in_plain_words_and_exit_with_2(
    arguments: tuple[str, ...], said: str, data: Path
) -> None:
    ran = run("user", "add", *arguments, data=data)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"relay: {said}")
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("prune", "--yes", "--days", "-5"), "--days: expected a whole number, 0 or more"),
        (("prune", "--yes", "--max-bytes", "-5"), "--max-bytes: expected a whole number, 0 or more"),
        (("send", "--as", "eve", "ops", "x" * 65_537), "text: expected at most 65536 characters"),
        (("send", "--as", "", "ops", "x"), "user: expected a text that is not empty"),
        (("device", "add", "eve", "--label", "x" * 129), "--label: expected at most 128 characters"),
        (("chat", "add", "ops", "eve", ""), "user: expected a text that is not empty"),
        (("hook", "add", "eve", "--to", "ftp://x"), "--to: 'ftp://x' is not an address: it should begin with http://"),
    ],
)
def test_refusal_names_the_typed_words(command: tuple[str, ...], said: str, data: Path) -> None:
    run("user", "add", "first", data=data)
    ran = run(*command, data=data)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"relay: {said}")
    assert ran.err.count("\n") == 1


def test_wire_fields_are_shown_by_their_command_line_names() -> None:
    # Nobody typed the fields of an import.
    asked = [kind.payload for name, kind in CONTROL.items() if not name.startswith("import.")]
    fields = {field.encode_name for payload in asked for field in msgspec.structs.fields(payload)}
    shown = {field: for_people(f"payload.{field}: wrong") for field in fields - {"photoUrl", "clientMessageId"}}
    assert {field: said for field, said in shown.items() if not said.islower()} == {}


def test_other_peoples_names_and_texts_cannot_control_a_terminal(data: Path) -> None:
    done("user", "add", "gina", data=data)
    done("device", "add", "gina", "--label", "\x1b]0;mine\x07two\nlines\u202e", data=data)
    ran = done("device", "list", "gina", data=data)
    assert "]0;mine two lines " in ran.out
    assert "\x1b" not in ran.out
    assert len(ran.out.splitlines()) == 2


def test_many_users_are_added_from_one_file(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "staff.csv"
    file.write_text('\ufeffid,name\nu1,Ursula One\nu2\n\nu3,"Three, Ursula"\n', "utf-8")
    first = done("user", "import", file, "--device", "--json", data=data).out.splitlines()
    assert len(first) == 3
    assert all('"added":true' in line and '"token":"' in line for line in first)
    assert done("user", "show", "u3", "--json", data=data).json["name"] == "Three, Ursula"
    assert done("user", "show", "u2", "--json", data=data).json["name"] == "u2"
    again = done("user", "import", file, data=data).out
    assert again == "u1 was there already\nu2 was there already\nu3 was there already\n"


@pytest.mark.parametrize("device", [False, True])
def test_failed_user_does_not_stop_the_others(device: bool, tmp_path: Path) -> None:
    # RocketChat/Rocket.Chat#9226: a removed user should come back under the same id.
    data = tmp_path / "data"
    for user in ("gone", "off"):
        done("user", "add", user, data=data)
    done("user", "remove", "gone", "--yes", data=data)
    done("user", "disable", "off", data=data)
    options = ("--device",) if device else ()
    ran = run("user", "import", "-", *options, "--json", data=data, stdin="gone,Gone\noff,Off\nnew,New\n")
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["id"], row["added"], "problem" in row) for row in rows] == [
        ("gone", False, True),
        ("off", False, device),
        ("new", True, False),
    ]
    assert ("token" in rows[2]) == device
    assert ran.code == 1
    assert "of 3 could not be added: gone" in ran.err


def test_wrong_row_is_named_before_anything_is_changed(data: Path) -> None:
    ran = run("user", "import", "-", data=data, stdin="fine,Fine\nnot good,X\n")
    assert ran.code == 1
    assert ran.err.startswith("relay: -, line 2: 'not good' must be an id")
    assert run("user", "show", "fine", data=data).code == 1


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("id;name\r\nu1;Jörg, von Berg\r\nu2;Änne\r\n", "cp1252"),
        ("u1\tJörg, von Berg\nu2\tÄnne\n", "utf-16"),
        ('"id";"name"\n"u1";"Jörg, von Berg"\nu2 ; Änne', "utf-8-sig"),
        ('u1,"Jörg, von Berg"\ru2,Änne\r', "utf-8"),
    ],
)
def test_tables_of_excel_in_other_countries_are_imported(text: str, encoding: str, tmp_path: Path) -> None:
    # CeON/fairchive#2163, ryancramerdesign/ImportPagesCSV#9.
    file = tmp_path / "staff.csv"
    file.write_bytes(text.encode(encoding))
    data = tmp_path / "data"
    done("user", "import", file, data=data)
    names = {user["id"]: user["name"] for user in done("user", "list", "--json", data=data).json}
    assert (names["u1"], names["u2"]) == ("Jörg, von Berg", "Änne")


@pytest.mark.parametrize("row", ['u2,"Two\nu3,Three\n', 'u2,"Two" and a half\n'])
def test_unclosed_quotation_mark_swallows_no_row(row: str, data: Path) -> None:
    ran = run("user", "import", "-", data=data, stdin=f"u1,One\n{row}")
    assert ran.code == 1
    assert ran.err.startswith("relay: -, line 2: its quotation marks do not add up")


def test_wrong_row_is_reported_by_its_line_in_the_file(data: Path) -> None:
    ran = run("user", "import", "-", data=data, stdin='u1,One\n\nu2,"Two\nlines"\n')
    assert ran.err.startswith("relay: -, line 3: 'u2' must be an id")


@pytest.mark.parametrize(
    "text",
    [
        "user_id,name\nu1,Ursula\n",
        "Username,Full Name\nu1,Ursula\n",
        "User ID;E-Mail;Display Name\nu1;u@example.org;Ursula\n",
        '"Full Name","Login"\nUrsula,u1\n',
        "\n\nname,id\nUrsula,u1\n",
    ],
)
def test_headings_in_any_spelling_are_not_imported_as_a_user(text: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "import", "-", data=data, stdin=text)
    found = {user["id"]: user["name"] for user in done("user", "list", "--json", data=data).json}
    assert found == {"u1": "Ursula"}


def test_address_column_is_not_mistaken_for_the_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    done("user", "import", "-", data=data, stdin="login,email\nu1,u@example.org\n")
    assert [(user["id"], user["name"]) for user in done("user", "list", "--json", data=data).json] == [("u1", "u1")]


@pytest.mark.parametrize(
    "heading", ["email,name", "E-Mail;Name", "Full Name,Department", "name", "userid,username", "user,Bob"]
)
def test_headings_without_a_certain_id_column_are_refused(heading: str, data: Path) -> None:
    ran = run("user", "import", "-", data=data, stdin=f"{heading}\nu8{';' if ';' in heading else ','}Ursula\n")
    assert ran.code == 1
    assert ran.err.startswith("relay: -, line 1: this row looks like headings")
    assert "call the columns id,name" in ran.err
    assert run("user", "show", "u8", data=data).code == 1


@pytest.mark.parametrize("text", ["", "id,name\n", "\n\n"])
def test_a_file_without_rows_is_reported(text: str, data: Path) -> None:
    ran = run("user", "import", "-", data=data, stdin=text)
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("relay: - has no rows: each row is an id")


def test_audit_names_the_actors_and_no_token(data: Path) -> None:
    done("user", "add", "zoe", "--name", "Zoe", data=data)
    token = done("device", "add", "zoe", "--json", data=data).json["token"]
    done("user", "disable", "zoe", data=data)
    out = done("audit", "--json", "-n", "3", data=data)
    disabled, device, added = out.json
    assert disabled["change"] == "userChanged"
    assert disabled["details"] == {"user": "zoe", "disabled": True}
    assert device["details"]["user"] == "zoe"
    assert (added["actor"], added["details"]["user"], added["details"]["name"]) == ("(admin)", "zoe", "Zoe")
    assert token not in out.out
    assert "tokenHash" not in out.out
    assert "(admin)" in done("audit", "--by", "(admin)", data=data).out
    assert done("audit", "--by", "zoe", data=data).out == "nothing was changed yet\n"


def test_audit_does_not_reveal_who_writes_to_whom(data: Path) -> None:
    done("user", "add", "quiet1", data=data)
    done("user", "add", "quiet2", data=data)
    done("send", "--as", "quiet1", "quiet2", "psst", data=data)
    assert "quiet1~quiet2" not in done("audit", "--json", data=data).out


def test_password_in_the_address_of_a_hook_is_hidden(data: Path) -> None:
    done("user", "add", "hooked", data=data)
    address = "http://me:hidden@127.0.0.1:9/x?y=1"
    shown = done("hook", "add", "hooked", "--to", address, data=data).out
    shown += done("hook", "list", data=data).out + done("hook", "list", "--json", data=data).out
    shown += done("audit", data=data).out
    assert shown.count("http://me:***@127.0.0.1:9/x?y=1") == 4
    assert "hidden" not in shown
    (hook,) = (one for one in done("hook", "list", "--json", data=data).json if one["chat"] == "hooked")
    done("hook", "remove", str(hook["deviceId"]), data=data)


def test_hook_is_listed_with_its_visible_name(data: Path) -> None:
    done("user", "add", "listed", data=data)
    hook = str(done("hook", "add", "listed", "--name", "Grafana", "--json", data=data).json["deviceId"])
    assert "Grafana" in done("hook", "list", data=data).out
    (one,) = (one for one in done("hook", "list", "--json", data=data).json if str(one["deviceId"]) == hook)
    assert one["name"] == "Grafana"
    assert f"hook {hook} posts into listed" in done("user", "show", one["userId"], data=data).out
    done("hook", "remove", hook, data=data)


def test_chat_with_an_unknown_or_disabled_owner_is_refused(data: Path) -> None:
    unknown = run("chat", "create", "Y", "nobody", data=data)
    assert (unknown.code, unknown.err) == (1, "relay: there is no user 'nobody' here\n")
    done("user", "add", "away", data=data)
    done("user", "disable", "away", data=data)
    disabled = run("chat", "create", "Y", "away", data=data)
    assert (disabled.code, "'away' is disabled: `relay user enable away` first" in disabled.err) == (1, True)
