"""The rooms of relay/: no circular dependencies, and no grab bags."""

import ast
import itertools
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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
"""Rooms that decide by a command's own time and ids, so that every machine decides alike."""
MOST_LINES = 400
"""Maximum lines of a module."""
REASONS = ("over 400 lines, ", "Data only")
"""Reasons in the head of a longer module why it is not split."""


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imported(module: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [one if one in MODULES or node.module == "typing" else node.module for one in full]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
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
        for node in ast.walk(parsed(module)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.partition(".")[0] for name in names} & {"tests", "packaging"}, module


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


INVERTED = re.compile(r"(?<![Tt]here )\b(?:is|are|was|were|be) no (?!longer\b|more\b|such\b)")


def test_error_says_is_not_a_thing_and_not_is_no_thing() -> None:
    """Texts for people: `x is not a directory: name another`."""
    found = [
        f"{module}:{node.lineno}: {node.value}"
        for module in MODULES
        for described in [{id(node.value) for node in ast.walk(parsed(module)) if isinstance(node, ast.Expr)}]
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in described
        if INVERTED.search(node.value)
    ]
    assert found == []


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
