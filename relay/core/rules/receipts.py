"""The rules of receipts, delivered and read (PROTOCOL.md, section 6)."""

from collections.abc import Iterable

from relay.core.model.entities import Chat
from relay.core.rules import commands, permissions
from relay.core.rules.draft import DraftBuilder
from relay.keys import ChatKey, MessageId, UserKey
from relay.protocol import requests
from relay.protocol.errors import RelayError
from relay.store import kinds
from relay.store.command import Command
from relay.store.entry import Covered, CoveredBy, FirstMark, FirstReceipt, UnreadAfter, covered_column


def mark_delivered(draft: DraftBuilder, command: Command, request: commands.MarkDelivered) -> requests.Marked:
    """Mark a chat as delivered to a user up to a message."""
    return _mark(draft, command, draft.state.chats[request.chat], request.message_id, read=False)


def mark_read(draft: DraftBuilder, command: Command, request: commands.MarkRead) -> requests.Marked:
    """Mark a chat as read by a user up to a message."""
    return _mark(draft, command, draft.state.chats[request.chat], request.message_id, read=True)


def reserve_seq(draft: DraftBuilder, command: Command, request: commands.ReserveSeq) -> requests.Nothing:
    """Add a receipt that covers no message: it takes the next `seq`, and is sent to nobody."""
    draft.add(kinds.DLVRD, draft.state.chats[request.chat].key, 0, command, extra="[]")
    return requests.Nothing()


def _mark(
    draft: DraftBuilder, command: Command, chat: Chat, message_id: MessageId | None, *, read: bool
) -> requests.Marked:
    state, user, key = draft.state, command.user, chat.key
    member = state.members[key].get(user)
    if member is None:
        raise RelayError("not_found", "you are not in this chat")
    permissions.check(state, chat, user, permissions.READ, imported=command.importer)
    last = draft.last_ids.get(key, chat.last_message_id)
    if message_id is not None and message_id > last:
        raise RelayError.no_message(message_id)
    upto = last if message_id is None else message_id
    place = (key, user)
    dlvrd = draft.dlvrd.get(place, member.dlvrd_upto)
    before = draft.read.get(place, member.read_upto) if read else dlvrd
    covered = _covered(draft, key, user, before, upto, read=read)
    if not covered:
        return _repeat_mark(draft, key, user, message_id, read=read)
    top = max(covered, key=lambda one: one.message_id)
    # Messages between the highest covered one and `upto` are the user's own, so both leave the same unread count.
    unread = _unread(draft, chat, user, upto, last) if read else 0
    draft.dlvrd[place] = max(dlvrd, top.message_id)
    if read:
        draft.read[place] = top.message_id
    entry = draft.add(
        kinds.READ if read else kinds.DLVRD,
        key,
        top.message_id,
        command,
        target=unread,
        extra=covered_column(covered),
        covered=covered,
    )
    draft.marks.setdefault(place, []).append(entry)
    return requests.Marked(
        message_id=top.message_id,
        timestamp=draft.at,
        client_message_id=top.client_id,
        missed=unread if read else None,
    )


def _repeat_mark(
    draft: DraftBuilder, key: ChatKey, user: UserKey, message_id: MessageId | None, *, read: bool
) -> requests.Marked:
    """Answer a repeated receipt with the first one's timestamp; nothing changes."""
    missed = _missed(draft, key, user) if read else None
    first = None if message_id is None else _first_mark(draft, key, user, message_id, read=read)
    if first is None:
        return requests.Marked(missed=missed)
    return requests.Marked(
        message_id=first.message_id, timestamp=first.at, client_message_id=first.client_id, missed=missed
    )


def _first_mark(
    draft: DraftBuilder, key: ChatKey, user: UserKey, message_id: MessageId, *, read: bool
) -> FirstReceipt | None:
    """Find when the highest message up to this one was first marked, in this batch or before."""
    member = draft.state.members[key][user]
    marked_here = _covered(draft, key, user, member.read_upto if read else member.dlvrd_upto, message_id, read=read)
    if not marked_here:
        return draft.fact(FirstMark(key, user, read, message_id))
    top = max(marked_here, key=lambda one: one.message_id)
    at = next(
        entry.at
        for entry in draft.marks[key, user]
        if entry.message_id >= top.message_id and (entry.kind == kinds.READ or not read)
    )
    return FirstReceipt(top.message_id, top.client_id, at)


def _missed(draft: DraftBuilder, key: ChatKey, user: UserKey) -> int:
    """Count a member's unread messages as of this point in the batch."""
    chat = draft.state.chats[key]
    if (key, user) in draft.read:
        return _unread(draft, chat, user, draft.read[key, user], draft.last_ids.get(key, chat.last_message_id))
    return draft.state.missed(chat, user) + sum(1 for _, author, _ in draft.sent.get(key, ()) if author != user)


def _covered(
    draft: DraftBuilder, chat: ChatKey, user: UserKey, after: MessageId, upto: MessageId, *, read: bool
) -> tuple[Covered, ...]:
    """Find each other author's highest message in (after, upto], the highest first."""
    if upto <= after:
        return ()
    everybody = draft.coverage.get((chat, after, upto))
    if everybody is None:
        found = _covered_by_anyone(draft, chat, after, upto)
        if found is None:
            return _covered_from_log(draft, chat, user, after, upto, read=read)
        everybody = draft.coverage[chat, after, upto] = found
    return tuple(one for one in everybody if one.author != user)


def _covered_from_log(
    draft: DraftBuilder, chat: ChatKey, user: UserKey, after: MessageId, upto: MessageId, *, read: bool
) -> tuple[Covered, ...]:
    """Find the covered messages in this batch and in the log, if the tail is too short."""
    member = draft.state.members[chat][user]
    # Do not start from `after`, which depends on earlier receipts of this batch: each would wait for the one before it.
    marked = member.read_upto if read else member.dlvrd_upto
    found = {one.author: one for one in _covered_by_batch(draft, chat, after, upto) if one.author != user}
    for one in draft.fact(CoveredBy(chat, user, marked, upto, dialog=draft.state.chats[chat].id is None)):
        if one.message_id > after:
            found.setdefault(one.author, one)
    return tuple(found.values())


def _covered_by_batch(draft: DraftBuilder, chat: ChatKey, after: MessageId, upto: MessageId) -> Iterable[Covered]:
    """Find each author's highest message of this batch in (after, upto], the highest first."""
    found: dict[UserKey, Covered] = {}
    for message_id, author, client_id in reversed(draft.sent.get(chat, ())):
        if after < message_id <= upto:
            found.setdefault(author, Covered(author, message_id, client_id))
    return found.values()


def _covered_by_anyone(
    draft: DraftBuilder, chat: ChatKey, after: MessageId, upto: MessageId
) -> tuple[Covered, ...] | None:
    """Find each author's highest message in (after, upto], the highest first; None if the tail is too short."""
    found = {one.author: one for one in _covered_by_batch(draft, chat, after, upto)}
    committed = draft.state.chats[chat].last_message_id
    if after < committed:
        tail = draft.state.tails.get(chat)
        if tail is None or tail.since > after + 1:
            # Tails have no deleted messages, so the first one kept may come later than `since`.
            return None
        messages = tail.messages
        for message_id in range(min(upto, committed), after, -1):
            message = messages.get(message_id)
            if message is not None and message[0] not in found:
                found[message[0]] = Covered(message[0], message_id, message[1])
    return tuple(found.values())


def _unread(draft: DraftBuilder, chat: Chat, user: UserKey, after: MessageId, last: MessageId) -> int:
    """Count the messages of others after `after`."""
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
    # Count from the nearer end, so that each message is counted about once, however many are left.
    member = draft.state.members[chat.key][user]
    read = member.read_upto
    if min(after - read, committed - after) > draft.counted_messages:
        # The writer waits while they are counted. Neither number is too low.
        return sent + min(draft.state.missed(chat, user), committed - after)
    if after - read < committed - after:
        return sent + draft.state.missed(chat, user) - draft.fact(UnreadAfter(chat.key, user, read, after))
    return sent + draft.fact(UnreadAfter(chat.key, user, after, committed))
