"""May this happen, and what follows from it: `decide(state, commands, facts) -> Draft`.

Reads no clock, no random source, no connection and no setting. What it cannot know from the state it names
as a fact to be looked up, and is asked again with it. Nothing here changes the state: that is what the
entries are for, once they are on disk.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from relay.core import attachments as files_of
from relay.core import changes, commands
from relay.core.commands import ADMIN, Command
from relay.core.state import Chat, State, User
from relay.protocol import control, requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment, ReplyTo
from relay.store.entry import (
    Amendment,
    ClientKey,
    Covered,
    CoveredBy,
    Entry,
    Extra,
    Fact,
    Facts,
    FilesNamed,
    FirstMark,
    Kind,
    Marked,
    MessageAt,
    Prunable,
    Stored,
    StoredFile,
    UnreadAfter,
)

logger = logging.getLogger(__name__)

PREVIEW = 1_000
"""How much of a message stands in an answer to it, in characters."""


class ChatChanged(NamedTuple):
    """The answer to what changes a chat is the chat as it is afterwards."""

    chat: int


class UserChanged(NamedTuple):
    """The answer to what changes a user is the user as they are afterwards."""

    user: int


class DeviceChanged(NamedTuple):
    """The answer to what changes a device is the device as it is afterwards."""

    device: int


class SignedIn(NamedTuple):
    """The answer to what lets somebody in: who and from which device, and the chat where they land, if any."""

    user: int
    device: int
    chat_id: str | None


class Decision(NamedTuple):
    """What one command leads to: entries, and what is answered once they are on disk."""

    entries: list[Entry]
    answer: object


class Draft(NamedTuple):
    """What a batch of commands leads to; one decision a command, in their order."""

    decisions: list[Decision]
    amendments: list[Amendment]
    unknown: list[Fact]
    """Facts that were missing: look them up and decide again."""


class _UnknownError(Exception):
    def __init__(self, fact: Fact) -> None:
        self.fact = fact


def client_key(chat: int, actor: int, client_id: str) -> int:
    """Hash what makes a message the same one again (protocol.md, section 3) to 64 bits."""
    digest = blake2b(b"%d %d %s" % (chat, actor, client_id.encode()), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def stands_alone(state: State, command: Command) -> bool:
    """Whether a command changes what others in its batch would be decided by, and so gets a batch of its own."""
    request = command.request
    if type(request) is not requests.New:
        return type(request) not in _MARKS
    key = state.chat_key(command.user, request.chat_id)
    return key is None or bool(_hidden_from(state, key))


def _hidden_from(state: State, chat: int) -> list[int]:
    """Who has cleared a dialog and not got anything in it since."""
    if chat not in state.cleared:
        return []
    return [user for user, member in state.members[chat].items() if member.hidden]


def decide(state: State, batch: Sequence[Command], facts: Facts) -> Draft:
    """Decide a batch: later commands see what earlier ones lead to."""
    draft = _Drafting(state, facts)
    for command in batch:
        draft.decide(command)
    return Draft(draft.decisions, draft.amendments, draft.unknown)


class _Drafting:
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
        self.last_ids: dict[int, int] = {}
        self.sent: dict[int, list[tuple[int, int, str]]] = {}
        self.client_keys: dict[int, Entry] = {}
        self.dlvrd: dict[tuple[int, int], int] = {}
        self.read: dict[tuple[int, int], int] = {}
        self.marks: dict[tuple[int, int], list[Entry]] = {}
        self.coverage: dict[tuple[int, int, int], tuple[Covered, ...]] = {}

    def decide(self, command: Command) -> None:
        self.entries = []
        self.at = max(self.at, command.at)
        seq, amended = self.seq, len(self.amendments)
        answer: object
        try:
            answer = _RULES[type(command.request)](self, command, command.request)
        except RelayError as error:
            answer = error
        except _UnknownError as unknown:
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
            raise _UnknownError(fact) from None

    def add(self, kind: Kind, chat: int, message_id: int, command: Command, **columns: Any) -> Entry:
        """Add the next entry of the log."""
        self.seq += 1
        entry = Entry(
            self.seq,
            kind,
            chat,
            message_id,
            command.user,
            command.device,
            self.at,
            origin=command.origin,
            **columns,
        )
        self.entries.append(entry)
        return entry

    def change(self, kind: Kind, chat: int, command: Command, change: changes.Change) -> None:
        """Add an entry that changes chats, users or devices."""
        self.add(kind, chat, 0, command, extra=changes.encode(change))

    def next_id(self, chat: int) -> int:
        """Take the chat's next message id."""
        last = self.last_ids.get(chat)
        if last is None:
            known = self.state.chats.get(chat)
            last = known.last_message_id if known else 0
        self.last_ids[chat] = last + 1
        return last + 1

    def repeated(self, key: int) -> Stored | None:
        """The message that this client key belongs to already."""
        entry = self.client_keys.get(key)
        if entry is not None:
            return _as_stored(entry)
        known: Stored | None = self.facts.get(ClientKey(key)) if self.facts else None
        return known


def _as_stored(entry: Entry) -> Stored:
    """A message of this batch as it will be found in the log."""
    return Stored(
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
    )


def _answer_repeat(known: Stored, chat: int, author: int, client_id: str, kind: Kind, target: int) -> requests.Accepted:
    if (known.chat, known.author, known.client_id) != (chat, author, client_id):
        raise RelayError.conflict("clientMessageId: this one cannot be used, make another")
    if known.kind != kind or (kind == Kind.EDIT and known.target != target):
        raise RelayError.conflict(
            f"clientMessageId: it belongs to message {known.message_id} already, every message needs one of its own"
        )
    return requests.Accepted(message_id=known.message_id, timestamp=known.at, client_message_id=client_id)


# Who is asked about which chat.


def _member_chat(draft: _Drafting, command: Command, chat_id: str) -> Chat:
    """The chat that the asker calls so.

    Raises:
        RelayError: `not_found`, which does not tell whether it exists.
    """
    state = draft.state
    key = state.group_keys.get(chat_id) if command.user == ADMIN else state.chat_key(command.user, chat_id)
    if key is None:
        raise RelayError.no_chat(chat_id)
    return state.chats[key]


def _may_run(draft: _Drafting, command: Command, chat: Chat) -> bool:
    return command.user in (ADMIN, chat.owner) or draft.state.members[chat.key][command.user].admin


def _group(draft: _Drafting, command: Command, chat_id: str, *, owner_only: bool = False) -> Chat:
    """A group or channel that the asker may change."""
    chat = _member_chat(draft, command, chat_id)
    if chat.id is None:
        raise RelayError("bad_request", f"chatId: {chat_id!r} is no group or channel, and only those can be changed")
    if owner_only and command.user not in (ADMIN, chat.owner):
        raise RelayError.forbidden("only the owner may do this")
    if not _may_run(draft, command, chat):
        raise RelayError.forbidden("only the owner and admins may do this")
    return chat


def _users(draft: _Drafting, ids: Iterable[str], field: str) -> list[int]:
    """The keys of users who may be in a chat, each once."""
    keys: dict[int, None] = {}
    for user_id in ids:
        user = draft.state.user(user_id)
        if user is None or user.removed:
            raise RelayError("not_found", f"{field}: there is no user {user_id!r} here")
        keys[user.key] = None
    return list(keys)


# Messages.


def _new(draft: _Drafting, command: Command, request: requests.New) -> object:
    if not request.message and not request.attachments:
        raise RelayError.bad_field("payload.message", "a message needs text or attachments")
    state = draft.state
    key = state.chat_key(command.user, request.chat_id)
    hidden_from: list[int] = []
    if key is None:
        key = _open_dialog(draft, command, request.chat_id)
        hash_ = client_key(key, command.user, request.client_message_id)
    else:
        chat = state.chats[key]
        if chat.type == "channel" and not _may_run(draft, command, chat):
            raise RelayError.forbidden("only the owner and admins write in this channel")
        hash_ = client_key(key, command.user, request.client_message_id)
        # A repeat must be known before its files are asked for: they may be gone with the message.
        known = draft.repeated(hash_)
        if known is None and request.attachments:
            known = draft.fact(ClientKey(hash_))
        if known is not None:
            return _answer_repeat(known, key, command.user, request.client_message_id, Kind.NEW, 0)
        hidden_from = _hidden_from(state, key)
    if hidden_from:
        draft.change(Kind.CHATS, key, command, changes.ChatShown(sorted(hidden_from)))
    reply_to = None if request.reply_to is None else _reply(draft, key, request.reply_to)
    attachments = _attachments(draft, command.user, request.attachments)
    extra = msgspec.json.encode(Extra(attachments=attachments)).decode() if attachments else None
    message_id = draft.next_id(key)
    draft.client_keys[hash_] = draft.add(
        Kind.NEW,
        key,
        message_id,
        command,
        target=request.reply_to or 0,
        client_key=hash_,
        client_id=request.client_message_id,
        message=request.message or None,
        extra=extra,
        attachments=attachments,
        reply_to=reply_to,
    )
    draft.sent.setdefault(key, []).append((message_id, command.user, request.client_message_id))
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=request.client_message_id)


def _attachments(
    draft: _Drafting, user: int, claimed: Sequence[Attachment] | None, kept: Sequence[Attachment] = ()
) -> list[Attachment] | None:
    """What the relay knows of the files that a message is to hold; what the sender says of them is not believed.

    Args:
        draft: the batch.
        user: who sends it.
        claimed: the files as the sender has them.
        kept: what the message holds already and may go on holding.

    Raises:
        RelayError: there is no such file, or the sender may not have it.
    """
    if not claimed:
        return None
    known = {one.id: one for one in kept}
    files = draft.fact(FilesNamed(tuple(sorted({one.id for one in claimed} - known.keys()))))
    found: dict[str, Attachment] = {}
    for number, one in enumerate(claimed):
        file = files.get(one.id)
        if one.id in known:
            found[one.id] = known[one.id]
        elif file is not None and files_of.may_read(draft.state, user, file):
            found[one.id] = files_of.attachment(file, one)
        else:
            raise RelayError(
                "not_found", f"payload.attachments[{number}].id: there is no file {one.id!r} for you here: upload it"
            )
    return list(found.values())


def _check_photo(draft: _Drafting, command: Command, url: str | None) -> None:
    """Let nobody show as a picture what they may not see themselves."""
    wanted = files_of.file_id(url)
    if wanted is None or command.user == ADMIN:
        return
    file = draft.fact(FilesNamed((wanted,))).get(wanted)
    if file is None or not files_of.may_read(draft.state, command.user, file):
        raise RelayError("not_found", f"payload.photoUrl: there is no file {wanted!r} for you here: upload it")


def _open_dialog(draft: _Drafting, command: Command, chat_id: str) -> int:
    """The first message between two users makes their dialog, one's first note to self one's notes."""
    state = draft.state
    peer = state.user(chat_id)
    if peer is None or peer.disabled or peer.removed:
        raise RelayError.no_chat(chat_id)
    key = state.next_key(state.chats)
    favorites = peer.key == command.user
    draft.change(
        Kind.CHATS,
        key,
        command,
        changes.ChatMade(
            type="favorites" if favorites else "dialog",
            owner=command.user,
            members=[command.user] if favorites else [command.user, peer.key],
        ),
    )
    return key


def _reply(draft: _Drafting, chat: int, message_id: int) -> ReplyTo:
    stored: Stored | None = draft.fact(MessageAt(chat, message_id))
    if stored is None or stored.kind != Kind.NEW:
        raise RelayError.bad_field("payload.replyTo", f"there is no message {message_id} in this chat")
    return ReplyTo(
        message_id=message_id,
        client_message_id=stored.client_id,
        message=stored.message[:PREVIEW] if stored.message else None,
        sender=draft.state.users[stored.author].id,
        created_at=stored.at,
    )


def _original(draft: _Drafting, chat: Chat, message_id: int) -> Stored:
    stored: Stored | None = draft.fact(MessageAt(chat.key, message_id))
    if stored is None:
        raise RelayError.no_message(message_id)
    if stored.kind != Kind.NEW:
        raise RelayError.bad_field("payload.originalMessageId", f"{message_id} is an edit or a deletion itself")
    return stored


def _edit(draft: _Drafting, command: Command, request: requests.Edit) -> object:
    chat = _member_chat(draft, command, request.chat_id)
    client_id = request.client_message_id or command.made_up
    hash_ = None
    if request.client_message_id:
        hash_ = client_key(chat.key, command.user, client_id)
        known: Stored | None = draft.fact(ClientKey(hash_))
        if known is not None:
            return _answer_repeat(known, chat.key, command.user, client_id, Kind.EDIT, request.original_message_id)
    original = _original(draft, chat, request.original_message_id)
    if original.author != command.user:
        raise RelayError.forbidden("only its author may edit a message")
    if original.deleted:
        raise RelayError.no_message(request.original_message_id)
    kept = msgspec.json.decode(original.extra, type=Extra) if original.extra else Extra()
    attachments = kept.attachments
    if request.attachments is not None:
        attachments = _attachments(draft, command.user, request.attachments, kept.attachments or ())
    message = original.message if request.message is None else request.message or None
    if not message and not attachments:
        raise RelayError.bad_field("payload.message", "a message needs text or attachments; delete it instead")
    extra = None
    if attachments or kept.forwarded:
        extra = msgspec.json.encode(Extra(attachments=attachments or None, forwarded=kept.forwarded)).decode()
    message_id = draft.next_id(chat.key)
    entry = draft.add(
        Kind.EDIT,
        chat.key,
        message_id,
        command,
        target=original.message_id,
        client_key=hash_,
        client_id=client_id,
    )
    # The text goes into the original's row and nowhere else: what is deleted later is then gone everywhere.
    draft.amendments.append(
        Amendment(chat.key, original.message_id, message_id, draft.at, message, extra, deleted=False)
    )
    entry.message, entry.attachments = message, attachments or None
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=client_id)


def _delete(draft: _Drafting, command: Command, request: requests.Delete) -> object:
    chat = _member_chat(draft, command, request.chat_id)
    target = request.original_message_id or request.message_id
    if target is None:
        raise RelayError.bad_field("payload.originalMessageId", "this field is required")
    original = _original(draft, chat, target)
    if original.author != command.user and not (chat.id is not None and _may_run(draft, command, chat)):
        raise RelayError.forbidden("only its author, or a group's owner and admins, may delete a message")
    if original.deleted:
        deletion: Stored | None = draft.fact(MessageAt(chat.key, original.changed))
        client_id = deletion.client_id if deletion else command.made_up
        return requests.Accepted(
            message_id=original.changed, timestamp=original.changed_at, client_message_id=client_id
        )
    client_id = request.client_message_id or command.made_up
    message_id = draft.next_id(chat.key)
    draft.add(
        Kind.DELETE,
        chat.key,
        message_id,
        command,
        target=target,
        client_id=client_id,
        extra=str(original.author),
    )
    draft.amendments.append(Amendment(chat.key, target, message_id, draft.at, None, None, deleted=True))
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=client_id)


# Marks: protocol.md, section 6.


def _mark_delivered(draft: _Drafting, command: Command, request: commands.MarkDelivered) -> object:
    return _mark(draft, command, request.chat, request.message_id, read=False)


def _mark_read(draft: _Drafting, command: Command, request: commands.MarkRead) -> object:
    return _mark(draft, command, request.chat, request.message_id, read=True)


def _mark(draft: _Drafting, command: Command, key: int, message_id: int | None, *, read: bool) -> object:
    state, user = draft.state, command.user
    member = state.members[key].get(user)
    if member is None:
        return RelayError("not_found", "you are not in this chat")
    chat = state.chats[key]
    last = draft.last_ids.get(key, chat.last_message_id)
    if message_id is not None and message_id > last:
        raise RelayError.no_message(message_id)
    upto = last if message_id is None else message_id
    place = (key, user)
    dlvrd = draft.dlvrd.get(place, member.dlvrd)
    before = draft.read.get(place, member.read) if read else dlvrd
    covered = _covered(draft, key, user, before, upto)
    if not covered:
        return _repeat_mark(draft, key, user, message_id, read=read)
    top = max(covered, key=lambda one: one.message_id)
    unread = _unread(draft, chat, user, top.message_id, last) if read else 0
    draft.dlvrd[place] = max(dlvrd, top.message_id)
    if read:
        draft.read[place] = top.message_id
    extra = None
    if len(covered) > 1:
        extra = msgspec.json.encode([(one.author, one.message_id) for one in covered]).decode()
    entry = draft.add(
        Kind.READ if read else Kind.DLVRD,
        key,
        top.message_id,
        command,
        target=unread,
        extra=extra,
        covered=covered,
    )
    draft.marks.setdefault(place, []).append(entry)
    return requests.Marked(
        message_id=top.message_id,
        timestamp=draft.at,
        client_message_id=top.client_id,
        missed=unread if read else None,
    )


def _repeat_mark(draft: _Drafting, key: int, user: int, message_id: int | None, *, read: bool) -> object:
    """A repeated mark answers with the first timestamp and changes nothing."""
    missed = _missed(draft, key, user) if read else None
    first = None if message_id is None else _first_mark(draft, key, user, message_id, read=read)
    if first is None:
        return requests.Marked(missed=missed)
    return requests.Marked(
        message_id=first.message_id, timestamp=first.at, client_message_id=first.client_id, missed=missed
    )


def _first_mark(draft: _Drafting, key: int, user: int, message_id: int, *, read: bool) -> Marked | None:
    """When the highest message up to this one was first marked: in this batch, or before it."""
    member = draft.state.members[key][user]
    marked_here = _covered(draft, key, user, member.read if read else member.dlvrd, message_id)
    if not marked_here:
        return draft.fact(FirstMark(key, user, read, message_id))  # type: ignore[no-any-return]
    top = max(marked_here, key=lambda one: one.message_id)
    at = next(
        entry.at
        for entry in draft.marks[key, user]
        if entry.message_id >= top.message_id and (entry.kind == Kind.READ or not read)
    )
    return Marked(top.message_id, top.client_id, at)


def _missed(draft: _Drafting, key: int, user: int) -> int:
    """A member's unread messages, with what this batch has done to them so far."""
    chat = draft.state.chats[key]
    if (key, user) in draft.read:
        return _unread(draft, chat, user, draft.read[key, user], draft.last_ids.get(key, chat.last_message_id))
    return draft.state.missed(chat, user) + sum(1 for _, author, _ in draft.sent.get(key, ()) if author != user)


def _covered(draft: _Drafting, chat: int, user: int, after: int, upto: int) -> tuple[Covered, ...]:
    """For each author but the user their highest message in (after, upto], the highest first."""
    if upto <= after:
        return ()
    everybody = draft.coverage.get((chat, after, upto))
    if everybody is None:
        found = _covered_by_anyone(draft, chat, after, upto)
        if found is None:
            return _covered_from_log(draft, chat, user, after, upto)
        everybody = draft.coverage[chat, after, upto] = found
    return tuple(one for one in everybody if one.author != user)


def _covered_from_log(draft: _Drafting, chat: int, user: int, after: int, upto: int) -> tuple[Covered, ...]:
    """The same where the tail is too short: what this batch says is in no log yet."""
    found = {one.author: one for one in _covered_by_batch(draft, chat, after, upto) if one.author != user}
    for one in draft.fact(CoveredBy(chat, user, after, upto)):
        found.setdefault(one.author, one)
    return tuple(found.values())


def _covered_by_batch(draft: _Drafting, chat: int, after: int, upto: int) -> Iterable[Covered]:
    """The highest message of each author in (after, upto] that this batch says, the highest first."""
    found: dict[int, Covered] = {}
    for message_id, author, client_id in reversed(draft.sent.get(chat, ())):
        if after < message_id <= upto:
            found.setdefault(author, Covered(author, message_id, client_id))
    return found.values()


def _covered_by_anyone(draft: _Drafting, chat: int, after: int, upto: int) -> tuple[Covered, ...] | None:
    """The highest message of each author in (after, upto], the highest first; None where the tail is too short."""
    found = {one.author: one for one in _covered_by_batch(draft, chat, after, upto)}
    committed = draft.state.chats[chat].last_message_id
    if after < committed:
        tail = draft.state.tails.get(chat)
        if tail is None or tail.since > after + 1:
            # What is deleted is in no tail, so the first message kept may come later than `since` says.
            return None
        messages = tail.messages
        for message_id in range(min(upto, committed), after, -1):
            message = messages.get(message_id)
            if message is not None and message[0] not in found:
                found[message[0]] = Covered(message[0], message_id, message[1])
    return tuple(found.values())


def _unread(draft: _Drafting, chat: Chat, user: int, after: int, last: int) -> int:
    """How many messages of others follow `after`."""
    if after >= last:
        return 0
    sent = sum(1 for message_id, author, _ in draft.sent.get(chat.key, ()) if message_id > after and author != user)
    committed = chat.last_message_id
    if after >= committed:
        return sent
    tail = draft.state.tails.get(chat.key)
    if tail is not None and tail.since <= after + 1:
        kept = tail.messages
        return sent + sum(1 for i in range(after + 1, committed + 1) if i in kept and kept[i][0] != user)
    return sent + int(draft.fact(UnreadAfter(chat.key, user, after)))


# Groups and channels.


def _create_chat(draft: _Drafting, command: Command, request: requests.CreateChat) -> object:
    _check_photo(draft, command, request.photo_url)
    members = _users(draft, request.participants, "payload.participants")
    return _make(draft, command, request.type, request.name, request.photo_url, command.user, members)


def _make_chat(draft: _Drafting, command: Command, request: control.MakeChat) -> object:
    (owner,) = _users(draft, [request.owner], "owner")
    members = _users(draft, request.participants, "participants")
    return _make(draft, command, request.type, request.name, None, owner, members)


def _make(
    draft: _Drafting,
    command: Command,
    type_: Any,
    name: str,
    photo_url: str | None,
    owner: int,
    members: list[int],
) -> ChatChanged:
    state = draft.state
    if command.made_up in state.group_keys or command.made_up in state.user_keys:
        raise RelayError.conflict("this id is taken, try again")
    key = state.next_key(state.chats)
    draft.change(
        Kind.CHATS,
        key,
        command,
        changes.ChatMade(
            type=type_,
            id=command.made_up,
            name=name,
            photo_url=photo_url or None,
            owner=owner,
            members=list(dict.fromkeys([owner, *members])),
        ),
    )
    return ChatChanged(key)


def _update_chat(draft: _Drafting, command: Command, request: requests.UpdateChat) -> object:
    chat = _group(draft, command, request.chat_id, owner_only=request.admins is not None)
    _check_photo(draft, command, request.photo_url)
    admins = None
    if request.admins is not None:
        admins = _users(draft, request.admins, "payload.admins")
        for user in admins:
            if user not in draft.state.members[chat.key]:
                raise RelayError.bad_field(
                    "payload.admins", f"{draft.state.users[user].id!r} is not in this chat, add them first"
                )
    if request.name is None and request.photo_url is None and admins is None:
        return ChatChanged(chat.key)
    draft.change(
        Kind.CHATS,
        chat.key,
        command,
        changes.ChatUpdated(name=request.name, photo_url=request.photo_url, admins=admins),
    )
    return ChatChanged(chat.key)


def _add_participants(draft: _Drafting, command: Command, request: commands.AddParticipants) -> object:
    chat = _group(draft, command, request.chat_id)
    members = draft.state.members[chat.key]
    users = [u for u in _users(draft, request.participants, "payload.participants") if u not in members]
    if users:
        draft.change(Kind.CHATS, chat.key, command, changes.MembersAdded(users))
    return ChatChanged(chat.key)


def _remove_participants(draft: _Drafting, command: Command, request: commands.RemoveParticipants) -> object:
    chat = _group(draft, command, request.chat_id)
    members = draft.state.members[chat.key]
    users = [u for u in _users(draft, request.participants, "payload.participants") if u in members]
    if chat.owner in users:
        raise RelayError.forbidden("the owner cannot be removed: they leave, or delete the chat")
    if any(members[u].admin for u in users) and command.user not in (ADMIN, chat.owner):
        raise RelayError.forbidden("only the owner may remove an admin")
    if users:
        draft.change(Kind.CHATS, chat.key, command, changes.MembersRemoved(users=users))
    return ChatChanged(chat.key)


def _leave_chat(draft: _Drafting, command: Command, request: commands.LeaveChat) -> object:
    chat = _member_chat(draft, command, request.chat_id)
    if chat.id is None:
        raise RelayError("bad_request", "chatId: a dialog cannot be left, only cleared (deleteChat)")
    _remove_member(draft, command, chat, command.user)
    return requests.Nothing()


def _remove_member(draft: _Drafting, command: Command, chat: Chat, user: int) -> None:
    """Take one out of a chat. An owner who goes hands it to an admin, else to who is longest in it."""
    members = draft.state.members[chat.key]
    others = [key for key in members if key != user]
    if not others:
        draft.change(Kind.CHATS, chat.key, command, changes.ChatDeleted([user]))
        return
    heir = None
    if chat.owner == user:
        # By what the log says and not by the order in memory, which a start does not keep.
        heir = min(others, key=lambda key: (not members[key].admin, members[key].joined_seq, key))
    draft.change(Kind.CHATS, chat.key, command, changes.MembersRemoved(users=[user], owner=heir))


def _delete_chat(draft: _Drafting, command: Command, request: commands.DeleteChat) -> object:
    chat = _member_chat(draft, command, request.chat_id)
    if chat.id is None:
        draft.change(
            Kind.CHATS,
            chat.key,
            command,
            changes.ChatHidden(command.user, draft.state.chats[chat.key].last_message_id),
        )
        return requests.Nothing()
    _group(draft, command, request.chat_id, owner_only=True)
    draft.change(Kind.CHATS, chat.key, command, changes.ChatDeleted(sorted(draft.state.members[chat.key])))
    return requests.Nothing()


# Users and devices.


def _profile(draft: _Drafting, command: Command, request: requests.ProfileRequest) -> object:
    _check_photo(draft, command, request.photo_url)
    if request.name is not None or request.photo_url is not None:
        draft.change(
            Kind.USER,
            0,
            command,
            changes.UserChanged(key=command.user, name=request.name, photo_url=request.photo_url),
        )
    return UserChanged(command.user)


def _add_user(draft: _Drafting, command: Command, request: control.AddUser) -> object:
    state = draft.state
    if request.id in state.user_keys or request.id in state.group_keys:
        raise RelayError.conflict(f"the id {request.id!r} is taken")
    key = state.next_key(state.users)
    draft.change(
        Kind.USER,
        0,
        command,
        changes.UserAdded(
            key=key, id=request.id, name=request.name or request.id, bot=request.bot, admin=request.admin
        ),
    )
    return UserChanged(key)


def _known_user(draft: _Drafting, user_id: str) -> User:
    user = draft.state.user(user_id)
    if user is None or user.removed:
        raise RelayError.no_user(user_id)
    return user


def _change_user(draft: _Drafting, command: Command, request: control.ChangeUser) -> object:
    user = _known_user(draft, request.id)
    if request.removed:
        for device in draft.state.devices.values():
            if device.user == user.key and not device.revoked_at:
                draft.change(Kind.DEVICE, 0, command, changes.DeviceRevoked(device.key))
        for key in sorted(draft.state.chats_of[user.key]):
            chat = draft.state.chats[key]
            if chat.id is not None:
                _remove_member(draft, command, chat, user.key)
    draft.change(
        Kind.USER,
        0,
        command,
        changes.UserChanged(
            key=user.key,
            name=request.name,
            photo_url=request.photo_url,
            admin=request.admin,
            disabled=request.disabled,
            removed=request.removed,
        ),
    )
    return UserChanged(user.key)


def _add_device(draft: _Drafting, command: Command, request: commands.AddDevice) -> object:
    state = draft.state
    user = state.users[request.user]
    if user.disabled or user.removed:
        raise RelayError.forbidden(f"{user.id!r} is disabled: `relay user enable {user.id}` first")
    return DeviceChanged(_sign_in(draft, command, request.user, request.label, request.token_hash, request.hook))


def _revoke_device(draft: _Drafting, command: Command, request: control.RevokeDevice) -> object:
    device = draft.state.devices.get(request.device_id)
    if device is None or command.user not in (ADMIN, device.user):
        raise RelayError("not_found", f"deviceId: there is no device {request.device_id}")
    if not device.revoked_at:
        draft.change(Kind.DEVICE, 0, command, changes.DeviceRevoked(device.key))
    return DeviceChanged(device.key)


# What an admin's housekeeping does.


def _prune_history(draft: _Drafting, command: Command, request: commands.PruneHistory) -> object:
    state = draft.state
    chats = [
        changes.PrunedChat(
            key,
            upto,
            [
                (user, sum(left.values()) - left.get(user, 0))
                for user, member in state.members[key].items()
                if member.read < upto
            ],
        )
        for key, (upto, left) in sorted(draft.fact(Prunable(request.seq)).items())
        if not state.chats[key].gone
    ]
    draft.change(Kind.NOTE, 0, command, changes.HistoryPruned(request.seq, chats))
    return requests.Nothing()


def _note_restore(draft: _Drafting, command: Command, request: commands.NoteRestore) -> object:
    draft.seq = max(draft.seq, request.last)
    draft.change(Kind.NOTE, 0, command, changes.BackupRestored(request.last))
    return requests.Nothing()


# Signing in.


def _make_invite(draft: _Drafting, command: Command, request: commands.MakeInvite) -> object:
    state = draft.state
    if command.user != ADMIN and not state.users[command.user].admin:
        raise RelayError.forbidden("only the relay's admins may invite")
    user = 0
    if request.user_id is not None:
        known = _known_user(draft, request.user_id)
        if known.disabled:
            raise RelayError.forbidden(f"{known.id!r} is disabled: `relay user enable {known.id}` first")
        user = known.key
    if request.chat_id is not None and request.chat_id not in state.user_keys:
        _group(draft, command, request.chat_id)
    draft.change(
        Kind.SIGN_IN,
        0,
        command,
        changes.InviteMade(
            code_hash=request.code_hash,
            expires_at=request.expires_at,
            user=user,
            name=request.name or "",
            chat=request.chat_id or "",
        ),
    )
    return requests.Nothing()


def _use_invite(draft: _Drafting, command: Command, request: commands.UseInvite) -> object:
    invite = draft.state.invites.get(request.code_hash)
    if invite is None:
        raise RelayError("unauthorized", "there is no such invite: ask for another one")
    if invite.used:
        raise RelayError("unauthorized", "this invite was used already: ask for another one")
    if invite.expires_at <= draft.at:
        raise RelayError("unauthorized", "this invite has expired: ask for another one")
    user = invite.user or _join(draft, command, invite.name or "Guest")
    known = draft.state.users.get(user)
    if known is not None and (known.disabled or known.removed):
        raise RelayError("unauthorized", "this invite is for somebody who may not sign in any more")
    chat_id = _land(draft, command, user, invite.chat)
    draft.change(Kind.SIGN_IN, 0, command, changes.InviteUsed(request.code_hash))
    return SignedIn(user, _sign_in(draft, command, user, request.label, request.token_hash), chat_id)


def _land(draft: _Drafting, command: Command, user: int, chat_id: str) -> str | None:
    """Put one who comes by an invite into its group or channel; give the chat to show."""
    state = draft.state
    peer = state.user(chat_id)
    if peer is not None:
        return None if peer.removed or peer.key == user else chat_id
    key = state.group_keys.get(chat_id)
    if key is None or state.chats[key].gone:
        return None
    if user not in state.members[key]:
        draft.change(Kind.CHATS, key, command, changes.MembersAdded([user]))
    return chat_id


def _sign_up(draft: _Drafting, command: Command, request: commands.SignUp) -> object:
    name = request.name.strip().casefold()
    for user in draft.state.users.values():
        if not user.removed and name in (user.name.casefold(), user.id.casefold()):
            raise RelayError.conflict(f"name: {request.name!r} is taken, pick another one")
    user_key = _join(draft, command, request.name.strip())
    return SignedIn(user_key, _sign_in(draft, command, user_key, request.label, request.token_hash), None)


def _join(draft: _Drafting, command: Command, name: str) -> int:
    """Make a user whose id is the one made up for them, with a number where that is taken."""
    state = draft.state
    wanted = user_id = command.made_up
    number = 1
    while user_id in state.user_keys or user_id in state.group_keys:
        number += 1
        user_id = f"{wanted}{number}"
    key = state.next_key(state.users)
    draft.change(Kind.USER, 0, command, changes.UserAdded(key=key, id=user_id, name=name))
    return key


def _sign_in(
    draft: _Drafting, command: Command, user: int, label: str, token_hash: str, hook: changes.Hook | None = None
) -> int:
    key = draft.state.next_key(draft.state.devices)
    device = changes.DeviceAdded(key=key, user=user, label=label, token_hash=token_hash, hook=hook)
    draft.change(Kind.DEVICE, 0, command, device)
    return key


def _set_password(draft: _Drafting, command: Command, request: commands.SetPassword) -> object:
    user = _known_user(draft, request.user_id)
    draft.change(Kind.SIGN_IN, 0, command, changes.PasswordSet(user=user.key, hash=request.hash))
    return UserChanged(user.key)


# Files.


def _add_file(draft: _Drafting, command: Command, request: commands.AddFile) -> object:
    draft.change(
        Kind.FILE,
        0,
        command,
        changes.FileAdded(
            id=request.id,
            digest=request.digest,
            user=command.user,
            name=request.name,
            mimetype=request.mimetype,
            size=request.size,
            width=request.width,
            height=request.height,
            loose=request.loose,
        ),
    )
    return files_of.attachment(
        StoredFile(
            request.id,
            request.digest,
            command.user,
            request.name,
            request.mimetype,
            request.size,
            request.width,
            request.height,
            request.loose,
            (),
        )
    )


def _forget_files(draft: _Drafting, command: Command, request: commands.ForgetFiles) -> object:
    shown = set(files_of.photos(draft.state))
    gone = [
        changes.ForgottenFile(file.id, file.digest, file.user, file.size)
        for file in draft.fact(FilesNamed(request.ids)).values()
        if not file.chats and 0 < file.loose <= draft.at and file.id not in shown
    ]
    if gone:
        draft.change(Kind.FILE, 0, command, changes.FilesForgotten(gone))
    return [file.digest for file in gone]


_MARKS = frozenset({commands.MarkDelivered, commands.MarkRead})

_RULES: dict[type, Callable[[_Drafting, Command, Any], object]] = {
    requests.New: _new,
    requests.Edit: _edit,
    requests.Delete: _delete,
    commands.MarkDelivered: _mark_delivered,
    commands.MarkRead: _mark_read,
    requests.CreateChat: _create_chat,
    control.MakeChat: _make_chat,
    requests.UpdateChat: _update_chat,
    commands.AddParticipants: _add_participants,
    commands.RemoveParticipants: _remove_participants,
    commands.LeaveChat: _leave_chat,
    commands.DeleteChat: _delete_chat,
    requests.ProfileRequest: _profile,
    control.AddUser: _add_user,
    control.ChangeUser: _change_user,
    commands.AddDevice: _add_device,
    control.RevokeDevice: _revoke_device,
    commands.PruneHistory: _prune_history,
    commands.NoteRestore: _note_restore,
    commands.MakeInvite: _make_invite,
    commands.UseInvite: _use_invite,
    commands.SignUp: _sign_up,
    commands.SetPassword: _set_password,
    commands.AddFile: _add_file,
    commands.ForgetFiles: _forget_files,
}
"""Who decides what: the type of a command's request to its rule."""
