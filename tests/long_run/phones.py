"""People and their devices, which come and go. The world decides their actions."""

import random
from collections import deque
from typing import Any

import trio

from tests.long_run.wire import Lost, Refused, Socket

AWAY = 8.0
"""Maximum seconds that a device stays away."""
STAYS = 45.0
"""Average seconds that a device stays."""
DEAF = 25.0
"""Maximum seconds for which a device reads nothing."""
INTERNAL = 1011


class Phone:
    """One device of a person, which comes and goes."""

    def __init__(self, world: Any, user: str, token: str, *, says_after: bool) -> None:
        self.user = user
        self.token = token
        self.device = world.checker.add_device(user)
        self.socket: Socket | None = None
        self._world = world
        self._says_after = says_after
        self._there = trio.Event()

    async def online(self) -> Socket:
        """Wait until it is connected."""
        while self.socket is None:
            await self._there.wait()
        return self.socket

    async def run(self) -> None:
        """Connect, stay for a while, disconnect, forever."""
        world, dice = self._world, self._world.dice
        while True:
            socket = Socket(self._heard)
            after = self.device.last_id if self._says_after and self.device.last_id else None
            try:
                await socket.connect(world.url, self.token, after)
            except (OSError, Lost):
                await trio.sleep(dice.uniform(0.2, 1))
                continue
            except Refused as refused:
                if refused.code != "503":
                    world.checker.fail(f"{self.user}: the handshake was answered with {refused.code}")
                await trio.sleep(1)
                continue
            world.counts["connections"] += 1
            self.device.connected(after or 0)
            if not world.quiet.is_set() and dice.random() < 0.03:
                socket.deaf_until = trio.current_time() + dice.uniform(5, DEAF)
            self.socket = socket
            self._there.set()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(socket.listen)
                with trio.move_on_after(dice.expovariate(1 / STAYS)):
                    await socket.closed.wait()
                if world.quiet.is_set():
                    await socket.closed.wait()
                world.counts[f"closed {socket.code}"] += 1
                if socket.code == INTERNAL:
                    world.checker.fail(f"{self.user}: the relay closed a connection with {INTERNAL}")
                self.socket = None
                self._there = trio.Event()
                socket.close()
            if dice.random() < 0.5:
                with trio.move_on_after(dice.uniform(0, AWAY)):
                    await world.quiet.wait()

    def _heard(self, name: str, event_id: int, at: int, payload: Any) -> None:
        self._world.checker.heard(self.device, name, event_id, at, payload)


class Person:
    """A person with a few devices, a few friends, and a memory of their last messages."""

    def __init__(self, user: str, phones: list[Phone]) -> None:
        self.user = user
        self.phones = phones
        self.friends: list[str] = []
        self.said: deque[int] = deque(maxlen=30)

    def phone(self, dice: random.Random) -> Phone:
        """Pick a device, preferably a connected one."""
        return dice.choice([phone for phone in self.phones if phone.socket] or self.phones)
