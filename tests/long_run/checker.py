"""The promises as code: everything that a device receives or reads is compared with the requests and answers.

Pure: no I/O, no trio, no code of the relay. Knows only what clients see (PROTOCOL.md, sections 3 to 7). `fail` collects
broken promises; a check never stops a run.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.long_run.ledger import (
    ALL,
    ANSWERED,
    ASKED,
    DELETE,
    EDIT,
    KINDS,
    NEW,
    REFUSED,
    Chat,
    Ledger,
    Stay,
    number_of,
    parse,
    word_of,
)

SHOWN = 40
"""Failures kept as text; the others are only counted."""
ALIKE = 5
"""Failures of one kind that are kept."""


class Device:
    """The events that one device has received so far."""

    def __init__(self, key: int, user: str) -> None:
        self.key = key
        self.user = user
        self.last_id = 0
        """The last event id of this connection."""
        self.last_at = 0
        self.has: dict[int, bytearray] = {}
        """By chat: a byte per message id, 1 if the message came."""
        self.told: dict[tuple[int, str, str], int] = {}
        """The highest of the user's own messages, by chat, sender and kind of receipt."""

    def connected(self, after: int = 0) -> None:
        """Begin a new connection, which told the relay that the device has everything up to `after`."""
        self.last_id = after
        self.last_at = 0

    def take(self, chat: int, message_id: int) -> None:
        """Note that a message has arrived."""
        had = self.has.setdefault(chat, bytearray())
        if len(had) <= message_id:
            had.extend(bytes(message_id + 64 - len(had)))
        had[message_id] = 1

    def lacks(self, chat: int, message_id: int) -> bool:
        """Return whether a message never came."""
        had = self.has.get(chat, b"")
        return message_id >= len(had) or not had[message_id]


class Checker:
    """Compares the received events with those that may and must come."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.devices: list[Device] = []
        self.users: set[str] = set()
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.doubtful: set[str] = set()
        """Names of groups whose first answer was lost: there may be two of them."""
        self._by_id: dict[str, Chat] = {}
        self._pairs: dict[tuple[str, str], Chat] = {}
        self._kinds: Counter[str] = Counter()
        self._refused_texts: set[tuple[int, int]] = set()

    def fail(self, what: str) -> None:
        """Note a broken promise."""
        self.counts["failures"] += 1
        # A few failures of a kind suffice; failures that differ only in numbers are of one kind.
        kind = re.sub(r"\d+|m[0-9a-f]+", "#", what)[-60:]
        self._kinds[kind] += 1
        if self._kinds[kind] <= ALIKE and len(self.failures) < SHOWN:
            self.failures.append(what)

    # Users and members.

    def add_device(self, user: str) -> Device:
        """Add a person's device."""
        device = Device(len(self.devices), user)
        self.users.add(user)
        self.devices.append(device)
        return device

    def pair(self, one: str, other: str) -> Chat:
        """Return the dialog of two people, or the notes of one."""
        key = (one, other) if one <= other else (other, one)
        found = self._pairs.get(key)
        if found is None:
            people = list(dict.fromkeys(key))
            type_ = "dialog" if len(people) > 1 else "favorites"
            found = self._pairs[key] = self.ledger.open_chat("~".join(people), type_, people)
        return found

    def group(self, name: str, type_: str, members: list[str]) -> Chat:
        """Add a group that is about to be made; the answer will have its id."""
        return self.ledger.open_chat(name, type_, members)

    def group_made(self, chat: Chat, chat_id: str) -> None:
        """Note the id of the group."""
        chat.id = chat_id
        self._by_id[chat_id] = chat

    def chat_of(self, user: str, chat_id: str) -> Chat | None:
        """Find a chat by a member's name for it."""
        return self.pair(user, chat_id) if chat_id in self.users else self._by_id.get(chat_id)

    def id_for(self, user: str, chat: Chat) -> str:
        """Name a chat as one of its members does."""
        return chat.id or next((one for one in chat.stays if one != user), user)

    # Requests and answers.

    def answered(self, number: int, payload: Mapping[str, Any]) -> None:
        """Note the answer to a request that adds to a chat: its message and time."""
        ledger = self.ledger
        message_id, at = payload["messageId"], payload["timestamp"]
        what = self._name(number)
        if payload.get("clientMessageId") and number_of(payload["clientMessageId"]) != number:
            self.fail(f"{what}: answered with the client id {payload['clientMessageId']}")
        if ledger.state[number] == ANSWERED and (ledger.message_id[number], ledger.at[number]) != (message_id, at):
            self.fail(f"{what}: answered again as message {message_id} of {at}, not as before")
        self._is(number, message_id, at, what)
        ledger.state[number] = ANSWERED
        self.counts["answered"] += 1
        self.devices[ledger.device[number]].take(ledger.chat[number], message_id)
        self._takes_effect(number, message_id)

    def refused(self, number: int, code: str) -> None:
        """Note that a request was refused and is not repeated: it must have no effect anywhere."""
        ledger = self.ledger
        self.counts[f"refused {code}"] += 1
        if ledger.state[number] == ANSWERED or ledger.message_id[number]:
            self.fail(f"{self._name(number)}: refused as {code}, though it is in the log")
        ledger.state[number] = REFUSED
        if ledger.kind[number] == EDIT:
            self._refused_texts.add((ledger.target[number], ledger.version[number]))

    def right(self, chat: Chat, user: str) -> Stay | None:
        """Return the stay that obliges the relay to let a person into a chat from now on.

        None while that is uncertain: they are being added or removed, or the chat is being deleted or has not begun.
        """
        stay = chat.stay(user)
        begun = chat.id or chat.last
        return stay if begun and stay is not None and stay.joined is not None and not chat.gone else None

    def denied(self, right: Stay | None, chat: Chat, user: str, what: str) -> None:
        """Note that a request in a chat was refused: a failure if the sender had the right all the time."""
        # A member who was removed and added again has another stay: the answer may come from the time in between.
        if right is not None and self.right(chat, user) is right:
            self.fail(f"{user}: {what} in {chat.name} was refused")

    def _name(self, number: int) -> str:
        ledger = self.ledger
        chat = ledger.chats[ledger.chat[number]]
        return f"{KINDS[ledger.kind[number]]} m{number:x} of {ledger.user[number]} in {chat.name}"

    def _is(self, number: int, message_id: int, at: int | None, where: str) -> None:
        """Check that a request is this message of its chat, in every view and however often it was sent."""
        ledger = self.ledger
        chat = ledger.chats[ledger.chat[number]]
        known = ledger.message_id[number]
        if ledger.state[number] == REFUSED:
            self.fail(f"{where}: {self._name(number)} is message {message_id}, though it was refused")
        if known and known != message_id:
            self.fail(f"{where}: {self._name(number)} is message {message_id} and message {known}")
            return
        other = chat.place(message_id, number)
        if other != number:
            self.fail(f"{where}: message {message_id} is {self._name(number)} and {self._name(other)}")
            return
        ledger.message_id[number] = message_id
        if at is not None:
            if ledger.at[number] and ledger.at[number] != at:
                self.fail(f"{where}: {self._name(number)} is of {at} and of {ledger.at[number]}")
            ledger.at[number] = at

    def _takes_effect(self, number: int, message_id: int) -> None:
        ledger = self.ledger
        target = ledger.target[number]
        if ledger.kind[number] == EDIT:
            ledger.last_edit[target] = max(ledger.last_edit[target], message_id)
        elif ledger.kind[number] == DELETE:
            ledger.deleted[target] = 1

    # Membership. Messages may be under way while it changes, so each change lies between two of them.

    def joining(self, chat: Chat, user: str) -> None:
        """Note that a person is about to be added."""
        chat.stays.setdefault(user, []).append(Stay(chat.last))

    def joined(self, chat: Chat, user: str, last: int) -> None:
        """Note that they were added, at this message at the latest."""
        stay = chat.stay(user)
        assert stay is not None
        stay.joined = max(last, chat.last)

    def leaving(self, chat: Chat, user: str) -> None:
        """Note that a person is about to be removed."""
        stay = chat.stay(user)
        assert stay is not None
        stay.until = chat.last

    def left(self, chat: Chat, user: str, last: int) -> None:
        """Note that they were removed, at this message at the latest."""
        chat.stays[user][-1].left = max(last, chat.last)

    # Events.

    def heard(self, device: Device, name: str, event_id: int, at: int, payload: Any) -> None:
        """Check a durable event."""
        if event_id <= device.last_id:
            self.fail(f"{device.user}: {name} {event_id} came after event {device.last_id}")
        if name == "chats":
            # It has the list as of the time of sending, whichever entry it covers.
            at = device.last_at
        elif at < device.last_at:
            self.fail(f"{device.user}: {name} {event_id} is of {at}, the one before it of {device.last_at}")
        device.last_id, device.last_at = event_id, at
        self.counts["events"] += 1
        if name == "chats":
            return
        chat = self.chat_of(device.user, payload.chat_id)
        if chat is None:
            self.fail(f"{device.user}: {name} {event_id} of a chat {payload.chat_id} that nobody made")
        elif name in ("read", "dlvrd"):
            self._heard_mark(device, chat, name, payload)
        else:
            self._heard_message(device, chat, name, event_id, payload)

    def _heard_message(self, device: Device, chat: Chat, name: str, event_id: int, payload: Any) -> None:
        ledger = self.ledger
        message_id = payload.message_id
        where = f"{device.user}: {name} {event_id} in {chat.name}"
        if not chat.may_get(device.user, message_id):
            self.fail(f"{where}: message {message_id} is none of theirs")
        if name == "delete":
            original = chat.number(payload.original_message_id)
            number = chat.targets.get(payload.original_message_id, -1)
            if number < 0:
                self.fail(f"{where}: nobody asked for it")
                return
            if original != ledger.target[number]:
                self.fail(f"{where}: it deletes message {payload.original_message_id}")
        else:
            number = number_of(payload.client_message_id)
            if not 0 <= number < len(ledger) or ledger.chats[ledger.chat[number]] is not chat:
                self.fail(f"{where}: {payload.client_message_id} was never said there")
                return
        if KINDS[ledger.kind[number]] != name:
            self.fail(f"{where}: {self._name(number)} is not such a request: {name}")
            return
        self._is(number, message_id, None if name == "delete" else payload.timestamp, where)
        if ledger.seq[number] and ledger.seq[number] != event_id:
            self.fail(f"{where}: {self._name(number)} is event {ledger.seq[number]} elsewhere")
        ledger.seq[number] = event_id
        ledger.last_seq = max(ledger.last_seq, event_id)
        if name == "new":
            if payload.sender != ledger.user[number]:
                self.fail(f"{where}: {self._name(number)} comes from {payload.sender}")
            self._text(number, payload.message, payload.status == "deleted", where)
        elif name == "edit":
            self._text(ledger.target[number], payload.message, payload.message is None, where)
        self._takes_effect(number, message_id)
        device.take(chat.key, message_id)

    def _text(self, number: int, text: str | None, deleted: bool, where: str) -> int:
        """Check that a text is one of its message's versions; return the version, -1 if there is none."""
        ledger = self.ledger
        chat = ledger.chats[ledger.chat[number]]
        if text is None or deleted:
            if text is not None:
                self.fail(f"{where}: {self._name(number)} is deleted and has a text")
            if ledger.message_id[number] not in chat.targets and not ledger.deleted[number]:
                self.fail(f"{where}: {self._name(number)} has no text, and nobody deleted it")
            return -1
        found = parse(text)
        if found is None or found[0] != number or found[1] > ledger.version[number]:
            self.fail(f"{where}: {self._name(number)} says {text[:60]!r}, which its author never wrote")
            return -1
        if found in self._refused_texts:
            self.fail(f"{where}: {self._name(number)} has the text of an edit that was refused")
        return found[1]

    def _heard_mark(self, device: Device, chat: Chat, name: str, payload: Any) -> None:
        marker, message_id = payload.user_id, payload.message_id
        where = f"{device.user}: {name} by {marker} of message {message_id} in {chat.name}"
        if device.user not in chat.stays or marker not in chat.stays:
            self.fail(f"{where}: not between these two")
        if name == "read" and message_id > chat.read_asked.get(marker, 0):
            self.fail(f"{where}: {marker} never read so far")
        if marker == device.user:
            return
        number = chat.number(message_id)
        if number >= 0 and self.ledger.user[number] != device.user:
            self.fail(f"{where}: the message is not theirs")
        for kind in ("read", "dlvrd") if name == "read" else ("dlvrd",):
            place = (chat.key, marker, kind)
            device.told[place] = max(device.told.get(place, 0), message_id)

    # Histories and lists.

    def page(self, user: str, chat: Chat, rows: Sequence[Mapping[str, Any]]) -> None:
        """Check a page of history: without gaps, and with real messages."""
        before = 0
        for row in rows:
            where = f"{user}: history of {chat.name}, message {row['messageId']}"
            if before and row["messageId"] != before + 1:
                self.fail(f"{where}: it follows message {before}")
            before = row["messageId"]
            self.row(chat, row, where)

    def row(self, chat: Chat, row: Mapping[str, Any], where: str) -> int:
        """Check a message of a history or a search; return its request, -1 if there is none."""
        ledger = self.ledger
        number = number_of(row["clientMessageId"])
        if not 0 <= number < len(ledger) or ledger.chats[ledger.chat[number]] is not chat:
            self.fail(f"{where}: {row['clientMessageId']} was never said there")
            return -1
        if row["sender"] != ledger.user[number] or row["type"] != KINDS[ledger.kind[number]]:
            self.fail(f"{where}: {self._name(number)} is a {row['type']} of {row['sender']}")
        self._is(number, row["messageId"], row["createdAt"], where)
        if ledger.kind[number] == NEW:
            self._text(number, row.get("message"), row["status"] == "deleted", where)
        return number

    def found(self, user: str, word: str, rows: Iterable[Mapping[str, Any]], places: Iterable[Chat | None]) -> None:
        """Check the result of a search: messages of the user's chats that contain the word."""
        for row, chat in zip(rows, places, strict=True):
            where = f"{user}: search for {word}"
            if chat is None or user not in chat.stays:
                self.fail(f"{where}: a message of {row['chatId']}, which is none of theirs")
                continue
            number = self.row(chat, row, where)
            if number >= 0 and word_of(number) != word:
                self.fail(f"{where}: {self._name(number)} does not hold it")

    def marked(self, chat: Chat, user: str, message_id: int) -> None:
        """Note the answer to `read`: everything up to this message is read."""
        chat.read[user] = max(chat.read.get(user, 0), message_id)

    def marked_all(self, chat: Chat, user: str, known: int, message_id: int) -> None:
        """Note the answer to `read` for a whole chat.

        Args:
            chat: the chat.
            user: the reader.
            known: the last known message at the time of the request.
            message_id: the last message of others that it covered; 0 if there was nothing to mark.
        """
        self.marked(chat, user, message_id or known)
        if message_id:
            chat.read_perhaps.pop(user, None)
        else:
            # It had been sent before, and the answer with its reach was lost.
            chat.read_perhaps[user] = len(self.ledger)

    def marking(self, chat: Chat, user: str, message_id: int | None) -> None:
        """Note that `read` is about to be sent."""
        asked = ALL if message_id is None else message_id
        chat.read_asked[user] = max(chat.read_asked.get(user, 0), asked)

    def silent(self) -> Iterable[int]:
        """Return the requests with an unknown outcome."""
        return (number for number, state in enumerate(self.ledger.state) if state == ASKED)


__all__ = ["DELETE", "EDIT", "NEW", "Chat", "Checker", "Device"]
