"""The rooms of relay/: no circular dependencies, and no grab bags."""

import ast
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in TOP.glob("relay/**/*.py")
}
MOST_MODULES, MOST_OF_LIST = 12, 24
"""Maximum modules of a room; more only if the list is the structure, as with one file per command."""
LISTS = {"relay/cli", "relay/core/rules"}
ROOMS = re.compile(r"`(?:relay/)?(\w+)(?:/|\.py)`")
"""Rooms and modules in the first column of the table in ARCHITECTURE.md."""
TOUCHED = {"protocol", "store", "core", "net", "settings"}
"""Words of its last column that name a room."""
PURE = ("relay.core.rules", "relay.core.model")
"""Rooms that decide by a command's own time and ids, so that every machine decides the same."""
MOST_LINES = 400
"""Maximum lines of a module."""
REASONS = ("over 400 lines, ", "Data only")
"""Reasons in the head of a longer module why it is not split."""


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


DYNAMIC = re.compile(r"^relay(?:\.\w+)+(?::\w+|\.)?$")
"""A string that names a module of relay/, or begins such a name."""
IMPORTERS = {
    "__import__",
    "exec",
    "eval",
    "import_module",
    "find_spec",
    "spec_from_file_location",
    "module_from_spec",
} | {
    "exec_module",
    "load_module",
    "resolve_name",
    "run_module",
    "run_path",
    "SourceFileLoader",
}
"""Names by which Python imports or runs a module without an `import` statement."""
MODULES_OF_COMMANDS = "relay.cli.app"
"""Imports only the command that was typed, by its name."""
STARTS_A_PROCESS = "command"
"""The function whose argument is run in a process of its own (`bench/scratch.py`)."""


@cache
def imported(module: str) -> list[str]:
    return list(imports(parsed(module), module, is_package=MODULES[module].name == "__init__.py"))


def imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Return the modules that a module imports, in whatever form, and the rooms that it names in strings.

    Args:
        tree: the module.
        module: its name.
        is_package: whether it is an `__init__.py`.
    """
    nodes = list(ast.walk(tree))
    not_imported = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == STARTS_A_PROCESS:
            not_imported.update(map(id, node.args))
    binds_relay = any(
        isinstance(node, ast.Import) and any(one.name.startswith("relay") for one in node.names) for node in nodes
    )
    for node in nodes:
        match node:
            case ast.ImportFrom(module=name, names=aliases, level=level):
                parents = module.split(".") + ["__init__"] * is_package
                base = ".".join([*parents[: len(parents) - level], *([name] if name else [])]) if level else name or ""
                full = [f"{base}.{alias.name}" for alias in aliases]
                yield from (one if one in MODULES or base == "typing" else base for one in full)
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.Constant(value=str(text)) if id(node) not in not_imported and DYNAMIC.match(text):
                yield from longest(text.partition(":")[0].strip("."))
            case ast.Attribute() if binds_relay and (text := ast.unparse(node)).startswith("relay."):
                yield from longest(text)


def longest(name: str) -> list[str]:
    """Return the module of relay/ that a dotted name begins with, if there is one besides `relay` itself."""
    parts = name.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 1, -1))
    return [next(head for head in heads if head in MODULES)] if f"relay.{parts[1]}" in MODULES else []


def importers(tree: ast.Module) -> list[str]:
    """Return the names of `IMPORTERS` that a module uses."""
    found = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) if name in IMPORTERS:
                found.append(name)
            case ast.Attribute(value=ast.Name(id="sys"), attr="modules"):
                found.append("sys.modules")
            case ast.ImportFrom(module=base, names=aliases):
                found += [
                    one.name for one in aliases if one.name in IMPORTERS or (base, one.name) == ("sys", "modules")
                ]
    return found


def room(module: str) -> str:
    """A package, or a module that stands beside packages."""
    is_package = MODULES[module].name == "__init__.py"
    return module if is_package or module.count(".") <= 2 else module.rpartition(".")[0]


def arrows() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for module in MODULES:
        for other in imported(module):
            if other in MODULES and room(other) != room(module):
                found.setdefault(room(module), set()).add(room(other))
    return found


def check_no_circle(there: dict[str, set[str]]) -> None:
    for start in there:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in there.get(waiting.pop(), ()):
                assert other != start, f"{start} depends on itself; on its way: {sorted(seen)}"
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)


def test_no_room_depends_on_itself_through_others() -> None:
    check_no_circle(arrows())


def test_no_module_depends_on_itself_through_others() -> None:
    """Imports within functions count too: they only delay the trouble of a circle."""
    there = {
        module: {other for other in imported(module) if other in MODULES and other != module} for module in MODULES
    }
    assert sum(map(len, there.values())) > 1_000
    check_no_circle(there)


def test_no_room_has_too_many_modules() -> None:
    for folder in {path.parent for path in MODULES.values()}:
        name = str(folder.relative_to(TOP))
        count = sum(path.name != "__init__.py" for path in folder.glob("*.py"))
        assert count <= (MOST_OF_LIST if name in LISTS else MOST_MODULES), f"{name} has {count} modules"
    for name in LISTS:
        head = ast.get_docstring(ast.parse((TOP / name / "__init__.py").read_text("utf-8"))) or ""
        assert "list of modules is the structure" in head, name


def test_module_over_400_lines_gives_a_reason_in_its_head() -> None:
    for path in MODULES.values():
        text = path.read_text("utf-8")
        lines = text.count("\n")
        head = " ".join((ast.get_docstring(ast.parse(text)) or "").split()) if lines > MOST_LINES else ""
        assert lines <= MOST_LINES or any(reason in head for reason in REASONS), f"{path.relative_to(TOP)}: {lines}"


def allowed() -> dict[str, set[str]]:
    """Return what each room may import, as the table of rooms in ARCHITECTURE.md says."""
    page = (TOP / "relay/ARCHITECTURE.md").read_text("utf-8").partition("| room |")[2].partition("\n\n")[0]
    rows = [line.strip("|").split(" | ") for line in page.splitlines() if line.startswith("| `relay/")]
    found: dict[str, set[str]] = {}
    everywhere: set[str] = set()
    for names, lives, touches in rows:
        rooms = ROOMS.findall(names)
        everywhere.update(rooms if "for every room" in lives else ())
        for one in rooms:
            found[one] = set(re.findall(r"\w+", touches)) & {*TOUCHED, "everything"}
    return {
        one: touched | everywhere | {one} | (found.keys() if "everything" in touched else set())
        for one, touched in found.items()
    }


def test_room_imports_only_what_the_table_of_rooms_allows() -> None:
    rooms = allowed()
    assert len(rooms) > 15
    seen = set()
    for module in MODULES.keys() - {"relay"}:
        room_of_it = module.split(".")[1]
        assert room_of_it in rooms, f"{module} is in no row of the table"
        for other in imported(module):
            if other.startswith("relay."):
                seen.add(other.split(".")[1])
                assert other.split(".")[1] in rooms[room_of_it], f"{module} imports {other}"
    assert seen > TOUCHED


def test_rules_and_state_ask_no_clock_and_no_chance() -> None:
    """`decide` goes by the command's time; `datetime` may take a time apart."""
    outside = {"time", "random", "secrets", "uuid", "os", "socket", "trio", "threading", "asyncio"}
    for module in MODULES:
        if module.startswith(PURE):
            for other in imported(module):
                assert other.split(".")[0] not in outside, f"{module} imports {other}"
                assert not other.startswith("relay.core.clock"), f"{module} imports {other}"
            for node in ast.walk(parsed(module)):
                if isinstance(node, ast.Attribute):
                    assert node.attr not in {"now", "today", "utcnow"}, f"{module}:{node.lineno}"


def test_relay_uses_no_tests_and_no_packaging() -> None:
    for module in MODULES:
        assert not {name.partition(".")[0] for name in imported(module)} & {"tests", "packaging"}, module


def test_only_the_list_of_commands_imports_by_a_computed_name() -> None:
    assert [module for module in MODULES if importers(parsed(module))] == [MODULES_OF_COMMANDS]


@pytest.mark.parametrize(
    "source",
    [
        "import relay.net.server",
        "import relay.net.server as server",
        "from relay.net import server",
        "from relay.net.server import serve",
        "from ..net import server",
        "from ..net.server import serve",
        "from importlib import import_module\nimport_module('relay.net.server')",
        "__import__('relay.net.server')",
        "import relay.store\nrelay.net.server.serve()",
        "NAMES = {'a': 'relay.net.server:serve'}",
        "def f():\n    from relay.net import server",
    ],
)
def test_import_is_seen_in_every_form(source: str) -> None:
    assert "relay.net.server" in set(imports(ast.parse(source), "relay.core.submit", is_package=False))


@pytest.mark.parametrize(
    "source",
    [
        "import importlib as i\ni.import_module(name)",
        "__import__(name)",
        "import builtins\nbuiltins.__import__(name)",
        "from importlib import import_module as bring",
        "import importlib.util\nimportlib.util.find_spec(name)",
        "import sys\nsys.modules[name].serve()",
        "from sys import modules",
        "exec(text)",
    ],
)
def test_import_by_a_computed_name_is_seen_in_every_form(source: str) -> None:
    assert importers(ast.parse(source))


def test_constants_docstring_describes_the_preceding_name() -> None:
    for module in MODULES:
        body = parsed(module).body
        for before, node in itertools.pairwise(body):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                assert isinstance(before, ast.Assign | ast.AnnAssign | ast.AugAssign), f"{module}: {node.lineno}"


NAMED = re.compile(r"`([A-Za-z_][\w.]*)`")
NAMED_ELSEWHERE = {"N", "v", "null", "with", "email", "wss", "argparse.HelpFormatter", "SSLSocket.getpeercert"} | {
    "Collector",
    "Range",
    "base_part",
    "clear_bindings",
    "pgsz",
    "search_data",
}
"""Names in texts that are not in relay/: those of languages and libraries, of HTTP, and in SQL."""


def test_texts_name_only_names_that_exist() -> None:
    """A name in a docstring, or its last part, is a name in the code, a string of one word, or a file."""
    there = {path.name for path in TOP.glob("[rt]*/**/*.*")} | NAMED_ELSEWHERE
    texts: list[tuple[str, int, str]] = []
    for module in MODULES:
        there.update(module.split("."))
        tree = parsed(module)
        described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            match node:
                case ast.Constant(value=str(text)) if id(node) in described:
                    texts.append((module, node.lineno, text))
                case ast.Constant(value=str(text)) if " " not in text:
                    there.update(re.findall(r"\w+", text))
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    there.add(name)
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    there.add(name)
                    there.add(re.sub(r"(?<=[a-z])_(\w)", lambda found: found[1].upper(), name))
    missing = [
        f"{module}:{line}: {name}"
        for module, line, text in texts
        for name in NAMED.findall(text)
        if not {name, name.rstrip(".").rpartition(".")[2]} & there
    ]
    assert len(texts) > 3_000
    assert missing == [], missing


ANYTHING = {
    "relay.cli.invite",
    "relay.core.admin",
    "relay.core.rules.draft",
    "relay.core.service.dispatch",
    "relay.outcomes",
    "relay.protocol.base",
    "relay.store.entry",
    "relay.store.log.command_queue",
    "relay.store.sqlite.statements",
}
"""Modules that use `Any`; each gives the reason beside it, in a text or comment that names it."""


REASON_FOR_ANY = re.compile(r'^ *Any: |# Any: |""".*\bAny: |\bhence Any\b|\. Any: ', re.MULTILINE)


def test_every_any_has_its_reason() -> None:
    assert {module for module in MODULES if "typing.Any" in imported(module)} == ANYTHING
    for module in ANYTHING:
        assert REASON_FOR_ANY.search(MODULES[module].read_text("utf-8")), module


def test_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for module in MODULES:
        for node in parsed(module).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


UNDESCRIBED = {"overload", "property"}
"""Decorators of functions that are described elsewhere, or take nothing."""


def described(module: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return the public functions and methods of a module that need their own description, each with its name."""
    tree = parsed(module)
    bodies = [("", tree.body)]
    for owner, body in bodies:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                bodies.append((f"{owner}{node.name}.", node.body))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                names = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
                # Rules and handlers have one shape each, described at `Rule` and `Handler`; typer describes commands.
                alike = names[:2] in (["draft", "command"], ["service", "subscriber"])
                alike |= "json" in names and module.startswith("relay.cli.")
                if not (alike or {ast.unparse(one) for one in node.decorator_list} & UNDESCRIBED):
                    yield f"{module}.{owner}{node.name}", node


def test_public_function_with_three_parameters_describes_them() -> None:
    for module in MODULES:
        for name, node in described(module):
            every = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            given = [one.arg for one in every if one.arg not in ("self", "cls")]
            text = ast.get_docstring(node) or ""
            assert len(given) < 3 or "Args" in text or "See `" in text or "as `" in text, f"{name}: no Args"
