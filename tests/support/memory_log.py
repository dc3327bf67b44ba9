"""The log without a disk: commands are decided, their entries applied, and facts answered from a dict.

For tests of the rules. It does the same as the store's writer, batch by batch, in as few lines as possible.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from relay.core import rules
from relay.core.files.media_types import UNKNOWN
from relay.core.model.entities import Chat, Member
from relay.core.model.state import State
from relay.core.rules import commands
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import COUNTED_MESSAGES
from relay.keys import NO_DEVICE, ChatKey, DeviceKey
from relay.outcomes import Decidable
from relay.protocol import control, objects, requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import (
    ClientKey,
    Covered,
    CoveredBy,
    DevicesInUse,
    DeviceUses,
    Entry,
    Fact,
    Facts,
    FilesNamed,
    FirstMark,
    FirstReceipt,
    MessageAt,
    StoredFile,
    StoredMessage,
    UnreadAfter,
)

T0 = 1_767_225_600_000
ROUNDS = 6
"""How often a batch may ask for facts: an answer must not depend on many before it."""


class MemoryLog:
    """A state, its entries, and the messages in their current form."""

    def __init__(self, apply: Callable[[Entry], None] | None = None) -> None:
        self.files: dict[str, StoredFile] = {}
        self.state = State()
        self.entries: list[Entry] = []
        self.messages: dict[tuple[int, int], StoredMessage] = {}
        self.batches = 0
        self.counted_messages = COUNTED_MESSAGES
        """Maximum messages counted for one receipt."""
        self.now = T0
        self.device_uses = DeviceUses()
        """The use of the devices of the user who signs in."""
        self.apply = apply or self.state.apply

    # The path of a command.

    def run(self, *batch: Command, alone: bool = False) -> list[Any]:
        """Decide commands like the writer: together, except for those that need a batch of their own.

        Args:
            batch: the waiting commands, in order.
            alone: give every command a batch of its own.

        Returns:
            The answer to each.
        """
        answers: list[Any] = []
        waiting = list(batch)
        while waiting:
            count = 0
            while count < len(waiting) and not rules.needs_own_batch(self.state, waiting[count]):
                count += 1
            count = 1 if alone else max(count, 1)
            answers += self._commit(waiting[:count])
            waiting = waiting[count:]
        return answers

    def _commit(self, batch: list[Command]) -> list[Any]:
        facts: Facts = {}
        for _ in range(ROUNDS):
            draft = rules.decide(self.state, batch, facts, self.counted_messages)
            if draft.unknown:
                facts.update({fact: self._look_up(fact) for fact in draft.unknown})
                continue
            entries = [entry for decision in draft.decisions for entry in decision.entries]
            known = {entry.client_key: self._by_client_key(entry.client_key) for entry in entries if entry.client_key}
            clashes: Facts = {ClientKey(key): stored for key, stored in known.items() if stored is not None}
            if clashes:
                assert not clashes.keys() <= facts.keys(), "it was decided as new though its client key is known"
                facts.update(clashes)
                continue
            break
        else:
            raise AssertionError("a batch asked for more facts without end")
        self.batches += 1
        for entry in entries:
            self._store(entry)
        for amendment in draft.amendments:
            place = (amendment.chat, amendment.message_id)
            self.messages[place] = self.messages[place]._replace(
                message=amendment.message,
                extra=amendment.extra,
                changed=amendment.changed,
                changed_at=amendment.at,
                deleted=amendment.deleted,
            )
        for entry in entries:
            self.entries.append(entry)
            self.apply(entry)
        return [decision.answer for decision in draft.decisions]

    def _store(self, entry: Entry) -> None:
        if entry.kind <= kinds.DELETE:
            place = (entry.chat, entry.message_id)
            assert place not in self.messages, f"message {place} is there already"
            self.messages[place] = StoredMessage(
                entry.chat,
                entry.message_id,
                entry.kind,
                entry.actor,
                entry.client_id or "",
                entry.at,
                entry.message if entry.kind == kinds.NEW else None,
                deleted=False,
                changed=0,
                changed_at=0,
                target=entry.target,
                extra=entry.extra,
                device=entry.device,
            )

    # Facts.

    def _look_up(self, fact: Fact) -> Any:
        match fact:
            case MessageAt():
                return self.messages.get((fact.chat, fact.message_id))
            case ClientKey():
                return self._by_client_key(fact.client_key)
            case CoveredBy():
                highest: dict[int, Covered] = {}
                for one in self._said(fact.chat, fact.user, fact.after + 1, fact.upto):
                    highest[one.author] = Covered(one.author, one.message_id, one.client_id)
                return tuple(sorted(highest.values(), key=lambda one: -one.message_id))
            case UnreadAfter():
                return len(self._said(fact.chat, fact.user, fact.after + 1, fact.upto))
            case FirstMark():
                return self._first_mark(fact)
            case DevicesInUse():
                return self.device_uses
            case FilesNamed():
                return {key: file for key, file in self.files.items() if key in fact.ids}

    def _said(self, chat: int, user: int, first: int, last: int) -> list[StoredMessage]:
        """Other users' undeleted messages of a chat, ascending."""
        found = [
            one
            for (key, message_id), one in self.messages.items()
            if key == chat and first <= message_id <= last and one.kind == kinds.NEW
        ]
        return sorted((one for one in found if one.author != user and not one.deleted), key=lambda one: one.message_id)

    def _by_client_key(self, key: int | None) -> StoredMessage | None:
        for entry in self.entries:
            if entry.client_key == key:
                return self.messages[entry.chat, entry.message_id]
        return None

    def _first_mark(self, fact: FirstMark) -> FirstReceipt | None:
        said = self._said(fact.chat, fact.user, 1, fact.upto)
        if not said:
            return None
        wanted = (kinds.READ,) if fact.read else (kinds.DLVRD, kinds.READ)
        for entry in self.entries:
            right = entry.kind in wanted and entry.chat == fact.chat and entry.actor == fact.user
            if right and entry.message_id >= said[-1].message_id:
                return FirstReceipt(said[-1].message_id, said[-1].client_id, entry.at)
        return None

    # Shorthands for commands.

    def command(
        self, user: str | None, request: Decidable, generated_id: str = "", device: DeviceKey = NO_DEVICE
    ) -> Command:
        """Make a command of a user or an admin, a second later than the one before."""
        self.now += 1_000
        key = ADMIN if user is None else self.state.user_keys[user]
        return Command(self.now, key, device, request, generated_id=generated_id)

    def do(self, user: str | None, request: Decidable, generated_id: str = "") -> Any:
        """Decide one command, and return its answer."""
        (answer,) = self.run(self.command(user, request, generated_id))
        return answer

    def add_users(self, *ids: str) -> None:
        """Make users."""
        for user_id in ids:
            self.do(None, control.AddUser(id=user_id))

    def new(self, user: str, chat_id: str, client_id: str, text: str = "hello", reply_to: int | None = None) -> Any:
        """Send a message."""
        return self.do(
            user,
            requests.New(chat_id=chat_id, client_message_id=client_id, message=text, reply_to=reply_to),
        )

    def mark(self, user: str, chat_id: str, message_id: int | None = None, *, read: bool) -> Command:
        """Make the command of a receipt."""
        key = self.key(user, chat_id)
        return self.command(
            user,
            commands.MarkRead(key, message_id) if read else commands.MarkDelivered(key, message_id),
        )

    def dlvrd(self, user: str, chat_id: str, message_id: int | None = None) -> Any:
        """Mark as delivered."""
        (answer,) = self.run(self.mark(user, chat_id, message_id, read=False))
        return answer

    def read(self, user: str, chat_id: str, message_id: int | None = None) -> Any:
        """Mark as read."""
        (answer,) = self.run(self.mark(user, chat_id, message_id, read=True))
        return answer

    def group(self, owner: str, *participants: str, type_: Any = "group", id_: str = "g-1") -> str:
        """Make a group or channel."""
        self.do(owner, requests.CreateChat(type=type_, name="Crew", participants=[*participants]), id_)
        return id_

    # Queries.

    def key(self, user: str, chat_id: str) -> ChatKey:
        """Find a chat by a user's id for it."""
        key = self.state.chat_key(self.state.user_keys[user], chat_id)
        assert key is not None, f"{user} has no chat {chat_id}"
        return key

    def chat(self, user: str, chat_id: str) -> Chat:
        """A chat."""
        return self.state.chats[self.key(user, chat_id)]

    def member(self, user: str, chat_id: str) -> Member:
        """A user in a chat."""
        return self.state.members[self.key(user, chat_id)][self.state.user_keys[user]]

    def missed(self, user: str, chat_id: str) -> int:
        """How many unread messages a user has in a chat."""
        return self.state.missed(self.chat(user, chat_id), self.state.user_keys[user])

    def members(self, user: str, chat_id: str) -> set[str]:
        """The members of a chat."""
        return {self.state.users[key].id for key in self.state.members[self.key(user, chat_id)]}

    def file(self) -> objects.Attachment:
        """Return an attachment that User1 has uploaded."""
        uploader = self.state.user_keys["User1"]
        self.files["f1"] = StoredFile("f1", "0" * 64, uploader, "a.txt", UNKNOWN, 1, None, None, 1, ())
        meta = objects.AttachmentMeta(extension="txt", size=1)
        return objects.Attachment(type="file", id="f1", filename="a.txt", url="/files/f1", meta=meta)


def code(answer: Any) -> str:
    """The error code of an answer that must be an error."""
    assert isinstance(answer, RelayError), answer
    return answer.error.code


def facts_of(state: State) -> Any:
    """The part of a state that must follow from the entries alone; its tails are only a cache."""
    return msgspec.to_builtins(
        {
            "seq": state.seq,
            "at": state.at,
            "users": state.users,
            "user_keys": state.user_keys,
            "devices": state.devices,
            "device_keys": state.device_keys,
            "chats": state.chats,
            "group_keys": state.group_keys,
            "dialog_keys": {f"{a} {b}": key for (a, b), key in state.dialog_keys.items()},
            "members": {chat: sorted(members.items()) for chat, members in state.members.items()},
            "chats_of": {user: sorted(chats) for user, chats in state.chats_of.items()},
        },
        str_keys=True,
    )
