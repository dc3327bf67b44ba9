"""A chat of thousands: an entry is sent in slices, but to each device in the order of the log and once."""

import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from relay.core.delivery.subscriber import Subscriber
from relay.core.relay import Relay, open_relay
from relay.core.tuning import DeliveryTuning, Tuning
from relay.keys import NO_DEVICE, UserKey
from relay.protocol import control, requests
from relay.store import kinds
from relay.store.command import Command
from tests.support.disk import T0

MEMBERS = 60


class Device:
    """One connection: keeps the ids of its events, and catches up when it falls behind."""

    def __init__(self, relay: Relay, user: UserKey, nursery: trio.Nursery, dice: random.Random) -> None:
        self.relay, self.user, self.nursery, self.dice = relay, user, nursery, dice
        self.waiting = (0, 0.0)
        self.refuses = 0.0
        """How many more events it refuses."""
        self.ids: list[int] = []
        self.lists: list[int] = []
        self.catching_up = self.gone = False
        self.start = relay.state.seq
        number = relay.hub.next_number()
        self.subscriber = Subscriber(number, user, NO_DEVICE, self, self, self.start)

    def put(self, frame: bytes) -> None:
        event = json.loads(frame)
        if "id" in event:
            (self.lists if event["eventType"] == "chats" else self.ids).append(int(event["id"]))

    def offer(self, frame: bytes) -> bool:
        taken = self.dice.random() >= self.refuses
        if taken:
            self.put(frame)
        return taken

    def flush(self) -> None:
        """Do nothing: everything is out already."""

    def start_catch_up(self) -> None:
        if not self.catching_up:
            self.catching_up = True
            self.nursery.start_soon(self._catch_up)

    async def _catch_up(self) -> None:
        await trio.lowlevel.checkpoint()
        while not self.gone and not self.relay.hub.rejoin(self.subscriber):
            await self.relay.service.catch_up.page(self.subscriber)
        self.catching_up = False

    def close(self, _code: int, _reason: str) -> None:
        raise AssertionError

    def connect(self) -> None:
        self.relay.hub.connect(self.subscriber)
        self.start_catch_up()

    def disconnect(self) -> None:
        self.relay.hub.disconnect(self.subscriber)
        self.gone, self.subscriber.live = True, False

    def append(self, request: requests.New | requests.Edit) -> None:
        """Make a request over this connection."""
        command = Command(
            self.relay.clock(), self.user, NO_DEVICE, request, self.subscriber.number, f"made up {random.random()}"
        )
        self.relay.log.append(command)


@asynccontextmanager
async def crowd(tmp_path: Path) -> AsyncIterator[tuple[Relay, str]]:
    """Open a relay with one large group, and small slices."""
    tuning = Tuning(delivery=DeliveryTuning(slice_connections=6, slice_members=3))
    async with open_relay(tmp_path, clock=lambda: T0, tuning=tuning) as relay:
        ids = [f"u{number}" for number in range(MEMBERS)]
        for user in ids:
            await relay.admin.handle("user.add", control.AddUser(id=user))
        made = await relay.admin.handle("chat.create", control.MakeChat(name="all", owner="u0", participants=ids))
        assert isinstance(made, control.ChatInfo)
        yield relay, made.id


async def quiet(relay: Relay, upto: int, live: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while relay.state.seq < upto or relay.hub.publishing or not live():
            await trio.sleep(0.001)


async def test_message_to_a_large_chat_is_sent_in_slices_between_other_tasks(
    tmp_path: Path,
) -> None:
    async with crowd(tmp_path) as (relay, group), trio.open_nursery() as nursery:
        devices = [Device(relay, UserKey(user), nursery, random.Random(0)) for user in range(1, MEMBERS + 1)]
        for device in devices:
            device.connect()
        await quiet(relay, relay.state.seq, lambda: all(one.subscriber.live for one in devices))
        upto, turns = relay.state.seq + 1, [relay.hub.delivered]
        devices[0].append(requests.New(chat_id=group, client_message_id="c", message="hello"))
        with trio.fail_after(5):
            while relay.hub.delivered < turns[0] + MEMBERS - 1:
                await trio.lowlevel.checkpoint()
                turns.append(relay.hub.delivered)
        slices = [after - before for before, after in pairwise(turns) if after > before]
        assert sum(slices) == MEMBERS - 1
        # Trio shuffles the tasks of a turn, so that two slices can follow each other.
        assert max(slices) <= 2 * (6 + 3)
        assert all(upto in one.ids for one in devices[1:])


@pytest.mark.parametrize("seed", range(4))
async def test_reconnecting_device_gets_each_event_of_a_large_chat_once_and_in_order(tmp_path: Path, seed: int) -> None:
    """Devices connect, disconnect and fall behind between the slices, and send messages themselves."""
    dice = random.Random(seed)
    async with crowd(tmp_path) as (relay, group), trio.open_nursery() as nursery:
        here = [Device(relay, UserKey(1 + number % MEMBERS), nursery, dice) for number in range(MEMBERS + 20)]
        gone: list[Device] = []
        for device in here:
            device.refuses = dice.choice((0.0, 0.0, 0.3))
            device.connect()
        interleaved = 0
        for number in range(40):
            speaker = dice.choice(here)
            if number % 4 == 3:
                speaker = next(one for one in here if one.user == 1)
                speaker.append(requests.Edit(chat_id=group, original_message_id=1, message=f"edit {number}"))
            else:
                user = 1 if not number else speaker.user
                speaker = next(one for one in here if one.user == user)
                speaker.append(requests.New(chat_id=group, client_message_id=f"c{number}", message="hello"))
            upto = relay.state.seq + 1
            with trio.fail_after(5):
                while relay.state.seq < upto or relay.hub.publishing:
                    await trio.lowlevel.checkpoint()
                    what = dice.random() if relay.hub.publishing else 1.0
                    interleaved += what < 1.0
                    if what < 0.2 and len(here) > MEMBERS // 2:
                        gone.append(here.pop(dice.randrange(MEMBERS // 2, len(here))))
                        gone[-1].disconnect()
                    elif what < 0.5:
                        here.append(Device(relay, UserKey(dice.randrange(2, MEMBERS + 1)), nursery, dice))
                        here[-1].connect()
        assert interleaved > 50, "much has happened between two slices"
        for device in here:
            device.refuses = 0.0
        await quiet(relay, relay.state.seq, lambda: all(one.subscriber.live for one in here))
        entries = [one for one in relay.hub.recent.entries if one.kind in (kinds.NEW, kinds.EDIT)]
        assert len(entries) == 40
        for device in here:
            expected = [one.seq for one in entries if one.seq > device.start and one.origin != device.subscriber.number]
            assert device.ids == expected
        for device in gone:
            assert device.ids == sorted(set(device.ids))
