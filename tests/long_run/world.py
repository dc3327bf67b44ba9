"""The people of a long run: their actions, and how often.

All their requests and events go to the checker. Knows the wire, but neither the relay's process nor its disk.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import trio

from tests.long_run import wire
from tests.long_run.checker import DELETE, EDIT, NEW, Chat
from tests.long_run.crowd import RETRIED_CODES, Crowd, Upload
from tests.long_run.ledger import ANSWERED, word_of
from tests.long_run.phones import Person, Phone
from tests.long_run.wire import Lost, Refused

FRIENDS = 6
"""People with whom a person has dialogs."""
GROUPS = 30
"""About how many groups exist at a time."""


class World(Crowd):
    """All of them, and what they do."""

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
