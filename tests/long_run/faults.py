"""Faults during a long run, and an admin's work meanwhile: one or two things at a time, all the time."""

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import trio

from tests.long_run.machine import Machine
from tests.long_run.phones import Person, Phone
from tests.long_run.world import World

NEWCOMERS = 24
"""People added by `relay user import` in total."""
SMALLEST = 600_000
"""Bytes below which a store is not pruned."""
LONGEST = 300.0
"""Time limit of a command, in seconds."""
HOURS = 3_600
JUMPS = (HOURS, -HOURS, 2 * 24 * HOURS, -30 * 24 * HOURS, 0)
"""Seconds by which the wall clock is wrong from time to time."""


class Backup(NamedTuple):
    """A backup made during the run."""

    file: Path
    end: int


class Faults:
    """All faults, chosen at random."""

    def __init__(self, machine: Machine, world: World, dice: random.Random, nursery: trio.Nursery) -> None:
        self.machine = machine
        self.world = world
        self.dice = dice
        self.backups: list[Backup] = []
        """The first and the latest."""
        self.pruned = False
        self.kills_allowed = True
        self._nursery = nursery
        self._newcomers = 0
        self._made = 0

    async def run(self) -> None:
        """Do one thing after another, until cancelled; finish what was begun first.

        Every kind comes once before any is repeated at random.
        """
        deck = self.dice.sample(_KINDS, len(_KINDS))
        while True:
            await trio.sleep(self.dice.uniform(1, 5))
            allowed = [one for one in _KINDS if self.kills_allowed or not one.kills]
            weights = [one.weight for one in allowed]
            turn = next((one for one in deck if one in allowed), None) or self.dice.choices(allowed, weights)[0]
            if turn in deck:
                deck.remove(turn)
            kind = turn.does
            with trio.CancelScope(shield=True):
                self.machine.note(kind.__name__)
                await kind(self)
                self.machine.note("done")

    # To the process.

    async def kill(self) -> None:
        """Kill the relay with SIGKILL, and start it again."""
        self.world.counts["kills"] += 1
        await self.machine.kill()
        await trio.sleep(self.dice.choice([0, 0, self.dice.uniform(0, 2)]))
        await self.machine.start()

    async def restart(self) -> None:
        """Stop the relay with SIGTERM, like systemd."""
        self.world.counts["restarts"] += 1
        self.machine.disturbed += 1
        code = await self.machine.relay.stop(signal.SIGTERM)
        if code:
            self.world.checker.fail(f"the relay ended with {code} after SIGTERM")
        await self.machine.start()

    async def stall(self) -> None:
        """Freeze it for a while, like a hypervisor or a slow card."""
        self.world.counts["stalls"] += 1
        self.machine.stall(on=True)
        await trio.sleep(self.dice.uniform(0.5, 8))
        self.machine.stall(on=False)

    async def jump(self) -> None:
        """Set the clock."""
        if self.machine.clock.works:
            self.world.counts["clock jumps"] += 1
            self.machine.clock.set(self.dice.choice(JUMPS))

    # To the disk.

    async def fill(self) -> None:
        """Fill the disk for a while; perhaps the relay is killed meanwhile, and must start."""
        world, machine = self.world, self.machine
        world.counts["disk-full spells"] += 1
        machine.disturbed += 1
        machine.disk.fill()
        try:
            await trio.sleep(self.dice.uniform(2, 8))
            if self.kills_allowed and self.dice.random() < 0.3:
                world.counts["kills"] += 1
                world.counts["starts on a full disk"] += 1
                await machine.kill()
                try:
                    await machine.start()
                except AssertionError as failed:
                    world.checker.fail(f"no start on a full disk: {str(failed).splitlines()[-1]}")
                await trio.sleep(2)
        finally:
            machine.disk.free()
        assert machine.relay.process is not None
        if machine.relay.process.poll() is not None:
            world.counts["ended on a full disk"] += 1
            await machine.start()

    # By the admin.

    async def _command(self, *arguments: str | Path, killed: bool = False) -> tuple[int, Path]:
        """Run a command; it has to succeed if nothing disturbed it."""
        world, before = self.world, self.machine.disturbed
        name = " ".join(str(one) for one in arguments[:2] if not str(one).startswith(("/", "-")))
        world.counts[f"relay {name}"] += 1
        after = self.dice.uniform(0.1, 3) if killed else LONGEST
        ran = await self.machine.command(*arguments, killed_after=after)
        self.machine.note(f"relay {name}: {ran.code} {ran.error.strip()[-200:]}")
        if killed and ran.code == -signal.SIGKILL:
            world.counts["commands killed"] += 1
        elif "Traceback" in ran.error:
            world.checker.fail(f"relay {name} ended with a traceback: {ran.error[-600:]}")
        elif ran.code and before == self.machine.disturbed:
            why = f"took more than {LONGEST:.0f} s" if ran.code < 0 else ran.error.strip()[-300:]
            world.checker.fail(f"relay {name} failed ({ran.code}) though nothing disturbed it: {why}")
        return ran.code, ran.out

    def _killed(self) -> bool:
        return self.dice.random() < 0.3

    async def back_up(self) -> None:
        """Make a backup."""
        self._made += 1
        file = self.machine.out / f"{self._made}.tar"
        code, out = await self._command("backup", file, "--json", killed=self._killed())
        if not code:
            made = Backup(file, msgspec.json.decode(out.read_bytes())["lastEvent"])
            for old in self.backups[1:]:
                old.file.unlink()
            self.backups[1:] = [made]

    async def check(self) -> None:
        """Check the store of the running relay."""
        await self._command("check", "--json", killed=self._killed())

    async def export(self) -> None:
        """Export everything."""
        file = self.machine.out / "export.jsonl"
        file.unlink(missing_ok=True)
        await self._command("export", file, killed=self._killed())

    async def prune(self) -> None:
        """Remove the oldest messages."""
        store = self.machine.disk.data / "relay.db"
        size = int(store.stat().st_size * self.dice.uniform(0.5, 0.9))
        if size > SMALLEST:
            self.pruned = True
            self.world.prunes += 1
            await self._command("prune", "--max-bytes", str(size), "--yes", killed=self._killed())
            # Messages sent while the command started may be gone as well.
            self.world.prunes += 1

    async def end_pruning(self) -> None:
        """Prune once more without faults: it waits for one under way, and completes a killed one."""
        if self.pruned:
            self.world.prunes += 1
            size = int((self.machine.disk.data / "relay.db").stat().st_size * 0.9)
            await self._command("prune", "--max-bytes", str(size), "--yes")

    async def bring_in(self) -> None:
        """Import a few users with a device each; repeat it if the command is killed."""
        if self._newcomers >= NEWCOMERS:
            return
        ids = [f"new{self._newcomers + number}" for number in range(3)]
        self._newcomers += len(ids)
        file = self.machine.out / "users.csv"
        file.write_text("".join(f"{user},{user.title()}\n" for user in ids))
        killed = self._killed()
        while True:
            code, out = await self._command("user", "import", file, "--device", "--json", killed=killed)
            if not code:
                break
            killed = False
            await trio.sleep(0.5)
        brought = [msgspec.json.decode(line) for line in out.read_bytes().splitlines()]
        if [one["id"] for one in brought] != ids:
            self.world.checker.fail(f"relay user import brought {brought}, not {ids}")
        for one in brought:
            self._nursery.start_soon(self._settle_in, one["id"], one["token"])

    async def _settle_in(self, user: str, token: str) -> None:
        """Connect a new person, who takes part from then on."""
        person = Person(user, [Phone(self.world, user, token, says_after=False)])
        person.friends = self.dice.sample([one.user for one in self.world.people], 3)
        self._nursery.start_soon(person.phones[0].run)
        await person.phones[0].online()
        self.world.people.append(person)
        self.world.by_name[user] = person
        self._nursery.start_soon(self.world.live, person)

    async def kill_during(self) -> None:
        """Kill the relay while a command works on its store."""
        self.world.counts["kills during a command"] += 1
        command = self.dice.choice([Faults.back_up, Faults.check, Faults.prune, Faults.export])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(command, self)
            await trio.sleep(self.dice.uniform(0.3, 2.5))
            await self.kill()


class Kind(NamedTuple):
    """A fault that may happen."""

    does: Callable[[Faults], Awaitable[None]]
    weight: float
    """How often it happens relative to the others."""
    kills: bool
    """Whether it ends the relay's process."""


_KINDS = [
    Kind(Faults.kill, 6, True),
    Kind(Faults.kill_during, 5, True),
    Kind(Faults.restart, 1, True),
    Kind(Faults.stall, 2, False),
    Kind(Faults.jump, 2, False),
    Kind(Faults.fill, 2, False),
    Kind(Faults.back_up, 2, False),
    Kind(Faults.check, 2, False),
    Kind(Faults.export, 1, False),
    Kind(Faults.prune, 2, False),
    Kind(Faults.bring_in, 1, False),
]
