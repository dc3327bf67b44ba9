"""Every name that a module of relay/ defines has a reader in relay/; what only tests read is named here."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TOP = Path(__file__).parents[2]
MODULES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(TOP.glob("relay/**/*.py"))}
CALLED_BY_LIBRARIES = {
    "JournalHandler.emit",
    "_NoInput.readinto",
    "_TurnWatch.after_io_wait",
    "_TurnWatch.before_io_wait",
    "Fairness.before_io_wait",
    "Fairness.before_task_step",
    "_Loop.call_exception_handler",
    "_Loop.call_soon",
    "_Loop.call_soon_threadsafe",
    "_Loop.create_future",
    "_Loop.get_debug",
}
"""Methods of logging's handlers, of `io.RawIOBase`, of trio's instruments and of asyncio's loops."""
FOR_PAPERS_AND_TESTS = {"as_markdown", "Quota.reserved_bytes"}
"""Names that print the table in PROTOCOL.md, or that a test sees from outside."""
POSITIONS = {"Role.OUTSIDER", "Role.OFF", "HistoryRow.reply_length"}
"""Members that code reaches by their value or their place."""
SENT = TOP / "relay/protocol"
"""The fields of its Structs are read by those who get them."""


class Definition(NamedTuple):
    """A name that a module defines."""

    path: Path
    line: int
    owner: str
    name: str
    registered: bool
    """Whether a decorator hands the function to somebody who calls it."""

    @property
    def full(self) -> str:
        return f"{self.owner}.{self.name}" if self.owner else self.name


def targets(node: ast.stmt) -> Iterator[str]:
    """Return the names that an assignment makes."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (one.id for one in ast.walk(target) if isinstance(one, ast.Name))


def definitions(path: Path, body: list[ast.stmt], owner: str = "") -> Iterator[Definition]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            by = {ast.unparse(one) for one in node.decorator_list}
            yield Definition(
                path, node.lineno, owner, node.name, any("command" in one or "register" in one for one in by)
            )
            for one in ast.walk(node):
                match one:
                    case ast.Attribute(attr=name, ctx=ast.Store(), value=ast.Name(id="self")) if owner:
                        yield Definition(path, one.lineno, owner, name, registered=False)
        elif isinstance(node, ast.ClassDef):
            yield Definition(path, node.lineno, owner, node.name, registered=False)
            yield from definitions(path, node.body, node.name)
        else:
            for name in targets(node):
                yield Definition(path, node.lineno, owner, name, registered=False)


def read() -> tuple[Counter[str], Counter[str]]:
    """Return how often code reads each name, and how often a string of one word has it (a command, a column, JSON)."""
    names: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for tree in MODULES.values():
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                    names[name] += 1
                case ast.Constant(value=str(text)) if " " not in text:
                    words.update(re.findall(r"\w+", text))
    return names, words


def test_every_name_in_relay_has_a_reader_in_relay() -> None:
    names, words = read()
    named = CALLED_BY_LIBRARIES | FOR_PAPERS_AND_TESTS | POSITIONS
    unread = {
        one.full: f"{one.path.relative_to(TOP)}:{one.line}: {one.full}"
        for path, tree in MODULES.items()
        for one in definitions(path, tree.body)
        if not (names[one.name] or one.registered or one.name.startswith("__"))
        # A constant is never reached by a string: `relay.lock` does not read it.
        and (one.name.isupper() or not words[one.name])
        and not (one.owner and SENT in path.parents)
    }
    assert [place for full, place in unread.items() if full not in named] == []
    assert named <= unread.keys(), "a name of these lists has a reader now, or is gone"
