"""Every SQL statement of the relay with SQLite's plan for it; run as a program it prints them.

python tests/statement_plans.py > tests/golden/plans.txt
"""

import importlib
import pkgutil
import re
import sqlite3
from collections.abc import Iterator
from typing import NamedTuple

import relay
from relay.store import chores, statements, writing
from relay.store.schema import MIGRATIONS
from relay.store.statements import Statement

BINDINGS = re.compile(r"uses (\d+)")
IN_TRIGGERS = re.compile(r"\b(?:NEW|OLD)\.\w+")


def all_statements() -> list[Statement]:
    """All that the relay's modules make, and those that are made for a number of rows."""
    for module in pkgutil.walk_packages(relay.__path__, "relay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    writing._plain_statement(1)
    chores._filing_statement(1)
    # Of those for a number of rows one is enough.
    listed = [one for one in statements.ALL.values() if "?), (?" not in one]
    return sorted(one for one in listed if not one.startswith(("PRAGMA", "BEGIN", "COMMIT")))


def empty_store() -> sqlite3.Connection:
    """A store in memory with all tables, indexes and triggers."""
    store = sqlite3.connect(":memory:", isolation_level=None)
    for script in MIGRATIONS:
        store.executescript(script)
    return store


def unlisted(sql: str) -> Statement:
    """A statement that is none of the relay's own."""
    made = str.__new__(Statement, sql)
    made.whole = made.sorts = ""
    return made


def of_triggers(store: sqlite3.Connection) -> Iterator[Statement]:
    """The statements in the bodies of triggers, with a parameter in the place of each column of the row."""
    for (sql,) in store.execute("SELECT sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"):
        body = sql[re.search(r"\bBEGIN\b", sql).end() : sql.rindex("END")]
        for one in body.split(";"):
            if one.strip() and "RAISE" not in one:
                yield unlisted(IN_TRIGGERS.sub("?", one.strip()))


class Step(NamedTuple):
    """A step of a plan."""

    number: int
    within: int
    """The step that it is part of."""
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
    """All of it, as text."""
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
