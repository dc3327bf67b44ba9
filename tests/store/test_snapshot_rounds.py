"""Snapshot and base in portions: a start agrees with the log, whatever is written in between."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel

from relay.core.maintenance.check import CheckResult, check
from relay.core.model import snapshot
from relay.core.model.state import State
from relay.core.relay import Relay, open_relay
from relay.core.rules import commands
from relay.core.tuning import RetentionTuning, Tuning
from relay.protocol import control, requests
from relay.store.log.tuning import LogTuning
from relay.store.portion import PortionSize
from relay.store.queries import log_entries, snapshots
from relay.store.queries.snapshots import SnapshotRows
from relay.store.sqlite.statements import as_json
from relay.store.upkeep import removal, snapshot_rows
from tests.support.disk import answers, command, people, rows, say, talk
from tests.support.memory_log import facts_of
from tests.support.raw_store import opened


async def faults(data: Path) -> list[CheckResult]:
    return [finding for finding in await check(data, lambda _: None) if finding.wrong]


async def restarted(relay: Relay) -> State:
    """The state after a start from the current file."""
    await relay.reading.execute("BEGIN")
    known = await snapshots.snapshot(relay.reading)
    state = snapshot.load(known)
    catching = snapshot.StateRecovery(state, known)
    while entries := await log_entries.entries(relay.reading, state.seq, 100):
        for entry in entries:
            catching.apply(entry)
    await relay.reading.execute("COMMIT")
    return state


def small(size: int, **more: Any) -> Tuning:
    """Write snapshot and base in portions of this many rows."""
    portion = PortionSize(size, least=size, most=size)
    return Tuning(log=LogTuning(snapshot_rows=portion, **more), retention=RetentionTuning(members=portion))


async def more(relay: Relay, chance: random.Random) -> None:
    """Make changes beyond a conversation: admins, people who come and go, deletions, passwords."""
    group = next((chat.id for chat in relay.state.chats.values() if chat.id and not chat.gone), None)
    user = chance.choice(("User1", "User2", "User3"))
    match chance.randrange(8):
        case 0 if group:
            await answers(relay, command(relay, None, requests.UpdateChat(chat_id=group, admins=[user])))
        case 1 if group:
            await answers(relay, command(relay, None, commands.AddParticipants(group, ["User1", "User2", "User3"])))
        case 2:
            await answers(relay, command(relay, None, commands.SetPassword(user, "x")))
        case 3:
            await answers(relay, command(relay, None, control.ChangeUser(id=user, name=f"n{relay.state.seq}")))
        case 4:
            await people(relay, f"New{relay.state.seq}")
        case 5:
            code, ends = f"hash{relay.state.seq}", relay.clock() + 86_400_000
            await answers(relay, command(relay, None, commands.MakeInvite(code_hash=code, expires_at=ends)))
        case 6:
            trust = command(relay, None, commands.TrustClock())
            await answers(relay, msgspec.structs.replace(trust, at=relay.state.at - 3_600_000))
        case _:
            await say(relay, user, "User1", f"m{relay.state.seq}")


@pytest.mark.parametrize("seed", range(4))
async def test_a_start_between_any_two_portions_of_a_snapshot_agrees_with_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    portions: list[bool] = []
    real = snapshot_rows.keep_rows

    async def keep_rows(connection: Any, what: SnapshotRows) -> None:
        portions.append("seq" in what)
        await real(connection, what)

    monkeypatch.setattr(snapshot_rows, "keep_rows", keep_rows)
    async with open_relay(tmp_path, tuning=small(1, snapshot_entries=9)) as relay:
        await people(relay, "User1", "User2", "User3")
        for _ in range(90):
            await talk(relay, chance, 1)
            await more(relay, chance)
            assert facts_of(await restarted(relay)) == facts_of(relay.state)
        assert await faults(tmp_path) == []
    assert 2 < portions.count(True) < len(portions) / 2, "rounds took several portions"
    async with open_relay(tmp_path) as again:
        assert facts_of(again.state) == facts_of(relay.state)


async def test_snapshot_that_fails_half_way_leaves_a_valid_store_and_is_repeated(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=small(1)) as relay:
        await people(relay, "User1", "User2", "User3")
        await talk(relay, random.Random(1), 30)
        await relay.connections.writing.execute(
            "CREATE TEMP TRIGGER full BEFORE INSERT ON member WHEN NEW.user = 3 BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
        with pytest.raises(Exception, match="cannot save anything"):
            await relay.log.keep_snapshot()
        assert facts_of(await restarted(relay)) == facts_of(relay.state)
        await relay.connections.writing.execute("DROP TRIGGER full")
        await talk(relay, random.Random(2), 30)
        await relay.log.keep_snapshot()
        assert rows(tmp_path, "SELECT seq FROM snapshot") == [(relay.state.seq,)]
        assert facts_of(await restarted(relay)) == facts_of(relay.state)
        assert await faults(tmp_path) == []


async def test_requested_snapshot_includes_everything_before_the_request(tmp_path: Path) -> None:
    async with open_relay(tmp_path, tuning=small(1)) as relay:
        await people(relay, "User1", "User2", "User3")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(relay.log.keep_snapshot)
            await trio.lowlevel.checkpoint()
            await talk(relay, random.Random(3), 3)
            seq = relay.state.seq
            await relay.log.keep_snapshot()
            assert rows(tmp_path, "SELECT seq FROM snapshot")[0][0] >= seq


async def test_a_snapshot_of_many_members_is_written_in_bounded_portions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts rows, because times on a shared machine say little: no commit writes more rows than a portion plus a
    chat."""
    async with open_relay(tmp_path, tuning=small(50)) as relay:
        names = [f"User{number}" for number in range(1, 31)]
        for name in names:
            await answers(relay, command(relay, None, control.AddUser(id=name)))
        for number in range(40):
            made = control.MakeChat(name=f"g{number}", owner="User1", participants=names[1:])
            await relay.admin.handle("chat.create", made)
        most = 0
        real = relay.connections.writing.execute

        async def execute(sql: str, parameters: Any = ()) -> Any:
            nonlocal most
            before = rows(tmp_path, "SELECT count(*) FROM member")[0][0]
            done = await real(sql, parameters)
            most = max(most, rows(tmp_path, "SELECT count(*) FROM member")[0][0] - before)
            return done

        monkeypatch.setattr(relay.connections.writing, "execute", execute)
        await relay.log.keep_snapshot()
        assert rows(tmp_path, "SELECT count(*) FROM member") == [(1_200,)]
        assert 30 <= most <= 110, "no more than a portion, and a chat that begins in it"


# The base.


@pytest.mark.parametrize("seed", range(3))
async def test_a_prune_while_people_talk_leaves_a_consistent_store(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    async with open_relay(tmp_path, tuning=small(2)) as relay:
        await people(relay, "User1", "User2", "User3")
        await talk(relay, chance, 120)
        async with trio.open_nursery() as nursery:

            async def prune() -> None:
                await relay.retention.prune(max_bytes=1)

            # Two at once: one after the other.
            nursery.start_soon(prune)
            nursery.start_soon(prune)
            await talk(relay, chance, 120)
        assert facts_of(await restarted(relay)) == facts_of(relay.state)
        assert await faults(tmp_path) == []
        assert rows(tmp_path, "SELECT count(DISTINCT round) FROM base_part") == [(1,)], "earlier bases are gone"
    assert await faults(tmp_path) == []


class Killed(Exception):
    """Simulates the end of the process."""


@pytest.mark.parametrize("step", range(0, 40, 5))
async def test_a_prune_that_ends_at_any_step_leaves_a_consistent_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    steps = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:

        async def counting(*arguments: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps > step:
                raise Killed
            return await real(*arguments, **named)

        return counting

    for name in ("begin_base", "add_base", "end_base", "clear_bases"):
        monkeypatch.setattr(snapshot_rows, name, counted(getattr(snapshot_rows, name)))
    monkeypatch.setattr(removal, "remove_history", counted(removal.remove_history))
    tuning = small(2)
    tuning.retention.rows = PortionSize(5, least=5, most=5)
    async with open_relay(tmp_path, tuning=tuning) as relay:
        await people(relay, "User1", "User2", "User3")
        await talk(relay, random.Random(step), 60)
        with suppress(Killed):
            while True:
                await relay.retention.prune(max_bytes=1)
                await talk(relay, random.Random(step), 20)
        assert await faults(tmp_path) == []
    steps = -10_000
    async with open_relay(tmp_path) as relay:
        await relay.retention.prune(max_bytes=1)
        assert await faults(tmp_path) == []
        assert rows(tmp_path, "SELECT count(DISTINCT round) FROM base_part") == [(1,)]


async def test_store_with_a_base_of_an_older_relay_is_read_and_pruned(tmp_path: Path) -> None:
    async with open_relay(tmp_path) as relay:
        await people(relay, "User1", "User2", "User3")
        await talk(relay, random.Random(5), 60)
        for chat in relay.state.chats.values():
            chat.pruned = chat.last_message_id
        rows_of_all = snapshot.whole(relay.state)
        whole = {name: [] if value is None else value for name, value in rows_of_all.items() if name != "whole"}
    with opened(tmp_path / "relay.db") as file:
        file.execute("INSERT INTO base (one, value) VALUES (1, ?)", (as_json(whole),))
        file.execute("DELETE FROM log WHERE kind <= 5")
        file.execute("DELETE FROM client")
    assert [fault for fault in await faults(tmp_path) if fault.what == "state and log agree"] == []
    async with open_relay(tmp_path) as relay:
        await talk(relay, random.Random(6), 30)
        await relay.retention.prune(max_bytes=1)
        assert [fault for fault in await faults(tmp_path) if fault.what == "state and log agree"] == []
