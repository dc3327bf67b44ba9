"""The rules of imports: people, chats and messages from elsewhere, with the rights that their source states.

A message needs no member here: the log takes what somebody said who has left since, and nobody comes in by it.
A repeat changes nothing, whatever became of the chat meanwhile.
"""

from itertools import pairwise

import msgspec

from relay.core.model import changes
from relay.core.model.entities import Chat, User
from relay.core.rules import attachments as files_of
from relay.core.rules import commands
from relay.core.rules.commands import Command
from relay.core.rules.counting import can_act
from relay.core.rules.draft import DraftBuilder, client_key
from relay.core.rules.messages import cleared_by
from relay.keys import NO_CHAT, ChatKey, MessageId, UnixMs, UserKey
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment, ReplyTo
from relay.store import kinds
from relay.store.entry import REPLY_PREVIEW, Amendment, ClientKey, Extra, FilesNamed, StoredFile, StoredMessage


class Imported(msgspec.Struct, frozen=True, gc=False):
    """The answer to what an import says: the message's id, and whether it is new."""

    message_id: MessageId
    added: bool
    reply_lost: bool = False
    """Whether it answers a message that is not here."""
    counted: bool = True
    """Whether it can be unread: it was neither deleted nor removed by retention."""


class ChatImported(msgspec.Struct, frozen=True):
    """The answer to a chat that came in: its key."""

    chat: ChatKey


def import_user(draft: DraftBuilder, command: Command, request: commands.ImportUser) -> object:
    """Make a user as they are elsewhere."""
    state = draft.state
    if request.id in state.user_keys or request.id in state.group_keys:
        raise RelayError.conflict(f"the id {request.id!r} is taken")
    key = state.next_user()
    added = changes.UserAdded(
        key=key,
        id=request.id,
        name=request.name,
        bot=request.bot,
        admin=request.admin,
        created_at=_stated(draft, request.created_at),
    )
    draft.change(kinds.USER, NO_CHAT, command, added)
    if request.disabled or request.removed:
        # With the user or not at all: an import that is interrupted lets nobody in.
        standing = changes.UserChanged(key=key, disabled=request.disabled or None, removed=request.removed or None)
        draft.change(kinds.USER, NO_CHAT, command, standing)
    return requests.Nothing()


def _stated(draft: DraftBuilder, at: UnixMs) -> int:
    """A time as a change keeps it: 0 where it is the log's own."""
    return at if at != draft.at else 0


def import_chat(draft: DraftBuilder, command: Command, request: commands.ImportChat) -> object:
    """Make a chat with the people, the roles and the date that it has elsewhere."""
    state = draft.state
    members = [user for user in map(state.user, dict.fromkeys(request.participants)) if user is not None]
    if len(members) < len(set(request.participants)):
        unknown = next(one for one in request.participants if state.user(one) is None)
        raise RelayError("not_found", f"participants: there is no user {unknown!r} here")
    if request.type in ("group", "channel"):
        # Who was removed here is in no group, whatever an export says.
        members = [user for user in members if not user.removed]
        if command.generated_id in state.group_keys or command.generated_id in state.user_keys:
            raise RelayError.conflict(f"the id {command.generated_id!r} is taken")
    keys = [user.key for user in members]
    admins = [user.key for user in map(state.user, request.admins) if user is not None and user.key in keys]
    owner = _owner(draft, request, members, admins)
    chat = state.next_chat()
    # The two of a dialog are in it from its first entry on, by which it is found; who came first says nothing there.
    first, *later = _joined(keys) if command.generated_id else [sorted(keys)]
    made = changes.ChatMade(
        type=request.type,  # type: ignore[arg-type]
        id=command.generated_id or None,
        name=request.name,
        owner=owner,
        members=first,
        created_at=_stated(draft, request.created_at),
        photo_url=request.photo_url,
    )
    draft.change(kinds.CHATS, chat, command, made)
    for users in later:
        draft.change(kinds.CHATS, chat, command, changes.MembersAdded(users))
    if admins:
        draft.change(kinds.CHATS, chat, command, changes.ChatUpdated(admins=admins))
    return ChatImported(chat)


def _owner(draft: DraftBuilder, request: commands.ImportChat, members: list[User], admins: list[UserKey]) -> UserKey:
    """Who owns a chat: as stated; else its founder, an admin, or the longest member, the first who can run it.

    The same order as when an owner leaves. A bot, and who may not sign in, never comes to own a chat by rule.
    """
    stated = draft.state.user(request.owner or "")
    if stated is not None and stated in members:
        return stated.key
    able = {user.key: user for user in members if can_act(user)}
    founder = draft.state.user(request.founder or "")
    wanted = [founder.key] if founder is not None else []
    for key in [*wanted, *admins, *able]:
        if key in able:
            return key
    raise RelayError.forbidden("nobody who is in it can sign in, so nobody could run it")


def _joined(keys: list[UserKey]) -> list[list[UserKey]]:
    """Cut members into those who come together: who is the longest in a chat is told by the log, then by the key."""
    cuts = [0, *(place for place, (one, next_) in enumerate(pairwise(keys), 1) if next_ < one), len(keys)]
    return [keys[start:end] for start, end in pairwise(cuts)]


def import_message(draft: DraftBuilder, command: Command, request: commands.ImportMessage) -> object:
    """Take a message that was said elsewhere, once."""
    state = draft.state
    chat = _chat(draft, request.chat)
    hash_ = client_key(chat.key, command.user, request.client_id)
    known = _known(draft, hash_, chat, command.user, request.client_id, kinds.NEW)
    if known is not None:
        counted = not known.deleted and known.message_id > chat.pruned
        return Imported(known.message_id, added=False, counted=counted)
    answered = _find(draft, chat, request.reply_to) if request.reply_to is not None else None
    attachments = _attachments(draft, request.attachments)
    if chat.key in state.cleared:
        draft.change(kinds.CHATS, chat.key, command, changes.ChatShown(cleared_by(state, chat.key)))
    said_at = request.said_at if request.said_at != draft.at else 0
    message_id = draft.next_id(chat.key)
    entry = draft.add(
        kinds.NEW,
        chat.key,
        message_id,
        command,
        target=answered.message_id if answered is not None else 0,
        client_key=hash_,
        client_id=request.client_id,
        message=request.text or None,
        extra=_extra(attachments, said_at),
        attachments=attachments,
        reply_to=_reply(draft, answered) if answered is not None else None,
    )
    entry.said_at = said_at
    draft.sent.setdefault(chat.key, []).append((message_id, command.user, request.client_id))
    return Imported(message_id, added=True, reply_lost=request.reply_to is not None and answered is None)


def import_change(draft: DraftBuilder, command: Command, request: commands.ImportChange) -> object:
    """Take an edit or a deletion that was made elsewhere, once: the message itself has its newest text already."""
    chat = _chat(draft, request.chat)
    kind = kinds.DELETE if request.deleted else kinds.EDIT
    hash_ = client_key(chat.key, command.user, request.client_id)
    known = _known(draft, hash_, chat, command.user, request.client_id, kind)
    if known is not None:
        return Imported(known.message_id, added=False)
    original = _find(draft, chat, request.original)
    if original is None or original.kind != kinds.NEW or original.deleted:
        # It may have come in before, and the deletion after it; and what was deleted here already is deleted.
        if draft.fact(ClientKey(hash_)) is not None or (request.deleted and original is not None and original.deleted):
            return Imported(0, added=False)
        gone = "was deleted here" if original is not None and original.deleted else "is not here"
        raise RelayError("not_found", f"the message that it changes {gone}")
    message, extra = original.message, original.extra
    in_batch = draft.client_keys.get(client_key(chat.key, request.original.author, request.original.client_id))
    if in_batch is not None:
        message, extra = in_batch.message, in_batch.extra
    message_id = draft.next_id(chat.key)
    entry = draft.add(
        kind,
        chat.key,
        message_id,
        command,
        target=original.message_id,
        client_key=hash_,
        client_id=request.client_id,
        extra=str(original.author) if request.deleted else None,
    )
    if request.deleted:
        message = extra = None
    else:
        entry.message = message
        entry.attachments = msgspec.json.decode(extra, type=Extra).attachments if extra else None
    changed = (chat.key, original.message_id, message_id, request.said_at, message, extra)
    _amend(draft, Amendment(*changed, deleted=request.deleted))
    return Imported(message_id, added=True)


def _amend(draft: DraftBuilder, amendment: Amendment) -> None:
    """Change a message's row; of several changes in one batch the last one holds, for a statement changes it once."""
    for place, earlier in enumerate(draft.amendments):
        if (earlier.chat, earlier.message_id) == (amendment.chat, amendment.message_id):
            draft.amendments[place] = amendment
            return
    draft.amendments.append(amendment)


def import_clearing(draft: DraftBuilder, command: Command, request: commands.ImportClearing) -> object:
    """Clear a dialog for one of its people, as it is elsewhere; not what was said since, nor a second time."""
    chat = _chat(draft, request.chat)
    member = draft.state.members[chat.key].get(command.user)
    upto = _find(draft, chat, request.upto)
    if chat.id is not None or member is None or upto is None or upto.message_id != chat.last_message_id:
        return requests.Nothing()
    if member.cleared < upto.message_id:
        draft.change(kinds.CHATS, chat.key, command, changes.ChatHidden(command.user, upto.message_id, marks_kept=True))
    return requests.Nothing()


def _chat(draft: DraftBuilder, key: int) -> Chat:
    chat = draft.state.chats.get(key)
    if chat is None or chat.gone:
        raise RelayError("not_found", "its chat was deleted here")
    return chat


def _known(
    draft: DraftBuilder, hash_: int, chat: Chat, author: UserKey, client_id: str, kind: int
) -> StoredMessage | None:
    """What came in before under this client id; that there is nothing needs no look-up, the insert itself finds it."""
    known = draft.repeated(hash_)
    if known is None:
        return None
    # Of a message that retention removed the hash alone is kept, which is enough to know it by.
    found = (known.chat, known.author, known.client_id or client_id, known.kind)
    if found != (chat.key, author, client_id, kind):
        raise RelayError.conflict("another message has its client id")
    return known


def _find(draft: DraftBuilder, chat: Chat, named: commands.Original) -> StoredMessage | None:
    """The message that an import names, of this batch or of the log."""
    hash_ = client_key(chat.key, named.author, named.client_id)
    found: StoredMessage | None = draft.repeated(hash_) or draft.fact(ClientKey(hash_))
    if found is None or (found.chat, found.author, found.client_id) != (chat.key, named.author, named.client_id):
        return None
    return found


def _reply(draft: DraftBuilder, answered: StoredMessage) -> ReplyTo:
    """What is answered, as it is shown."""
    entry = draft.client_keys.get(client_key(answered.chat, answered.author, answered.client_id))
    message = entry.message if entry is not None else answered.message
    said_at = entry.said_at if entry is not None else _said_at(answered.extra)
    return ReplyTo(
        message_id=answered.message_id,
        client_message_id=answered.client_id,
        message=message[:REPLY_PREVIEW] if message else None,
        sender=draft.state.users[answered.author].id,
        created_at=said_at or answered.at,
    )


def _said_at(extra: str | None) -> int:
    return msgspec.json.decode(extra, type=Extra).said_at if extra else 0


def _extra(attachments: list[Attachment] | None, said_at: UnixMs) -> str | None:
    if not attachments and not said_at:
        return None
    return msgspec.json.encode(Extra(attachments=attachments, said_at=said_at)).decode()


def _attachments(draft: DraftBuilder, claimed: list[Attachment] | None) -> list[Attachment] | None:
    """What the relay knows of the files that came in before their message."""
    if not claimed:
        return None
    files = draft.fact(FilesNamed(tuple(sorted({one.id for one in claimed if not one.is_elsewhere}))))
    found = [one if one.is_elsewhere else _here(files, one) for one in claimed]
    return [one for one in found if one is not None] or None


def _here(files: dict[str, StoredFile], claimed: Attachment) -> Attachment | None:
    file = files.get(claimed.id)
    return None if file is None else files_of.attachment(file, claimed)
