"""How a user sees an entry, a message or a chat: one function for each, whether it is live or replayed.

Reads the state and what it is given; no I/O.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from relay.core.delivery.presence import Presence
from relay.core.model import changes
from relay.core.model.entities import Chat, Member, User
from relay.core.model.state import State
from relay.core.rules import attachments, visibility
from relay.core.rules.counting import waited_for
from relay.keys import NO_CHAT, ChatKey, MessageId, UnixMs, UserKey
from relay.protocol import events, objects
from relay.store import kinds
from relay.store.entry import REPLY_PREVIEW, Entry, Extra
from relay.store.queries.history import LIST_PREVIEW, ChatTexts, HistoryRow

_MESSAGE_KINDS: dict[int, objects.MessageKind] = {kinds.NEW: "new", kinds.EDIT: "edit", kinds.DELETE: "delete"}
_extra = msgspec.json.Decoder(Extra).decode


def status_for_author(state: State, chat: ChatKey, author: UserKey, message_id: MessageId) -> objects.MessageStatus:
    """Give the status of a message as its author sees it (PROTOCOL.md, section 6)."""
    status: objects.MessageStatus = "read"
    where = state.chats[chat]
    for user, member in state.members[chat].items():
        if not waited_for(state, where, user, member, author, message_id):
            continue
        if member.dlvrd < message_id:
            return "undelivered"
        if member.read < message_id:
            status = "unread"
    return status


def status_for(
    state: State, chat: ChatKey, user: UserKey, author: UserKey, message_id: MessageId, *, deleted: bool
) -> objects.MessageStatus:
    """Give a message's status as one member sees it.

    Args:
        state: the state.
        chat: the key of the chat.
        user: the member's key.
        author: the author's key.
        message_id: the message's.
        deleted: whether it is deleted.
    """
    if deleted:
        return "deleted"
    if user == author:
        return status_for_author(state, chat, author, message_id)
    member = state.members[chat].get(user)
    return "read" if member is not None and member.read >= message_id else "unread"


def event(state: State, entry: Entry, user: UserKey) -> tuple[str, msgspec.Struct]:
    """Make the event of an entry for a user whom it concerns: its type and payload.

    Entries that change the chat list are not made here: their payload is the list.
    """
    chat = state.chats[entry.chat]
    chat_id = state.chat_id(chat, user)
    if entry.kind == kinds.NEW:
        sender = state.users[entry.actor]
        gone = entry.deleted
        return "new", events.NewEvent(
            chat_id=chat_id,
            sender=sender.id,
            sender_name=sender.name,
            message_id=entry.message_id,
            client_message_id=entry.client_id or "",
            message=None if gone else entry.message,
            attachments=None if gone else entry.attachments,
            reply_to=None if gone or entry.reply_to is None else _quote(state, chat, user, entry.reply_to),
            timestamp=entry.said_at or entry.at,
            missed=state.missed(chat, user),
            status=status_for(state, entry.chat, user, entry.actor, entry.message_id, deleted=gone),
        )
    if entry.kind == kinds.EDIT:
        return "edit", events.EditEvent(
            chat_id=chat_id,
            message_id=entry.message_id,
            original_message_id=entry.subject_id,
            client_message_id=entry.client_id or "",
            message=entry.message,
            attachments=entry.attachments,
            timestamp=entry.at,
        )
    if entry.kind == kinds.DELETE:
        return "delete", events.DeleteEvent(
            chat_id=chat_id, message_id=entry.message_id, original_message_id=entry.subject_id
        )
    reader = state.users[entry.actor].id
    if entry.kind == kinds.READ and user == entry.actor:
        return "read", events.Read(
            chat_id=chat_id,
            user_id=reader,
            message_id=entry.message_id,
            client_message_id=entry.covered[0].client_id if entry.covered else "-",
            timestamp=entry.at,
            missed=state.missed(chat, user),
        )
    mine = entry.covers(user)
    assert mine is not None, "a receipt goes to the authors of the messages it covers"
    kind = events.Read if entry.kind == kinds.READ else events.Delivered
    return ("read" if entry.kind == kinds.READ else "dlvrd"), kind(
        chat_id=chat_id,
        user_id=reader,
        message_id=mine.message_id,
        client_message_id=mine.client_id,
        timestamp=entry.at,
    )


def _quote(state: State, chat: Chat, user: UserKey, quoted: objects.ReplyTo | None) -> objects.ReplyTo | None:
    """Show the message that is quoted, without its text to a member who does not see it."""
    if quoted is None or visibility.sees(chat, state.members[chat.key].get(user), quoted.message_id):
        return quoted
    return msgspec.structs.replace(quoted, message=None)


def chat_list_readers(state: State, entry: Entry) -> Sequence[UserKey]:
    """Name the users whose chat list an entry of kind CHATS or USER changes."""
    change = changes.change_of(entry)
    match change:
        case changes.ChatMade() | changes.ChatUpdated() | changes.MembersAdded():
            return list(state.members.get(entry.chat, ()))
        case changes.MembersRemoved():
            return [*state.members.get(entry.chat, ()), *change.users]
        case changes.ChatDeleted() | changes.ChatShown():
            return change.users
        case changes.ChatHidden():
            return [change.user]
        case changes.UserChanged() if _is_shown(change) or change.disabled:
            chats = map(state.chats.__getitem__, state.chats_of[change.key])
            readers = {user for chat in chats for user in _line_readers(state, change, chat)}
            return [*(readers | {change.key} if _is_shown(change) else readers)]
    return ()


def changed_chats(state: State, entry: Entry, user: UserKey) -> Sequence[ChatKey]:
    """Give the chats whose lines an entry of kind CHATS or USER changes in the list of one of its readers.

    Returns:
        Chat keys; `NO_CHAT` stands for none, where users are told of their own name or picture.
    """
    change = changes.change_of(entry)
    if not isinstance(change, changes.UserChanged):
        return [entry.chat]
    shared = map(state.chats.__getitem__, sorted(state.chats_of[change.key] & state.chats_of[user]))
    found = [chat.key for chat in shared if user in _line_readers(state, change, chat)]
    return found or ([NO_CHAT] if user == change.key and _is_shown(change) else ())


def changes_list(state: State, entry: Entry, user: UserKey) -> bool:
    """Tell whether `chat_list_readers` names a user, without looking at every chat of a user who changed."""
    if isinstance(changes.change_of(entry), changes.UserChanged):
        return bool(changed_chats(state, entry, user))
    return user in chat_list_readers(state, entry)


def _is_shown(change: changes.UserChanged) -> bool:
    """Tell whether a change of a user changes their name or picture."""
    return change.name is not None or change.photo_url is not None


def _line_readers(state: State, change: changes.UserChanged, chat: Chat) -> Iterable[UserKey]:
    """Name the members for whom a change of a user changes the line of one chat in their list.

    A line shows the name and the picture of the other user of a dialog, and to the author of a group's last message
    its status, for which nobody who is disabled is waited. Rights as an admin are in no line; a removed user has left
    each group by an entry of its own; messages from before a user was enabled again wait for them no more than before.
    """
    if chat.id is None:
        return state.members[chat.key] if _is_shown(change) else ()
    members, author = state.members[chat.key], chat.newest_by
    waited = members.get(change.key)
    if not change.disabled or waited is None or author == change.key or author not in members or chat.newest_deleted:
        return ()
    return (author,) if waited.joined < chat.newest and waited.read < chat.newest else ()


class ListChange(NamedTuple):
    """What an entry of kind CHATS or USER does to chat lists, beside changing a line of them."""

    newcomers: frozenset[UserKey]
    """Users whom it makes members of the chat."""
    appears_for: frozenset[UserKey]
    """Users to whose list it adds a chat."""
    goes_for: frozenset[UserKey]
    """Users from whose list it removes a chat."""


def list_change(entry: Entry) -> ListChange:
    """Read what an entry of kind CHATS or USER does to chat lists."""
    nobody: frozenset[UserKey] = frozenset()
    match changes.change_of(entry):
        case changes.ChatMade(members=users) | changes.MembersAdded(users=users):
            everybody = frozenset(users)
            return ListChange(everybody, everybody, nobody)
        case changes.ChatShown(users=users):
            return ListChange(nobody, frozenset(users), nobody)
        case changes.MembersRemoved(users=users) | changes.ChatDeleted(users=users):
            return ListChange(nobody, nobody, frozenset(users))
        case changes.ChatHidden(user=user):
            return ListChange(nobody, nobody, frozenset((user,)))
    return ListChange(nobody, nobody, nobody)


def profile(user: User, last_seen: UnixMs | None = None) -> objects.Profile:
    """Show a user as others see them; `last_seen` is Unix milliseconds."""
    return objects.Profile(
        id=user.id,
        name=user.name,
        avatar_url=attachments.shown(user.photo_url),
        last_seen=last_seen,
        bot=user.bot or None,
    )


def _title(state: State, chat: Chat, user: UserKey) -> tuple[str, str | None]:
    if chat.id is not None:
        return chat.name, attachments.shown(chat.photo_url)
    peer = state.users[state.peer(chat, user)]
    return peer.name, attachments.shown(peer.photo_url)


def wanted_texts(
    state: State, user: UserKey, chats: Iterable[tuple[Chat, Member]]
) -> list[tuple[ChatKey, MessageId, MessageId]]:
    """Give the texts that lines of a user's chat list need, as `history.chat_texts` takes them."""
    return [(chat.key, chat.newest, member.read_upto if state.missed(chat, user) else -1) for chat, member in chats]


def place(chat: Chat) -> tuple[UnixMs, ChatKey]:
    """Give a chat's place in a list; the greatest comes first."""
    return chat.newest_at or chat.created_at, chat.key


def listed(state: State, user: UserKey) -> list[tuple[Chat, Member]]:
    """Give the chats of a user's list, the latest first."""
    return sorted(state.listed(user), key=lambda one: place(one[0]), reverse=True)


def list_item(
    state: State, user: UserKey, chat: Chat, member: Member, texts: ChatTexts | None, presence: Presence
) -> objects.ChatListItem:
    """Make one line of a user's chat list.

    Args:
        state: the state.
        user: whose list it is.
        chat: the chat.
        member: the user as its member.
        texts: what was read for the line; None if nothing was.
        presence: who is online.
    """
    name, photo_url = _title(state, chat, user)
    missed = state.missed(chat, user)
    shown = visibility.sees(chat, member, chat.newest)
    text = (texts.message if texts and shown else None) or ""
    if not text and texts and texts.extra and shown:
        attachments = _extra(texts.extra).attachments or []
        text = ", ".join(attachment.filename for attachment in attachments)
    return objects.ChatListItem(
        type=chat.type,
        id=state.chat_id(chat, user),
        name=name,
        photo_url=photo_url,
        last_message_text=text[:LIST_PREVIEW],
        last_message_time=(texts.said_at if texts else None) or chat.newest_at if shown else chat.created_at,
        last_message_author=state.users[chat.newest_by].id if shown else None,
        last_message_status=(
            status_for(state, chat.key, user, chat.newest_by, chat.newest, deleted=chat.newest_deleted)
            if shown
            else "read"
        ),
        last_message_id=chat.newest if shown else 0,
        missed=missed or None,
        first_missed=texts.first_missed if texts else None,
        is_mine=shown and chat.newest_by == user,
        last_seen=presence.last(state.peer(chat, user)) if chat.type == "dialog" else None,
    )


def chat(state: State, user: UserKey, chat: Chat, first_missed: str | None, presence: Presence) -> objects.ChatDetails:
    """Show one chat in full, as a member sees it; `first_missed` is the client id of the first unread message."""
    name, photo_url = _title(state, chat, user)
    if chat.id is None:
        meta = objects.ChatMeta(first_name=name, last_seen=presence.last(state.peer(chat, user)))
    else:
        members = state.members[chat.key]
        meta = objects.ChatMeta(
            owner=state.users[chat.owner].id,
            admins=[state.users[key].id for key, member in members.items() if member.admin],
            participants=[profile(state.users[key], presence.last(key)) for key in members],
            created_at=chat.created_at,
        )
    return objects.ChatDetails(
        chat_id=state.chat_id(chat, user),
        type=chat.type,
        name=name,
        photo_url=photo_url,
        last_message_id=chat.last_message_id or None,
        missed=state.missed(chat, user),
        first_missed=first_missed,
        meta=meta,
    )


def messages(
    state: State,
    user: UserKey,
    chat: Chat,
    rows: Sequence[HistoryRow],
    marks: Sequence[tuple[UserKey, int, MessageId, UnixMs]],
    *,
    with_chat_id: bool = False,
) -> Iterator[objects.Message]:
    """Show messages of a page of history as a member sees them, in the order of the rows.

    Args:
        state: the state.
        user: the member.
        chat: the chat.
        rows: the page, in either order.
        marks: the receipts that cover these messages, as `history.receipts` gives them; for groups only.
        with_chat_id: whether each message names its chat, as in the results of a search.
    """
    delivering: dict[MessageId, list[objects.Delivering]] = {}
    if chat.id is not None and not with_chat_id:
        delivering = _delivering(state, chat, rows, marks)
    for row in rows:
        yield _message(state, user, chat, row, delivering.get(row.message_id), with_chat_id=with_chat_id)


def _message(
    state: State,
    user: UserKey,
    chat: Chat,
    row: HistoryRow,
    delivering: list[objects.Delivering] | None,
    *,
    with_chat_id: bool,
) -> objects.Message:
    deleted = bool(row.deleted)
    kind = _MESSAGE_KINDS[row.kind]
    extra = _extra(row.extra) if row.extra and kind == "new" and not deleted else Extra()
    reply_to = None
    if row.reply_client_id is not None and row.reply_actor is not None and row.reply_at is not None and not deleted:
        reply_to = objects.ReplyTo(
            message_id=row.target,
            client_message_id=row.reply_client_id,
            message=row.reply_message or None,
            sender=state.users[row.reply_actor].id,
            created_at=row.reply_at,
        )
    return objects.Message(
        message_id=row.message_id,
        client_message_id=row.client_id,
        chat_id=state.chat_id(chat, user) if with_chat_id else None,
        sender=state.users[row.actor].id,
        message=row.message,
        attachments=extra.attachments,
        reply_to=_quote(state, chat, user, reply_to),
        forwarded=extra.forwarded,
        status=status_for(state, chat.key, user, row.actor, row.message_id, deleted=deleted),
        type=kind,
        payload=objects.Original(original_message_id=row.target) if kind != "new" else None,
        created_at=extra.said_at or row.at,
        updated_at=row.changed_at if row.changed_at and not deleted else None,
        deleted_at=row.changed_at if deleted else None,
        delivering=delivering,
    )


def amended(message: objects.Message, change: Entry, *, sees: bool) -> objects.Message:
    """Show a message as it is after an edit or a deletion that came while it was read.

    Args:
        message: what was read.
        change: the edit or the deletion, of this message or of the one that it quotes.
        sees: whether the member sees the message that is changed.
    """
    replace = msgspec.structs.replace
    if message.type == "new" and message.message_id == change.target:
        if change.kind == kinds.DELETE:
            return replace(
                message,
                message=None,
                attachments=None,
                reply_to=None,
                forwarded=None,
                status="deleted",
                updated_at=None,
                deleted_at=change.at,
            )
        return replace(message, message=change.message, attachments=change.attachments, updated_at=change.at)
    quoted = message.reply_to
    if quoted is not None and quoted.message_id == change.target and sees:
        text = change.message[:REPLY_PREVIEW] if change.message else None
        return replace(message, reply_to=replace(quoted, message=text))
    return message


def _delivering(
    state: State, chat: Chat, rows: Sequence[HistoryRow], marks: Sequence[tuple[UserKey, int, MessageId, UnixMs]]
) -> dict[MessageId, list[objects.Delivering]]:
    """Give for each message of a group who got and read it, and when: a receipt covers all messages before it.

    Goes from the last message down, so that of a member's receipts the one met last is the first that covers a message.
    """
    found: dict[MessageId, list[objects.Delivering]] = {}
    got: dict[UserKey, UnixMs] = {}
    read: dict[UserKey, UnixMs] = {}
    members = list(state.members[chat.key].items())
    left = iter(marks)
    mark = next(left, None)
    for row in sorted(rows, key=lambda one: -one.message_id):
        while mark is not None and mark[2] >= row.message_id:
            (read if mark[1] == kinds.READ else got)[mark[0]] = mark[3]
            mark = next(left, None)
        if row.kind == kinds.NEW:
            found[row.message_id] = [
                objects.Delivering(
                    user_id=state.users[user].id, dlvrd=_earlier(got.get(user), read.get(user)), read=read.get(user)
                )
                for user, member in members
                if waited_for(state, chat, user, member, row.actor, row.message_id)
            ]
    return found


def _earlier(one: UnixMs | None, other: UnixMs | None) -> UnixMs | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
