"""A batch that is being decided: the state, what the batch adds to it, and the facts that it needs.

Also the checks that most rules begin with: finding the chat and the users that a request names. Changes nothing.
"""

import logging
from collections.abc import Callable, Iterable
from hashlib import blake2b
from struct import Struct
from typing import Any, NamedTuple, TypeVar

import msgspec

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import attachments as files_of
from relay.core.rules import permissions
from relay.core.rules.commands import ADMIN
from relay.core.rules.permissions import Action
from relay.keys import ChatKey, MessageId, UnixMs, UserKey
from relay.protocol.errors import RelayError
from relay.protocol.objects import FILES_PATH, Attachment, ReplyTo
from relay.store.command import Command
from relay.store.entry import Amendment, ClientKey, Covered, Entry, Fact, Facts, FilesNamed, StoredMessage

Value = TypeVar("Value")

logger = logging.getLogger(__name__)

Rule = Callable[["DraftBuilder", Command, Any], object]
"""Decides one kind of command: adds entries to the draft and returns the answer, or raises `RelayError`.

Any: takes the kind of request that `Decidable.decided_by` pairs it with, and no other."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """The result of one command: its entries, and the answer to send once they are on disk."""

    entries: list[Entry]
    answer: object


class Draft(NamedTuple):
    """The result of a batch: one decision for each command, in order."""

    decisions: list[Decision]
    amendments: list[Amendment]
    unknown: list[Fact]
    """Missing facts; look them up and decide again."""


class UnknownFact(Exception):
    """A rule needs a fact that has not been looked up yet."""

    def __init__(self, fact: Fact) -> None:
        self.fact = fact


COUNTED_MESSAGES = 10_000
"""Messages counted for one receipt at most. If both ends are further away, the unread count may be too high."""

_EMPTY = blake2b(digest_size=8)
_unpack = Struct("<q").unpack


def client_key(chat: ChatKey, actor: UserKey, client_id: str) -> int:
    """Hash the idempotency key of a message (PROTOCOL.md, section 3).

    Args:
        chat: the chat's key.
        actor: the author's key.
        client_id: the author's own id of the message.

    Returns:
        64 bits, signed as SQLite's integers are.
    """
    hash_ = _EMPTY.copy()  # which takes half as long as making one
    hash_.update(f"{chat} {actor} {client_id}".encode())
    return _unpack(hash_.digest())[0]  # type: ignore[no-any-return]


class DraftBuilder:
    """Builds the draft of a batch: the state, and what the batch adds to it so far."""

    def __init__(self, state: State, facts: Facts, counted_messages: int) -> None:
        self.state = state
        self.facts = facts
        self.counted_messages = counted_messages
        self.seq = state.seq
        self.at = state.at
        self.decisions: list[Decision] = []
        self.amendments: list[Amendment] = []
        self.unknown: list[Fact] = []
        self.entries: list[Entry] = []
        self.last_ids: dict[ChatKey, MessageId] = {}
        """The last message id of each chat in the batch."""
        self.sent: dict[ChatKey, list[tuple[MessageId, UserKey, str]]] = {}
        """New messages of each chat: id, author, client id."""
        self.client_keys: dict[int, Entry] = {}
        """Entries by the hash of their idempotency key."""
        self.dlvrd: dict[tuple[ChatKey, UserKey], MessageId] = {}
        self.read: dict[tuple[ChatKey, UserKey], MessageId] = {}
        """The messages up to which members have received and read, if the batch changes it."""
        self.marks: dict[tuple[ChatKey, UserKey], list[Entry]] = {}
        """Receipts of each member, ascending."""
        self.coverage: dict[tuple[ChatKey, MessageId, MessageId], tuple[Covered, ...]] = {}
        """The highest message of each author in (after, upto] of a chat, computed once."""

    def decide(self, command: Command, rule: Rule) -> None:
        """Decide one command; if it is refused, nothing of it stays in the draft."""
        self.entries = []
        self.at = max(self.at, command.at)
        seq, amended = self.seq, len(self.amendments)
        answer: object
        try:
            # The user may have been disabled, or the device signed out, while the command waited.
            if command.device:
                if not self.state.is_authorized(command.user, command.device):
                    raise RelayError("unauthorized", "this device may not sign in any more")
            elif command.user in self.state.inactive and not command.importer:
                raise RelayError.forbidden("this account is switched off")
            answer = rule(self, command, command.request)
        except RelayError as error:
            # Its traceback and this frame refer to each other: a cycle that would keep all facts of the batch alive.
            answer = error.with_traceback(None)
        except UnknownFact as unknown:
            answer = RelayError.internal()
            self.unknown.append(unknown.fact)
        except Exception:
            # A rule that crashes on a command must not fail the whole batch, nor be retried forever.
            logger.exception("a rule failed at a %s; it is refused", type(command.request).__name__)
            answer = RelayError.internal()
        if isinstance(answer, RelayError):
            self.entries = []
            self.seq = seq
            del self.amendments[amended:]
        self.decisions.append(Decision(self.entries, answer))

    def fact(self, fact: Fact[Value]) -> Value:
        """Return a fact that was looked up.

        Raises:
            UnknownFact: it has to be looked up first.
        """
        try:
            value: Value = self.facts[fact]
        except KeyError:
            raise UnknownFact(fact) from None
        return value

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
        original_at: UnixMs = 0,
    ) -> Entry:
        """Add the next entry of the log.

        Args:
            kind: see `store.kinds`.
            chat: the chat, or `NO_CHAT`.
            message_id: the id of a message or change; for a receipt, the highest that it covers; else 0.
            command: the command, with its actor, device and connection.
            target: see `Entry`, also for the following fields.
            client_key: the hash of the idempotency key, see `client_key`.
            client_id: the client id of a message or a change.
            message: a message's text.
            extra: see `Entry`.
            attachments: a message's attachments, also in `extra`.
            reply_to: the quote of the original message.
            covered: for a receipt, each author's highest message that it newly covers.
            original_at: for a deletion, when its message was logged.
        """
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
            original_at=original_at,
            covered=covered,
            origin=command.origin,
        )
        self.entries.append(entry)
        if client_key is not None:
            self.client_keys[client_key] = entry
        return entry

    def change(self, kind: int, chat: ChatKey, command: Command, change: changes.Change) -> None:
        """Add an entry that changes chats, users or devices.

        Args:
            kind: CHATS or a later kind.
            chat: the chat that changes, or `NO_CHAT`.
            command: who does it.
            change: the change.
        """
        self.add(kind, chat, 0, command, extra=changes.encode(change))

    def next_id(self, chat: ChatKey) -> MessageId:
        """Take the chat's next message id."""
        last = self.last_ids.get(chat)
        if last is None:
            known = self.state.chats.get(chat)
            last = known.last_message_id if known else 0
        self.last_ids[chat] = last + 1
        return last + 1

    def repeated(self, key: int) -> StoredMessage | None:
        """Find the message that has this idempotency key already, if that is known without a look-up."""
        entry = self.client_keys.get(key)
        if entry is not None:
            return _as_stored(entry)
        known: StoredMessage | None = self.facts.get(ClientKey(key)) if self.facts else None
        return known


def _as_stored(entry: Entry) -> StoredMessage:
    """Describe a message of this batch as the log will store it."""
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
    """Find the chat that the user calls `chat_id`.

    Args:
        draft: the batch.
        command: the command of the user who asks.
        chat_id: the id that the chat has for them.

    Raises:
        RelayError: `not_found`, whether it does not exist or they are not in it.
    """
    state = draft.state
    key = state.group_keys.get(chat_id) if command.user == ADMIN else state.chat_key(command.user, chat_id)
    if key is None:
        raise RelayError.no_chat(chat_id)
    return state.chats[key]


def chat_for(draft: DraftBuilder, command: Command, chat_id: str, *actions: Action) -> Chat:
    """Find the chat that the user calls `chat_id`, if they may do all of `actions` there.

    Args:
        draft: the batch.
        command: the command of the user who asks.
        chat_id: the id that the chat has for them.
        *actions: the actions they want to do there.

    Raises:
        RelayError: see `member_chat` and `permissions.check`.
    """
    chat = member_chat(draft, command, chat_id)
    for action in actions:
        permissions.check(draft.state, chat, command.user, action)
    return chat


def known_users(draft: DraftBuilder, ids: Iterable[str], field: str) -> list[UserKey]:
    """Find the keys of users who may be in a chat, each once.

    Args:
        draft: the batch.
        ids: their ids.
        field: the field of the request that has them, for the error.

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
    """Find the keys of users who are to join a chat, each once.

    Args:
        draft: the batch.
        command: the command that lets them join.
        ids: their ids.

    Raises:
        RelayError: there is no such user, or they are disabled and the actor is not an admin on the machine.
    """
    field = "payload.participants"
    keys = known_users(draft, ids, field)
    for user in map(draft.state.users.__getitem__, keys):
        if user.disabled and command.user != ADMIN:
            raise RelayError.forbidden(f"{field}: {user.id!r} cannot be added: their account is switched off")
    return keys


def check_photo(draft: DraftBuilder, command: Command, url: str | None) -> None:
    """Refuse a picture that the user may not read, or that is not on this relay.

    The host of a picture elsewhere would learn who looks at it, when, and from which address.

    Args:
        draft: the batch.
        command: the command of the user who chose the picture.
        url: the picture's URL; None or empty for none.

    Raises:
        RelayError: `bad_request`, it is not a file of this relay; `not_found`, they may not read it.
    """
    wanted = files_of.file_id(url)
    if url and wanted is None:
        raise RelayError.bad_field(
            "payload.photoUrl", f"a picture is one of the relay's own files, {FILES_PATH}ID: upload it first"
        )
    if wanted is None or command.user == ADMIN:
        return
    file = draft.fact(FilesNamed((wanted,))).get(wanted)
    if file is None or not files_of.may_read(draft.state, command.user, file):
        raise RelayError("not_found", f"payload.photoUrl: there is no file {wanted!r} for you here: upload it")
