"""A search reads hardly more in a longer log: counts pages, steps and candidates."""

import random
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from relay.core.relay import Relay, open_relay
from relay.keys import NO_DEVICE, ChatKey, UserKey
from relay.protocol import control, requests
from relay.store.command import Command
from relay.store.log.index_upkeep import MERGE_SEGMENTS
from relay.store.queries import positions, search
from relay.store.queries.search import CHECKED_CANDIDATES, Sought
from relay.store.queries.trigrams import TrigramShares
from relay.store.sqlite import database
from relay.store.sqlite.database import Connection
from relay.store.upkeep import full_text_index
from tests.support.tunings import indexing

SMALL, MIDDLE = 2_000, 30_000
BATCH = 2_000
PORTION = 500
"""Entries to index at a time."""
NAMED = 50
"""One in this many messages has a unique name in it."""
TOWN = "quaxopolis"
"""A word whose trigrams only occur together, in one of this many messages, each time before a different word."""
TOWNED = 100
LONE = "u9"
"""A user with few messages."""
SAID = 3
"""Their messages, the first ones of all."""
ALONE, LARGE = {ChatKey(1): 0}, {ChatKey(2): 0}
"""Their chat's key, and the other one's."""
STEP = 10
"""SQLite VM steps between two ticks."""


class Cost(NamedTuple):
    """The cost of a search."""

    read: float
    """Bytes of the file."""
    ticks: float
    """Tens of steps."""
    candidates: float


def _words(count: int) -> list[str]:
    chance = random.Random(3)
    return [
        "".join(chance.choices("eeeennniiissrrraatttddhhuulcgmobwfkzpvjyxq", k=chance.randint(2, 8)))
        for _ in range(count)
    ]


WORDS = _words(3_000)


def _name(number: int) -> str:
    return "".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz", k=9))


def _text(number: int) -> str:
    """The text of a message: common words, and in some a name, or a shared word."""
    chance = random.Random(number)
    words = [WORDS[int(len(WORDS) * chance.random() ** 3)] for _ in range(12)]
    words += [_name(number)] * (number % NAMED == 0)
    words += [TOWN, WORDS[number // TOWNED]] * (number % TOWNED == 0)
    return " ".join(words)


async def _fill(data: Path, messages: int, *, merged: bool = True) -> None:
    async with open_relay(data, tuning=indexing(index_seconds=1e9)) as relay:
        for user in ("a", "b", LONE):
            await relay.admin.handle("user.add", control.AddUser(id=user))
        await _say(relay, LONE, range(SAID))
        for start in range(0, messages, BATCH):
            await _say(relay, "b", range(start, start + BATCH))
        last, _ = await positions.ends(relay.reading)
    # Always in the same portions: the relay's own depend on the time of each.
    async with database.connect(data / "relay.db", writing=True) as writing:
        for upto in range(PORTION, last + PORTION, PORTION):
            while await full_text_index.index(writing, min(last, upto)) < min(last, upto):
                pass
            while merged and upto % (MERGE_SEGMENTS * PORTION) == 0 and await full_text_index.merge(writing):
                pass


async def _say(relay: Relay, to: str, numbers: range) -> None:
    left, done = len(numbers), trio.Event()

    def answer(_payload: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    for number in numbers:
        request = requests.New(chat_id=to, client_message_id=f"{to}{number}", message=_text(number))
        relay.log.append(Command(relay.clock(), UserKey(1), NO_DEVICE, request), answer)
    await done.wait()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A store with few messages, and one with many."""
    made = {}
    for messages in (SMALL, MIDDLE):
        made[messages] = tmp_path_factory.mktemp(str(messages))
        trio.run(_fill, made[messages], messages)
    return made


class _Meter:
    """Searches on a connection with a tiny cache, and counts."""

    def __init__(self, connection: Connection, usual: TrigramShares) -> None:
        self._connection = connection
        self._usual = usual
        self._ticks = 0
        self.candidates = 0

    def tick(self) -> int:
        self._ticks += 1
        return 0

    async def cost(self, sought: Sought) -> Cost:
        self._ticks = self.candidates = 0
        before = _bytes_read()
        await search.search(self._connection, sought, self._usual)
        return Cost(_bytes_read() - before, self._ticks, self.candidates)

    async def find(self, sought: Sought) -> list[str | None]:
        rows, _ = await search.search(self._connection, sought, self._usual)
        return [row.message for row in rows]


def _bytes_read() -> int:
    """Bytes that this process has read from files."""
    return int(Path("/proc/self/io").read_text().split()[1])


@asynccontextmanager
async def _metered(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[_Meter]:
    wanted = search.SearchRun.wanted
    async with database.connect(data / "relay.db", writing=False, cache=0) as connection:
        usual = TrigramShares()
        assert await search.learn(connection, usual)
        meter = _Meter(connection, usual)
        await connection._run(connection._connection.set_progress_handler(meter.tick, STEP))

        def look(self: search.SearchRun, row: tuple[object, ...]) -> bool:
            meter.candidates += 1
            return wanted(self, row)

        monkeypatch.setattr(search.SearchRun, "wanted", look)
        yield meter
        monkeypatch.undo()


async def test_rare_word_reads_few_pages_more_in_a_long_log(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {}
    for messages, data in stores.items():
        async with _metered(data, monkeypatch) as meter:
            names = [_name(number) for number in range(0, SMALL, NAMED)]
            costs = [await meter.cost(Sought(name, LARGE)) for name in names]
            assert [len(await meter.find(Sought(name, LARGE))) for name in names] == [1] * len(names)
            found[messages] = Cost(*(statistics.median(kind) for kind in zip(*costs, strict=True)))
    few, many = found.values()
    assert many.read <= 3 * few.read
    assert many.ticks <= 2 * few.ticks
    assert many.candidates <= 2


async def test_phrase_with_clustered_trigrams_is_found_among_few_candidates(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _metered(stores[MIDDLE], monkeypatch) as meter:
        for number in range(0, MIDDLE, MIDDLE // 10):
            text = f"{TOWN} {WORDS[number // TOWNED]}"
            cost = await meter.cost(Sought(text, LARGE))
            assert cost.candidates <= 2 * CHECKED_CANDIDATES < MIDDLE / TOWNED / 2
            assert _text(number) in await meter.find(Sought(text, LARGE))


async def test_common_word_is_found_in_a_small_chat_without_reading_others(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _metered(stores[MIDDLE], monkeypatch) as meter:
        usual = next(word for word in _text(0).split() if len(word) > 3)
        sought = Sought(usual, ALONE, said=SAID)
        assert (await meter.cost(sought)).candidates <= CHECKED_CANDIDATES + SAID
        assert await meter.find(sought) == [_text(0)]


async def test_a_relay_merges_the_segments_left_by_an_earlier_run(tmp_path: Path) -> None:
    await _fill(tmp_path, 4 * BATCH, merged=False)

    async def segments(connection: Connection) -> int:
        ((count,),) = await connection.execute("SELECT count(DISTINCT segid) FROM search_idx")
        return int(count)

    async with database.connect(tmp_path / "relay.db", writing=False) as connection:
        left = await segments(connection)
        assert left > 4 * BATCH // PORTION
        async with open_relay(tmp_path, tuning=indexing(index_seconds=1e9)):
            with trio.fail_after(20):
                while await segments(connection) > MERGE_SEGMENTS:
                    await trio.sleep(0.01)
