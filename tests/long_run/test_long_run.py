"""Everything at once for as long as desired: `uv run pytest tests/long_run --long-run 3600`."""

import random
import signal
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import msgspec
import pytest
import trio

from relay.core.relay import open_relay
from relay.protocol import control
from tests.long_run import groups
from tests.long_run.checker import Chat, Checker
from tests.long_run.faults import Faults
from tests.long_run.machine import Machine, prepared
from tests.long_run.verdict import WARM_UP, History, Verdict, growth, may_grow
from tests.long_run.wire import Refused
from tests.long_run.world import FRIENDS, GROUPS, World
from tests.support.relay_process import running

PEOPLE = 200
DEVICES = 2
QUIET_SHARE = 0.4
"""The last part of the run, without kills, to observe the relay's memory."""
MEMORY_SECONDS = 200.0
"""Minimum seconds of it for judging memory: before that, caches still fill."""
WAIT_SECONDS = 90.0
"""Seconds without an event or an answer after the last fault that count as the end."""
DRAIN_SECONDS = 3.0
"""Seconds without an event after which all receipts have arrived, once everybody has every message."""


@pytest.fixture
def seconds(request: pytest.FixtureRequest) -> float:
    """The duration of the run, without its end."""
    asked: float = request.config.getoption("--long-run")
    if not asked:
        pytest.skip("a long run: ask for it with --long-run SECONDS")
    return asked


async def test_a_long_run_of_everything_at_once_keeps_every_promise(
    seconds: float, request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed: int = request.config.getoption("--long-run-seed") or random.SystemRandom().randrange(10**6)
    rate: float = request.config.getoption("--long-run-rate")
    with capsys.disabled():
        print(f"\nlong run of {seconds:.0f} s: --long-run-seed {seed}", flush=True)
    dice = random.Random(seed)
    checker = Checker()
    world = World(checker, dice, rate)
    with prepared(tmp_path) as (disk, clock, environment, out):
        await _settle_people(disk.data, world)
        async with running(disk.data, environment=environment) as relay:
            machine = Machine(relay, disk, clock, environment, out)
            world.url = relay.url
            async with trio.open_nursery() as nursery:
                faults = Faults(machine, world, dice, nursery)
                nursery.start_soon(machine.watch_memory)
                await _live(world, faults, seconds, nursery)
                machine.note("quiet")
                grown, watched = growth(machine.memory), len(machine.memory) * 2.0
                await _drain(world, faults)
                machine.note("judging")
                await _judge(world, faults)
                nursery.cancel_scope.cancel()
            await relay.stop(signal.SIGTERM)
            await _check_store(machine, checker, "of the run", None)
            crash = relay.log.find("Traceback")
            if crash >= 0:
                checker.fail(f"the relay's log has a traceback: {relay.log[max(0, crash - 200) : crash + 3_000]}")
    if watched >= MEMORY_SECONDS and grown > may_grow(watched * (1 - WARM_UP) * rate):
        checker.fail(f"the relay's memory grew by {grown / 1e6:.1f} MB in {watched:.0f} s without a restart")
    with capsys.disabled():
        print(_table(world, machine, disk.real, grown, watched))
    for failure in checker.failures:
        machine.note(f"FAILURE {failure}")
    assert checker.failures == [], f"--long-run-seed {seed}, diary in {machine.diary}"


async def _settle_people(data: Path, world: World) -> None:
    users = [f"user{number}" for number in range(PEOPLE)]
    async with open_relay(data) as relay:
        for user in users:
            await relay.admin.handle("user.add", control.AddUser(id=user))
            tokens = []
            for _ in range(DEVICES):
                made = await relay.admin.handle("device.add", control.AddDeviceRequest(user_id=user))
                assert isinstance(made, control.Token)
                tokens.append(made.token)
            world.add_person(user, tokens)
    for person in world.people:
        person.friends = [person.user, *world.dice.sample([one for one in users if one != person.user], FRIENDS)]


async def _live(world: World, faults: Faults, seconds: float, nursery: trio.Nursery) -> None:
    nursery.start_soon(world.signs_of_life)
    phones = [phone for person in world.people for phone in person.phones]
    for phone in phones:
        nursery.start_soon(phone.run)
    # A device's first connection decides where its events begin, so each connects before the first message.
    for phone in phones:
        await phone.online()
    owners = world.dice.sample(world.people, GROUPS)
    for number, person in enumerate(owners):
        await groups.make(world, person, person.phone(world.dice), "channel" if number == 0 else "group")
    for person in list(world.people):
        nursery.start_soon(world.live, person)
    nursery.start_soon(_announce, world, owners[0].user)
    with trio.CancelScope() as going_wrong:
        async with trio.open_nursery() as trouble:
            trouble.start_soon(faults.run)
            await trio.sleep(seconds * (1 - QUIET_SHARE))
            faults.kills_allowed = False
            await trio.sleep(seconds * QUIET_SHARE)
            going_wrong.cancel()


async def _announce(world: World, owner: str) -> None:
    """Send something to everybody now and then."""
    (channel,) = (chat for chat in world.groups if chat.type == "channel")
    person = world.by_name[owner]
    while not world.quiet.is_set():
        await world.say(person.phone(world.dice), 0, channel)
        await trio.sleep(5)


async def _drain(world: World, faults: Faults) -> None:
    """Let everybody get all their answers, reconnect, and get all missed events."""
    world.quiet.set()
    for person in world.people:
        for phone in person.phones:
            if phone.socket is not None:
                phone.socket.deaf_until = 0.0
    faults.machine.clock.set(0)
    faults.machine.disk.free()
    await faults.end_pruning()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, world, nursery.cancel_scope)
        await world.idle()
        for person in world.people:
            for phone in person.phones:
                await phone.online()
        await world.say_last()
        before = -1
        while before != world.checker.counts["events"]:
            before = world.checker.counts["events"]
            await trio.sleep(DRAIN_SECONDS)
        nursery.cancel_scope.cancel()


async def _watch(world: World, draining: trio.CancelScope) -> None:
    """End the draining once nothing has arrived for too long; its total duration depends on the machine."""
    before, heard = -1, 0
    while before != heard:
        before = heard
        await trio.sleep(WAIT_SECONDS)
        heard = world.checker.counts["events"] + world.counts["requests"]
    world.checker.fail(f"{WAIT_SECONDS:.0f} s after everything was well again {world.waiting()}")
    draining.cancel()


async def _judge(world: World, faults: Faults) -> None:
    checker = world.checker
    histories: list[History] = []
    chats = [chat for chat in checker.ledger.chats if not chat.gone and chat.last]

    async def read(mine: Sequence[Chat]) -> None:
        for chat in mine:
            histories.append(await _history(world, chat))

    async with trio.open_nursery() as nursery:
        for lane in range(8):
            nursery.start_soon(read, chats[lane::8])
    verdict = Verdict(checker, histories, pruned=faults.pruned)
    verdict.all()
    for person in world.people:
        verdict.chat_list(person.user, await world.insist(person.phones[0], "chats", {}))
    await _judge_files(world, {history.chat.key: history for history in histories})
    await _check_store(faults.machine, checker, "of the relay that runs", None)
    for backup in faults.backups:
        place = faults.machine.out / f"{backup.file.stem} restored"
        restored = await faults.machine.command("restore", backup.file, "--yes", data=place)
        if restored.code:
            checker.fail(f"{backup.file.name} cannot be restored: {restored.error}")
            continue
        await _check_store(faults.machine, checker, f"of {backup.file.name}", place)
        file = faults.machine.out / f"{backup.file.stem}.jsonl"
        exported = await faults.machine.command("export", file, data=place)
        if exported.code:
            checker.fail(f"{backup.file.name}: {exported.error}")
            continue
        with file.open("rb") as lines:
            count = verdict.backup(backup.file.name, backup.end, map(msgspec.json.decode, lines))
        world.counts["messages in backups"] += count
        world.counts["backups restored"] += 1


async def _history(world: World, chat: Chat) -> History:
    checker = world.checker
    user = next(iter(chat.members()))
    phone = world.by_name[user].phones[0]
    chat_id = checker.id_for(user, chat)
    try:
        shown = await world.insist(phone, "chat", {"chatId": chat_id})
    except Refused as refused:
        checker.fail(f"{chat.name}: {user} cannot see it: {refused}")
        return History(checker, chat, 0)
    history = History(checker, chat, shown.get("lastMessageId", 0))
    start = 1
    while True:
        rows = await world.insist(phone, "messages", {"chatId": chat_id, "startId": start, "count": 500})
        history.take(rows)
        if not rows or history.end >= history.last:
            return history
        start = history.end + 1


async def _judge_files(world: World, histories: dict[int, History]) -> None:
    ledger = world.checker.ledger
    for upload in world.dice.sample(world.uploads, min(len(world.uploads), 400)):
        chat = ledger.chats[ledger.chat[upload.number]]
        history = histories.get(chat.key)
        if history is None or not world.delivered(upload.number):
            continue
        if ledger.message_id[upload.number] <= history.pruned:
            continue
        phone = world.by_name[chat.members()[0]].phones[0]
        status = await world.fetch(phone, upload)
        if status != 200:
            world.checker.fail(f"file {upload.file_id} of m{upload.number:x} in {chat.name}: {status}")
        world.counts["files compared"] += 1


async def _check_store(machine: Machine, checker: Checker, which: str, data: Path | None) -> None:
    ran = await machine.command("check", "--json", data=data)
    if ran.code:
        wrong = [one for one in msgspec.json.decode(ran.out.read_bytes() or b"[]") if not one["ok"]]
        checker.fail(f"relay check of the store {which}: {wrong or ran.error}")


def _table(world: World, machine: Machine, real_disk: bool, grown: float, watched: float) -> str:
    counts, checker = world.counts, world.checker
    waits = quantiles(world.waits, n=100) if len(world.waits) > 1 else [0.0] * 99
    deliveries = sum(bytes(had).count(1) for device in checker.devices for had in device.has.values())
    rows = [
        ("messages, edits, deletions answered", f"{checker.counts['answered']}"),
        ("requests answered", f"{counts['requests']} (p50 {waits[49] * 1e3:.0f}, p99 {waits[98] * 1e3:.0f} ms)"),
        ("answers lost and asked for again", f"{counts['answers lost']}"),
        ("events heard", f"{checker.counts['events']}; messages on devices {deliveries}"),
        ("connections", f"{counts['connections']} by {len(checker.devices)} devices"),
        ("longest without any answer", f"{world.outage:.1f} s"),
        ("memory", f"{machine.most_memory / 1e6:.0f} MB at most; {grown / 1e6:+.1f} MB in the last {watched:.0f} s"),
        ("disk", "a tmpfs" if real_disk else "made to fail by preload"),
        ("failures", f"{checker.counts['failures']}"),
    ]
    rows += [(f"  {name}", str(count)) for name, count in sorted(counts.items()) if name != "requests"]
    rows += [(f"  {name}", str(n)) for name, n in sorted(checker.counts.items()) if name.startswith("refused")]
    return "\n".join(f"{name:38} {value}" for name, value in rows)
