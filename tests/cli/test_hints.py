"""Commands named in the relay's texts: written in one form everywhere, and printed so that they work as typed."""

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from relay.cli.app import COMMANDS, GROUPS, build
from relay.cli.hints import WITHOUT_DATA, as_typed, note_data
from tests.support.command_line import done, run

RELAY = Path(__file__).parents[2] / "relay"
HINT = re.compile(r"`([^`]*\brelay [a-z][^`]*)`")
BARE = re.compile(rf"(?<![`/\w-])relay ({'|'.join((*GROUPS, *COMMANDS))})\b(?! (relay|package))")
"""Matches a command in a text without backticks."""
STATIC = {"help", "description", "epilog"}
"""Arguments with texts of --help and of the settings file, which are printed unchanged."""
GUIDE = {"cli/manual.py", "serve_options.py", "serve.py", "net/http/routes/trust.py", "store/files/lock.py"}
"""Modules whose texts are not hints: the guide, the parser of `serve`, a page for phones, the name of a lock."""


def _texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """All texts of a module except docstrings and static help, each with its line."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.keyword) and node.arg in STATIC:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield node.lineno, "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        else:
            yield from _texts(node)


def test_every_text_names_commands_in_backticks() -> None:
    bare = []
    for path in sorted(RELAY.rglob("*.py")):
        name = str(path.relative_to(RELAY))
        if name not in GUIDE:
            found = _texts(ast.parse(path.read_text()))
            bare += [f"{name}:{number}: {text}" for number, text in found if BARE.search(text)]
    assert bare == []


def test_every_hint_is_printed_through_the_speller() -> None:
    past = []
    for path in sorted((RELAY / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                past += [f"{path.name}:{number}" for number, text in _texts(node) if HINT.search(text)]
    assert past == []


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for word, sub in getattr(command, "commands", {}).items():
        full = f"{name} {word}".strip()
        if hasattr(sub, "commands"):
            yield from _commands(full, sub)
        else:
            yield full, sub


def test_commands_without_data_option_get_none() -> None:
    without = {
        name
        for name, command in _commands("", typer.main.get_command(build()))
        if name != "serve" and not any("--data" in param.opts for param in command.params)
    }
    assert without == set(WITHOUT_DATA)


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("`relay user enable zoe` first", "`relay user enable zoe --data '/srv/my data'` first"),
        ("`relay import --help` tells more", "`relay import --help` tells more"),
        ("see `relay help tuning`", "see `relay help tuning`"),
        ("`relay config check`; `relay check`", "`relay config check`; `relay check --data '/srv/my data'`"),
        ("`systemctl restart relay`", "`systemctl restart relay`"),
        ("a relay's backup", "a relay's backup"),
    ],
)
def test_a_hint_names_the_data_directory_of_the_command(text: str, typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["relay"])
    monkeypatch.delenv("UV_RUN_RECURSION_DEPTH", raising=False)
    note_data(Path("/srv/my data"))
    try:
        assert as_typed(text) == typed
    finally:
        note_data(None)


def _hints(text: str) -> list[str]:
    return HINT.findall(text)


def test_hints_of_all_kinds_of_output_work_as_typed(tmp_path: Path) -> None:
    data = tmp_path / "my data"
    where = shlex.quote(str(data))
    said = done("user", "add", "zoe", data=data, whole_hints=True).out
    assert _hints(said) == [f"relay device add zoe --data {where}"]
    done("chat", "create", "Ops", "zoe", data=data, whole_hints=True)
    disabled = done("user", "disable", "zoe", data=data, whole_hints=True).out
    assert _hints(disabled) == [f"relay user enable zoe --data {where}"]
    # A refusal by the rules, which know neither the program nor its directory.
    refused = run("send", "--as", "zoe", "Ops", "hello", data=data, whole_hints=True).err
    assert _hints(refused) == [f"relay user enable zoe --data {where}"]
    assert _hints(done("hook", "list", data=data, whole_hints=True).out) == [f"relay hook add CHAT --data {where}"]
    assert f"relay serve --data {where}" in _hints(run("status", data=data, whole_hints=True).err)[0]
    found = run("doctor", "--json", data=data, whole_hints=True).json
    assert f"`relay serve --data {where}`" in next(one["advice"] for one in found if one["check"] == "relay")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for hint in (*_hints(refused), *_hints(said)):
        subprocess.run(["sh", "-ec", hint], check=True, env=environment, capture_output=True, timeout=30)
