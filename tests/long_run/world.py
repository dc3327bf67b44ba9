"""The people of a long run: their actions, their devices, and their retries.

All their requests and events go to the checker. Knows the wire, but neither the relay's process nor its disk.
"""

import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import trio

from tests.long_run import wire
from tests.long_run.checker import DELETE, EDIT, NEW, Chat, Checker
from tests.long_run.ledger import ANSWERED, client_id, text_of, word_of
from tests.long_run.phones import Person, Phone
from tests.long_run.wire import Lost, Refused

FRIENDS = 6
"""People with whom a person has dialogs."""
GROUPS = 30
"""About how many groups exist at a time."""
REMEMBERED = 200
"""Answered messages that are kept for occasional repeats."""
REPEATABLE_ENTRIES = 60_000
"""A message may be repeated within this many entries: the relay remembers the latest 65,536 removed ones
(PROTOCOL.md, section 3)."""
HAS_NO_ROOM = frozenset({"storage_full", "rate_limited"})
RETRIED_CODES = frozenset({"unavailable", "internal", *HAS_NO_ROOM})
"""Refusals that are retried."""


class Upload(NamedTuple):
    """A file in a message."""

    number: int
    file_id: str
    digest: bytes


class World:
    """All people."""

    def __init__(self, checker: Checker, dice: random.Random, rate: float) -> None:
        """Begin with nobody.

        Args:
            checker: gets all requests and events.
            dice: the random source.
            rate: actions per second, of all people together.
        """
        self.checker = checker
        self.dice = dice
        self.rate = rate
        self.url = ""
        self.people: list[Person] = []
        self.quiet = trio.Event()
        """Set at the end: people stop acting, and all devices connect and stay connected."""
        self.counts: Counter[str] = Counter()
        self.waits: list[float] = []
        """A sample of the seconds until an answer."""
        self.outage = 0.0
        self.prunes = 0
        """How often a prune was started."""
        self.uploads: list[Upload] = []
        self.last_words: list[tuple[Phone, Chat, int]] = []
        """The message that each device must have before the run is judged."""
        self.by_name: dict[str, Person] = {}
        self.groups: list[Chat] = []
        self._answered_at = 0.0
        self._locks: dict[int, trio.Lock] = {}
        self._to_repeat: list[tuple[int, Phone, int, str, Any]] = []
        """Messages that may be sent again, each with the last entry that was known when it was answered."""
        self._busy = 0

    def add_person(self, user: str, tokens: list[str]) -> Person:
        """Add a person with these devices."""
        person = Person(user, [Phone(self, user, token, says_after=n % 2 == 1) for n, token in enumerate(tokens)])
        self.people.append(person)
        self.by_name[user] = person
        return person

    # Requests.

    async def insist(self, phone: Phone, name: str, payload: Any, *, may_give_up: bool = False) -> Any:
        """Repeat a request until it is answered.

        Args:
            phone: the device.
            name: the request.
            payload: its payload.
            may_give_up: whether it may be dropped if the relay has no room.

        Raises:
            Refused: permanently; with `may_give_up` also for lack of room, if no answer was ever lost.
        """
        lost, prunes = False, self.prunes
        asked = time.monotonic()
        while True:
            socket = await phone.online()
            if lost and self.prunes != prunes:
                self.counts["repeats after a prune"] += 1
            try:
                answer = await socket.request(name, payload)
            except Lost as how:
                lost = True
                self.counts["answers lost"] += 1
                if str(how) == "silence":
                    self.checker.fail(f"{phone.user}: {name} was not answered within {wire.WAIT_SECONDS:.0f} s")
                await trio.sleep(0.05)
                continue
            except Refused as refused:
                self.counts[f"error {refused.code}"] += 1
                if refused.code == "internal":
                    self.checker.fail(f"{phone.user}: {name} was answered with {refused}")
                refused.repeated = lost
                if refused.code not in RETRIED_CODES:
                    raise
                if may_give_up and not lost and refused.code in HAS_NO_ROOM and self.dice.random() < 0.5:
                    raise
                await trio.sleep(max(refused.retry_after / 1_000, 0.3))
                continue
            self._note(time.monotonic() - asked)
            return answer

    def _note(self, wait: float) -> None:
        now = time.monotonic()
        if self._answered_at and not self.quiet.is_set():
            self.outage = max(self.outage, now - self._answered_at)
        self._answered_at = now
        self.counts["requests"] += 1
        if len(self.waits) < 20_000:
            self.waits.append(wait)
        else:
            self.waits[self.dice.randrange(20_000)] = wait

    async def say(self, phone: Phone, kind: int, chat: Chat, target: int = -1, *, attachment: Any = None) -> int:
        """Send, edit or delete exactly once; return the number, -1 if refused."""
        checker, ledger = self.checker, self.checker.ledger
        number = ledger.add(kind, chat, phone.user, phone.device.key, target)
        payload: dict[str, Any] = {"chatId": checker.id_for(phone.user, chat), "clientMessageId": client_id(number)}
        if kind != DELETE:
            payload["message"] = text_of(number if kind == NEW else target, ledger.version[number])
        if kind != NEW:
            payload["originalMessageId"] = ledger.message_id[target]
        if attachment is not None:
            payload["attachments"] = [attachment]
        name = ("new", "edit", "delete")[kind]
        right = checker.right(chat, phone.user)
        try:
            answer = await self.insist(phone, name, payload, may_give_up=kind == NEW)
        except Refused as refused:
            if not chat.gone:
                checker.refused(number, refused.code)
            # The message may be deleted or pruned by now, and a file that was not sent in time removed.
            if kind == NEW and attachment is None and refused.code not in HAS_NO_ROOM:
                checker.denied(right, chat, phone.user, f"new ({refused})")
            return -1
        checker.answered(number, answer)
        if kind == NEW and self.dice.random() < 0.03:
            self._to_repeat.append((ledger.last_seq, phone, number, name, payload))
        if len(self._to_repeat) > REMEMBERED:
            last, *message = self._to_repeat.pop(self.dice.randrange(REMEMBERED))
            if ledger.last_seq - last < REPEATABLE_ENTRIES:
                await self._say_again(*message)
        return number

    async def _say_again(self, phone: Phone, number: int, name: str, payload: Any) -> None:
        """Repeat a message, a moment later or after a prune: it gets the same answer, and nobody gets it twice."""
        checker, chat = self.checker, self.checker.ledger.chats[self.checker.ledger.chat[number]]
        right = checker.right(chat, phone.user)
        try:
            checker.answered(number, await self.insist(phone, name, payload))
        except Refused as refused:
            checker.denied(right, chat, phone.user, f"sending m{number:x} again ({refused})")
        self.counts["sent again"] += 1

    # People's actions.

    def chats_of(self, person: Person) -> list[Chat]:
        """Return the groups in which a person may write, and the dialogs that they have begun."""
        groups = [chat for chat in self.groups if chat.type == "group" and chat.stay(person.user) is not None]
        return [*groups, *(self.checker.pair(person.user, friend) for friend in person.friends)]

    async def live(self, person: Person) -> None:
        """Do one thing after another."""
        dice = self.dice
        actions, weights = zip(*_ACTIONS, strict=True)
        while not self.quiet.is_set():
            with trio.move_on_after(dice.expovariate(self.rate / len(self.people))):
                await self.quiet.wait()
                return
            action = dice.choices(actions, weights)[0]
            self._busy += 1
            try:
                await action(self, person, person.phone(dice))
            except (Lost, OSError):
                # An upload or a read, which is not retried.
                self.counts["given up"] += 1
            finally:
                self._busy -= 1

    async def say_last(self) -> None:
        """Send something to everybody, and wait until all devices have it and everything before it."""
        for person in self.people:
            friend = next(one for one in person.friends if one != person.user)
            chat = self.checker.pair(person.user, friend)
            number = -1
            while number < 0:
                number = await self.say(self.by_name[friend].phones[0], NEW, chat)
            message_id = self.checker.ledger.message_id[number]
            self.last_words += [(phone, chat, message_id) for phone in person.phones]
        while self.unheard():
            await trio.sleep(0.05)
        # An answer on the same connection means that all earlier acknowledgements were read.
        for person in self.people:
            for phone in person.phones:
                await self.insist(phone, "profile", {})

    def unheard(self) -> list[Phone]:
        """Return the devices without the last message."""
        return [phone for phone, chat, message_id in self.last_words if phone.device.lacks(chat.key, message_id)]

    def waiting(self) -> str:
        """Name the people who are still waiting."""
        away = [phone.user for person in self.people for phone in person.phones if phone.socket is None]
        unheard = [phone.user for phone in self.unheard()]
        return (
            f"{self._busy} wait for an answer, {len(away)} are not connected ({', '.join(away[:5])}),"
            f" {len(unheard)} lack what was said last ({', '.join(unheard[:5])})"
        )

    async def idle(self) -> None:
        """Wait until nobody waits for an answer."""
        while self._busy:
            await trio.sleep(0.05)

    async def send(self, person: Person, phone: Phone) -> None:
        """Send a message."""
        number = await self.say(phone, NEW, self.dice.choice(self.chats_of(person)))
        if number >= 0:
            person.said.append(number)

    async def change(self, person: Person, phone: Phone) -> None:
        """Edit or delete a recent message of the person."""
        ledger = self.checker.ledger
        if not person.said:
            return
        number = self.dice.choice(person.said)
        chat = ledger.chats[ledger.chat[number]]
        if chat.gone or chat.stay(person.user) is None or ledger.message_id[number] in chat.targets:
            return
        delete = self.dice.random() < 0.4
        await self.say(phone, DELETE if delete else EDIT, chat, number)

    async def read(self, person: Person, phone: Phone) -> None:
        """Read a chat, all of it or up to a message."""
        chat = self.dice.choice(self.chats_of(person))
        if not chat.last:
            return
        await self.read_chat(phone, chat, self.dice.choice([None, chat.last, self.dice.randint(1, chat.last)]))

    async def read_chat(self, phone: Phone, chat: Chat, message_id: int | None) -> None:
        """Mark a chat as read."""
        checker = self.checker
        checker.marking(chat, phone.user, message_id)
        payload: dict[str, Any] = {"chatId": checker.id_for(phone.user, chat)}
        if message_id is not None:
            payload["messageId"] = message_id
        right, known = checker.right(chat, phone.user), chat.last
        try:
            answer = await self.insist(phone, "read", payload)
        except Refused as refused:
            checker.denied(right, chat, phone.user, f"read ({refused})")
            return
        if message_id is None:
            checker.marked_all(chat, phone.user, known, answer.get("messageId", 0))
        else:
            checker.marked(chat, phone.user, message_id)

    async def page(self, person: Person, phone: Phone) -> None:
        """Read the history of a chat."""
        chat = self.dice.choice(self.chats_of(person))
        payload: dict[str, Any] = {"chatId": self.checker.id_for(person.user, chat)}
        payload["count"] = self.dice.randint(1, 300)
        if chat.last:
            payload[self.dice.choice(["startId", "endId"])] = self.dice.randint(1, chat.last)
        right = self.checker.right(chat, person.user)
        try:
            rows = await self.insist(phone, "messages", payload)
        except Refused as refused:
            self.checker.denied(right, chat, person.user, f"messages ({refused})")
            return
        self.checker.page(person.user, chat, rows)

    async def search(self, person: Person, phone: Phone) -> None:
        """Search for a word."""
        word = word_of(self.dice.randrange(len(self.checker.ledger) + 1))
        rows = await self.insist(phone, "search", {"query": word, "count": 30})
        places = [self.checker.chat_of(person.user, row["chatId"]) for row in rows]
        self.checker.found(person.user, word, rows, places)

    async def look(self, person: Person, phone: Phone) -> None:
        """Open the list, a chat, the directory; type a little."""
        chat = self.dice.choice(self.chats_of(person))
        chat_id = self.checker.id_for(person.user, chat)
        socket = await phone.online()
        socket.say(
            msgspec.json.encode(
                {"type": "event", "timestamp": 0, "eventType": "typing", "payload": {"chatId": chat_id}}
            )
        )
        await self.insist(phone, "chats", {})
        await self.insist(phone, "users", {"query": person.user[:3], "count": 20})
        right = self.checker.right(chat, person.user)
        try:
            await self.insist(phone, "chat", {"chatId": chat_id})
        except Refused as refused:
            self.checker.denied(right, chat, person.user, f"chat ({refused})")

    async def upload(self, person: Person, phone: Phone) -> None:
        """Send a file."""
        content = self.dice.randbytes(int(min(300_000, 1_000 * self.dice.paretovariate(0.7))))
        status, body = await wire.http(self.url, "POST", "/files", phone.token, content)
        if status != 200:
            code = msgspec.json.decode(body)["error"]["code"] if status in (413, 429, 503, 507) else str(status)
            self.counts[f"upload {code}"] += 1
            if status >= 500 and code not in RETRIED_CODES:
                self.checker.fail(f"{person.user}: an upload was answered with {status} {code}")
            return
        attachment = msgspec.json.decode(body)
        chat = self.dice.choice(self.chats_of(person))
        number = await self.say(phone, NEW, chat, attachment=attachment)
        if number >= 0:
            self.counts["uploads"] += 1
            self.uploads.append(Upload(number, attachment["id"], hashlib.sha256(content).digest()))

    async def download(self, person: Person, phone: Phone) -> None:
        """Open a recently sent file."""
        if self.uploads:
            upload = self.dice.choice(self.uploads[-200:])
            chat = self.checker.ledger.chats[self.checker.ledger.chat[upload.number]]
            if chat.stay(person.user) is not None:
                await self.fetch(phone, upload)
            elif person.user not in chat.stays:
                status, _ = await wire.http(self.url, "GET", f"/files/{upload.file_id}", phone.token)
                # They may have been added meanwhile.
                if status in (200, 206) and person.user not in chat.stays:
                    self.checker.fail(f"{person.user}: got file {upload.file_id} of {chat.name}, none of theirs")

    async def fetch(self, phone: Phone, upload: Upload) -> int:
        """Download a file and compare it; return the status."""
        status, body = await wire.http(self.url, "GET", f"/files/{upload.file_id}", phone.token)
        if status == 200:
            self.counts["downloads"] += 1
            if hashlib.sha256(body).digest() != upload.digest:
                self.checker.fail(f"file {upload.file_id} of m{upload.number:x} is not what was uploaded")
        return status

    async def intrude(self, person: Person, phone: Phone) -> None:
        """Try forbidden actions: read and write in a foreign group."""
        strange = [chat for chat in self.groups if person.user not in chat.stays]
        if not strange:
            return
        chat = self.dice.choice(strange)
        for name in ("messages", "read", "chat", "leaveChat"):
            try:
                await self.insist(phone, name, {"chatId": chat.id})
            except Refused as refused:
                if refused.code == "not_found":
                    continue
            if person.user not in chat.stays:
                self.checker.fail(f"{person.user}: {name} was answered in {chat.name}, where they never were")
        if person.user not in chat.stays and await self.say(phone, NEW, chat) >= 0 and person.user not in chat.stays:
            self.checker.fail(f"{person.user}: wrote in {chat.name}, where they never were")

    async def flood(self, person: Person, phone: Phone) -> None:
        """Send too much at once: some of it is refused."""
        chat = self.checker.pair(person.user, person.user)
        async with trio.open_nursery() as nursery:
            for _ in range(150):
                nursery.start_soon(self.say, phone, NEW, chat)

    async def gather(self, person: Person, phone: Phone) -> None:
        """Make, change, leave or delete a group."""
        from tests.long_run import groups

        await groups.gather(self, person, phone)

    def lock(self, chat: Chat) -> trio.Lock:
        """Allow one change of a group's members at a time, so that everybody knows who was a member when."""
        return self._locks.setdefault(chat.key, trio.Lock())

    async def signs_of_life(self) -> None:
        """Send a keepalive from every device."""
        while True:
            for person in self.people:
                for phone in person.phones:
                    if phone.socket is not None:
                        phone.socket.say(b"ping")
            await trio.sleep(5)

    def delivered(self, number: int) -> bool:
        """Return whether a message was answered and still exists."""
        ledger = self.checker.ledger
        return ledger.state[number] == ANSWERED and not ledger.deleted[number]


Action = Callable[[World, Person, Phone], Any]
_ACTIONS: list[tuple[Action, float]] = [
    (World.send, 62),
    (World.change, 8),
    (World.read, 12),
    (World.page, 4),
    (World.search, 2),
    (World.look, 3),
    (World.upload, 2),
    (World.download, 2),
    (World.intrude, 1),
    (World.gather, 2),
    (World.flood, 0.05),
]
"""The actions of people, and their frequencies."""
