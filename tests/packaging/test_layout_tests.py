"""Rules for tests: what they may use of relay/, how many files a folder has, and how long a file is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
TESTS = sorted(TOP.glob("tests/**/*.py"))
MOST_FILES = 32
"""Maximum files in a folder: its list is the structure, one file for each subject."""
MOST_LINES = 400
"""Maximum lines of a file."""
REASON = re.compile(r"[Ll]onger than (?:a module is elsewhere|other modules)")
"""The reason in the head of a longer file."""
OTHER_RELAYS = {"MIGRATIONS", "__version__"}
"""Names that tests replace to get a relay of another version: they cannot be passed in."""


def patched(path: Path) -> Iterator[tuple[int, str]]:
    """Return the names that a file replaces with pytest's `monkeypatch`, and their lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
            for given in node.args[:2]:
                if isinstance(given, ast.Constant) and isinstance(given.value, str):
                    yield node.lineno, given.value.rpartition(".")[2]


def test_tests_import_no_private_name() -> None:
    """Ruff's SLF001 sees attributes only."""
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relay"):
                private = [
                    alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"
                ]
                assert private == [], path


def test_tests_replace_no_private_name_and_no_constant() -> None:
    """Numbers that a test needs small are passed in (`relay/core/tuning.py`)."""
    seen = 0
    for path in TESTS:
        for line, name in patched(path):
            seen += 1
            assert name in OTHER_RELAYS or not (name.startswith("_") or name.isupper()), f"{path}:{line}: {name}"
    assert seen > 100


def test_test_file_over_400_lines_gives_its_reason_in_its_head() -> None:
    for path in TESTS:
        text = path.read_text("utf-8")
        if text.count("\n") > MOST_LINES:
            head = " ".join((ast.get_docstring(ast.parse(text)) or "").split())
            assert REASON.search(head), f"{path.relative_to(TOP)}: {text.count(chr(10))} lines"


@pytest.mark.parametrize("folder", sorted({path.parent for path in TESTS}), ids=lambda folder: folder.name)
def test_no_folder_of_tests_has_too_many_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= MOST_FILES


def test_no_two_test_files_have_one_name() -> None:
    names = [path.name for path in TESTS if path.name.startswith("test_")]
    assert sorted(names) == sorted(set(names))
