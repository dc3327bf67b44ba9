"""The people of a long run: their devices, and how they insist on an answer.

Everything they ask and hear goes to the checker. Knows the wire, not the relay's process nor its disk.
"""

import random
import time
from collections import Counter
from typing import Any, NamedTuple

import trio

from tests.long_run import wire
from tests.long_run.checker import DELETE, NEW, Chat, Checker
from tests.long_run.ledger import client_id, text_of
from tests.long_run.phones import Person, Phone
from tests.long_run.wire import Lost, Refused

REMEMBERED = 200
"""Answered messages; now and then one is sent again."""
REPEATABLE_ENTRIES = 60_000
"""Entries after a message during which it may be sent again: the relay knows the latest 65,536 that were removed
(PROTOCOL.md, section 3)."""
HAS_NO_ROOM = frozenset({"storage_full", "rate_limited"})
RETRIED_CODES = frozenset({"unavailable", "internal", *HAS_NO_ROOM})
"""Refusals after which a device retries."""


class Upload(NamedTuple):
    """A file that a message holds."""

    number: int
    file_id: str
    digest: bytes


class Crowd:
    """All of them."""

    def __init__(self, checker: Checker, dice: random.Random, rate: float) -> None:
        """Start without people.

        Args:
            checker: hears of everything.
            dice: decides everything.
            rate: things done per second, by all together.
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
        """Seconds until an answer: a sample."""
        self.outage = 0.0
        self.prunes = 0
        """Removals of messages that were started."""
        self.uploads: list[Upload] = []
        self.last_words: list[tuple[Phone, Chat, int]] = []
        """Which device must have which message before the run is judged."""
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
            phone: who asks.
            name: the request.
            payload: its payload.
            may_give_up: whether it may stay unsaid where the relay has no room.

        Raises:
            Refused: for good; with `may_give_up` also for lack of room, where no answer was ever lost.
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
        """Send, edit or delete until it is answered; return the entry's number, or -1 if it was refused."""
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
        """A message that is sent again, soon or after a prune, gets the same answer, and nobody gets it twice."""
        checker, chat = self.checker, self.checker.ledger.chats[self.checker.ledger.chat[number]]
        right = checker.right(chat, phone.user)
        try:
            checker.answered(number, await self.insist(phone, name, payload))
        except Refused as refused:
            checker.denied(right, chat, phone.user, f"sending m{number:x} again ({refused})")
        self.counts["sent again"] += 1
