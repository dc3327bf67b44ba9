"""The cost of folding in searches: CPU per message, and bytes of the index.

    uv run python tests/bench/folding.py [--messages 20000] [--rounds 5]

Two stores take turns in one process: one without folding (the first six steps of the schema), one of today. Each gets
the same messages in batches of 64 and then indexes them, like the writer. Prints medians of the process's CPU time, in
microseconds per message, and the index's size by `dbstat`.
"""

import argparse
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from relay.store.sqlite.reading import fold_column
from relay.store.sqlite.schema import MIGRATIONS

BEFORE = 6
BATCH = 64
WORDS = {
    "ASCII": "the printer is out of paper again and nobody knows why so please call somebody in the office",
    "German": "der Drucker hat schon wieder kein Papier mehr und keiner weiß warum also bitte im Büro anrufen",
    "mixed": "the Büro übermorgen принтер опять без бумаги и никто не знает почему 打印机又没纸了 谁知道 مرحبا بكم ok",
}
LETTERS = {"ASCII": "etaoinshrdlu", "German": "enisratdhuläöü", "mixed": "etaoinенаотсрл你好世界العم"}


def texts(kind: str, count: int) -> list[str]:
    """Messages of 3 to 20 words, mostly common ones and some unique ones."""
    chance = random.Random(kind)
    usual = WORDS[kind].split()
    rare = ["".join(chance.choices(LETTERS[kind], k=chance.randint(3, 9))) for _ in range(4_000)]
    return [
        " ".join(chance.choice(usual if chance.random() < 0.7 else rare) for _ in range(chance.randint(3, 20)))
        for _ in range(count)
    ]


def store(path: Path, steps: int) -> sqlite3.Connection:
    """Make an empty store with the first steps of the schema."""
    made = sqlite3.connect(path, isolation_level=None)
    made.create_function("fold", 1, fold_column, deterministic=True)
    made.executescript("PRAGMA page_size = 1024; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF")
    for step in MIGRATIONS[:steps]:
        made.executescript(f"BEGIN; {step}; COMMIT")
    return made


def cpu(work: Callable[[], object]) -> float:
    """Run a function; return its CPU seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def write(made: sqlite3.Connection, first: int, some: list[str], indexed: int) -> None:
    """Write a batch of messages, and index up to an entry along with it, like the writer."""
    rows = [(seq, 1, 1, seq, 1, 0, 0, 0, None, f"{seq:032x}", text, None) for seq, text in enumerate(some, start=first)]
    made.execute(
        "INSERT INTO batch VALUES (?, '[]', '[]', '{}', ?, '[]', '[]')", (msgspec.json.encode(rows).decode(), indexed)
    )


def measure(kind: str, count: int, rounds: int) -> dict[int, tuple[float, float, float]]:
    """Return by the number of steps: CPU to write a message, to index it, and the bytes of its part of the index."""
    said = texts(kind, count)
    seconds: dict[int, list[tuple[float, float]]] = {BEFORE: [], len(MIGRATIONS): []}
    size: dict[int, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(rounds):
            stores = {steps: store(Path(scratch, f"{number}-{steps}.db"), steps) for steps in seconds}
            spent = {steps: [0.0, 0.0] for steps in seconds}
            for first in range(1, count + 1, BATCH):
                some = said[first - 1 : first - 1 + BATCH]
                for steps, made in stores.items():
                    spent[steps][0] += cpu(partial(write, made, first, some, 0))
                    upto = first + len(some) - 1
                    spent[steps][1] += cpu(partial(write, made, upto, [], upto))
            for steps, made in stores.items():
                seconds[steps].append((spent[steps][0], spent[steps][1]))
                made.execute("INSERT INTO search (search) VALUES ('optimize')")
                ((pages,),) = made.execute("SELECT sum(pgsize) FROM dbstat WHERE name LIKE 'search%'")
                size[steps] = pages / count
                made.close()
    micro = 1e6 / count
    return {
        steps: (
            statistics.median(one for one, _ in found) * micro,
            statistics.median(other for _, other in found) * micro,
            size[steps],
        )
        for steps, found in seconds.items()
    }


def main() -> None:
    """Print a line for each kind of text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(f"{'':8}  {'write, µs':>16}  {'index, µs':>16}  {'index, bytes':>16}    (before, now)")
    for kind in WORDS:
        before, now = measure(kind, chosen.messages, chosen.rounds).values()
        print(f"{kind:8}  " + "  ".join(f"{one:7.1f} {other:8.1f}" for one, other in zip(before, now, strict=True)))


if __name__ == "__main__":
    main()
