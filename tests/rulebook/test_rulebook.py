"""Random people on two devices each, and every window of every one of them compared with the model after each step.

Run it for longer with --rulebook-steps.
"""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from relay.core.relay import Relay, open_relay
from relay.core.subscriber import Subscriber
from relay.protocol import control
from relay.protocol.errors import RelayError
from rulebook.model import Chat, Item, Model, Refused

PEOPLE = ["ann", "ben", "cem"]
BOT = "robot"
WORDS = ["apple", "pear", "plum"]
T0 = 1_767_225_600_000
OK = "ok"
STEPS = 60
"""Steps of one story."""


class Device:
    """One device: what it was told, as a client keeps it."""

    def __init__(self, user: str, token: str) -> None:
        self.user, self.token = user, token
        self.subscriber: Subscriber | None = None
        self.views: dict[str, dict[int, str | None]] = {}
        self.receipts: dict[tuple[str, str, str], int] = {}
        self.answers: dict[str, dict[str, Any]] = {}
        self.news = trio.Event()
        self.unacknowledged: list[int] = []
        self.is_behind = False

    # What a subscriber needs of its connection.

    waiting = (0, 0.0)

    def put(self, frame: bytes) -> None:
        said = json.loads(frame)
        if said["type"] == "response":
            self.answers[said["id"]] = said
            self.news.set()
        elif said["type"] == "event":
            if "id" in said:
                self.unacknowledged.append(said["id"])
            self._hear(said["eventType"], said["payload"])

    def offer(self, frame: bytes) -> bool:
        self.put(frame)
        return True

    def flush(self) -> None:
        """All is out already."""

    def behind(self) -> None:
        self.is_behind = True

    def close(self, _code: int, _reason: str) -> None:
        """The relay sends it away."""
        self.subscriber = None

    # What a client makes of events.

    def _hear(self, event: str, payload: Any) -> None:
        if event == "chats":
            self.views = {item["id"]: self.views.get(item["id"], {}) for item in payload}
        elif event in ("new", "edit", "delete"):
            view = self.views.setdefault(payload["chatId"], {})
            if event == "new":
                view[payload["messageId"]] = payload.get("message")
            elif payload["originalMessageId"] in view:
                view[payload["originalMessageId"]] = payload.get("message")
        elif event in ("dlvrd", "read") and payload["userId"] != self.user:
            place = (payload["chatId"], payload["userId"], event)
            self.receipts[place] = max(self.receipts.get(place, 0), payload["messageId"])


class World:
    """The relay, everybody's devices, and the model."""

    def __init__(self, relay: Relay, tokens: dict[str, list[str]], clock: MockClock) -> None:
        self.relay, self.clock = relay, clock
        self.model = Model(PEOPLE, [BOT])
        self.devices = {
            f"{user}{number}": Device(user, token) for user, some in tokens.items() for number, token in enumerate(some)
        }
        self._asked = 0
        self.said = 0
        self.groups: list[str] = []

    # Doing.

    async def connect(self, name: str) -> Device | None:
        device = self.devices[name]
        service = self.relay.service
        if device.subscriber is None:
            signed = service.sign_in(device.token)
            if signed is None:
                return None
            position = await service.position(*signed, None)
            device.subscriber = Subscriber(self.relay.hub.next_number(), *signed, device, device, position)
            self.relay.hub.arrive(device.subscriber)
            await self._catch_up(device)
        return device

    def disconnect(self, name: str) -> None:
        device = self.devices[name]
        if device.subscriber is not None:
            self.relay.hub.leave(device.subscriber)
            device.subscriber = None

    async def _catch_up(self, device: Device) -> None:
        device.is_behind = False
        while device.subscriber is not None and not self.relay.hub.rejoin(device.subscriber):
            await self.relay.service.replay_page(device.subscriber)

    async def ask(self, device: Device, what: str, **payload: Any) -> Any:
        """Ask by the door that clients ask by; gives the payload, or the code of the refusal."""
        answer = await self.response(device, what, **payload)
        return answer["payload"] if "payload" in answer else answer["error"]["code"]

    async def response(self, device: Device, what: str, **payload: Any) -> dict[str, Any]:
        """Ask, and give the whole response."""
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

    async def settle(self) -> None:
        """Let all that is under way happen: replays, acknowledgements and the marks that come of them."""
        relay, model = self.relay, self.model
        quiet = 0
        with trio.fail_after(120):
            while quiet < 2:
                self.clock.jump(1.1)
                relay.hub.tick(trio.current_time())
                await trio.testing.wait_all_tasks_blocked()
                await relay.log.chore(_nothing, hurried=True)
                busy = bool(relay.log._waiting or relay.log.late) or await self._take_in()
                quiet = 0 if busy else quiet + 1
        for device in self.devices.values():
            if device.subscriber is not None:
                for chat in model.of(device.user):
                    model.mark(chat, device.user, chat.last, read=False)

    async def _take_in(self) -> bool:
        """Let devices catch up and acknowledge; tells whether one did."""
        some = False
        for device in self.devices.values():
            if device.subscriber is not None and device.is_behind:
                some = True
                await self._catch_up(device)
            if device.subscriber is not None and device.unacknowledged:
                some = True
                for event_id in device.unacknowledged:
                    self.relay.service.acknowledge(device.subscriber, event_id)
                device.unacknowledged.clear()
        return some

    # Comparing.

    async def compare(self) -> None:
        for device in self.devices.values():
            if device.subscriber is not None:
                self._compare_view(device)
        for user in PEOPLE:
            device = next(
                (one for one in self.devices.values() if one.user == user and one.subscriber is not None), None
            )
            if device is not None:
                await self._compare_windows(device)

    def _compare_view(self, device: Device) -> None:
        user = device.user
        listed = self.model.listed(user)
        assert device.views.keys() - {BOT} == listed.keys(), f"{user}'s list"
        for chat_id, chat in listed.items():
            since = max(chat.since(user), chat.members[user].joined)
            true = {one.id: one.text for one in chat.said(user) if one.id > since}
            seen = {i: text for i, text in device.views[chat_id].items() if i > since}
            assert seen == true, f"{user} in {chat_id}"
            for (where, marker, kind), told in device.receipts.items():
                if where == chat_id and marker in chat.members:
                    marks = chat.members[marker]
                    assert told <= (marks.read if kind == "read" else marks.got), f"{kind} by {marker} to {user}"

    async def _compare_windows(self, device: Device) -> None:
        model, user = self.model, device.user
        items = {item["id"]: item for item in await self.ask(device, "chats")}
        listed = model.listed(user)
        assert items.keys() == listed.keys()
        for chat_id, chat in listed.items():
            news = [one for one in chat.items.values() if one.kind == "new"]
            newest = news[-1] if news and news[-1].id > chat.since(user) else None
            item = items[chat_id]
            assert item.get("missed", 0) == chat.missed(user), f"{user} in {chat_id}"
            assert item["lastMessageId"] == (newest.id if newest else 0), f"{user} in {chat_id}"
            assert item["lastMessageText"] == ((newest and newest.text) or ""), f"{user} in {chat_id}"
        for chat in model.of(user):
            await self._compare_history(device, chat)
        for word in WORDS:
            await self._compare_search(device, word)
        key = self.relay.state.user_keys[user]
        for file in model.files:
            try:
                await self.relay.files.find(key, file)
            except RelayError:
                assert not model.has_file(user, file), f"{user} has {file}"
            else:
                assert model.has_file(user, file), f"{user} has no {file}"

    async def _compare_history(self, device: Device, chat: Chat) -> None:
        model, user = self.model, device.user
        chat_id = model.called(chat, user)
        page: list[Any] = await self.ask(device, "messages", chatId=chat_id, count=1 + self.said % 7)
        history = page
        while page:
            page = await self.ask(
                device, "messages", chatId=chat_id, count=1 + self.said % 7, endId=page[0]["messageId"]
            )
            history = [*page, *history]
        got = [self._plain(one) for one in history]
        true = [self._item(chat, user, one) for one in chat.shown(user)]
        assert got == true, f"{user} in {chat_id}: {[*set(got) - set(true)]} and not {[*set(true) - set(got)]}"

    @staticmethod
    def _plain(one: Any) -> tuple[Any, ...]:
        quote = one.get("replyTo")
        return (
            one["messageId"],
            one["type"],
            one["sender"],
            one.get("message"),
            one["status"] if one["type"] == "new" else None,
            None if quote is None else (quote["messageId"], quote.get("message")),
            tuple(sorted(row["userId"] for row in one.get("delivering", ()))),
        )

    def _item(self, chat: Chat, user: str, one: Item) -> tuple[Any, ...]:
        is_new = one.kind == "new"
        quoted = chat.items.get(one.quoted)
        quote = None
        if quoted is not None and not one.deleted:
            quote = (quoted.id, quoted.text if quoted.id > chat.since(user) else None)
        waited = [other for other in chat.members if self.model.waits_for(chat, other, one)]
        return (
            one.id,
            one.kind,
            one.author,
            one.text if is_new else None,
            self.model.status(chat, user, one) if is_new else None,
            quote,
            tuple(sorted(waited)) if is_new and chat.is_group else (),
        )

    async def _compare_search(self, device: Device, word: str) -> None:
        found = []
        more: dict[str, str] = {}
        while True:
            page = await self.response(device, "search", query=word, count=1 + self.said % 3, **more)
            found += [(one["chatId"], one["messageId"]) for one in page["payload"]]
            if not page.get("more"):
                break
            more = {"before": page["next"]}
        assert found == self._found(device.user, word), f"{device.user} finds {word}"

    def _found(self, user: str, word: str) -> list[tuple[str, int]]:
        hits = self.model.found(user, word)
        return [
            (self.model.called(chat, user), one.id)
            for one in hits
            for chat in self.model.of(user)
            if any(other is one for other in chat.items.values())
        ]

    # Steps. Each gives what the relay should have answered, after asking it.

    async def step(self, act: int, who: int, where: int, pick: int, other: int) -> None:
        name = f"{PEOPLE[who % len(PEOPLE)]}{pick % 2}"
        user = name[:-1]
        whom = [*PEOPLE, BOT][other % (len(PEOPLE) + 1)]
        places = [*PEOPLE, *self.groups]
        chat_id = places[where % len(places)]
        acts: list[Callable[[Device, str, str, int], Any]] = [
            *[self._send] * 6, self._send_file, self._reply, self._edit, self._edit, self._delete, self._delete,
            self._read, self._read, self._make, self._add, self._add, self._remove, self._leave, self._clear,
            self._clear, self._admins, self._rename,
        ]  # fmt: skip
        alone = [self._away, self._away, self._back, self._switch, self._import, self._prune, self._start_again]
        act %= len(acts) + len(alone)
        if act >= len(acts):
            await alone[act - len(acts)](name, chat_id, whom, pick)
            return
        device = await self.connect(name)
        if device is None:
            assert user in self.model.off
            return
        got, expected = await acts[act](device, chat_id, whom, pick)
        code = got if isinstance(got, str) else OK
        assert code == expected, f"{user}: {acts[act].__name__} in {chat_id}, {whom}, {pick}: {got}"

    @staticmethod
    def _expect(may: Callable[..., None], *what: Any, **more: Any) -> str:
        """Let the model do something; gives `OK`, or the code of the refusal."""
        try:
            may(*what, **more)
        except Refused as refused:
            return str(refused)
        return OK

    def _text(self, pick: int) -> str:
        self.said += 1
        return f"{WORDS[pick % 3]} {self.said}"

    async def _say(self, device: Device, chat_id: str, pick: int, quoted: int = 0, file: Any = None) -> tuple[Any, str]:
        text = self._text(pick)
        more: dict[str, Any] = {"replyTo": quoted} if quoted else {}
        if file is not None:
            more["attachments"] = [file]
        id_ = file["id"] if file is not None else ""
        expected = self._expect(self.model.send, device.user, chat_id, text, quoted, id_)
        got = await self.ask(device, "new", chatId=chat_id, clientMessageId=text, message=text, **more)
        if expected == OK and not isinstance(got, str):
            device.views.setdefault(chat_id, {})[got["messageId"]] = text
        return got, expected

    async def _send(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        return await self._say(device, chat_id, pick)

    async def _reply(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        return await self._say(device, chat_id, pick, quoted=self._some_id(device.user, chat_id, pick))

    async def _send_file(self, device: Device, chat_id: str, whom: str, pick: int) -> tuple[Any, str]:
        """One that is new, or one that somebody else uploaded."""
        if self.model.files and pick % 3 == 0:
            id_ = sorted(self.model.files)[pick % len(self.model.files)]
        else:
            content = [b"x"]

            async def piece() -> bytes:
                return content.pop() if content else b""

            key = self.relay.state.user_keys[device.user]
            id_ = (await self.relay.files.receive(key, 0, "a.txt", 1, piece)).id
            self.model.files[id_] = device.user
        file = {"type": "file", "id": id_, "filename": "a.txt", "url": f"/files/{id_}", "meta": {"size": 1}}
        return await self._say(device, chat_id, pick, file=file)

    def _some_id(self, user: str, chat_id: str, pick: int) -> int:
        """A message id of a chat, mostly of one that is there: visible or not."""
        chat = self.model.find(user, chat_id)
        return 1 + pick % (chat.last + 1) if chat is not None else 1

    async def _edit(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        target, text = self._some_id(device.user, chat_id, pick), self._text(pick)
        expected = self._expect(self.model.change, device.user, chat_id, target, text)
        got = await self.ask(device, "edit", chatId=chat_id, originalMessageId=target, message=text)
        if expected == OK and target in device.views.get(chat_id, {}):
            device.views[chat_id][target] = text
        return got, expected

    async def _delete(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        target = self._some_id(device.user, chat_id, pick)
        expected = self._expect(self.model.change, device.user, chat_id, target, None)
        got = await self.ask(device, "delete", chatId=chat_id, originalMessageId=target)
        if expected == OK and target in device.views.get(chat_id, {}):
            device.views[chat_id][target] = None
        return got, expected

    async def _read(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        chat = self.model.find(device.user, chat_id)
        got = await self.ask(device, "read", chatId=chat_id)
        if chat is None:
            return got, "not_found"
        self.model.mark(chat, device.user, chat.last, read=True)
        return got, OK

    async def _make(self, device: Device, _chat_id: str, whom: str, pick: int) -> tuple[Any, str]:
        if len(self.groups) >= 3:
            return {}, OK
        kind, others = ("group", "group", "channel")[pick % 3], [PEOPLE[pick % len(PEOPLE)], whom]
        got = await self.ask(device, "createChat", type=kind, name="Crew", participants=others)
        chat_id = got if isinstance(got, str) else got["chatId"]
        expected = self._expect(self.model.make, device.user, chat_id, kind, others)
        if expected == OK:
            self.groups.append(chat_id)
        return got, expected

    async def _add(self, device: Device, chat_id: str, whom: str, _pick: int) -> tuple[Any, str]:
        got = await self.ask(device, "addParticipants", chatId=chat_id, participants=[whom])
        return got, self._expect(self.model.add, device.user, chat_id, whom)

    async def _remove(self, device: Device, chat_id: str, whom: str, _pick: int) -> tuple[Any, str]:
        got = await self.ask(device, "removeParticipants", chatId=chat_id, participants=[whom])
        return got, self._expect(self.model.remove, device.user, chat_id, whom)

    async def _leave(self, device: Device, chat_id: str, _whom: str, _pick: int) -> tuple[Any, str]:
        return await self.ask(device, "leaveChat", chatId=chat_id), self._expect(self.model.leave, device.user, chat_id)

    async def _clear(self, device: Device, chat_id: str, _whom: str, _pick: int) -> tuple[Any, str]:
        return await self.ask(device, "deleteChat", chatId=chat_id), self._expect(
            self.model.clear, device.user, chat_id
        )

    async def _admins(self, device: Device, chat_id: str, whom: str, _pick: int) -> tuple[Any, str]:
        got = await self.ask(device, "updateChat", chatId=chat_id, admins=[whom])
        return got, self._expect(self.model.update, device.user, chat_id, [whom])

    async def _rename(self, device: Device, chat_id: str, _whom: str, pick: int) -> tuple[Any, str]:
        got = await self.ask(device, "updateChat", chatId=chat_id, name=f"Crew {pick}")
        return got, self._expect(self.model.update, device.user, chat_id)

    async def _away(self, name: str, _chat_id: str, _whom: str, _pick: int) -> None:
        self.disconnect(name)

    async def _back(self, name: str, _chat_id: str, _whom: str, _pick: int) -> None:
        await self.connect(name)

    async def _switch(self, name: str, _chat_id: str, _whom: str, pick: int) -> None:
        user, off = name[:-1], pick % 3 == 0
        await self.relay.admin.handle("user.change", control.ChangeUser(id=user, disabled=off))
        self.model.switch(user, off=off)
        for label in "01":
            assert not off or self.devices[user + label].subscriber is None, "their devices are sent away"

    async def _import(self, name: str, chat_id: str, _whom: str, pick: int) -> None:
        user, chat = name[:-1], self.model.find(name[:-1], chat_id)
        if chat is None or not chat.is_group:
            return
        text = self._text(pick)
        message = control.BringMessage(chat=chat_id, sender=user, client_message_id=text, text=text, at=T0)
        brought = await self.relay.admin.handle("bring.messages", control.BringMessages(messages=[message]))
        assert not brought[0].error  # type: ignore[index]
        assert self._expect(self.model.send, user, chat_id, text, past=True) == OK

    async def _prune(self, _name: str, _chat_id: str, _whom: str, pick: int) -> None:
        """Retention takes the oldest half away, now and then."""
        if pick % 3:
            return
        relay = self.relay
        await relay.retention._keep()
        rows = await relay.reading.execute("SELECT seq, chat, message_id FROM log WHERE kind <= 3 ORDER BY seq")
        if len(rows) < 8:
            return
        seq, chat, message_id = rows[len(rows) // 2]
        first = await relay.reading.execute("SELECT min(seq) FROM log WHERE kind <= 5")
        (found,) = [one for one in self._chats_by_key() if one[0] == chat]
        self.model.prune(found[1].items[message_id].order)
        await relay.retention._remove(first[0][0], seq)

    def _chats_by_key(self) -> list[tuple[int, Chat]]:
        state = self.relay.state
        found = []
        for chat in self.model.chats.values():
            user = next(iter(chat.members))
            key = state.chat_key(state.user_keys[user], self.model.called(chat, user))
            assert key is not None
            found.append((key, chat))
        return found

    async def _start_again(self, _name: str, _chat_id: str, _whom: str, _pick: int) -> None:
        """Everybody's connection breaks, and the state is what the store says."""
        for name in self.devices:
            self.disconnect(name)


async def _nothing(_writing: object) -> None:
    """Wait for the batch that is under way."""


class Template:
    """A data directory with all people in it, made once."""

    data: Path
    tokens: dict[str, list[str]]

    async def make(self, data: Path) -> None:
        self.data = data
        self.tokens = {}
        data.mkdir()
        async with open_relay(data, clock=lambda: T0) as relay:
            ask = relay.admin.handle
            await ask("user.add", control.AddUser(id=BOT, bot=True))
            for user in PEOPLE:
                await ask("user.add", control.AddUser(id=user))
                made = [await ask("device.add", control.AddDevice(user_id=user)) for _ in range(2)]
                self.tokens[user] = [one.token for one in made]  # type: ignore[attr-defined]


@asynccontextmanager
async def world(template: Template, clock: MockClock) -> AsyncIterator[World]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as directory:
        data = Path(directory) / "data"
        shutil.copytree(template.data, data)
        async with open_relay(data, clock=lambda: T0) as relay:
            yield World(relay, template.tokens, clock)


Story = list[tuple[int, int, int, int, int]]
number = st.integers(0, 59)
stories = st.lists(st.tuples(number, number, number, number, number), min_size=STEPS, max_size=STEPS)


PRUNED: Story = [(0, 1, 1, 0, 0), *[(0, 0, 0, 0, 0)] * 12, (8, 1, 1, 0, 0), (58, 0, 0, 0, 0), (8, 1, 1, 1, 0)]
"""Of a message that was removed its edit is left, and is edited."""


async def play(template: Template, story: Story, clock: MockClock) -> None:
    async with world(template, clock) as made:
        for name in made.devices:
            await made.connect(name)
        await made.settle()
        for step in story:
            await made.step(*step)
            await made.settle()
            await made.compare()


def test_every_window_of_everybody_shows_what_the_model_says(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    template = Template()
    trio.run(template.make, tmp_path / "template")
    steps = int(request.config.getoption("--rulebook-steps"))

    @example(story=PRUNED)
    @settings(
        max_examples=max(1, steps // STEPS),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    )
    @given(story=stories)
    def act(story: Story) -> None:
        clock = MockClock(rate=1.0)
        trio.run(play, template, story, clock, clock=clock)

    act()
