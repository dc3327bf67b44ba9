"""How a user sees a message: as an event, as a line of history, and its status; the same live and replayed.

Reads the state and its arguments; no I/O.
"""

from collections.abc import Iterator, Sequence

import msgspec

from relay.core.model.counting import waited_for
from relay.core.model.entities import Chat
from relay.core.model.state import State
from relay.core.rules import visibility
from relay.keys import ChatKey, MessageId, UnixMs, UserKey
from relay.protocol import events, objects
from relay.store import kinds
from relay.store.entry import Entry, Extra, read_extra
from relay.store.queries.history import CoveringReceipt, HistoryRow

_MESSAGE_KINDS: dict[int, objects.MessageKind] = {kinds.NEW: "new", kinds.EDIT: "edit", kinds.DELETE: "delete"}


def status_for_author(state: State, chat: ChatKey, author: UserKey, message_id: MessageId) -> objects.MessageStatus:
    """Return the status of a message as its author sees it (PROTOCOL.md, section 6).

    Args:
        state: the state.
        chat: the chat's key.
        author: the author's key.
        message_id: the message's id.

    Returns:
        `undelivered` until every counting member has got it, `unread` until all of them have read it, else `read`.
    """
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
    """Return a message's status as one member sees it.

    Args:
        state: the state.
        chat: the key of the chat.
        user: the member's key.
        author: the author's key.
        message_id: the message's id.
        deleted: whether it is deleted.
    """
    if deleted:
        return "deleted"
    if user == author:
        return status_for_author(state, chat, author, message_id)
    member = state.members[chat].get(user)
    return "read" if member is not None and member.read >= message_id else "unread"


def event(state: State, entry: Entry, user: UserKey) -> tuple[str, msgspec.Struct]:
    """Make the event of an entry for a user whom it concerns.

    Entries that change the chat list are handled elsewhere: their payload is the list.

    Args:
        state: the state, which has the entry.
        entry: an entry of kind NEW, EDIT, DELETE, DLVRD or READ.
        user: the key of a user for whom `visibility.is_event_for` holds.

    Returns:
        The event's type and its payload.
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
    """Show a quoted message, without its text if the member may not see it."""
    if quoted is None or visibility.sees(chat, state.members[chat.key].get(user), quoted.message_id):
        return quoted
    return msgspec.structs.replace(quoted, message=None)


def messages(
    state: State,
    user: UserKey,
    chat: Chat,
    rows: Sequence[HistoryRow],
    receipts: Sequence[CoveringReceipt],
    *,
    with_chat_id: bool = False,
) -> Iterator[objects.Message]:
    """Show messages of a page of history as a member sees them, in the order of the rows.

    Args:
        state: the state.
        user: the member.
        chat: the chat.
        rows: the page, in either order.
        receipts: receipts that cover these messages, as `history.receipts` returns them; for groups only.
        with_chat_id: whether each message names its chat, as in the results of a search.
    """
    delivering: dict[MessageId, list[objects.Delivering]] = {}
    if chat.id is not None and not with_chat_id:
        delivering = _delivering(state, chat, rows, receipts)
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
    extra = read_extra(row.extra) if row.extra and kind == "new" and not deleted else Extra()
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


def _delivering(
    state: State, chat: Chat, rows: Sequence[HistoryRow], receipts: Sequence[CoveringReceipt]
) -> dict[MessageId, list[objects.Delivering]]:
    """Return for each message of a group who got and read it, and when. A receipt covers all messages before it.

    Goes from the last message down, so the receipt of a member that is met last is the earliest one that covers a
    message.
    """
    found: dict[MessageId, list[objects.Delivering]] = {}
    got: dict[UserKey, UnixMs] = {}
    read: dict[UserKey, UnixMs] = {}
    members = list(state.members[chat.key].items())
    left = iter(receipts)
    receipt = next(left, None)
    for row in sorted(rows, key=lambda one: -one.message_id):
        while receipt is not None and receipt.message_id >= row.message_id:
            (read if receipt.kind == kinds.READ else got)[receipt.user] = receipt.at
            receipt = next(left, None)
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
