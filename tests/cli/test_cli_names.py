"""Names chosen by others in the output of commands: they cannot move the cursor or reverse the text beside them."""

import ast
import json
import re
from pathlib import Path

import pytest
import trio

import relay.cli
from relay.cli.output import CONTROL_CHARACTERS, visible
from relay.core.admin.lookup import Lookup
from relay.core.relay import open_relay
from relay.core.rules import sign_in
from relay.protocol import control
from relay.protocol.errors import RelayError
from tests.support.command_line import run, running

EVIL = "Eve\u202egpj.\x1b[31m\u2066ok\u200f\u061c"
"""A name that earlier relays accepted: it reverses the direction, sets colours, and isolates."""
SHOWN = "Eve\\u202egpj.\\x1b[31m\\u2066ok\\u200f\\u061c"


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with such a user, group, device and hook."""
    monkeypatch.setattr(sign_in, "one_line", lambda label, _characters: label)

    async def make() -> None:
        async with open_relay(tmp_path) as made:
            handle = made.admin.handle
            await handle("user.add", control.AddUser(id="eve", name=EVIL))
            await handle("user.add", control.AddUser(id="ben", name="Ben"))
            await handle("chat.create", control.MakeChat(owner="eve", name=EVIL, participants=["ben"]))
            await handle("device.add", control.AddDeviceRequest(user_id="eve", label=EVIL))

    trio.run(make)
    return tmp_path


COMMANDS = [
    ["user", "list"],
    ["user", "show", "eve"],
    ["chat", "list"],
    ["device", "list"],
    ["audit", "-n", "9"],
    ["chat", "show", EVIL],
    ["chat", "show", "no such " + EVIL],
    ["send", "--as", "ben", EVIL, "text"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_commands_escape_control_characters_of_names(data: Path, command: list[str]) -> None:
    ran = run(*command, data=data)
    for said in (ran.out, ran.err):
        for line in said.splitlines():
            assert not CONTROL_CHARACTERS.search(line), (command, line)
    if command[1] in ("list", "show") and ran.code == 0:
        assert SHOWN in ran.out


async def test_group_is_found_by_its_name_in_any_spelling(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as made:
        handle = made.admin.handle
        await handle("user.add", control.AddUser(id="ben"))
        await handle("chat.create", control.MakeChat(owner="ben", name="Büro Süd"))
        for typed in ("Büro Süd", "Bu\u0308ro Su\u0308d", "BURO SUD", "büro\u00a0süd"):
            assert Lookup(made.state).chat(typed).name == "Büro Süd"
        await handle("chat.create", control.MakeChat(owner="ben", name="Buro Sud"))
        assert Lookup(made.state).chat("büro süd").name == "Büro Süd"
        assert Lookup(made.state).chat("buro sud").name == "Buro Sud"
        with pytest.raises(RelayError, match="several chats"):
            Lookup(made.state).chat("Bu\u0308ro Sud")
        with pytest.raises(RelayError, match="no group or channel"):
            Lookup(made.state).chat("\u0301")


def test_json_output_has_the_name_unchanged(data: Path) -> None:
    assert json.loads(run("user", "show", "eve", "--json", data=data).out)["name"] == EVIL


def test_tail_escapes_control_characters_of_names_and_texts(data: Path) -> None:
    with running(data):
        chat = json.loads(run("chat", "list", "--json", data=data).out)[0]["id"]
        done = run("send", "--as", "eve", chat, EVIL, data=data)
        assert done.code == 0
        audit = run("audit", data=data)
        assert not [line for line in audit.out.splitlines() if CONTROL_CHARACTERS.search(line)]


def test_visible_escapes_every_direction_control() -> None:
    for code in (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x1B, 0x9B, 0x0A):
        assert visible(chr(code)) in (f"\\u{code:04x}", f"\\x{code:02x}", "\\n")
    assert visible("\u0645\u06cc\u200c\u062e") == "\u0645\u06cc\u200c\u062e"


def test_commands_print_composed_texts_through_say() -> None:
    """A line with text chosen by somebody else goes through `say` or `visible`."""
    own = {"output.py", "bench.py", "invite.py", "manual.py", "doctor.py", "tls.py"}
    found = []
    for path in Path(relay.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and node.args:
                text = ast.unparse(node.args[0])
                if isinstance(node.args[0], ast.JoinedStr) and "visible(" not in text and path.name not in own:
                    found.append((path.name, re.sub(r"\s+", " ", text)))
    assert not found
