"""Rules for tests: what they may use of relay/, how many files a folder has, and how long a file is."""

import ast
import contextlib
import itertools
import re
import textwrap
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
OTHER_RELAYS = {"MIGRATIONS", "__version__", "_test_decode_cert"}
"""Names that tests replace to get a relay, or a Python, of another version: they cannot be passed in."""


BY_NAME = {"setattr", "delattr", "patch", "object", "multiple", "__setattr__", "__delattr__"}
"""Functions of Python, pytest and `unittest.mock` that replace the attribute that an argument names."""
BY_KEY = {"setitem", "delitem", "dict", "update", "pop", "setdefault", "__setitem__", "__delitem__"}
"""Functions that replace what is in a dict."""
NAMESPACE = re.compile(r"\bvars\(|\bglobals\(|\.__dict__\b|\bsys\.modules\b")
"""The names of a module or an object as a dict."""
BUILT_HERE = re.compile(r"\b(?:self|cls)\b")
"""A test's own objects."""


def patched(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Return the names of modules and objects that a file replaces or deletes, in whatever form, and their lines.

    A name that is not written out is `?`.
    """
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=setter) | ast.Attribute(attr=setter)) if setter in BY_NAME | BY_KEY:
                yield from ((node.lineno, name) for name in replaced(node, setter))
            case ast.Assign(targets=targets):
                yield from ((node.lineno, name) for target in targets for name in stored(target))
            case ast.AugAssign(target=target) | ast.AnnAssign(target=target, value=ast.expr()):
                yield from ((node.lineno, name) for name in stored(target))
            case ast.Delete(targets=targets):
                yield from ((node.lineno, name) for target in targets for name in stored(target))
            case ast.For(target=target) | ast.withitem(optional_vars=ast.expr() as target):
                yield from ((target.lineno, name) for name in stored(target))


def replaced(call: ast.Call, setter: str) -> Iterator[str]:
    """Return the names that a call of one of `BY_NAME` or `BY_KEY` replaces."""
    # mock's `patch.object`, `patch.multiple` and `patch.dict`; `object` alone is Python's.
    is_mock = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value).endswith("patch")
    if (setter in BY_KEY and not NAMESPACE.search(ast.unparse(call))) or (setter == "object" and not is_mock):
        return
    keys = [key for one in call.args if isinstance(one, ast.Dict) for key in one.keys]
    given = [*call.args[:2], *(one.value for one in call.keywords if one.arg in {"target", "name", "attribute"}), *keys]
    texts = [one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    yield from (text.rpartition(".")[2] for text in texts)
    yield from (one.arg or "?" for one in call.keywords)
    if not texts and (setter in BY_NAME - {"multiple"} or not call.keywords):
        yield "?"


def stored(target: ast.expr) -> Iterator[str]:
    """Return the attributes, and the names of a namespace, that an assignment to a target replaces."""
    for node in ast.walk(target):
        match node:
            case ast.Attribute(value=value, attr=name, ctx=ast.Store() | ast.Del()):
                if not BUILT_HERE.search(ast.unparse(value)):
                    yield name
            case ast.Subscript(value=value, slice=key, ctx=ast.Store() | ast.Del()):
                if NAMESPACE.search(ast.unparse(value)):
                    yield key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else "?"


def scripts(tree: ast.Module) -> Iterator[ast.Module]:
    """Return the programs in the strings of a file, which tests run in processes of their own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "import " in node.value:
            with contextlib.suppress(SyntaxError):
                yield ast.parse(textwrap.dedent(node.value))


def test_tests_import_no_private_name() -> None:
    """Ruff's SLF001 sees attributes only."""
    for path in TESTS:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relay"):
                private = [
                    alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"
                ]
                assert private == [], path


def constants() -> set[str]:
    """Return the names of constants and the private names that modules of relay/ define."""
    names = set()
    for path in TOP.glob("relay/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    names.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
    return {name for name in names if is_kept(name)}


def test_tests_replace_no_private_name_and_no_constant() -> None:
    """Numbers that a test needs small are passed in (`relay/core/tuning.py`)."""
    seen, known = 0, constants()
    assert len(known) > 1_000
    for path in TESTS:
        tree = ast.parse(path.read_text("utf-8"))
        strings = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        for line, name in itertools.chain(patched(tree), *map(patched, scripts(tree))):
            seen += 1
            # A name that is not written out is one of the file's strings.
            names = strings & known if name == "?" and path.parent.name != "support" else {name}
            bad = {one for one in names if is_kept(one) or one == "?"} - OTHER_RELAYS
            assert not bad, f"{path}:{line}: {bad}"
    assert seen > 100


def is_kept(name: str) -> bool:
    """Return whether tests may not replace a name: a private one, or a constant."""
    return name.isupper() or (name.startswith("_") and not name.startswith("__"))


@pytest.mark.parametrize(
    "source",
    [
        "monkeypatch.setattr(wal, 'MOST', 1)",
        "monkeypatch.setattr('relay.store.wal.MOST', 1)",
        "monkeypatch.setattr(target=wal, name='MOST', value=1)",
        "monkeypatch.setattr(wal, name, 1)",
        "monkeypatch.delattr(wal, 'MOST')",
        "monkeypatch.setitem(vars(wal), 'MOST', 1)",
        "monkeypatch.setitem(wal.__dict__, 'MOST', 1)",
        "setattr(wal, 'MOST', 1)",
        "setattr(wal, name, 1)",
        "object.__setattr__(wal, 'MOST', 1)",
        "with patch('relay.store.wal.MOST', 1): pass",
        "with patch(f'relay.store.wal.{name}', 1): pass",
        "@mock.patch('relay.store.wal.MOST', 1)\ndef f(): pass",
        "with patch.object(wal, 'MOST', 1): pass",
        "with mock.patch.object(wal, attribute='MOST', new=1): pass",
        "patch.multiple('relay.store.wal', MOST=1)",
        "patch.multiple(wal, **{'MOST': 1})",
        "patch.dict(vars(wal), MOST=1)",
        "patch.dict('relay.store.wal.__dict__', {'MOST': 1})",
        "wal.MOST = 1",
        "wal.MOST += 1",
        "wal.MOST: int = 1",
        "(wal.MOST, other) = 1, 2",
        "del wal.MOST",
        "with one() as wal.MOST: pass",
        "for wal.MOST in range(3): pass",
        "vars(wal)['MOST'] = 1",
        "wal.__dict__['MOST'] = 1",
        "vars(wal).update(MOST=1)",
        "wal.__dict__.update({'MOST': 1})",
        "script = 'from relay.store import wal\\nwal.MOST = 1'",
    ],
)
def test_replaced_constant_is_seen_in_every_form(source: str) -> None:
    tree = ast.parse(source)
    assert any(is_kept(name) or name == "?" for _, name in itertools.chain(patched(tree), *map(patched, scripts(tree))))


@pytest.mark.parametrize(
    "source", ["monkeypatch.setattr(wal, 'empty', f)", "wal.most = 1", "self.MOST = 1", "os.environ['HOME'] = '/'"]
)
def test_replaced_function_or_own_attribute_is_allowed(source: str) -> None:
    assert not [name for _, name in patched(ast.parse(source)) if is_kept(name) or name == "?"]


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
