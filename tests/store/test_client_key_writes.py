"""Moving client keys from memory to their table: repeats are recognised in both, and memory stays bounded."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from relay.core.maintenance.check import check
from relay.core.relay import Relay, open_relay
from relay.core.tuning import Tuning
from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from relay.store.queries import fact_lookup
from relay.store.upkeep.removal import remove_history
from tests.support.disk import T0, answers, failures, new, people, rows, say, until


@pytest.fixture
def clock() -> MockClock:
    """Real time with jumps on demand."""
    return MockClock(rate=1.0)


@pytest.fixture
async def relay(tmp_path: Path, clock: MockClock) -> AsyncIterator[Relay]:
    async with open_relay(tmp_path, clock=lambda: T0) as opened:
        await people(opened, "User1", "User2")
        await say(opened, "User1", "User2", "first")
        yield opened


async def test_a_new_client_id_needs_no_lookup(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[object] = []
    real = fact_lookup.client_keys

    async def counting(connection: Any, keys: Any, recent: Any) -> Any:
        looked_up.extend(keys)
        return await real(connection, keys, recent)

    monkeypatch.setattr(fact_lookup, "client_keys", counting)
    await answers(relay, *(new(relay, "User1", "User2", f"c{n}") for n in range(10)))
    assert looked_up == []
    got = await answers(relay, *(new(relay, "User1", "User2", f"c{n}", "again") for n in (3, 12, 5, 3, 12)))
    assert [answer.message_id for answer in got] == [5, 12, 7, 5, 12]
    assert len(looked_up) == 2, "only c3 and c5 were there"
    assert rows(relay.data, "SELECT count(*) FROM log WHERE kind = 1") == [(12,)]


async def test_a_repeated_message_is_recognised_from_memory_and_from_the_table(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(held_keys=20))

    async def repeat(relay: Relay, numbers: Sequence[int]) -> list[int]:
        got = await answers(relay, *(new(relay, "User1", "User2", f"c{n}", "again") for n in numbers))
        return [answer.message_id for answer in got]

    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        first = [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(200)]
        with trio.fail_after(30):
            # They are moved while others send, when there is time.
            while (filed := rows(tmp_path, "SELECT count(*) FROM client")[0][0]) < 100:
                await trio.sleep(0.01)
        assert filed < 200, "most have left the memory, the latest have not"
        assert await repeat(relay, range(200)) == first
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert await repeat(relay, range(200)) == first, "and after a restart"
        assert [finding for finding in await check(tmp_path, lambda _: None) if finding.wrong] == []
        seqs = rows(tmp_path, "SELECT seq FROM log WHERE kind = 1 ORDER BY seq")
        for (upto,) in (seqs[49], seqs[-1]):
            await relay.log.run_exclusive(partial(remove_history, 0, upto, count=1_000))
            assert await repeat(relay, range(200)) == first, "and after retention removed the messages"
            found = {finding.what: finding.wrong for finding in await check(tmp_path, lambda _: None)}
            assert found["client ids"] == []
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert await repeat(relay, range(200)) == first
        assert rows(tmp_path, "SELECT count(*) FROM log WHERE kind = 1") == [(0,)], "none is written again"


async def test_interrupted_key_flush_loses_no_client_id_and_is_repeated(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(held_keys=20, key_retry_seconds=0.0))
    filed = "SELECT count(*) FROM filed WHERE seq > 0"
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        await relay.connections.writing.execute(
            "CREATE TEMP TRIGGER cut BEFORE UPDATE ON filed BEGIN SELECT RAISE(ABORT, 'as if killed here'); END"
        )
        first = [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(60)]
        assert first == list(range(1, 61)), "messages go on"
        await relay.log.probe()
        assert rows(tmp_path, filed) == [(0,)]
        assert rows(tmp_path, "SELECT count(*) > 0 FROM client") == [(1,)]
    async with open_relay(tmp_path, tuning=tuning) as relay:
        assert [(await say(relay, "User1", "User2", f"c{n}")).message_id for n in range(60)] == first
        for n in range(60, 80):
            await say(relay, "User1", "User2", f"c{n}")
        await relay.log.probe()
        assert rows(tmp_path, filed)[0][0] > 0
        assert [finding for finding in await check(tmp_path, lambda _: None) if finding.wrong] == []


async def test_client_ids_with_equal_hashes_are_distinguished(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.core.rules.messages.client_key", lambda *_: 7)
    assert (await say(relay, "User1", "User2", "c1")).message_id == 2
    assert failures([await say(relay, "User1", "User2", "c2")]) == ["conflict"]
    assert (await say(relay, "User1", "User2", "c1")).message_id == 2


async def test_many_client_keys_are_written_without_rest(tmp_path: Path) -> None:
    tuning = Tuning(log=LogTuning(quiet_seconds=3_600.0, rest_factor=1e6, held_keys=4))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        await answers(relay, *(new(relay, "User1", "User2", f"key {n}") for n in range(200)))
        await until(lambda: not relay.log.idempotency_keys.overflowing)


async def test_client_keys_in_memory_stay_bounded_under_a_flood(tmp_path: Path) -> None:
    # Each portion stays as small as in a busy loop, in which it looks slow.
    tuning = Tuning(log=LogTuning(key_portion=PortionSize(64, least=64, most=64), held_keys=128))
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2")
        for batch in range(60):
            await answers(relay, *(new(relay, "User1", "User2", f"key {batch} {n}") for n in range(100)))
        ((unfiled,),) = rows(
            tmp_path,
            "SELECT count(*) FROM log JOIN filed ON filed.slice = log.client_key >> 60 WHERE log.seq > filed.seq",
        )
    assert unfiled <= 2 * 8 * 128
