"""Every SQL statement of the relay with SQLite's plan for it; run as a program, it prints them.

python tests/support/statement_plans.py > tests/golden/plans.txt
"""

import ast
import importlib
import pkgutil
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import relay
from relay.store import kinds
from relay.store.log import batch
from relay.store.sqlite import statements
from relay.store.sqlite.database import VOCABULARY
from relay.store.sqlite.reading import fold_column
from relay.store.sqlite.schema import MIGRATIONS
from relay.store.sqlite.statements import Statement
from relay.store.upkeep import client_keys

BINDINGS = re.compile(r"uses (\d+)")
IN_TRIGGERS = re.compile(r"\b(?:NEW|OLD)\.\w+")


def all_statements() -> list[Statement]:
    """All statements: those of the modules, those built for a number of rows, and inline ones."""
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    batch.plain_statement(1)
    client_keys.flush_statement(1)
    # One statement of each family for a number of rows is enough.
    listed = {str(one): one for one in statements.ALL.values() if "?), (?" not in one}
    for path, _, sql in texts():
        if isinstance(sql, str):
            excuse = next((why for begins, why in EXCUSED.items() if sql.startswith(begins)), "")
            if "wanted." not in sql:
                listed.setdefault(sql, unlisted(sql, CHECKED.get(path.name, excuse)))
    return sorted(one for one in listed.values() if not one.startswith(("PRAGMA", "BEGIN", "COMMIT", "ROLLBACK")))


CHECKED = {"integrity.py": "`relay check` reads all there is, a part at a time", "read_views.py": "likewise"}
"""Modules whose statements may read whole tables."""
EXCUSED = {
    "DELETE FROM base_part": "the parts of two bases at most",
    "SELECT base.value, base_part.value": "once, the parts of one base",
    "SELECT DISTINCT digest FROM file": "an export or a restore looks at every file",
    "SELECT chat, max(message_id) FROM log WHERE seq": "a slice of the log that is removed",
    "SELECT l.chat, l.message_id, l.actor FROM json_each": "what is removed of chats, a slice at a time",
    "SELECT count(*) FILTER": "what a restore says of the store, once",
}
"""Inline SQL that reads or sorts without an index, and why that is bounded."""
SQL = re.compile(r"\s*(SELECT|INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|WITH \w+|REPLACE INTO)\b", re.ASCII)


def texts() -> Iterator[tuple[Path, int, str | None]]:
    """SQL in the code that is not a `Statement`: its place and text; None if it is composed."""
    for path in sorted(Path(relay.__path__[0]).rglob("*.py")):
        # An import's list of messages is a temporary file of its own. A repair reads all of a store that nobody serves.
        if path.name not in ("schema.py", "salvage.py") and path.parent.name != "importers":
            tree = ast.parse(path.read_text())
            listed = {
                id(part)
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Statement"
                for part in ast.walk(node)
            }
            for node in ast.walk(tree):
                if id(node) in listed:
                    continue
                if isinstance(node, ast.JoinedStr):
                    listed.update(id(part) for part in node.values)
                    first = node.values[0] if node.values else None
                    begins = str(first.value) if isinstance(first, ast.Constant) else ""
                    if SQL.match(begins) and "(VALUES " not in begins:
                        yield path, node.lineno, _with_kinds(node)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.match(node.value):
                    yield path, node.lineno, node.value


def _with_kinds(node: ast.JoinedStr) -> str | None:
    """The text, if only the numbers of kinds are inserted; else None."""
    parts = []
    for value in node.values:
        if isinstance(value, ast.Constant):
            parts.append(str(value.value))
        elif isinstance(value, ast.FormattedValue) and isinstance(value.value, ast.Name):
            parts.append(str(vars(kinds).get(value.value.id)))
        else:
            return None
    return None if "None" in parts else "".join(parts)


def empty_store() -> sqlite3.Connection:
    """A store in memory with all tables, indexes and triggers."""
    store = sqlite3.connect(":memory:", isolation_level=None)
    store.create_function("fold", 1, fold_column, deterministic=True)
    for script in MIGRATIONS:
        store.executescript(script)
    store.execute(VOCABULARY)
    return store


def unlisted(sql: str, whole: str = "") -> Statement:
    """A statement that no module lists."""
    made = str.__new__(Statement, sql)
    made.whole = made.sorts = whole
    return made


def of_triggers(store: sqlite3.Connection) -> Iterator[Statement]:
    """The statements in the bodies of triggers, with a parameter in place of each column of the row."""
    for (sql,) in store.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"):
        begin = re.search(r"\bBEGIN\b", sql)
        assert begin is not None, sql
        body = sql[begin.end() : sql.rindex("END")]
        for one in body.split(";"):
            if one.strip() and "RAISE" not in one:
                yield unlisted(IN_TRIGGERS.sub("?", one.strip()))


class Step(NamedTuple):
    """A step of a plan."""

    number: int
    within: int
    """Its parent step."""
    says: str


def plan(store: sqlite3.Connection, sql: str) -> list[Step]:
    """SQLite's plan."""
    try:
        rows = store.execute(f"EXPLAIN QUERY PLAN {sql}")
    except sqlite3.ProgrammingError as error:
        (count,) = BINDINGS.findall(str(error))
        rows = store.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * int(count))
    return [Step(number, within, says) for number, within, _, says in rows]


def listing() -> Iterator[str]:
    """The whole plan, as text."""
    store = empty_store()
    yield f"SQLite {sqlite3.sqlite_version}"
    for statement in [*all_statements(), *of_triggers(store)]:
        yield ""
        yield " ".join(statement.split())
        yield from (f"    {step.says}" for step in plan(store, statement))
        if statement.whole:
            yield f"    whole: {statement.whole}"
        if statement.sorts:
            yield f"    sorts: {statement.sorts}"


if __name__ == "__main__":
    print("\n".join(listing()))
