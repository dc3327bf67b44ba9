"""Help, the guide, the man page, shell completion, and output without colour on request."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from relay import __version__
from relay.cli.app import build
from relay.cli.manual import page, topics
from tests.support.command_line import done, run, running


def commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for sub_name, sub in command.commands.items():
        if hasattr(sub, "commands"):
            yield from commands(f"{name} {sub_name}", sub)
        else:
            yield f"{name} {sub_name}", sub


COMMANDS = dict(commands("relay", typer.main.get_command(build())))
FIXED = """
serve; user add; user list; user show; user rename; user disable; user enable; user remove; user import;
invite add; invite list; invite revoke;
device add; device list; device revoke; chat list; chat show; chat create; chat add; chat remove; chat delete; send;
tail; status; doctor; config show; backup; restore; check; export; prune; schema
"""
NO_JSON = {"serve", "schema", "help", "tail", "version", "bench"}


@pytest.mark.parametrize("name", [name.strip() for name in FIXED.split(";")])
def test_the_fixed_command_names_exist(name: str) -> None:
    assert f"relay {name}" in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_sentence_and_an_example(name: str) -> None:
    what, _, example = COMMANDS[name].help.partition("Example:")
    assert what.strip()
    if name != "relay version":
        assert example.strip().startswith(name)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_data_and_gives_json(name: str) -> None:
    options = {option for param in COMMANDS[name].params for option in param.opts}
    last = name.removeprefix("relay ")
    if last not in {"serve", "schema", "help", "version", "config check", "bench"} and not last.startswith("tls"):
        assert "--data" in options
        assert "--json" in options


def test_version_is_available_as_option_and_command() -> None:
    assert done("--version").out == done("version").out == f"{__version__}\n"


@pytest.mark.parametrize("topic", topics())
def test_every_topic_of_the_guide_can_be_read_on_a_terminal(topic: str) -> None:
    text = done("help", topic).out
    assert len(text) > 500
    assert max(map(len, text.splitlines())) <= 85


def test_guide_names_only_existing_commands() -> None:
    known = {name.split()[1] for name in COMMANDS} | {"bench"}
    for topic in topics():
        named = re.findall(r"(?:^ +|`)relay ([a-z]+)", done("help", topic).out, re.MULTILINE)
        assert set(named) <= known, topic


def test_unknown_topic_is_refused_with_the_known_ones() -> None:
    ran = run("help", "nonsense")
    assert ran.code == 2
    assert "backup" in ran.err
    assert "backup" in done("help").out


def test_man_page_has_every_command_and_is_valid(tmp_path: Path) -> None:
    text = page(build())
    for name in COMMANDS:
        assert f".SS {name.replace('-', chr(92) + '-')}" in text
    assert "limits.connections" in text
    assert done("help", "--man").out == text
    if shutil.which("groff") is None:
        pytest.skip("there is no groff here")
    file = tmp_path / "relay.1"
    file.write_text(text)
    ran = subprocess.run(
        ["groff", "-Kutf8", "-man", "-Tutf8", "-wall", "-z", str(file)], capture_output=True, check=True
    )
    assert ran.stderr == b""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str, tmp_path: Path) -> None:
    ran = complete(f"source_{shell}")
    assert "_RELAY_COMPLETE" in ran
    if shutil.which(shell):
        script = tmp_path / "script"
        script.write_text(ran)
        subprocess.run([shell, "-n", str(script)], check=True)


def complete(instruction: str, **more: str) -> str:
    environment = os.environ | {"_RELAY_COMPLETE": instruction} | more
    command = [sys.executable, "-c", "import sys; sys.argv[0] = 'relay'; from relay.__main__ import main; main()"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def test_commands_and_the_ids_of_a_running_relay_are_completed(tmp_path: Path) -> None:
    words = complete("complete_bash", COMP_WORDS="relay us", COMP_CWORD="1").split()
    assert words == ["user"]
    data = tmp_path / "data"
    with running(data):
        for user in ("anna", "anton", "ben"):
            done("user", "add", user, data=data)
        words = complete("complete_bash", COMP_WORDS="relay user show an", COMP_CWORD="3", RELAY_DATA=str(data)).split()
        chat = done("chat", "create", "Harbour", "--owner", "anna", "--json", data=data).json["id"]
        chats = complete("complete_bash", COMP_WORDS="relay chat show ", COMP_CWORD="3", RELAY_DATA=str(data)).split()
    assert words == ["anna", "anton"]
    assert chats == [chat]
    words = complete("complete_bash", COMP_WORDS="relay user show an", COMP_CWORD="3", RELAY_DATA=str(data)).split()
    assert words == []


def test_the_topics_of_the_guide_are_completed() -> None:
    assert complete("complete_bash", COMP_WORDS="relay help ba", COMP_CWORD="2").split() == ["backup"]


def test_table_on_a_terminal_has_no_colour_on_request(tmp_path: Path) -> None:
    done("user", "add", "anna", data=tmp_path)
    for extra in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        environment = os.environ | {"TERM": "xterm-256color"} | extra
        command = f"{sys.executable} -m relay user list --data {tmp_path}"
        shown = subprocess.run(
            ["script", "-qec", command, "/dev/null"], capture_output=True, text=True, env=environment, check=True
        ).stdout
        assert "anna" in shown
        assert "\x1b[3" not in shown


@pytest.mark.parametrize("name", sorted({name.split()[1] for name in COMMANDS}))
def test_each_command_works_with_the_others_left_out(name: str) -> None:
    ran = run(name, "--help")
    assert ran.code == 0
    assert f"Usage: relay {name}" in ran.out


@pytest.mark.untraced
def test_quick_command_imports_only_what_it_needs() -> None:
    program = (
        "import sys; sys.argv = ['relay', 'user', '--help']; from relay.cli.app import run\n"
        "try: run()\n"
        "finally: print(sorted(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("'trio'", "'rich.progress'", "'sqlite3'", "'trio_websocket'"):
        assert heavy not in shown


def test_unknown_topic_names_the_commands_and_pages_about_it() -> None:
    ran = run("help", "import")
    assert ran.code == 2
    assert "`relay import --help` describes the command" in ran.err
    assert "'import' stands in backup, moving" in ran.err
    assert "'clock' stands in" in run("help", "clock").err
    assert run("help", "(").err.rstrip().endswith("upgrade")
