"""The rules of messages: sending, editing, deleting (PROTOCOL.md, sections 3 and 5)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from relay.core.model import changes
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import attachments as files_of
from relay.core.rules import permissions, visibility
from relay.core.rules.commands import ADMIN
from relay.core.rules.draft import DraftBuilder, chat_for, client_key, member_chat
from relay.core.rules.permissions import Action
from relay.keys import ChatKey, MessageId, UserKey
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
    MessageAt,
    StoredMessage,
    author_column,
)
from relay.unicode.unseen import is_blank

NEEDED = "a message needs attachments, or a text of which something can be seen"


def cleared_by(state: State, chat: ChatKey) -> list[UserKey]:
    """Return the users who have cleared a dialog and got no message in it since, ascending.

    Only dialogs in `state.cleared` have such users.
    """
    return sorted(user for user in state.users_in(state.chats[chat]) if state.members[chat][user].hidden)


def _answer_repeat(
    known: StoredMessage, chat: ChatKey, author: UserKey, client_id: str, kind: int, target: int
) -> requests.Accepted:
    # Retention keeps only the hash of a removed message, which is enough to recognise it.
    if (known.chat, known.author, known.client_id or client_id) != (chat, author, client_id):
        raise RelayError.conflict("clientMessageId: this one cannot be used, make another")
    if known.kind != kind or (kind != kinds.NEW and known.subject_id != target):
        raise RelayError.conflict(
            f"clientMessageId: it belongs to message {known.message_id} already, every message needs one of its own"
        )
    return requests.Accepted(message_id=known.message_id, timestamp=known.at, client_message_id=client_id)


Changing = TypeVar("Changing", requests.New, requests.Edit, requests.Delete)
Say = Callable[[DraftBuilder, Command, Changing, int | None], requests.Accepted]
"""Decides a request that is not a repeat. The idempotency key is None if there is no client id or no chat yet."""


def _once(
    draft: DraftBuilder,
    command: Command,
    request: Changing,
    kind: int,
    target: MessageId,
    say: Say[Changing],
    chat: ChatKey | None,
) -> requests.Accepted:
    """Decide a request unless it was decided before: one client id is one message (PROTOCOL.md, section 3).

    `chat` is the chat that the user names, if they are in it.
    """
    client_id = request.client_message_id
    # The user may have left the group since, and only the answer was lost.
    key = draft.state.group_keys.get(request.chat_id) if chat is None else chat
    if key is None or not client_id:
        return say(draft, command, request, None)
    hash_ = client_key(key, command.user, client_id)
    known = draft.repeated(hash_)
    if known is None:
        try:
            # A new key needs no look-up: the insert itself refuses a known idempotency key.
            return say(draft, command, request, hash_)
        except RelayError:
            # A repeat may fail a check that the original passed (its file, its message or the right is gone since),
            # so look for the original before refusing.
            known = draft.fact(ClientKey(hash_))
            if known is None:
                raise
    return _answer_repeat(known, key, command.user, client_id, kind, target)


def new(draft: DraftBuilder, command: Command, request: requests.New) -> requests.Accepted:
    """Send a message; the first one between two users creates their dialog."""
    chat = draft.state.chat_key(command.user, request.chat_id)
    return _once(draft, command, request, kinds.NEW, 0, partial(_send, chat), chat)


def _send(
    key: ChatKey | None, draft: DraftBuilder, command: Command, request: requests.New, hash_: int | None
) -> requests.Accepted:
    state = draft.state
    text = _shown(request.message)
    if not text and not request.attachments:
        raise RelayError.bad_field("payload.message", NEEDED)
    if key is None:
        key = _open_dialog(draft, command, request.chat_id)
        hash_ = client_key(key, command.user, request.client_message_id)
    else:
        permissions.check(state, state.chats[key], command.user, permissions.WRITE, imported=command.importer)
    reply_to = None if request.reply_to is None else _reply(draft, command, key, request.reply_to)
    attachments = _attachments(draft, command.user, request.attachments) if request.attachments else None
    if key in state.cleared:
        draft.change(kinds.CHATS, key, command, changes.ChatShown(cleared_by(state, key)))
    extra = Extra(attachments=attachments).column() if attachments else None
    message_id = draft.next_id(key)
    draft.add(
        kinds.NEW,
        key,
        message_id,
        command,
        target=reply_to.message_id if reply_to is not None else 0,
        client_key=hash_,
        client_id=request.client_message_id,
        message=text,
        extra=extra,
        attachments=attachments,
        reply_to=reply_to,
    )
    draft.sent.setdefault(key, []).append((message_id, command.user, request.client_message_id))
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=request.client_message_id)


def _shown(text: str | None) -> str | None:
    """Return a text as it stands if anything of it can be seen, else None (PROTOCOL.md, section 5, "Blank texts")."""
    # Most texts begin with a character of ASCII that can be seen, which is found without a call.
    return text if text and ("!" <= text[0] <= "~" or not is_blank(text)) else None


def _attachments(
    draft: DraftBuilder, user: UserKey, claimed: Sequence[Attachment] | None, kept: Sequence[Attachment] = ()
) -> list[Attachment] | None:
    """Describe the files of a message; the sender's own description of them is not used.

    Each is judged by itself. A file here is named by its id; one elsewhere by id and address, as ids elsewhere are not
    unique. One that is named twice is there once.

    Args:
        draft: the batch.
        user: the sender.
        claimed: the attachments as the sender names them.
        kept: the present attachments, which the message may keep.

    Raises:
        RelayError: there is no such file, the sender may not have it, or it is not valid.
    """
    if not claimed:
        return None
    known_here = {one.id: one for one in kept if one.is_here}
    known_elsewhere = {(one.id, one.url): one for one in kept if not one.is_here}
    files = draft.fact(FilesNamed(tuple(sorted({one.id for one in claimed} - known_here.keys()))))
    found: dict[tuple[str, str], Attachment] = {}
    for number, one in enumerate(claimed):
        file = files.get(one.id)
        known = known_elsewhere.get((one.id, one.url)) or known_here.get(one.id)
        if known is not None:
            taken = known
        elif file is not None and files_of.may_read(draft.state, user, file):
            taken = files_of.attachment(file, one)
        elif one.is_here:
            raise RelayError(
                "not_found", f"payload.attachments[{number}].id: there is no file {one.id!r} for you here: upload it"
            )
        else:
            taken = files_of.elsewhere(one, f"payload.attachments[{number}]")
        found[taken.id, taken.url] = taken
    return list(found.values())


def _open_dialog(draft: DraftBuilder, command: Command, chat_id: str) -> ChatKey:
    """Create the dialog of two users, or a user's notes, for its first message."""
    state = draft.state
    peer = state.user(chat_id)
    if peer is None or peer.disabled or peer.removed:
        raise RelayError.no_chat(chat_id)
    key = state.next_chat()
    favorites = peer.key == command.user
    draft.change(
        kinds.CHATS,
        key,
        command,
        changes.ChatMade(
            type="favorites" if favorites else "dialog",
            owner=command.user,
            members=[command.user] if favorites else [command.user, peer.key],
        ),
    )
    return key


def _sees(draft: DraftBuilder, command: Command, chat: ChatKey, stored: StoredMessage) -> bool:
    """Return whether the user sees a message or a change of one. A chat created in this batch has none yet."""
    state = draft.state
    known = state.chats.get(chat)
    if known is None or command.user == ADMIN:
        return True
    return visibility.lists(known, state.members[chat].get(command.user), stored.message_id, stored.subject_id)


def _reply(draft: DraftBuilder, command: Command, chat: ChatKey, message_id: MessageId) -> ReplyTo | None:
    """Quote the message that a new one replies to; None if retention has removed it.

    The reply may have waited on an offline device.

    Raises:
        RelayError: there is no such message.
    """
    known = draft.state.chats.get(chat)
    if known is not None and 0 < message_id <= known.pruned:
        return None
    stored = draft.fact(MessageAt(chat, message_id))
    if stored is None or stored.kind != kinds.NEW or not _sees(draft, command, chat, stored):
        raise RelayError.bad_field("payload.replyTo", f"there is no message {message_id} in this chat")
    return ReplyTo(
        message_id=message_id,
        client_message_id=stored.client_id,
        message=stored.message[:REPLY_PREVIEW_CHARACTERS] if stored.message else None,
        sender=draft.state.users[stored.author].id,
        created_at=stored.details.said_at or stored.at,
    )


def _original(draft: DraftBuilder, command: Command, chat: Chat, message_id: MessageId) -> StoredMessage:
    stored = draft.fact(MessageAt(chat.key, message_id))
    if stored is None or not _sees(draft, command, chat.key, stored):
        raise RelayError.no_message(message_id)
    if stored.kind != kinds.NEW:
        raise RelayError.bad_field("payload.originalMessageId", f"{message_id} is an edit or a deletion itself")
    return stored


def _key(hash_: int | None, chat: Chat, user: UserKey, client_id: str) -> int | None:
    """Return the idempotency key of a change, even for a generated id: imports of our own exports need it."""
    return client_key(chat.key, user, client_id) if hash_ is None and client_id else hash_


def edit(draft: DraftBuilder, command: Command, request: requests.Edit) -> requests.Accepted:
    """Edit a message; its new text goes into the original's row and nowhere else."""
    if request.message is None and request.attachments is None:
        raise RelayError.bad_field("payload.message", "this field is required")
    chat = draft.state.chat_key(command.user, request.chat_id)
    return _once(draft, command, request, kinds.EDIT, request.original_message_id, _edit, chat)


def _edit(draft: DraftBuilder, command: Command, request: requests.Edit, hash_: int | None) -> requests.Accepted:
    chat = chat_for(draft, command, request.chat_id, Action.EDIT)
    client_id = request.client_message_id or command.generated_id
    original = _original(draft, command, chat, request.original_message_id)
    if original.author != command.user:
        permissions.check(draft.state, chat, command.user, Action.EDIT_OTHERS)
    if original.deleted:
        raise RelayError.no_message(request.original_message_id)
    kept = original.details
    attachments = kept.attachments
    if request.attachments is not None:
        attachments = _attachments(draft, command.user, request.attachments, kept.attachments or ())
    message = original.message if request.message is None else _shown(request.message)
    if not message and not attachments:
        raise RelayError.bad_field("payload.message", f"{NEEDED}; delete it instead")
    kept.attachments = attachments or None
    extra = kept.column()
    message_id = draft.next_id(chat.key)
    entry = draft.add(
        kinds.EDIT,
        chat.key,
        message_id,
        command,
        target=original.message_id,
        client_key=_key(hash_, chat, command.user, client_id),
        client_id=client_id,
    )
    # Only the original's row has the text, so that deleting it later erases it everywhere.
    draft.amendments.append(
        Amendment(chat.key, original.message_id, message_id, draft.at, message, extra, deleted=False)
    )
    entry.message, entry.attachments = message, attachments or None
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=client_id)


def delete(draft: DraftBuilder, command: Command, request: requests.Delete) -> requests.Accepted:
    """Delete one's own message, or anyone's as a group's owner or admin."""
    target = request.original_message_id or request.message_id
    if target is None:
        raise RelayError.bad_field("payload.originalMessageId", "this field is required")
    chat = draft.state.chat_key(command.user, request.chat_id)
    return _once(draft, command, request, kinds.DELETE, target, partial(_delete, target), chat)


def _delete(
    target: int, draft: DraftBuilder, command: Command, request: requests.Delete, hash_: int | None
) -> requests.Accepted:
    chat = member_chat(draft, command, request.chat_id)
    client_id = request.client_message_id or command.generated_id
    original = _original(draft, command, chat, target)
    permissions.check(
        draft.state, chat, command.user, Action.DELETE if original.author == command.user else Action.DELETE_OTHERS
    )
    if original.deleted:
        deletion = draft.fact(MessageAt(chat.key, original.changed))
        return requests.Accepted(
            message_id=original.changed,
            timestamp=original.changed_at,
            client_message_id=deletion.client_id if deletion else client_id,
        )
    message_id = draft.next_id(chat.key)
    draft.add(
        kinds.DELETE,
        chat.key,
        message_id,
        command,
        target=target,
        client_key=_key(hash_, chat, command.user, client_id),
        client_id=client_id,
        extra=author_column(original.author),
        original_at=original.at,
    )
    draft.amendments.append(Amendment(chat.key, target, message_id, draft.at, None, None, deleted=True))
    return requests.Accepted(message_id=message_id, timestamp=draft.at, client_message_id=client_id)
