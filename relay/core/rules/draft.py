"""A batch of commands in the making: the state, what the batch adds to it, and what has to be looked up first.

And who is asked about which chat, which every rule begins with. Changes nothing.
"""

import logging
from collections.abc import Callable, Iterable
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple

import msgspec

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import attachments as files_of
from relay.core.rules import permissions
from relay.core.rules.commands import ADMIN, Command
from relay.core.rules.permissions import Action
from relay.keys import ChatKey, DeviceKey, MessageId, UserKey
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment, ReplyTo
from relay.store.entry import Amendment, ClientKey, Covered, Entry, Fact, Facts, FilesNamed, StoredMessage

logger = logging.getLogger(__name__)

Rule = Callable[["DraftBuilder", Command, Any], object]
"""Decides one kind of command: adds entries to the draft and gives the answer, or raises what refuses it."""


class ChangedChat(NamedTuple):
    """The answer to what changes a chat is the chat as it is afterwards."""

    chat: ChatKey


class ChangedUser(NamedTuple):
    """The answer to what changes a user is the user as they are afterwards."""

    user: UserKey


class ChangedDevice(NamedTuple):
    """The answer to what changes a device is the device as it is afterwards."""

    device: DeviceKey


class DevicesRevoked(NamedTuple):
    """The answer to what signs devices out: how many."""

    number: int


class SignedIn(NamedTuple):
    """The answer to what lets somebody in: who and from which device, and the chat where they land, if any."""

    user: UserKey
    device: DeviceKey
    chat_id: str | None


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What one command leads to: entries, and what is answered once they are on disk."""

    entries: list[Entry]
    answer: object


class Draft(NamedTuple):
    """What a batch of commands leads to; one decision a command, in their order."""

    decisions: list[Decision]
    amendments: list[Amendment]
    unknown: list[Fact]
    """Facts that were missing: look them up and decide again."""


class UnknownFact(Exception):
    """A rule needs a fact that has not been looked up yet."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact


_EMPTY = blake2b(digest_size=8)
_unpack = Struct("<q").unpack


def client_key(chat: int, actor: int, client_id: str) -> int:
    """Hash what makes a message the same one again (PROTOCOL.md, section 3) to 64 bits."""
    hash_ = _EMPTY.copy()  # which takes half as long as making one
    hash_.update(f"{chat} {actor} {client_id}".encode())
    return _unpack(hash_.digest())[0]  # type: ignore[no-any-return]


class DraftBuilder:
    """A batch in the making: the state, and what this batch adds to it."""

    def __init__(self, state: State, facts: Facts) -> None:
        self.state = state
        self.facts = facts
        self.seq = state.seq
        self.at = state.at
        self.decisions: list[Decision] = []
        self.amendments: list[Amendment] = []
        self.unknown: list[Fact] = []
        self.entries: list[Entry] = []
        self.last_ids: dict[ChatKey, MessageId] = {}
        self.sent: dict[ChatKey, list[tuple[MessageId, UserKey, str]]] = {}
        self.client_keys: dict[int, Entry] = {}
        self.dlvrd: dict[tuple[ChatKey, UserKey], MessageId] = {}
        self.read: dict[tuple[ChatKey, UserKey], MessageId] = {}
        self.marks: dict[tuple[ChatKey, UserKey], list[Entry]] = {}
        self.coverage: dict[tuple[ChatKey, MessageId, MessageId], tuple[Covered, ...]] = {}

    def decide(self, command: Command, rule: Rule) -> None:
        """Decide one command; what refuses it leaves nothing behind."""
        self.entries = []
        self.at = max(self.at, command.at)
        seq, amended = self.seq, len(self.amendments)
        answer: object
        try:
            if command.device and not self.state.is_authorized(command.user, command.device):
                # Switched off, or signed out, while it waited.
                raise RelayError("unauthorized", "this device may not sign in any more")
            answer = rule(self, command, command.request)
        except RelayError as error:
            # Its traceback has this frame, which has the answer: a circle, and all facts of the batch in it.
            answer = error.with_traceback(None)
        except UnknownFact as unknown:
            answer = RelayError.internal()
            self.unknown.append(unknown.fact)
        except Exception:
            # One command that a rule cannot bear must not take the others down, nor come back for ever.
            logger.exception("a rule failed at a %s; it is refused", type(command.request).__name__)
            answer = RelayError.internal()
        if isinstance(answer, RelayError):
            self.entries = []
            self.seq = seq
            del self.amendments[amended:]
        self.decisions.append(Decision(self.entries, answer))

    def fact(self, fact: Fact) -> Any:
        """Give a fact that was looked up, or note that it must be."""
        try:
            return self.facts[fact]
        except KeyError:
            raise UnknownFact(fact) from None

    def add(
        self,
        kind: int,
        chat: ChatKey,
        message_id: MessageId,
        command: Command,
        *,
        target: int = 0,
        client_key: int | None = None,
        client_id: str | None = None,
        message: str | None = None,
        extra: str | None = None,
        attachments: list[Attachment] | None = None,
        reply_to: ReplyTo | None = None,
        covered: tuple[Covered, ...] = (),
    ) -> Entry:
        """Add the next entry of the log; see `Entry`."""
        self.seq = seq = self.seq + 1
        entry = Entry(
            seq,
            kind,
            chat,
            message_id,
            command.user,
            command.device,
            self.at,
            target,
            client_key,
            client_id,
            message,
            extra,
            attachments,
            reply_to,
            covered=covered,
            origin=command.origin,
        )
        self.entries.append(entry)
        if client_key is not None:
            self.client_keys[client_key] = entry
        return entry

    def change(self, kind: int, chat: ChatKey, command: Command, change: changes.Change) -> None:
        """Add an entry that changes chats, users or devices."""
        self.add(kind, chat, 0, command, extra=changes.encode(change))

    def next_id(self, chat: ChatKey) -> int:
        """Take the chat's next message id."""
        last = self.last_ids.get(chat)
        if last is None:
            known = self.state.chats.get(chat)
            last = known.last_message_id if known else 0
        self.last_ids[chat] = last + 1
        return last + 1

    def repeated(self, key: int) -> StoredMessage | None:
        """The message that this client key belongs to already."""
        entry = self.client_keys.get(key)
        if entry is not None:
            return _as_stored(entry)
        known: StoredMessage | None = self.facts.get(ClientKey(key)) if self.facts else None
        return known


def _as_stored(entry: Entry) -> StoredMessage:
    """A message of this batch as it will be found in the log."""
    return StoredMessage(
        chat=entry.chat,
        message_id=entry.message_id,
        kind=entry.kind,
        author=entry.actor,
        client_id=entry.client_id or "",
        at=entry.at,
        message=None,
        deleted=False,
        changed=0,
        changed_at=0,
        target=0,
        extra=None,
        device=entry.device,
    )


def member_chat(draft: DraftBuilder, command: Command, chat_id: str) -> Chat:
    """The chat that the asker calls so.

    Raises:
        RelayError: `not_found`, which does not tell whether it exists.
    """
    state = draft.state
    key = state.group_keys.get(chat_id) if command.user == ADMIN else state.chat_key(command.user, chat_id)
    if key is None:
        raise RelayError.no_chat(chat_id)
    return state.chats[key]


def chat_for(draft: DraftBuilder, command: Command, chat_id: str, *actions: Action) -> Chat:
    """The chat that the asker calls so, where they may do all this in it.

    Raises:
        RelayError: see `member_chat` and `permissions.check`.
    """
    chat = member_chat(draft, command, chat_id)
    for action in actions:
        permissions.check(draft.state, chat, command.user, action)
    return chat


def known_users(draft: DraftBuilder, ids: Iterable[str], field: str) -> list[UserKey]:
    """The keys of users who may be in a chat, each once.

    Raises:
        RelayError: there is no such user.
    """
    keys: dict[UserKey, None] = {}
    for user_id in ids:
        user = draft.state.user(user_id)
        if user is None or user.removed:
            raise RelayError("not_found", f"{field}: there is no user {user_id!r} here")
        keys[user.key] = None
    return list(keys)


def joining_users(draft: DraftBuilder, command: Command, ids: Iterable[str]) -> list[UserKey]:
    """The keys of users who are to come into a chat, each once.

    Raises:
        RelayError: there is no such user, or their account is switched off; only an admin on the machine puts them in.
    """
    field = "payload.participants"
    keys = known_users(draft, ids, field)
    for user in map(draft.state.users.__getitem__, keys):
        if user.disabled and command.user != ADMIN:
            raise RelayError.forbidden(f"{field}: {user.id!r} cannot come in: their account is switched off")
    return keys


def check_photo(draft: DraftBuilder, command: Command, url: str | None) -> None:
    """Let nobody show as a picture what they may not see themselves, nor what strangers keep.

    Whoever keeps a picture elsewhere learns who looks at it, when, and from which address.
    """
    wanted = files_of.file_id(url)
    if url and wanted is None:
        raise RelayError.bad_field(
            "payload.photoUrl", f"a picture is one of the relay's own files, {files_of.FILES}ID: upload it first"
        )
    if wanted is None or command.user == ADMIN:
        return
    file = draft.fact(FilesNamed((wanted,))).get(wanted)
    if file is None or not files_of.may_read(draft.state, command.user, file):
        raise RelayError("not_found", f"payload.photoUrl: there is no file {wanted!r} for you here: upload it")
