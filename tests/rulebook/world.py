"""A relay that starts and stops, and the devices and programs that connect to it and process its events."""

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import trio
from trio.testing import MockClock

from relay.core.delivery.subscriber import Subscriber
from relay.core.model.changes import Hook as HookSettings
from relay.core.relay import open_relay
from relay.net.http.routes.hooks import HookPage
from relay.net.webhooks.outgoing import OutgoingHooks
from relay.protocol import control
from tests.rulebook.devices import Device
from tests.rulebook.model import MACHINE, Model
from tests.rulebook.windows import Windows

PEOPLE = ["ann", "ben", "cem"]
BOT = "robot"
T0 = 1_767_225_600_000
IN_ORDER, FROM_LOG, KILLED = range(3)
"""How the relay restarts: from its snapshot, from its log alone, or from the files of a killed process."""


class World(Windows):
    """The relay, the users' devices, and the model."""

    def __init__(
        self, data: Path, tokens: dict[str, list[control.Token]], chats: dict[str, control.MakeChat], clock: MockClock
    ) -> None:
        self.data, self.clock = data, clock
        self.model = Model(PEOPLE, [BOT])
        for chat_id, chat in chats.items():
            self.model.make(chat.owner, chat_id, chat.type, chat.name, chat.participants, MACHINE)
            self.model.update(MACHINE, chat_id, chat.admins)
        self.devices = {}
        for user, some in tokens.items():
            for number, made in enumerate(some):
                self.devices[f"{user}{number}"] = device = Device(user, version=1 + number)
                device.renew(made.token, made.device_id)
        self.hooks = []
        self.by_hook = set()
        self.said = 0
        self.groups = list(chats)
        self._asked = 0
        self._there = list(self.devices)
        self._ends = IN_ORDER

    # Opening and closing.

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        async with open_relay(self.data, clock=lambda: T0) as self.relay, trio.open_nursery() as nursery:
            self.page = HookPage(self.relay)
            self.posting = OutgoingHooks(self.relay)
            nursery.start_soon(self.posting.run)
            yield
            nursery.cancel_scope.cancel()

    async def live(self, story: Iterator[tuple[int, int, int, int, int]]) -> None:
        """Play a story to its end, over all its restarts."""
        over = False
        while not over:
            async with self._running():
                for name in self._there:
                    await self.connect(name)
                over = await self._play(story)
                await self.compare_export()
                self._there = [name for name, device in self.devices.items() if device.subscriber is not None]
                for name in self._there:
                    self.disconnect(name)
                killed = self.data.with_name("killed")
                if self._ends == KILLED:
                    shutil.copytree(self.data, killed)
            if self._ends == KILLED:
                shutil.rmtree(self.data)
                killed.rename(self.data)
            elif self._ends == FROM_LOG:
                with closing(sqlite3.connect(self.data / "relay.db", isolation_level=None)) as store:
                    store.execute("UPDATE user SET value = '{'")

    async def _play(self, story: Iterator[tuple[int, int, int, int, int]]) -> bool:
        """Take steps until the relay has to stop or the story is over; return which."""
        await self.settle()
        await self.compare()
        for step in story:
            if await self._step(*step):
                return False
            await self.settle()
            await self.compare()
        self._ends = IN_ORDER
        return True

    # Actions.

    async def connect(self, name: str) -> Device | None:
        """Connect a device; None if it is refused."""
        device = self.devices[name]
        service = self.relay.service
        if device.subscriber is None:
            signed = service.tokens.authenticate(device.token)
            if signed is None:
                return None
            position = await service.acknowledgements.start_position(*signed, None)
            number = self.relay.hub.next_number()
            device.online.clear()
            device.leave = self.relay.hub.disconnect
            device.subscriber = Subscriber(number, *signed, device, device, position, device.version)
            self.relay.hub.connect(device.subscriber)
            await self._catch_up(device)
            if device.is_new:
                await self._fill(device)
        return device

    async def _fill(self, device: Device) -> None:
        """Request everything, as a client does on its first start."""
        device.is_new = False
        device.take_list(await self.chat_list(device))
        for chat_id, view in device.views.items():
            for one in await self.ask(device, "messages", chatId=chat_id, count=500):
                if one["type"] == "new":
                    view[one["messageId"]] = one.get("message")

    def disconnect(self, name: str) -> None:
        """Drop a device's connection."""
        self.devices[name].part()

    async def _catch_up(self, device: Device) -> None:
        device.is_behind = False
        while device.subscriber is not None and not self.relay.hub.rejoin(device.subscriber):
            await self.relay.service.catch_up.page(device.subscriber)

    async def response(self, device: Device, what: str, **payload: Any) -> dict[str, Any]:
        """See `Windows`."""
        assert device.subscriber is not None
        self._asked += 1
        request_id = f"q{self._asked}"
        frame = {"type": "request", "id": request_id, "timestamp": 1, "payloadType": what, "payload": payload}
        waiting = self.relay.service.take(device.subscriber, json.dumps(frame).encode(), trio.current_time())
        if waiting is not None:
            await waiting
        with trio.fail_after(30):
            while request_id not in device.answers:
                device.news = trio.Event()
                await device.news.wait()
        return device.answers.pop(request_id)

    async def posted(self, hook: HookSettings, payload: bytes, _id: int, _at: int, _skipped: int) -> None:
        """Receive the posts of an outgoing hook."""
        event = json.loads(payload)
        (told,) = [one for one in self.hooks if one.secret == hook.secret]
        told.hear(event["eventType"], event["payload"])

    async def settle(self) -> None:
        """Wait until everything under way is done: replays, acknowledgements and their receipts, hooks."""
        relay, model = self.relay, self.model
        quiet = 0
        with trio.fail_after(120):
            while quiet < 2:
                self.clock.jump(1.1)
                relay.tick(trio.current_time())
                await trio.testing.wait_all_tasks_blocked()
                await relay.log.run_exclusive(_nothing, hurried=True)
                while not self.posting.idle:
                    # A thread reads the log for it, so real time has to pass.
                    await trio.sleep(0.001)
                busy = bool(relay.log.waiting or relay.log.deferred) or await self._take_in()
                quiet = 0 if busy else quiet + 1
        for device in self.devices.values():
            if device.subscriber is not None:
                for chat in model.of(device.user):
                    model.mark(chat, device.user, chat.last(), read=False)

    async def _take_in(self) -> bool:
        """Let devices catch up and acknowledge; return whether one did."""
        some = False
        for device in self.devices.values():
            if device.subscriber is not None and device.is_behind:
                some = True
                await self._catch_up(device)
            if device.subscriber is not None and device.is_stale:
                some = True
                device.take_list(await self.chat_list(device))
            if device.subscriber is not None and device.unacknowledged:
                some = True
                for event_id in device.unacknowledged:
                    self.relay.service.acknowledgements.take(device.subscriber, event_id)
                device.unacknowledged.clear()
        return some

    async def _step(self, act: int, who: int, where: int, pick: int, other: int) -> bool:
        """Take a step; return whether the relay has to stop."""
        raise NotImplementedError


async def _nothing(_writing: object) -> None:
    """Wait for the current batch."""
