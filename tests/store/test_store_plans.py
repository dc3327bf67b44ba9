"""No statement reads the whole log or sorts without a bound, and this test misses none."""

import ast
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.store.sqlite import statements
from relay.store.sqlite.statements import Statement
from tests.support import statement_plans

RELAY = Path(__file__).parent.parent.parent / "relay"
LISTED = Path(__file__).parent.parent / "golden" / "plans.txt"
FEW = {"writer", "indexed", "unmerged", "snapshot", "base", "filed", "invite", "sqlite_master"}
"""Tables of one row, of sixteen, or of open invites."""
NAMED = re.compile(r"(?:FROM|JOIN|UPDATE|INTO|,)\s+(\w+)(?:\s+AS)?\s+(\w+)", re.IGNORECASE)
MADE_OF = re.compile(r"\b(\w+)(?:\s*\([^)]*\))?\s+AS\s+(?:MATERIALIZED\s+)?\(", re.IGNORECASE)
AT_AN_END = re.compile(r"(?:min|max)\(seq\)(?:, \d\))? FROM log(?:\)|$)")
"""The first or the last entry of any kind takes one step; with a condition it takes a scan."""
NO_NAMES = {"WHERE", "LEFT", "CROSS", "JOIN", "ON", "NOT", "INDEXED", "ORDER", "GROUP", "UNION", "SET", "SELECT"}
MADE_FOR_A_NUMBER = {"plain_statement", "flush_statement"}
"""Functions that make statements; `statement_plans` calls each."""


def scanned(sql: str, steps: list[statement_plans.Step]) -> Iterator[tuple[str, bool]]:
    """The tables that the plan reads from end to end, and whether it does so repeatedly."""
    names = {alias: table for table, alias in NAMED.findall(sql) if alias.upper() not in NO_NAMES}
    small = FEW | {"CONSTANT"} | set(MADE_OF.findall(sql))
    by_number = {step.number: step for step in steps}
    looped: set[int] = set()
    for step in steps:
        verb, name, *how = [*step.says.split(), ""]
        table = names.get(name, name)
        # An empty index argument means a scan; any other is an argument of the table.
        virtual = how[:2] == ["VIRTUAL", "TABLE"] and how[3] != "0:"
        if verb == "SCAN" and not virtual and not name.startswith("(") and table not in small:
            within, again = step.within, step.within in looped
            while within:
                again = again or by_number[within].says.startswith("CORRELATED")
                within = by_number[within].within
            yield table, again
        if verb in {"SCAN", "SEARCH"} and table not in FEW:
            looped.add(step.within)


def faults(store: sqlite3.Connection, statement: Statement) -> list[str]:
    """The faults of a statement's plan, and its unnecessary excuses."""
    steps = statement_plans.plan(store, statement)
    found = list(scanned(statement, steps))
    wrong = [f"reads {table} again and again" for table, again in found if again]
    wrong += [f"reads all of {table}" for table, _ in found if not statement.whole]
    sorted_ = [step.says for step in steps if step.says.startswith("USE TEMP B-TREE")]
    wrong += sorted_ if not statement.sorts else []
    at_the_end = len(AT_AN_END.findall(statement))
    wrong += ["looks from an end of log on"] if [one.says for one in steps].count("SEARCH log") > at_the_end else []
    if str(statement) in statements.ALL:
        wrong += ["excuses a scan that is not there"] if statement.whole and not found else []
        wrong += ["excuses a sort that is not there"] if statement.sorts and not sorted_ else []
    return wrong


STATEMENTS = statement_plans.all_statements()


@pytest.fixture(scope="module")
def store() -> Iterator[sqlite3.Connection]:
    opened = statement_plans.empty_store()
    yield opened
    opened.close()


@pytest.mark.parametrize("statement", STATEMENTS, ids=lambda one: " ".join(one.split())[:60])
def test_statement_uses_an_index_and_sorts_little(store: sqlite3.Connection, statement: Statement) -> None:
    wrong = faults(store, statement)
    assert not wrong, "\n".join(step.says for step in statement_plans.plan(store, statement))


def test_trigger_uses_an_index(store: sqlite3.Connection) -> None:
    for statement in statement_plans.of_triggers(store):
        assert not faults(store, statement), statement


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("SELECT count(*) FROM log WHERE kind = 1 AND chat = ? AND message_id > ?", ["reads all of log"]),
        ("SELECT l.seq FROM log AS l WHERE l.at > ?", ["reads all of log"]),
        ("SELECT seq FROM log WHERE kind <= 3 AND chat = ? ORDER BY at", ["USE TEMP B-TREE FOR ORDER BY"]),
        (
            "SELECT (SELECT min(seq) FROM log WHERE kind = 1 AND chat = c.value) FROM json_each(?) AS c",
            ["looks from an end of log on"],
        ),
    ],
)
def test_a_statement_that_reads_too_much_is_found(store: sqlite3.Connection, sql: str, wrong: list[str]) -> None:
    assert faults(store, statement_plans.unlisted(sql)) == wrong


def test_composed_sql_is_a_statement_made_once() -> None:
    """This way its plan is tested as well; other SQL is found in the code as one text."""
    forgotten = [f"{path.name}:{line}" for path, line, sql in statement_plans.texts() if sql is None]
    for path in sorted(RELAY.rglob("*.py")):
        forgotten += [f"{path.name}:{line}" for line in _made_in_functions(ast.parse(path.read_text()))]
    assert not forgotten, "put together outside of Statement(...), or made in a function"


def _made_in_functions(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name not in MADE_FOR_A_NUMBER:
            for one in ast.walk(node):
                if isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "Statement":
                    yield one.lineno


def test_the_list_of_plans_is_up_to_date() -> None:
    listed = LISTED.read_text().splitlines()
    if listed[0] != f"SQLite {sqlite3.sqlite_version}":
        pytest.skip(f"the list is of {listed[0]}")
    assert listed == list(statement_plans.listing()), "python tests/support/statement_plans.py > tests/golden/plans.txt"
