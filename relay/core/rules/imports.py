"""The rules of imports: users, chats and messages of another system, with the rights that it states.

The author of an imported message may have left the chat, so they need not be a member; importing a message makes nobody
a member. A repeated import changes nothing, whatever has happened in the chat since.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from relay.core.model import changes
from relay.core.model.entities import SHARED_TYPES, Chat
from relay.core.rules import attachments as files_of
from relay.core.rules import commands
from relay.core.rules.draft import DraftBuilder, client_key
from relay.core.rules.import_members import check_new_id, choose_members, choose_owner, find_keeper, find_participants
from relay.core.rules.messages import cleared_by
from relay.keys import NO_CHAT, ChatKey, UnixMs, UserKey
from relay.outcomes import ChatImported, Imported
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.protocol.objects import Attachment, ReplyTo
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import (
    REPLY_PREVIEW_CHARACTERS,
    Amendment,
    ClientKey,
    Extra,
    FilesNamed,
    StoredFile,
    StoredMessage,
    author_column,
    read_extra,
)


def import_user(draft: DraftBuilder, command: Command, request: commands.ImportUser) -> requests.Nothing:
    """Import a user."""
    state = draft.state
    if request.id in state.user_keys or request.id in state.group_keys:
        raise RelayError.conflict(f"the id {request.id!r} is taken")
    _check_new_origins(state.user_origins, request.origins)
    key = state.next_user()
    added = changes.UserAdded(
        key=key,
        id=request.id,
        name=request.name,
        bot=request.bot,
        admin=request.admin,
        created_at=_stated(draft, request.created_at),
        origins=request.origins,
    )
    draft.change(kinds.USER, NO_CHAT, command, added)
    if request.disabled or request.removed:
        # In the same batch as the user, so that an interrupted import leaves no way to sign in.
        standing = changes.UserChanged(key=key, disabled=request.disabled or None, removed=request.removed or None)
        draft.change(kinds.USER, NO_CHAT, command, standing)
    return requests.Nothing()


def import_origins(draft: DraftBuilder, command: Command, request: commands.ImportOrigins) -> requests.Nothing:
    """Note the ids in other systems of a user or a chat, so that a later import recognises them."""
    known = draft.state.chat_origins if request.chat else draft.state.user_origins
    _check_new_origins(known, request.origins)
    noted = changes.OriginsAdded(key=request.user, origins=request.origins)
    draft.change(kinds.CHATS if request.chat else kinds.USER, request.chat, command, noted)
    return requests.Nothing()


def _check_new_origins(known: Mapping[str, int], origins: Sequence[str]) -> None:
    """Refuse an origin of another user or chat: nobody may get another user's messages."""
    for origin in origins:
        if origin in known:
            raise RelayError.conflict(f"{origin} is somebody else here")


def _stated(draft: DraftBuilder, at: UnixMs) -> UnixMs:
    """Return a date as a change stores it: 0 if it is the time of its entry."""
    return at if at != draft.at else 0


def import_chat(draft: DraftBuilder, command: Command, request: commands.ImportChat) -> ChatImported:
    """Import a chat with its members, roles and date."""
    state = draft.state
    people = find_participants(state.user, request.participants)
    shared = request.type in SHARED_TYPES
    if shared:
        check_new_id(
            command.generated_id,
            taken=command.generated_id in state.group_keys or command.generated_id in state.user_keys,
        )
        _check_new_origins(state.chat_origins, request.origins)
    members = choose_members(request.type, people)
    kept = find_keeper(state.user, request.type, members, request.owner, request.keeper)
    members += [kept] if kept is not None else []
    keys = [user.key for user in members]
    begun = None if shared else state.dialog_keys.get((min(keys), max(keys)))
    if begun is not None:
        # A user wrote the first message while this command waited.
        return ChatImported(begun)
    # A dialog has no name, picture or admins of its own.
    named = map(state.user, request.admins if shared else ())
    admins = [user.key for user in named if user is not None and user.key in keys]
    owner = state.user_keys[choose_owner(members, request.owner, request.founder, request.admins)]
    chat = state.next_chat()
    # A dialog is found by both of its members, so they join together; their order has no meaning.
    first, *later = _joined(keys) if shared else [sorted(keys)]
    made = changes.ChatMade(
        type=request.type,  # type: ignore[arg-type]
        id=command.generated_id if shared else None,
        name=request.name if shared else "",
        owner=owner,
        members=first,
        created_at=_stated(draft, request.created_at),
        photo_url=request.photo_url if shared else None,
        origins=request.origins if shared else (),
    )
    draft.change(kinds.CHATS, chat, command, made)
    for users in later:
        draft.change(kinds.CHATS, chat, command, changes.MembersAdded(users))
    if admins:
        draft.change(kinds.CHATS, chat, command, changes.ChatUpdated(admins=admins))
    return ChatImported(chat)


def _joined(keys: list[UserKey]) -> list[list[UserKey]]:
    """Divide members into entries that keep the order of joining: one entry orders its members by key."""
    cuts = [0, *(place for place, (one, next_) in enumerate(pairwise(keys), 1) if next_ < one), len(keys)]
    return [keys[start:end] for start, end in pairwise(cuts)]


def import_message(draft: DraftBuilder, command: Command, request: commands.ImportMessage) -> Imported:
    """Import a message once."""
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


def import_change(draft: DraftBuilder, command: Command, request: commands.ImportChange) -> Imported:
    """Import an edit or a deletion once. The imported message already has its latest text."""
    chat = _chat(draft, request.chat)
    kind = kinds.DELETE if request.deleted else kinds.EDIT
    hash_ = client_key(chat.key, command.user, request.client_id)
    known = _known(draft, hash_, chat, command.user, request.client_id, kind)
    if known is not None:
        return Imported(known.message_id, added=False)
    original = _find(draft, chat, request.original)
    place = _amendment(draft, original) if original is not None else None
    # A deletion earlier in this batch counts like one that is in the log.
    deleted = original is not None and (original.deleted or (place is not None and draft.amendments[place].deleted))
    if original is None or original.kind != kinds.NEW or deleted:
        # A repeated edit of a message that was deleted since, or a second deletion, changes nothing.
        if draft.fact(ClientKey(hash_)) is not None or (request.deleted and deleted):
            return Imported(0, added=False)
        raise RelayError("not_found", f"the message that it changes {'was deleted here' if deleted else 'is not here'}")
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
        extra=author_column(original.author) if request.deleted else None,
        original_at=original.at if request.deleted else UnixMs(0),
    )
    if request.deleted:
        message = extra = None
    else:
        entry.message = message
        entry.attachments = read_extra(extra).attachments if extra else None
    changed = (chat.key, original.message_id, message_id, request.said_at, message, extra)
    amendment = Amendment(*changed, deleted=request.deleted)
    if place is None:
        draft.amendments.append(amendment)
    else:
        # One statement writes all amendments of a batch and changes each message only once: the last change wins.
        draft.amendments[place] = amendment
    return Imported(message_id, added=True)


def _amendment(draft: DraftBuilder, message: StoredMessage) -> int | None:
    """Find the place in `draft.amendments` of an earlier change of a message in this batch."""
    for place, earlier in enumerate(draft.amendments):
        if (earlier.chat, earlier.message_id) == (message.chat, message.message_id):
            return place
    return None


def import_clearing(draft: DraftBuilder, command: Command, request: commands.ImportClearing) -> requests.Nothing:
    """Clear a dialog for one of its members, once, and only if no message here follows the cleared ones."""
    chat = _chat(draft, request.chat)
    member = draft.state.members[chat.key].get(command.user)
    last = None if request.upto is None else _find(draft, chat, request.upto)
    upto = last.message_id if last is not None else 0
    if chat.id is not None or member is None or upto != chat.last_message_id:
        return requests.Nothing()
    if not member.hidden:
        draft.change(kinds.CHATS, chat.key, command, changes.ChatHidden(command.user, upto, marks_kept=True))
    return requests.Nothing()


def _chat(draft: DraftBuilder, key: ChatKey) -> Chat:
    chat = draft.state.chats.get(key)
    if chat is None or chat.gone:
        raise RelayError("not_found", "its chat was deleted here")
    return chat


def _known(
    draft: DraftBuilder, hash_: int, chat: Chat, author: UserKey, client_id: str, kind: int
) -> StoredMessage | None:
    """Find the message imported under this client id before; a new id needs no look-up: a duplicate insert fails."""
    known = draft.repeated(hash_)
    if known is None:
        return None
    # Retention keeps only the hash of a removed message, which is enough to recognise it.
    found = (known.chat, known.author, known.client_id or client_id, known.kind)
    if found != (chat.key, author, client_id, kind):
        raise RelayError.conflict("another message has its client id")
    return known


def _find(draft: DraftBuilder, chat: Chat, named: commands.MessageByClientId) -> StoredMessage | None:
    """Find the message that an import refers to, in this batch or in the log."""
    hash_ = client_key(chat.key, named.author, named.client_id)
    found = draft.repeated(hash_) or draft.fact(ClientKey(hash_))
    if found is None or (found.chat, found.author, found.client_id) != (chat.key, named.author, named.client_id):
        return None
    return found


def _reply(draft: DraftBuilder, answered: StoredMessage) -> ReplyTo:
    """Quote the original message."""
    entry = draft.client_keys.get(client_key(answered.chat, answered.author, answered.client_id))
    place = _amendment(draft, answered)
    said_at = entry.said_at if entry is not None else _said_at(answered.extra)
    if place is not None:
        amendment = draft.amendments[place]
        message = amendment.message
        said_at = UnixMs(0) if amendment.deleted else said_at
    else:
        message = entry.message if entry is not None else answered.message
    return ReplyTo(
        message_id=answered.message_id,
        client_message_id=answered.client_id,
        message=message[:REPLY_PREVIEW_CHARACTERS] if message else None,
        sender=draft.state.users[answered.author].id,
        created_at=said_at or answered.at,
    )


def _said_at(extra: str | None) -> UnixMs:
    return read_extra(extra).said_at if extra else 0


def _extra(attachments: list[Attachment] | None, said_at: UnixMs) -> str | None:
    if not attachments and not said_at:
        return None
    return msgspec.json.encode(Extra(attachments=attachments, said_at=said_at)).decode()


def _attachments(draft: DraftBuilder, claimed: list[Attachment] | None) -> list[Attachment] | None:
    """Return a message's attachments with the relay's data on their files, which were imported before it.

    Raises:
        RelayError: one that is stored elsewhere is not valid.
    """
    if not claimed:
        return None
    files = draft.fact(FilesNamed(tuple(sorted({one.id for one in claimed if one.is_here}))))
    found = [
        _here(files, one) if one.is_here else files_of.elsewhere(one, f"attachments[{number}]")
        for number, one in enumerate(claimed)
    ]
    return [one for one in found if one is not None] or None


def _here(files: dict[str, StoredFile], claimed: Attachment) -> Attachment | None:
    file = files.get(claimed.id)
    return None if file is None else files_of.attachment(file, claimed)
