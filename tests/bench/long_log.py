"""The cost of reads for a user with few messages, in a store that others have filled.

    python tests/bench/long_log.py [--messages 5000000] [--rounds 31] [--cold] [--only REGEX] [--keep DIRECTORY]

Two relays run side by side, one with ten thousand messages and one with as many as given. Each request goes to one and
then to the other, the next time the other way round, and each time about something else. Prints the relays' CPU, the
wait, and how much they read of the file, as medians with quartiles, and the ratio, with the quartiles of the ratios of
the pairs. A request is over when the relay is idle again, so that its work does not count for the next one.

With --cold the file is dropped from the system's cache before each request.
"""

import multiprocessing
import os
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from relay.protocol import codec, requests
from relay.protocol.base import Wire
from relay.protocol.envelopes import Request

sys.path.append(str(Path(__file__).resolve().parents[2]))

from tests.bench import long_store
from tests.bench.endurance import frame, free_port, join, served, throughput
from tests.bench.long_store import LOGINS, SAID, SMALL_CHATS

FEW = 10_000
LOOK = 0.002
"""Seconds between two checks whether a relay is idle."""
BEFORE, AFTER = 10, 3
"""Consecutive checks that have to find it idle, before and after a request: a receipt, for example, is written a moment
after its answer."""
IDLE = 2e-5
"""CPU seconds between two checks that count as idle."""
RECONNECTS = 50
"""Per second, of one phone."""
LATELY = 2_000
"""Messages that a device misses during a short absence."""
STORM = "others, while one phone comes and goes"
NEW = b'"eventType":"new"'


class Cost(NamedTuple):
    """The cost of a request: milliseconds of the relay's CPU, milliseconds waited, KiB read from its files."""

    cpu: float
    wait: float
    read: float


class Peer:
    """A client that makes one request at a time and parses as little of the answer as possible."""

    def __init__(self, port: int, token: str, *, after: int | None = 2**60) -> None:
        self._socket = join(port, token, after=after)

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, name: str, payload: Wire) -> None:
        """Make a request, and receive the whole answer."""
        request = Request(id="1", payload_type=name, payload=msgspec.Raw(codec.encode(payload)))
        self._socket.sendall(frame(codec.encode(request)))
        data = b""
        while b'"type":"response"' not in data or not _whole(data):
            data += self._more()
        assert b'"error"' not in data[:200], data[:200]

    def take(self, events: int) -> None:
        """Receive this many messages."""
        data = b""
        while data.count(NEW) < events:
            data += self._more()

    def _more(self) -> bytes:
        data: bytes = self._socket.recv(262_144)
        assert data, "the relay closed the connection"
        return data


def _whole(data: bytes) -> bool:
    """Whether the last received frame is complete."""
    start = 0
    while start < len(data):
        length, header = data[start + 1] if len(data) > start + 1 else 0, 2
        if length >= 126:
            header = 4 if length == 126 else 10
            length = int.from_bytes(data[start + 2 : start + header], "big")
        start += header + length
    return start == len(data)


class Side:
    """One of the relays, and its clients."""

    def __init__(self, data: Path, port: int, pid: int, messages: int, tokens: dict[str, str]) -> None:
        self.data, self.port, self.messages, self.tokens = data, port, messages, tokens
        self._pid = pid
        # The clock of another process's CPU, see clock_getcpuclockid(3).
        self._clock = ~pid << 3 | 2
        self.chance = random.Random(messages)
        self.logins = iter(range(LOGINS))
        self.unread = iter(range(SMALL_CHATS))

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Connect a member of the long dialog and a user with few messages: silent clients are disconnected."""
        with (
            closing(Peer(self.port, self.tokens["a"])) as self.large,
            closing(Peer(self.port, self.tokens["c"])) as self.small,
        ):
            yield

    def some(self) -> int:
        """A message of the long dialog with a name in it, a different one each time."""
        return self.chance.randrange(0, self.messages, long_store.NAMED)

    def cost(self, run: Callable[["Side"], None], *, cold: bool) -> Cost:
        """Make one request."""
        if cold:
            self._forget()
        self._settle(BEFORE)
        cpu, read, began = self._cpu(), self._read(), time.perf_counter()
        run(self)
        waited = time.perf_counter() - began
        self._settle(AFTER)
        return Cost(1_000 * (self._cpu() - cpu), 1_000 * waited, (self._read() - read) / 1024)

    def _settle(self, looks: int) -> None:
        rests, before = 0, self._cpu()
        while rests < looks:
            time.sleep(LOOK)
            now = self._cpu()
            rests = rests + 1 if now - before < IDLE else 0
            before = now

    def _forget(self) -> None:
        for path in (self.data / "relay.db", self.data / "relay.db-wal"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _cpu(self) -> float:
        return time.clock_gettime(self._clock)

    def _read(self) -> int:
        return int(Path(f"/proc/{self._pid}/io").read_text().split()[1])


@contextmanager
def _side(messages: int, keep: Path | None) -> Iterator[Side]:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) if keep is None else keep / str(messages)
        tokens = long_store.fill(data, messages)
        # The measured requests send receipts, so a kept store is copied.
        with tempfile.TemporaryDirectory(dir=keep) as copy:
            shutil.copytree(data, copy, dirs_exist_ok=True)
            # The measured relay syncs, and would also wait for the copy.
            os.sync()
            port = free_port()
            with served(Path(copy), port) as process:
                yield Side(Path(copy), port, process.pid, messages, tokens)


# The requests.


def _search(query: Callable[[int], str]) -> Callable[[Side], None]:
    return lambda side: side.large.ask("search", requests.Search(query=query(side.some())))


def _far_back(side: Side) -> None:
    side.large.ask("messages", requests.Messages(chat_id="b", start_id=side.some() + 1, count=50))


def _small_chat(side: Side) -> None:
    chat = f"u{side.chance.randrange(SMALL_CHATS)}"
    side.small.ask("messages", requests.Messages(chat_id=chat, count=50))


def _login(side: Side) -> None:
    with closing(Peer(side.port, side.tokens[f"c{next(side.logins)}"], after=None)) as phone:
        phone.take(SMALL_CHATS * SAID)


def _old_cursor(side: Side) -> None:
    with closing(Peer(side.port, side.tokens["c"], after=0)) as phone:
        phone.take(SMALL_CHATS * SAID)


def _away(side: Side) -> None:
    seq = long_store.ask_file(side.data, "SELECT max(seq) FROM log WHERE kind = 1")
    with closing(Peer(side.port, side.tokens["b"], after=seq - LATELY)) as phone:
        # The relay sends more only after some acknowledgements.
        phone.take(LATELY // 10)


def _reconnects(side: Side) -> None:
    for _ in range(20):
        join(side.port, side.tokens["c"], after=0).close()


def _sends(side: Side) -> None:
    with closing(join(side.port, side.tokens["a"], after=2**60)) as sender:
        throughput(side.port, sender, "b", 100)


QUESTIONS: dict[str, Callable[[Side], None]] = {
    "chats": lambda side: side.small.ask("chats", requests.Nothing()),
    "chat": lambda side: side.small.ask("chat", requests.ChatDetailsRequest(chat_id="u1")),
    "messages of a small chat": _small_chat,
    "latest page of a large one": lambda side: side.large.ask("messages", requests.Messages(chat_id="b", count=50)),
    "a page far back": _far_back,
    "search: a number said once": _search(lambda number: f"word{number:07}"),
    "search: a name said once": _search(long_store.name),
    "search: a phrase of common words": _search(long_store.phrase),
    "search: in every text": _search(lambda _number: "word"),
    "search: in nobody's": _search(lambda number: long_store.name(number + 1)),
    "search: in every text but one's own": lambda side: side.small.ask("search", requests.Search(query="word")),
    "first login": _login,
    "replay of an old cursor": _old_cursor,
    "replay of the latest": _away,
    "20 quick reconnects": _reconnects,
    "read, the first of a chat": lambda side: side.small.ask("read", requests.Mark(chat_id=f"u{next(side.unread)}")),
    "a hundred sends": _sends,
}


# The result.


def _compare(what: str, sides: tuple[Side, Side], rounds: int, *, cold: bool) -> None:
    found: tuple[list[Cost], list[Cost]] = ([], [])
    for number in range(rounds):
        for one in (0, 1) if number % 2 else (1, 0):
            found[one].append(sides[one].cost(QUESTIONS[what], cold=cold))
    cells = [what]
    for kind in range(3):
        few, many = ([cost[kind] for cost in costs] for costs in found)
        cells += [_spread(few), _spread(many)]
        cells += [_ratio(few, many)] if kind < 2 else []
    print("| " + " | ".join(cells) + " |", flush=True)


def _spread(values: list[float]) -> str:
    low, middle, high = (
        f"{value:.2f}" if value < 10 else f"{value:.0f}" for value in statistics.quantiles(values, n=4)
    )
    return f"{middle} ({low} to {high})"


def _ratio(few: list[float], many: list[float]) -> str:
    low, _, high = statistics.quantiles([more / less for less, more in zip(few, many, strict=True)], n=4)
    return f"**{statistics.median(many) / statistics.median(few):.2f}** ({low:.2f} to {high:.2f})"


def _others_wait(side: Side, seconds: float, *, storm: bool) -> list[float]:
    """Waiting times of others while one phone comes and goes or nothing happens, in milliseconds."""
    # In a separate process: in a thread, the client would wait for Python.
    phone = multiprocessing.get_context("fork").Process(target=_comes_and_goes, args=(side.port, side.tokens["c"]))
    if storm:
        phone.start()
    waits, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        asked = time.perf_counter()
        side.large.ask("messages", requests.Messages(chat_id="b", count=20))
        waits.append(1_000 * (time.perf_counter() - asked))
        time.sleep(0.01)
    if storm:
        phone.terminate()
        phone.join()
    return waits


def _comes_and_goes(port: int, token: str) -> None:
    while True:
        join(port, token, after=0).close()
        time.sleep(1 / RECONNECTS)


def _storms(sides: tuple[Side, Side], rounds: int) -> None:
    print(f"\nothers' `messages` while one phone connects {RECONNECTS} times a second, and while none does:")
    for side in sides:
        found: dict[bool, list[float]] = {True: [], False: []}
        with side.connected():
            for number in range(rounds):
                for storm in (True, False) if number % 2 else (False, True):
                    found[storm] += _others_wait(side, 1.0, storm=storm)
        p50, p99 = ([statistics.quantiles(found[storm], n=100)[at] for storm in (True, False)] for at in (49, 98))
        print(
            f"{side.messages:>9,}: p50 {p50[0]:.2f} and {p50[1]:.2f} ms, p99 {p99[0]:.2f} and {p99[1]:.2f} ms",
            flush=True,
        )


def measure(messages: int, rounds: int, only: str, keep: Path | None, *, cold: bool) -> None:
    """Make all requests."""
    with ExitStack() as stack:
        few, many = (stack.enter_context(_side(number, keep)) for number in (FEW, messages))
        sides = (few, many)
        heads = [
            *(f"{what}{rest}" for what in ("ms of CPU", "ms waited") for rest in (f", {FEW:,}", f", {messages:,}", "")),
            f"KiB read, {FEW:,}",
            f"{messages:,}",
        ]
        heads[2] = heads[5] = "ratio"
        print(f"| | {' | '.join(heads)} |\n|{'---|' * 9}")
        for what in QUESTIONS:
            if re.search(only, what):
                with few.connected(), many.connected():
                    _compare(what, sides, rounds, cold=cold)
        if re.search(only, STORM):
            _storms(sides, 6)


def main() -> None:
    """Measure."""
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=31, help="how often each question is put")
    parser.add_argument("--cold", action="store_true", help="with nothing of the file in the system's cache")
    parser.add_argument("--only", default="", help="questions whose name this regular expression finds")
    parser.add_argument("--keep", type=Path, help="where the stores stay, so that the next run need not make them")
    chosen = parser.parse_args()
    measure(chosen.messages, chosen.rounds, chosen.only, chosen.keep, cold=chosen.cold)


if __name__ == "__main__":
    main()
