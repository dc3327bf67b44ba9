"""The rooms of relay/: no circular dependencies, and no grab bags."""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

TOP = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__"): path
    for path in TOP.glob("relay/**/*.py")
}
MOST_MODULES, MOST_OF_LIST = 12, 24
"""Maximum modules of a room; more only if the list is the structure, as with one file per command."""
LISTS = {"relay/cli", "relay/core/rules"}
LEAVES = {
    "relay.settings",
    "relay.text",
    "relay.unicode.combining_marks",
    "relay.unicode",
    "relay.unicode.lookalikes",
    "relay.unicode.tables",
    "relay.unicode.unseen",
    "relay.exception_groups",
    "relay.keys",
    "relay.outcomes",
    "relay.standard_streams",
    "relay.logs",
    "relay.tasks.background",
    "relay.threads",
    "relay.thread_limit",
    "relay",
    "relay.typed_command",
}
"""Modules that every room may use."""
MOST_LINES = 400
"""Maximum lines of a module."""
REASONS = ("over 400 lines, ", "Data only")
"""Reasons in the head of a longer module why it is not split."""


def imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


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


def test_no_room_depends_on_itself_through_others() -> None:
    there = arrows()
    for start in there:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for other in there.get(waiting.pop(), ()):
                assert other != start, f"{start} depends on itself; on its way: {sorted(seen)}"
                if other not in seen:
                    seen.add(other)
                    waiting.append(other)


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


def test_protocol_imports_no_other_room_and_store_no_rules() -> None:
    layers = ["relay.protocol", "relay.store", "relay.core", "relay.net"]
    for number, layer in enumerate(layers):
        for module in MODULES:
            if module == layer or module.startswith(f"{layer}."):
                for other in imported(module):
                    if other.startswith("relay.") and other not in LEAVES:
                        assert other.startswith(tuple(layers[: number + 1])), f"{module} imports {other}"


def test_leaf_uses_no_room() -> None:
    # Settings are a room of their own; an error of the protocol may end a task.
    for module in LEAVES - {"relay.settings", "relay.tasks.background"}:
        for other in imported(module):
            assert not other.startswith("relay.") or other in LEAVES, f"{module} imports {other}"


def test_relay_uses_no_tests_and_no_packaging() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.partition(".")[0] for name in names} & {"tests", "packaging"}, module


def test_tests_import_no_private_name() -> None:
    """Ruff's SLF001 sees attributes only."""
    for path in TOP.glob("tests/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("relay"):
                private = [
                    alias.name for alias in node.names if alias.name.startswith("_") and alias.name != "__version__"
                ]
                assert private == [], path


def test_constants_docstring_describes_the_preceding_name() -> None:
    for module, path in MODULES.items():
        body = ast.parse(path.read_text("utf-8")).body
        for before, node in itertools.pairwise(body):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                assert isinstance(before, ast.Assign | ast.AnnAssign | ast.AugAssign), f"{module}: {node.lineno}"


def test_class_name_has_one_meaning() -> None:
    places: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def described(module: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Return the public functions and methods of a module that need their own description, each with its name."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    owners = [("", tree.body)] + [
        (f"{node.name}.", node.body)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    for owner, body in owners:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
                names = [one.arg for one in node.args.args]
                # Rules and handlers have one shape each, described at `Rule` and `Handler`; typer describes commands.
                alike = names[:2] in (["draft", "command"], ["service", "subscriber"]) or "json" in names
                if not (alike or any(isinstance(one, ast.Name) for one in node.decorator_list)):
                    yield f"{module}.{owner}{node.name}", node


def test_public_function_with_three_parameters_describes_them() -> None:
    for module in MODULES:
        for name, node in described(module):
            given = [one.arg for one in (*node.args.args, *node.args.kwonlyargs) if one.arg not in ("self", "cls")]
            text = ast.get_docstring(node) or ""
            assert len(given) < 3 or "Args" in text or "See `" in text or "as `" in text, f"{name}: no Args"
