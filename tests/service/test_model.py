"""Random people on random devices, and a relay that stops and crashes: in the end every device has the true state.

A state machine (hypothesis) drives whole sessions over streams in memory against a model (conversation_model).
Run it for longer with --model-examples. Longer than other modules: one class, because hypothesis wants all rules
of a state machine in one.
"""

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from trio.testing import MockClock

from tests.support.conversation_model import Said, Talk, View
from tests.support.sessions import Client, Closed, House, house

USERS = ("User1", "User2", "User3")
DEVICES = tuple(user + label for user in USERS for label in ("", "laptop"))
DIALOGS = [("User1", "User2"), ("User1", "User3"), ("User2", "User3")]
STEPS = 30
SHORT = 15
"""Conversations that the suite plays."""

users = st.sampled_from(USERS)
devices = st.sampled_from(DEVICES)
peers = st.sampled_from([*USERS, "crew"])
picks = st.integers(0, 30)


class Device:
    """One device: its view, and its connection while it has one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.user = name.removesuffix("laptop")
        self.view = View()
        self.client: Client | None = None
        self.acknowledges = True
        self.unacknowledged: list[dict[str, Any]] = []
        self.pinged = 0
        self.received = 0
        self.safe = 0
        """It has acknowledged everything up to here, so none of that may come again."""
        self.answers: dict[str, dict[str, Any]] = {}
        self.news = trio.Event()

    async def listen(self, client: Client) -> None:
        """Process frames until the connection ends."""
        last = 0
        try:
            while True:
                frame = await client.receive(patience=float("inf"))
                if frame["type"] == "response":
                    self.answers[frame["id"]] = frame
                    self.news.set()
                elif "id" in frame:
                    assert frame["id"] > max(last, self.safe), f"{self.name}: {frame['id']} after {last}, {self.safe}"
                    last = frame["id"]
                    self.received = max(self.received, last)
                    self.view.hear(self.user, frame["eventType"], frame["payload"])
                    self.unacknowledged.append(frame)
        except (Closed, trio.BrokenResourceError, trio.ClosedResourceError):
            if self.client is client:
                self.client = None
            self.news.set()

    async def ping(self) -> None:
        """Send something that gets an answer, which proves that everything before it was processed."""
        if self.client is not None:
            self.pinged += 1
            await self.client.ping()

    @property
    def unheard(self) -> bool:
        """Whether such an answer is pending."""
        return self.client is not None and len(self.client.pongs) < self.pinged

    async def ask(self, payload_type: str, **payload: Any) -> dict[str, Any]:
        """Ask and wait for the answer."""
        assert self.client is not None
        request_id = await self.client.ask(payload_type, **payload)
        with trio.fail_after(30):
            while request_id not in self.answers:
                self.news = trio.Event()
                await self.news.wait()
        return self.answers.pop(request_id)


async def _nothing(_connection: object) -> None:
    """Do nothing, in its turn."""


class World:
    """A relay that starts and stops, its devices, and the model. Runs in a thread of its own under trio."""

    def __init__(self, data: Path, tokens: dict[str, str], crew: str, clock: MockClock) -> None:
        self.data = data
        self.tokens = tokens
        self.clock = clock
        self.devices = {name: Device(name) for name in DEVICES}
        self.crew = crew
        self.talks = {frozenset(pair): Talk(set(pair)) for pair in DIALOGS}
        self.talks[frozenset([crew])] = Talk(set(USERS))
        self.said = 0
        self.house: House | None = None
        self._over = False

    async def run(self, ready: Callable[[trio.lowlevel.TrioToken], None]) -> None:
        """Keep a relay open until the end, with a new one after each crash or stop."""
        while not self._over:
            self._go = trio.Event()
            with trio.CancelScope() as self._life:
                async with house(self.data) as self.house:
                    self.house.tokens = self.tokens
                    ready(trio.lowlevel.current_trio_token())
                    await self._go.wait()
            self.house = None
            self._gone.set()
            await trio.lowlevel.checkpoint()

    async def stop(self, *, crash: bool) -> None:
        """Stop the relay in order, or crash it; then start it again."""
        assert self.house is not None
        self._gone = trio.Event()
        before = self.house
        if crash:
            for device in self.devices.values():
                device.safe = device.received = 0
            self._life.cancel()
        else:
            before.server.stop()
            await before.server.farewell()
            self._go.set()
        await self._gone.wait()
        for device in self.devices.values():
            device.client = None
            device.unacknowledged = []
        with trio.fail_after(30):
            while self.house in (None, before):
                await trio.sleep(0.001)

    async def end(self) -> None:
        self._over = True
        self._gone = trio.Event()
        self._go.set()

    # Devices.

    async def connected(self, name: str) -> Device:
        device = self.devices[name]
        if device.client is None:
            assert self.house is not None
            client = device.client = await self.house.open(name)
            device.unacknowledged, device.answers, device.pinged = [], {}, 0
            self.house.nursery.start_soon(device.listen, client)
        return device

    async def settle(self) -> None:
        """Finish everything under way: replays, acknowledgements, deferred receipts."""
        assert self.house is not None
        log, quiet = self.house.relay.log, 0
        for device in self.devices.values():
            await device.ping()
        with trio.fail_after(60):
            while quiet < 3:
                self.clock.jump(0.16)
                await trio.testing.wait_all_tasks_blocked(0.0005)
                # Work between two batches comes after the current one.
                await log.run_exclusive(_nothing)
                busy = bool(log.waiting or log.deferred) or await self._acknowledge()
                busy = busy or any(device.unheard for device in self.devices.values())
                quiet = 0 if busy or self._catching_up() else quiet + 1
        for device in self.devices.values():
            if device.client is not None and not device.unacknowledged:
                device.safe = max(device.safe, device.received)

    def _catching_up(self) -> bool:
        assert self.house is not None
        return any(
            not subscriber.live for there in self.house.relay.hub.presence.subscribers.values() for subscriber in there
        )

    async def _acknowledge(self) -> bool:
        """Let devices acknowledge their events; the receipts are true once everything is settled."""
        some = False
        for device in self.devices.values():
            if device.client is None or not device.acknowledges:
                continue
            frames, device.unacknowledged = device.unacknowledged, []
            if frames:
                some = True
            for frame in frames:
                await device.client.ack(frame)
                payload = frame["payload"]
                if frame["eventType"] == "new" and payload["sender"] != device.user:
                    self.talk(device.user, payload["chatId"]).mark(device.user, payload["messageId"], read=False)
            if frames:
                await device.ping()
        return some

    # The model.

    def talk(self, user: str, chat_id: str) -> Talk:
        return self.talks[frozenset([self.crew]) if chat_id == self.crew else frozenset([user, chat_id])]

    def chats(self, user: str) -> list[tuple[str, Talk]]:
        """The chats of a user, by the user's ids for them."""
        found = []
        for key, talk in self.talks.items():
            if user in talk.members:
                (chat_id,) = [self.crew] if self.crew in key else key - {user}
                found.append((chat_id, talk))
        return found

    # Steps.

    async def send(self, name: str, chat_id: str, reply: int, *, crash: bool = False) -> None:
        device = await self.connected(name)
        talk = self.talk(device.user, chat_id)
        if device.user not in talk.members:
            answer = await device.ask("new", chatId=chat_id, clientMessageId="x", message="x")
            assert answer["error"]["code"] == "not_found"
            return
        self.said += 1
        text = f"message {self.said}"
        answerable = [message_id for message_id, one in talk.said.items() if one.kind == "new"]
        payload: dict[str, Any] = {"chatId": chat_id, "clientMessageId": text, "message": text}
        if answerable and reply % 3 == 0:
            payload["replyTo"] = answerable[reply % len(answerable)]
        if crash:
            assert device.client is not None
            await device.client.ask("new", **payload)
            for _ in range(reply):
                await trio.lowlevel.checkpoint()
            await self.stop(crash=True)
            device = await self.connected(name)
        answer = (await device.ask("new", **payload))["payload"]
        again = (await device.ask("new", **payload))["payload"]
        assert again == answer, "a repeat is the same message"
        talk.add(answer["messageId"], Said("new", device.user, text))
        device.view.said(chat_id, answer["messageId"], text)

    async def change(self, name: str, chat_id: str, pick: int, *, delete: bool) -> None:
        device = await self.connected(name)
        talk = self.talk(device.user, chat_id)
        own = talk.own(device.user) if device.user in talk.members else []
        if not own:
            return
        target = own[pick % len(own)]
        self.said += 1
        text = None if delete else f"edit {self.said}"
        payload = {"chatId": chat_id, "originalMessageId": target} | ({} if delete else {"message": text})
        answer = (await device.ask("delete" if delete else "edit", **payload))["payload"]
        talk.add(answer["messageId"], Said("delete" if delete else "edit", device.user, text, target))
        if delete:
            device.view.deleted(chat_id, target)
        else:
            device.view.edited(chat_id, target, text)

    async def mark(self, name: str, chat_id: str, pick: int, *, read: bool) -> None:
        device = await self.connected(name)
        talk = self.talk(device.user, chat_id)
        if device.user not in talk.members or not talk.said:
            return
        upto = None if pick % 3 == 0 else 1 + pick % talk.last
        payload = {"chatId": chat_id} | ({} if upto is None else {"messageId": upto})
        answer = (await device.ask("read" if read else "dlvrd", **payload))["payload"]
        talk.mark(device.user, upto or talk.last, read=read)
        if read:
            assert answer["missed"] == talk.missed(device.user)

    async def membership(self, *, join: bool) -> None:
        device = await self.connected("User1")
        talk = self.talk("User1", self.crew)
        if join is ("User3" in talk.members):
            return
        request = "addParticipants" if join else "removeParticipants"
        assert "payload" in await device.ask(request, chatId=self.crew, participants=["User3"])
        if join:
            talk.join("User3")
        else:
            talk.leave("User3")

    async def disconnect(self, name: str, *, orderly: bool) -> None:
        device = self.devices[name]
        client, device.client = device.client, None
        if client is not None:
            if orderly:
                await client.close()
            else:
                await trio.aclose_forcefully(client.stream)

    # Invariants.

    async def compare(self) -> None:
        """Let all devices catch up; compare each, and the relay, with the model."""
        for name, device in self.devices.items():
            device.acknowledges = True
            await self.connected(name)
        await self.settle()
        for device in self.devices.values():
            for chat_id, talk in self.chats(device.user):
                self._compare_view(device, chat_id, talk)
                await self._compare_history(device, chat_id, talk)
            await self._compare_list(device)

    def _compare_view(self, device: Device, chat_id: str, talk: Talk) -> None:
        since = talk.joined.get(device.user, 0)
        true = {i: one.text for i, one in talk.said.items() if one.kind == "new" and i > since}
        seen = {i: text for i, text in device.view.texts.get(chat_id, {}).items() if i > since}
        assert seen == true, f"{device.name} in {chat_id}"
        if device.user not in talk.left:
            for marker in set(USERS) - {device.user}:
                for kind in ("dlvrd", "read"):
                    told = talk.told.get((device.user, marker, kind), 0)
                    heard = device.view.told.get((chat_id, marker, kind), 0)
                    assert heard == told, f"{device.name} in {chat_id}: {kind} by {marker}"

    async def _compare_history(self, device: Device, chat_id: str, talk: Talk) -> None:
        if not talk.said:
            return
        history = (await device.ask("messages", chatId=chat_id, count=500))["payload"]
        assert [(one["messageId"], one["type"], one["sender"], one.get("message")) for one in history] == [
            (message_id, one.kind, one.author, one.text if one.kind == "new" else None)
            for message_id, one in talk.said.items()
        ]
        for one in history:
            if one["type"] == "new":
                assert one["status"] == talk.status(one["messageId"], device.user), f"{device.name}: {one}"

    async def _compare_list(self, device: Device) -> None:
        items = {item["id"]: item for item in (await device.ask("chats"))["payload"]}
        chats = {chat_id: talk for chat_id, talk in self.chats(device.user) if talk.said or chat_id == self.crew}
        assert items.keys() == chats.keys()
        for chat_id, talk in chats.items():
            assert items[chat_id].get("missed", 0) == talk.missed(device.user), f"{device.name} in {chat_id}"
            news = [message_id for message_id, one in talk.said.items() if one.kind == "new"]
            assert items[chat_id]["lastMessageId"] == max(news, default=0)


class People(RuleBasedStateMachine):
    """The steps as hypothesis chooses them; each is done in the world's thread."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(dir=os.environ.get("PYTEST_DEBUG_TEMPROOT"))
        data = Path(self.directory.name) / "data"
        shutil.copytree(TEMPLATE.data, data)
        clock = MockClock(rate=1.0)
        self.world = World(data, TEMPLATE.tokens, TEMPLATE.crew, clock)
        self.failure: BaseException | None = None
        ready = threading.Event()

        def note(token: trio.lowlevel.TrioToken) -> None:
            self.token = token
            ready.set()

        def live() -> None:
            try:
                trio.run(self.world.run, note, clock=clock)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the test can see it
                self.failure = error
                ready.set()

        self.thread = threading.Thread(target=live)
        self.thread.start()
        ready.wait()

    def do(self, step: Callable[..., Coroutine[Any, Any, object]], *arguments: Any, **options: Any) -> None:
        async def done() -> None:
            await step(*arguments, **options)
            await self.world.settle()

        try:
            trio.from_thread.run(done, trio_token=self.token)
        except BaseException as error:  # noqa: BLE001 - it is raised again, or what caused it
            # If the world has ended, its error says more than the steps left undone.
            self.thread.join(1)
            raise self.failure or error from None

    @initialize()
    def all_devices_have_been_there(self) -> None:
        for name in DEVICES:
            self.do(self.world.connected, name)

    def chat(self, device: str, peer: str) -> str | None:
        if peer == "crew":
            return TEMPLATE.crew
        return None if device.startswith(peer) else peer

    @rule(device=devices, peer=peers, reply=picks)
    def send(self, device: str, peer: str, reply: int) -> None:
        if chat_id := self.chat(device, peer):
            self.do(self.world.send, device, chat_id, reply)

    @rule(device=devices, peer=peers, pick=picks)
    def edit(self, device: str, peer: str, pick: int) -> None:
        if chat_id := self.chat(device, peer):
            self.do(self.world.change, device, chat_id, pick, delete=False)

    @rule(device=devices, peer=peers, pick=picks)
    def delete(self, device: str, peer: str, pick: int) -> None:
        if chat_id := self.chat(device, peer):
            self.do(self.world.change, device, chat_id, pick, delete=True)

    @rule(device=devices, peer=peers, pick=picks, read=st.booleans())
    def mark(self, device: str, peer: str, pick: int, *, read: bool) -> None:
        if chat_id := self.chat(device, peer):
            self.do(self.world.mark, device, chat_id, pick, read=read)

    @rule(device=devices, acknowledges=st.booleans())
    def hold_acknowledgements_back(self, device: str, *, acknowledges: bool) -> None:
        self.world.devices[device].acknowledges = acknowledges
        self.do(self.world.settle)

    @rule(device=devices, orderly=st.booleans())
    def disconnect(self, device: str, *, orderly: bool) -> None:
        self.do(self.world.disconnect, device, orderly=orderly)

    @rule(device=devices)
    def connect(self, device: str) -> None:
        self.do(self.world.connected, device)

    @rule(join=st.booleans())
    def leave_or_join_the_crew(self, *, join: bool) -> None:
        self.do(self.world.membership, join=join)

    @rule(crash=st.booleans())
    def stop_and_start(self, *, crash: bool) -> None:
        self.do(self.world.stop, crash=crash)

    @rule(device=devices, peer=peers, pick=picks)
    def send_and_crash(self, device: str, peer: str, pick: int) -> None:
        if chat_id := self.chat(device, peer):
            self.do(self.world.send, device, chat_id, pick, crash=True)

    @invariant()
    def nothing_has_failed(self) -> None:
        if self.failure is not None:
            raise self.failure

    def teardown(self) -> None:
        try:
            if self.failure is None:
                self.do(self.world.compare)
                self.do(self.world.stop, crash=True)
                self.do(self.world.compare)
        finally:
            if self.failure is None:
                trio.from_thread.run(self.world.end, trio_token=self.token)
            self.thread.join()
            self.directory.cleanup()


class Template:
    """A data directory with all people and the crew in it, made once."""

    data: Path
    tokens: dict[str, str]
    crew: str

    async def make(self, data: Path) -> None:
        self.data = data
        data.mkdir()
        async with house(data, *USERS) as made:
            for user in USERS:
                await made.add_device(user, "laptop")
            async with made.device("User1") as one:
                chat = await one.request("createChat", type="group", name="Crew", participants=["User2", "User3"])
            self.tokens, self.crew = made.tokens, chat["chatId"]
            # No device has connected yet.
            made.relay.log.stop()
            await made.relay.log.stopped.wait()


TEMPLATE = Template()


def test_every_device_ends_up_with_the_true_state(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    trio.run(TEMPLATE.make, tmp_path / "template")
    examples = int(request.config.getoption("--model-examples"))
    # Shrinking a failure takes minutes, so only long runs do it.
    phases = set(Phase) if examples > SHORT else {Phase.explicit, Phase.reuse, Phase.generate}
    run_state_machine_as_test(
        People,
        settings=settings(
            max_examples=examples,
            phases=phases,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
